"""Reading YAML strictly: no duplicate keys; errors tell the key, the value and the fix."""

import difflib
import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rl.errors import UserError


class Strict(BaseModel):
    """A frozen model that accepts its own keys only and converts no types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)

# Far more than an experiment needs, and little enough for any machine.
MOST_BYTES = 200_000
MOST_ENTRIES = 10_000
MOST_LEVELS = 20
MOST_FAULTS = 20
MOST_TOLD = 24  # known names in one message
TAGS = ("(generated)", "(published)")  # pydantic's name for which of two a section is read as
MISSING = "missing; every scientific setting must be stated"

_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers (1e-4 is a number), no duplicate keys, aliases within bounds."""

    def construct_document(self, node: yaml.Node) -> Any:
        self._measure(node, {})
        return super().construct_document(node)

    def _measure(
        self, node: yaml.Node, sizes: dict[yaml.Node, tuple[int, int] | None]
    ) -> tuple[int, int]:
        """Entries and levels of `node` with its aliases written out, before that is done.

        A few lines of aliases of aliases would otherwise fill any memory. Long text counts as
        several entries.
        """
        if node in sizes:
            known = sizes[node]
            if known is None:
                raise _refused("an alias stands inside what it names", node)
            return known
        sizes[node] = None
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        inner = [self._measure(part, sizes) for part in parts]
        entries = 1 + sum(count for count, _ in inner)
        levels = 1 + max((deep for _, deep in inner), default=0)
        if isinstance(node, yaml.ScalarNode):
            entries += len(node.value) // 20
        if entries > MOST_ENTRIES:
            raise _refused(f"more than {MOST_ENTRIES} entries, aliases written out", node)
        if levels > MOST_LEVELS:
            raise _refused(f"nested more than {MOST_LEVELS} levels deep", node)
        sizes[node] = entries, levels
        return entries, levels

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for written, _ in node.value:
            if not isinstance(written, yaml.ScalarNode):
                raise _refused("a list or mapping as a key is not text: quote it", written)
            key = self.construct_object(written)
            if not isinstance(key, str):
                raise _refused(f"key {short(key)} is not text: quote it", written)
            if key in seen and written.tag != f"{_TAG}merge":
                raise _refused(f"key {short(key)} stands twice: keep one", written)
            seen.add(key)


def _refused(why: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


def _not_a_number(text: str) -> Any:
    raise ValueError(text)


def _scalar(text: str) -> Any:
    """A YAML 1.1 resolver takes 1e-4 for text and `no` for False; JSON's rules are simpler."""
    try:  # NaN and Infinity are Python's, not JSON's
        return json.loads(text, parse_constant=_not_a_number)
    except ValueError:
        return text


def _construct_scalar(_: _Loader, node: yaml.Node) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise _refused(f"expected one value for the tag {short(node.tag)}", node)
    try:  # JSON writes a character beyond 16 bits as two escapes, each half of it
        value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _refused(f"half of a character in {short(node.value)}", node) from None
    if node.style is not None:
        return value
    return None if value in ("", "~") else _scalar(value)


# Sets, pairs and bytes have no place in a configuration.
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag in (None, f"{_TAG}map", f"{_TAG}seq")
}
for _name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value"):
    _Loader.add_constructor(f"{_TAG}{_name}", _construct_scalar)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Parse one YAML mapping; `source` names it in errors."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not readable as YAML: {error}") from None
    except RecursionError:
        why = f"nested more than {MOST_LEVELS} levels deep"
        raise UserError(f"{source}: not readable as YAML: {why}") from None
    except (ValueError, OverflowError) as error:
        why = f"a number or the code of a character is out of range: {error}"
        raise UserError(f"{source}: not readable as YAML: {why}") from None
    if data is None:
        raise UserError(f"{source}: empty; expected a mapping of keys to values")
    if not isinstance(data, dict):
        raise UserError(f"{source}: expected a mapping of keys to values, got {short(data)}")
    return data


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping from a file."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES} bytes; shorten it")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text: {error}; save it as UTF-8") from None
    return parse_yaml(text, str(path))


