"""Input that once ended in a traceback, a hang or a message nobody could read."""

import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rl.config import parse_overrides
from rl.config.schema import MOST_BYTES, MOST_ENTRIES, closest, parse_yaml, plain
from rl.errors import WIDEST, UserError

ROOT = Path(__file__).resolve().parents[2]


def refused(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "x")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!map [b]", "expected a mapping node, but found sequence"),
        ("a: !!map b", "expected a mapping node, but found scalar"),
        ("a: !!str {=: b}", "expected one value for the tag 'tag:yaml.org,2002:str'"),
        ("a: !!set {b}", "could not determine a constructor for the tag 'tag:yaml.org,2002:set'"),
        ("a: !!binary aGk=", "could not determine a constructor for the tag"),
        ("a: !!omap [b: 1]", "could not determine a constructor for the tag"),
        ('a: "\\UFFFFFFFF"', "a number or the code of a character is out of range"),
        ('a: "\\U00110000"', "a number or the code of a character is out of range"),
        ('a: "\\ud83d"', "half of a character in '\\ud83d'"),
        ("a: &b [*b]", "an alias stands inside what it names"),
        ("&a b: {c: *a}\n&d e: &f {g: *f}", "an alias stands inside what it names"),
        ("a: " + "[" * 25 + "]" * 25, "nested more than 20 levels deep"),
        ("a: " + "[" * 5000, "nested more than 20 levels deep"),
        ("? {a: 1}\n: 2", "a list or mapping as a key is not text: quote it"),
        ("? " + "a" * 3000 + "\n: 1\n? " + "a" * 3000 + "\n: 1\n", "aaa... stands twice: keep one"),
    ],
)
def test_yaml_that_is_refused(text: str, told: str) -> None:
    message = refused(text)
    assert message.startswith("x: not readable as YAML: ")
    assert told in message


def test_a_chain_of_aliases_is_as_deep_as_it_reads() -> None:
    links = [f"a{n}: &a{n} [{f'*a{n - 1}' if n else ''}]" for n in range(30)]
    assert parse_yaml("\n".join(links[:19]), "x")["a1"] == [[]]
    assert "nested more than 20 levels deep" in refused("\n".join(links))


def test_what_is_merged_may_be_stated_anew() -> None:
    text = "z: &z {x: 1}\ntop: {in: &a {<<: *z, x: 2}}\nb: {<<: *a, y: 3}\n"
    assert parse_yaml(text, "x")["b"] == {"x": 2, "y": 3}


def test_a_character_in_two_halves_is_one() -> None:
    assert parse_yaml('a: "\\ud83d\\ude00"', "x") == {"a": "\U0001f600"}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_of_pythons_json_are_text(word: str) -> None:
    assert parse_yaml(f"a: {word}", "x") == {"a": word}


def bomb(first: str, form: str, levels: int, width: int = 9) -> str:
    lines = [f"z0: &a0 {first}"]
    for level in range(1, levels + 1):
        lines.append(f"z{level}: &a{level} {form % ', '.join([f'*a{level - 1}'] * width)}")
    return "\n".join([*lines, ""])


@pytest.mark.parametrize("form", ["[%s]", "{<<: [%s]}", "{k: [%s]}"])
def test_aliases_count_as_written_out(form: str) -> None:
    assert parse_yaml(bomb("{b: 1}", form, 2), "x")
    assert f"more than {MOST_ENTRIES} entries, aliases written out" in refused(
        bomb("{b: 1}", form, 4)
    )


def test_long_text_counts_as_entries() -> None:
    text = f"a: &a {'long ' * 2000}\nb: [{', '.join(['*a'] * 30)}]"
    assert f"more than {MOST_ENTRIES} entries, aliases written out" in refused(text)


BOMBS = {
    "list": bomb("[lol]", "[%s]", 16),
    "mapping": bomb("[lol]", "{k: [%s]}", 8),
    "merged": bomb("{b: 1}", "{<<: [%s]}", 8),
    "text": bomb(f'"{"lol " * 5000}"', "[%s]", 6),
    "keys": "".join(f"{n:x}: 1\n" for n in range(10**5, 10**5 + 20_000)),
    "open": f"number: {'[' * 190_000}\n",
    "digits": f"number: {'9' * 190_000}\n",
    "large": "a: 1\n" * 10**6,
}
LOAD = """
import sys
from pathlib import Path
from rl.config import load_experiment
from rl.errors import UserError
try:
    load_experiment(Path(sys.argv[1]), "laptop")
except UserError as error:
    print(error)
"""


def limit() -> None:
    """Processor time, not the clock's: the machine may be busy."""
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))


