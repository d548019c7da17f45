"""Preference data by its hub name, from the hub through `datasets` or from a local folder.

The folder is named by RL_DATA_DIR. A part of a data set, say split `test` of `harmless-base` in
Anthropic/hh-rlhf, is looked for in it as the hub lays it out

    Anthropic/hh-rlhf/harmless-base/test.jsonl.gz        or .jsonl, or .parquet
    Anthropic/hh-rlhf/harmless-base/test-*.parquet       in pieces

and as one file beside others: hh_rlhf_harmless_base_test.jsonl.gz.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rl.data.report import ReadReport, read_rows
from rl.data.schemas import SCHEMAS, Fault, Row, Schema
from rl.digests import file_sha256
from rl.errors import UserError
from rl.types import Preference

VARIABLE = "RL_DATA_DIR"
SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Loaded:
    """Pairs in the order of their rows, what was wrong with the others, and where they came from:
    file names with hashes, or the hub's name with its revision. No path of a machine."""

    preferences: list[Preference]
    report: ReadReport
    source: str


def data_directory() -> Path | None:
    """The folder that RL_DATA_DIR names; None if it is not set, or empty.

    Raises:
        UserError: it names no folder.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(f"{VARIABLE}: expected a folder, got {named!r}; name one, or unset it")
    return Path(named)


def load_preferences(
    name: str, *, schema: str, subset: str | None, split: str, revision: str
) -> Loaded:
    """The pairs of one split. Where RL_DATA_DIR is set nothing is downloaded.

    Args:
        name: on the hub, such as Anthropic/hh-rlhf.
        schema: key of SCHEMAS.
        subset: folder or configuration within the data set; None if it has none.
        split: as the data set names it.
        revision: the hub's commit, 40 hexadecimal digits: a branch would move. Local files are
            told by their hashes instead.

    Raises:
        UserError: an unknown schema, a name or revision that is none, files that are missing or
            damaged, a hub that is out of reach, or no whole pair in all rows.
    """
    if schema not in SCHEMAS:
        raise UserError(f"schema: expected one of {', '.join(SCHEMAS)}, got {schema!r}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"name: expected owner/name as on the hub, got {name!r}")
    how = SCHEMAS[schema]
    folder = data_directory()
    rows: Iterator[Row | Fault]
    if folder is None:
        rows = _hub_rows(name, how, subset=subset, split=split, revision=revision)
        source = f"{name} {revision} {subset or ''}".rstrip() + f" {split}"
    else:
        paths = _find(folder, name, subset=subset, split=split)
        rows = (row for path in paths for row in _file_rows(path))
        source = ", ".join(
            f"{path.relative_to(folder)} sha256 {file_sha256(path)}" for path in paths
        )
    preferences, report = read_rows(rows, how)
    if not preferences:
        raise UserError(
            f"{name} {split}: expected pairs in the schema {schema}, but "
            + "; ".join(report.lines())
        )
    return Loaded(preferences, report, source)


def _find(folder: Path, name: str, *, subset: str | None, split: str) -> list[Path]:
    """The file of a split, or its pieces in their order."""
    parts = [name.split("/")[1], *([subset] if subset else []), split]
    flat = re.sub(r"[^\w]", "_", "_".join(parts))
    hub = folder / name / (subset or "")
    stems = [hub / split, hub / "data" / split, folder / flat]
    for stem in stems:
        for suffix in SUFFIXES:
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return [path]
        pieces = sorted(stem.parent.glob(f"{stem.name}-*.parquet"))
        if pieces:
            return _whole(pieces)
    looked = ", ".join(str(stem.relative_to(folder)) for stem in stems)
    raise UserError(
        f"{VARIABLE} = {folder}: expected {name}'s {split} as one of {looked} with an ending of "
        f"{', '.join(SUFFIXES)}; found none. Put it there, or unset {VARIABLE} to take it from "
        "the hub"
    )


def _whole(pieces: list[Path]) -> list[Path]:
    """The same, if they are all there: the hub numbers them as -00001-of-00003."""
    numbers = [re.search(r"-(\d+)-of-(\d+)\.parquet$", path.name) for path in pieces]
    found = [(int(m[1]), int(m[2])) for m in numbers if m]
    if found != [(i, len(pieces)) for i in range(len(pieces))]:
        raise UserError(
            f"{pieces[0].parent}: expected all pieces, numbered -00000-of-{len(pieces):05d} and "
            f"on, got {', '.join(path.name for path in pieces)}; fetch what is missing"
        )
    return pieces


def _file_rows(path: Path) -> Iterator[Row | Fault]:
    """Rows one by one. `datasets` would refuse a whole file for one row of another type; here it
    becomes a fault of that row."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            for line in file:
                yield _parsed(line)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None


def _parsed(line: bytes) -> Row | Fault:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return Fault.NOT_JSON
    return row if isinstance(row, dict) else Fault.NOT_AN_OBJECT


def _parquet_rows(path: Path) -> Iterator[Row]:
    # Here, as only this kind of file needs it.
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None


def _hub_rows(
    name: str, schema: Schema, *, subset: str | None, split: str, revision: str
) -> Iterator[Row]:
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"revision: expected a commit of the hub, 40 hexadecimal digits, got {revision!r}; a "
            "branch moves, and a run could not be repeated"
        )
    # Here, as the import takes seconds that local files need not wait for.
    import datasets

    part = {schema.subset_is: subset} if subset else {}
    try:
        table = datasets.load_dataset(name, split=split, revision=revision, **part)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"{name}: the hub did not give {split} at {revision} ({type(error).__name__}: "
            f"{str(error).strip() or 'no more is said'}). Go online, or set {VARIABLE} to a "
            "folder that holds it"
        ) from None
    return iter(table)
