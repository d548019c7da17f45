"""Preference data by its hub name, read from where rl.data.source finds it."""

from dataclasses import dataclass

from rl.data.report import ReadReport, read_rows
from rl.data.schemas import SCHEMAS
from rl.data.source import open_source
from rl.errors import UserError
from rl.types import Preference


@dataclass(frozen=True)
class Loaded:
    """Pairs in the order of their rows, what was wrong with the others, and where they came from
    (rl.data.source)."""

    preferences: list[Preference]
    report: ReadReport
    source: str


def load_preferences(
    name: str, *, schema: str, subset: str | None, split: str, revision: str
) -> Loaded:
    """The pairs of one split.

    Args:
        name: on the hub, such as Anthropic/hh-rlhf.
        schema: key of SCHEMAS.
        subset, split, revision: see rl.data.source.open_source.

    Raises:
        UserError: an unknown schema, what open_source refuses, or no whole pair in all rows.
    """
    if schema not in SCHEMAS:
        raise UserError(f"schema: expected one of {', '.join(SCHEMAS)}, got {schema!r}")
    how = SCHEMAS[schema]
    source = open_source(
        name, subset=subset, split=split, revision=revision, subset_is=how.subset_is
    )
    preferences, report = read_rows(source.rows, how)
    if not preferences:
        raise UserError(
            f"{name} {split}: expected pairs in the schema {schema}, but "
            + "; ".join(report.lines())
        )
    return Loaded(preferences, report, source.told)