def bounded(directory: Path) -> str:
    """What loading tells within 30 seconds and 2 GiB."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        preexec_fn=limit,
    )
    return done.stdout


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_refusal_takes_little(files: Any, name: str) -> None:
    files.load()
    (files.directory / "config.yaml").write_text(BOMBS[name], encoding="utf-8")
    told = bounded(files.directory)
    assert told.startswith(f"{files.directory}/config.yaml: ")
    assert len(told.splitlines()) <= 30


def test_no_search_for_a_word_as_long_as_a_page() -> None:
    letters = [chr(0x4E00 + n) for n in range(110)]
    words = ["".join(Random(seed).choices(letters, k=50_000)) for seed in range(2)]
    began = time.process_time()
    assert closest(words[0], words[1:]).startswith("known: ")
    assert time.process_time() - began < 3
    assert closest("stps", ["steps"]) == "did you mean 'steps'?"


def test_a_file_without_end(files: Any) -> None:
    files.load()
    (files.directory / "claims.yaml").unlink()
    (files.directory / "claims.yaml").symlink_to("/dev/zero")
    told = bounded(files.directory)
    assert told == f"{files.directory}/claims.yaml: larger than {MOST_BYTES} bytes; shorten it\n"


def test_a_large_file_is_measured_in_bytes(files: Any) -> None:
    files.load()
    path = files.directory / "config.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode() + b"#" * (MOST_BYTES - len(text.encode())))
    assert bounded(files.directory) == ""
    path.write_bytes(path.read_bytes() + b"#")
    assert "larger than" in bounded(files.directory)


def test_many_faults_are_counted_and_some_told(files: Any) -> None:
    files.put("run.eval", {f"k{n}": n for n in range(50)})
    lines = files.fault().split("\n")
    assert lines[0].endswith(": 55 fault(s)")
    assert len(lines) == 22
    assert lines[-1] == "  and 35 more"


def test_a_message_is_cut_and_holds_no_control_characters() -> None:
    assert str(UserError("a\x1b[31m\u2028\nb")) == "a\\x1b[31m\\u2028\nb"
    assert str(UserError("a" * WIDEST)) == "a" * WIDEST
    assert str(UserError(f"b\n{'a' * (WIDEST + 1)}")) == f"b\n{'a' * (WIDEST - 3)}..."


def test_a_name_with_a_line_break_stays_in_its_line(files: Any) -> None:
    files.put("run.a\nb", 1)
    assert "\n  'a\\nb': unknown key; known: advantage" in files.fault()
    assert (plain("é b"), plain("a\nb")) == ("é b", "'a\\nb'")
    assert closest("zzz", ["a\nb"]) == "known: 'a\\nb'"
    del files.config["run"]["a\nb"]
    files.put("varies", ["a\nb"])
    assert "does not declare under `varies` ('a\\nb'); declare" in files.fault()


def test_an_empty_name_of_a_metric(files: Any) -> None:
    files.claims["claims"][0]["measure"] = {"metric": "", "steps": "last", "levels": [1.0]}
    assert "metric '' is never logged; known: advantage/critic_error, " in files.fault()


def test_of_many_names_the_first_are_told() -> None:
    told = closest("", [f"name{i:02d}" for i in range(30)])
    assert told.startswith("known: name00, name01, ")
    assert told.endswith(", name23 and 6 more")
    assert closest("", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize("window", [[0, 10**400], [float("1e308") * 10, 1]])
def test_a_window_beyond_the_floats_is_one_fault(files: Any, window: list[float]) -> None:
    files.claims["claims"][0]["measure"]["steps"] = window
    (fault,) = files.fault().split("\n")[1:]
    assert "measure.steps: expected first, last, all or [from, to]" in fault


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seeds", [2**63]),
        ("run.base.seed", 2**63),
        ("run.eval.seed", 10**400),
        ("run.rollout.prompts", 10**4000),
        ("run.optim.warmup_steps", 2**63),
    ],
)
def test_integers_fit_a_table(files: Any, path: str, value: Any) -> None:
    files.put(path, value)
    (fault,) = files.fault().split("\n")[1:]
    assert "input should be less than 9223372036854775808, got" in fault


def test_an_arms_name_fits_a_directory(files: Any) -> None:
    files.put("arms", {**files.config["arms"], "a" * 100: {}})
    files.load()
    files.put("arms", {**files.config["arms"], "a" * 101: {}})
    assert "string should have at most 100 characters" in files.fault()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps=[1", "SET: value '[1': not readable as YAML: "),
        ("steps=" + "[" * 500, "SET: value '[[["),
        ("'steps=1\nb: 2'", "SET: value '1\\nb: 2': expected one value, got several"),
        ("'a\nb=1' 'a\nb=1'", "SET: 'a\\nb' stands twice: keep one"),
    ],
)
def test_an_override_that_is_refused_names_the_variable(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_overrides(text)
    assert str(caught.value).startswith(told)


def test_make_passes_on_a_value_that_begins_with_a_dash() -> None:
    done = subprocess.run(
        ["make", "exp-03", f"PY={sys.executable}", "SEEDS=-1,2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: SEEDS: seed -1 is not planned")