def parse_value(text: str) -> Any:
    """The value of one `path=value` override, by the same rules as a YAML scalar or list."""
    data = parse_yaml(f"value: {text}", f"SET: value {short(text)}")
    if list(data) != ["value"]:
        raise UserError(f"SET: value {short(text)}: expected one value, got several; give one line")
    return data["value"]


def parse_overrides(text: str) -> dict[str, Any]:
    """`path=value path=value`, in shell quoting, as a mapping; values as in YAML.

    Raises:
        UserError: a part without `=`, an open quote, or a path that stands twice.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise UserError(f"SET: {error}: {short(text)}") from None
    overrides: dict[str, Any] = {}
    for part in parts:
        path, equals, value = part.partition("=")
        if not (path and equals):
            raise UserError(f"SET: expected path=value, such as optim.lr=1e-4, got {short(part)}")
        if path in overrides:
            raise UserError(f"SET: {plain(path)} stands twice: keep one")
        overrides[path] = parse_value(value)
    return overrides


def validate(model: type[Model], data: dict[str, Any], source: str) -> Model:
    """Build `model` from plain data, or raise one UserError that names every fault.

    JSON is the strict mode in which a list may fill a tuple and nothing else converts.
    """
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults = _own_faults(error)
        lines = [f"  {_fault(model, fault)}" for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            lines.append(f"  and {len(faults) - MOST_FAULTS} more")
        raise UserError("\n".join([f"{source}: {len(faults)} fault(s)", *lines])) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: {error}") from None


def closest(word: str, known: list[str]) -> str:
    """`did you mean X?`, or what is known: all of it, or the first few of many."""
    # The search takes as long as the product of the lengths; nobody mistypes a page.
    near = difflib.get_close_matches(word, known, n=1) if len(word) <= 100 else []
    if near:
        return f"did you mean {near[0]!r}?"
    told = [plain(name) for name in sorted(known)]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return f"known: {', '.join(told[:MOST_TOLD]) or 'none'}{more}"


def plain(name: str) -> str:
    """The name as it is; in quotes, with escapes, where it would break a message's line."""
    return name if name.isprintable() else repr(name)


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return f"{text[:77]}..." if len(text) > 80 else text


def _own_faults(error: ValidationError) -> list[Any]:
    """Without the echo of a bad item in a list: that the list, without it, is too short."""
    faults = error.errors()
    parents = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
    return [
        fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in parents
    ]


def _fault(model: type[BaseModel], fault: Any) -> str:
    location = tuple(part for part in fault["loc"] if part not in TAGS)
    place = ".".join(plain(str(part)) for part in location) or "(top)"
    if fault["type"] == "extra_forbidden":
        siblings = _siblings(model, location)
        return f"{place}: unknown key; {closest(str(location[-1]), siblings)}"
    if fault["type"] == "missing":
        return f"{place}: {MISSING}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place}: {message}" if place != "(top)" else message
    return f"{place}: {message[0].lower()}{message[1:]}, got {short(fault['input'])}"


@cache
def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _siblings(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys that were allowed where an unknown one came."""
    schema = _json_schema(model)
    defs = schema.get("$defs", {})
    level = [schema]
    for part in location[:-1]:
        found = []
        for option in level:
            if isinstance(part, str) and part in option.get("properties", {}):
                found += _flatten(option["properties"][part], defs)
            elif isinstance(part, int) and "items" in option:
                found += _flatten(option["items"], defs)
            elif isinstance(option.get("additionalProperties"), dict):
                found += _flatten(option["additionalProperties"], defs)
            else:  # the tag of a discriminated union, which pydantic adds to the path
                found += [option] if _has_tag(option, part) else []
        level = found
    return sorted({key for option in level for key in option.get("properties", {})})


def _has_tag(option: dict[str, Any], tag: Any) -> bool:
    return any(field.get("const") == tag for field in option.get("properties", {}).values())


def _flatten(schema: dict[str, Any], defs: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return _flatten(defs[schema["$ref"].rsplit("/", 1)[1]], defs)
    options = schema.get("anyOf", []) + schema.get("oneOf", [])
    return [schema] + [flat for option in options for flat in _flatten(option, defs)]
