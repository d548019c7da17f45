"""What was read and what was wrong with it. Reports name rows by number, never by their text:
real preference data offends."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from rl.data.schemas import Fault, FaultyRowError, Row, Schema
from rl.types import Preference

Read = TypeVar("Read")
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

    def lines(self, what: str = "pairs") -> list[str]:
        """The report, to be printed or logged; `what` the rows are."""
        return [f"{self.kept} of {self.rows} rows are whole {what}"] + [
            f"{bad.count} left out: {fault} (row {', '.join(map(str, bad.first))}"
            f"{', ...' if bad.count > len(bad.first) else ''})"
            for fault, bad in self.faults.items()
        ]


def read_rows(rows: Iterable[Row | Fault], schema: Schema) -> tuple[list[Preference], ReadReport]:
    """Every row as a Preference, its number in `meta["row"]`, or counted under its fault; see
    read_each."""
    found, report = read_each(rows, schema.read)
    return [replace(p, meta={**p.meta, "row": number}) for number, p in found], report


def read_each(
    rows: Iterable[Row | Fault], read: Callable[[Row], Read]
) -> tuple[list[tuple[int, Read]], ReadReport]:
    """Every row as what `read` makes of it, with its number, or counted under its fault.

    Args:
        rows: mappings, or a fault that was found before the row could be looked at.
        read: raises FaultyRowError for a row that it cannot use.
    """
    kept: list[tuple[int, Read]] = []
    faulty: dict[Fault, list[int]] = {}
    number = 0
    for number, row in enumerate(rows, start=1):
        try:
            found = _read(row, read)
        except FaultyRowError as error:
            faulty.setdefault(error.fault, []).append(number)
        else:
            kept.append((number, found))
    # In the order of the enumeration, whichever came first.
    faults = {
        fault: FaultyRows(len(faulty[fault]), tuple(faulty[fault][:FIRST]))
        for fault in Fault
        if fault in faulty
    }
    return kept, ReadReport(rows=number, kept=len(kept), faults=faults)


def _read(row: Row | Fault, read: Callable[[Row], Read]) -> Read:
    if isinstance(row, Fault):
        raise FaultyRowError(row)
    return read(row)
