"""Overrides: settings by dotted path, as arms, profiles and SET state them."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import JsonValue

from rl.config.schema import closest, plain
from rl.errors import UserError

Overrides = dict[str, JsonValue]


def by_path(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of plain settings by dotted path."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= by_path(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def check_varies(where: str, overrides: Overrides, varies: tuple[str, ...]) -> None:
    """An arm differs in declared settings only.

    Raises:
        UserError: a path that `varies` does not list.
    """
    for path in overrides:
        if path not in varies:
            raise UserError(
                f"{where}: varies {path!r}, which the experiment does not declare under `varies` "
                f"({', '.join(map(plain, varies)) or 'nothing'}); declare it or drop it"
            )


def apply_overrides(base: dict[str, Any], overrides: Overrides, where: str) -> dict[str, Any]:
    """A copy of `base` with every dotted path replaced. A path must exist already.

    Raises:
        UserError: an unknown path; `where` names the overrides.
    """
    data = deepcopy(base)
    for path, value in overrides.items():
        *parents, last = path.split(".")
        node: Any = data
        for depth, part in enumerate([*parents, last]):
            prefix = plain(".".join([*parents, last][:depth]))
            if not isinstance(node, dict):
                raise UserError(
                    f"{where}: no setting {path!r}: {prefix} is a value, not a section; "
                    f"set {prefix} itself"
                )
            if part not in node:
                known = list(node)
                raise UserError(
                    f"{where}: no setting {path!r}: {part!r} is unknown"
                    f"{f' under {prefix}' if prefix else ''}; {closest(part, known)}"
                )
            if depth == len(parents):
                node[last] = deepcopy(value)
            else:
                node = node[part]
    return data
