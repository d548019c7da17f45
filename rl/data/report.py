"""What was read and what was wrong with it. Reports name rows by number, never by their text:
real preference data offends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rl.data.schemas import Fault, FaultyRowError, Row, Schema
from rl.types import Preference

FIRST = 5  # row numbers that a report keeps of each fault


@dataclass(frozen=True)
class FaultyRows:
    """How many rows have a fault, and the first of their numbers, counted from 1 as lines are."""

    count: int
    first: tuple[int, ...]


@dataclass(frozen=True)
class ReadReport:
    """rows = kept + the counts of all faults. A row is counted under the first fault found."""

    rows: int
    kept: int
    faults: Mapping[Fault, FaultyRows]

    def lines(self) -> list[str]:
        """The report, to be printed or logged."""
        return [f"{self.kept} of {self.rows} rows are whole pairs"] + [
            f"{bad.count} left out: {fault} (row {', '.join(map(str, bad.first))}"
            f"{', ...' if bad.count > len(bad.first) else ''})"
            for fault, bad in self.faults.items()
        ]


def read_rows(rows: Iterable[Row | Fault], schema: Schema) -> tuple[list[Preference], ReadReport]:
    """Every row as a Preference, its number in `meta["row"]`, or counted under its fault.

    Args:
        rows: mappings, or a fault that was found before the row could be looked at.
        schema: how they are read.
    """
    kept: list[Preference] = []
    faulty: dict[Fault, list[int]] = {}
    number = 0
    for number, row in enumerate(rows, start=1):
        try:
            found = _read(row, schema)
        except FaultyRowError as error:
            faulty.setdefault(error.fault, []).append(number)
        else:
            kept.append(replace(found, meta={**found.meta, "row": number}))
    # In the order of the enumeration, whichever came first.
    faults = {
        fault: FaultyRows(len(faulty[fault]), tuple(faulty[fault][:FIRST]))
        for fault in Fault
        if fault in faulty
    }
    return kept, ReadReport(rows=number, kept=len(kept), faults=faults)


def _read(row: Row | Fault, schema: Schema) -> Preference:
    if isinstance(row, Fault):
        raise FaultyRowError(row)
    return schema.read(row)
