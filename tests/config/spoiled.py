"""Two valid files, spoiled: entries of their data, and bytes of their text."""

import json
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from rl.metrics import METRICS


class Raw(str):
    """Written into the file as it stands."""


class Twice(dict[str, Any]):
    """A mapping that is written with every key twice."""


RAW = [
    *(".nan", "NaN", ".inf", "-Infinity", "1e999", "-1e-999", "0x10", "0o17", "1_000", "12:30"),
    *("1" + "0" * 400, "1" + "0" * 5000, "9223372036854775808", "0." + "1" * 999, "-0.0", "- 1"),
    *("~", "", "no", "2026-11-21", "<<", "=", "# gone", "*a", "&a x", "&a [*a]", "{<<: *a}"),
    *("[", "}", "|", ">-", "? a", "'", '"', "@", "%", "\t1", '"\\ud800"', '"\\UFFFFFFFF"', '"\\0"'),
    *("!!set {a, b}", "!!omap [a: 1]", "!!binary aGk=", "!!str {=: x}", "!!map [a]", "!!seq {}"),
    *(
        "!!python/name:os.system",
        "!<x> 1",
        "!!int a",
        "!!float [1]",
        "!!timestamp x",
        "!!pairs [1]",
    ),
    *("{1: 2}", "{[a]: 1}", "{a: 1, a: 2}", "{? {a: 1} : 2}", "[" * 60 + "]" * 60, "{a: " * 300),
]
# Words that stand somewhere in a valid file, or almost do.
WORDS = [
    *("none", "group_std", "weight", "nome", "smoke", "laptop", "desktop", "", "a.b", "steps."),
    *("first", "last", "all", "mean", "slope_level", "slope_metric", "not_less", "trend", "exact"),
    *("interaction", "equivalence", "policy", "gradient_weight", "batch_std", "answer", "1", "é\n"),
    *(
        "advantage.scale",
        "optim.lr",
        "optim",
        "x" * 300,
        "\x1b[31m",
        "\u2028",
        "\ufeff",
        "ab" * 3000,
    ),
    *METRICS,
]
KEYS = [
    *("a/b", "a.b", "<<", "=", "", "é\n", "\x1b", "1", "set", "seeds", "arms", "levels", "low"),
    *("high", "slope_on", "engine", "zero_stage", "budget_minutes", "k" * 200, "optim.lr", "kind"),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**63 - 1, 2**63, -(2**63), 10**300, 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
    | st.sampled_from(RAW).map(Raw)
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
VALUES = SCALARS | NESTED | st.integers(1, 400).map(lambda depth: Raw("[" * depth + "]" * depth))


def written(value: Any, depth: int = 0) -> str:
    """YAML text: a mapping as a block, all else in one line."""
    if not (isinstance(value, dict) and value):
        return f" {_inline(value)}\n"
    items = [*value.items()] * (2 if isinstance(value, Twice) else 1)
    pad = "  " * depth
    body = "".join(f"{pad}{_inline(key)}:{written(part, depth + 1)}" for key, part in items)
    return body if depth == 0 else f"\n{body}"


def _inline(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        items = [*value.items()] * (2 if isinstance(value, Twice) else 1)
        return f"{{{', '.join(f'{_inline(key)}: {_inline(part)}' for key, part in items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_inline(part) for part in value)}]"
    return json.dumps(value, ensure_ascii=False)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every entry of nested data."""
    found = [path] if path else []
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            found += places(data[key], (*path, key))
    return found


def spoil_entry(draw: st.DrawFn, files: dict[str, Any], names: tuple[str, ...]) -> None:
    """Change one entry of the files, which stand under their names."""
    *parents, last = draw(
        st.sampled_from([path for path in places(files) if len(path) > 1 and path[0] in names])
    )
    node = files
    for key in parents:
        node = node[key]
    act = draw(st.sampled_from(["replace", "replace", "borrow", "drop", "add", "rename", "double"]))
    if act == "replace":
        node[last] = draw(VALUES)
    elif act == "borrow":  # from anywhere, the other file included
        other: Any = files
        for key in draw(st.sampled_from([path for path in places(files) if len(path) > 1])):
            other = other[key]
        node[last] = deepcopy(other)
    elif act == "drop":
        del node[last]
    elif isinstance(node, list):
        node.insert(last, draw(VALUES) if act == "add" else deepcopy(node[last]))
    elif act == "add":
        node[draw(st.sampled_from(KEYS) | st.text(max_size=6))] = draw(VALUES)
    elif act == "rename":
        node[draw(st.sampled_from([f"{last}s", last[:-1], *KEYS]))] = node.pop(last)
    elif isinstance(node[last], dict):
        node[last] = Twice(node[last])


@st.composite
def entries(draw: st.DrawFn, config: dict[str, Any], claims: dict[str, Any]) -> dict[str, str]:
    """Both texts, after one to five changes of their data."""
    files = {"config.yaml": deepcopy(config), "claims.yaml": deepcopy(claims)}
    names = draw(st.sampled_from([tuple(files), ("config.yaml",), ("claims.yaml",)]))
    for _ in range(draw(st.integers(1, 5))):
        spoil_entry(draw, files, names)
        if not all(files.values()):
            break
    if draw(st.integers(0, 30)) == 0:
        files = dict(zip(files, reversed(files.values()), strict=True))
    return {name: written(data) for name, data in files.items()}


SNIPPETS = [
    *(b"\t", b"\xff", b"\xc3", b"\x00", b"\x07", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85"),
    *(
        b"\r",
        b"\n",
        b" ",
        b"  ",
        b"\n\n",
        b": ",
        b":",
        b"- ",
        b"? ",
        b", ",
        b"#",
        b" #",
        b"'",
        b'"',
    ),
    *(b"&a ", b"*a", b"&a", b"<<: *a\n", b"<<: ", b"!!set ", b"!!map ", b"!!str ", b"!x ", b"!!"),
    *(b"---\n", b"...\n", b"\n---\n", b"%YAML 9.9\n---\n", b"%TAG ! x\n", b"[", b"]", b"{", b"}"),
    *(
        b"[" * 300,
        b"{a: " * 300,
        b"- " * 300,
        b"? " * 300,
        b"|\n",
        b">\n",
        b"|9\n",
        b"\\",
        b"=: 1\n",
    ),
    *(
        b"\\UFFFFFFFF",
        b"\\ud800",
        b"\\x0",
        b"1" * 4000,
        b"1" * 6000,
        b"e" * 1500,
        b"\xf0\x9f\x98\x80",
    ),
    *(b"!!python/object:os.system ", b"!<tag:yaml.org,2002:set> ", b"!%ff ", b"{}", b"[]", b"null"),
]


@st.composite
def bombs(draw: st.DrawFn) -> bytes:
    """Aliases of aliases: some are harmless, some would fill any memory."""
    width, levels = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    form = draw(st.sampled_from(["[{}]", "{{<<: [{}]}}", "{{k: [{}]}}", "[[{}], x]"]))
    first = draw(st.sampled_from(["{a: 1}", "[x]", "x", '"' + "long " * 50 + '"']))
    lines = [f"z0: &a0 {first}"]
    for level in range(1, levels + 1):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"z{level}: &a{level} {form.format(inner)}")
    return "\n".join([*lines, ""]).encode()


def spoil_bytes(draw: st.DrawFn, text: bytes) -> bytes:
    """Change the text in one place."""
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 40)))
    act = draw(
        st.sampled_from(["insert", "insert", "cut", "tail", "repeat", "bytes", "line", "bomb"])
    )
    new = {
        "insert": lambda: draw(st.sampled_from(SNIPPETS)),
        "cut": lambda: b"",
        "tail": lambda: b"",
        "repeat": lambda: text[start:end] * 2,
        "bytes": lambda: draw(st.binary(max_size=4)),
        "line": lambda: b"\n" + b" " * draw(st.integers(0, 9)) + draw(st.sampled_from(SNIPPETS)),
        "bomb": lambda: b"\n" + draw(bombs()),
    }[act]()
    if act == "tail":
        end = len(text)
    if act in ("insert", "line"):
        end = start
    if act == "bomb":  # between two lines of the top level
        start = end = draw(st.sampled_from(_tops(text)))
    return text[:start] + new + text[end:]


def _tops(text: bytes) -> list[int]:
    lines = text.splitlines(keepends=True)
    offsets = [sum(map(len, lines[:index])) for index in range(len(lines))]
    return [at for at, line in zip(offsets, lines, strict=True) if line[:1].isalpha()] + [len(text)]


@st.composite
def bytewise(draw: st.DrawFn, text: bytes) -> bytes:
    """The text after one to four changes, now and then in another encoding."""
    for _ in range(draw(st.integers(1, 4))):
        text = spoil_bytes(draw, text)
    act = draw(st.integers(0, 40))
    if act == 0:
        return text.replace(b"\n", b"\r\n")
    if act == 1:
        return text.decode("latin-1").encode("utf-16")
    return text
