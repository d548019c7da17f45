"""Reading YAML strictly: no duplicate keys; errors tell the key, the value and the fix."""

import difflib
import json
import shlex
from collections.abc import Hashable
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


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers (1e-4 is a number) and no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not text: quote it", node.start_mark
                )
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice: keep one", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _scalar(text: str) -> Any:
    """A YAML 1.1 resolver takes 1e-4 for text and `no` for False; JSON's rules are simpler."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _construct_scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    value = loader.construct_scalar(node)
    if node.style is not None:
        return value
    return None if value in ("", "~") else _scalar(value)


for _tag in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct_scalar)


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Parse one YAML mapping; `source` names it in errors."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not readable as YAML: {error}") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{source}: not readable as YAML: {error}") from None
    if data is None:
        raise UserError(f"{source}: empty; expected a mapping of keys to values")
    if not isinstance(data, dict):
        raise UserError(f"{source}: expected a mapping of keys to values, got {_short(data)}")
    return data


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping from a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text: {error}; save it as UTF-8") from None
    return parse_yaml(text, str(path))


def parse_value(text: str) -> Any:
    """The value of one `path=value` override, by the same rules as a YAML scalar or list."""
    data = parse_yaml(f"value: {text}", f"override {text!r}")
    if list(data) != ["value"]:
        raise UserError(f"override {text!r}: expected one value, got several lines; give one line")
    return data["value"]


def parse_overrides(text: str) -> dict[str, Any]:
    """`path=value path=value`, in shell quoting, as a mapping; values as in YAML.

    Raises:
        UserError: a part without `=`, an open quote, or a path that stands twice.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise UserError(f"SET: {error}: {text!r}") from None
    overrides: dict[str, Any] = {}
    for part in parts:
        path, equals, value = part.partition("=")
        if not (path and equals):
            raise UserError(f"SET: expected path=value, such as optim.lr=1e-4, got {part!r}")
        if path in overrides:
            raise UserError(f"SET: {path} stands twice: keep one")
        overrides[path] = parse_value(value)
    return overrides


def validate(model: type[Model], data: dict[str, Any], source: str) -> Model:
    """Build `model` from plain data, or raise one UserError that names every fault.

    JSON is the strict mode in which a list may fill a tuple and nothing else converts.
    """
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults = [f"  {_fault(model, fault)}" for fault in _own_faults(error)]
        raise UserError("\n".join([f"{source}: {len(faults)} fault(s)", *faults])) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: {error}") from None


def closest(word: str, known: list[str]) -> str:
    """`did you mean X?`, or the list of what is known."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"


def _short(value: Any) -> str:
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
    place = ".".join(str(part) for part in fault["loc"]) or "(top)"
    if fault["type"] == "extra_forbidden":
        siblings = _siblings(model, fault["loc"])
        return f"{place}: unknown key; {closest(str(fault['loc'][-1]), siblings)}"
    if fault["type"] == "missing":
        return f"{place}: missing; every scientific setting must be stated"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place}: {message}" if place != "(top)" else message
    return f"{place}: {message[0].lower()}{message[1:]}, got {_short(fault['input'])}"


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
