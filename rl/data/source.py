"""Rows of a data set by its hub name: from a local folder, or from the hub through `datasets`.

The folder is named by RL_DATA_DIR. A part of a data set, say split `test` of `harmless-base` in
Anthropic/hh-rlhf, is looked for in it as the hub lays it out

    Anthropic/hh-rlhf/harmless-base/test.jsonl.gz        or .jsonl, or .parquet
    Anthropic/hh-rlhf/harmless-base/test-*.parquet       in pieces

and as one file beside others: hh_rlhf_harmless_base_test.jsonl.gz.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rl.data.schemas import Fault, Row
from rl.digests import file_sha256
from rl.errors import UserError
from rl.files import folder_named_by

VARIABLE = "RL_DATA_DIR"
SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")


def data_directory() -> Path | None:
    """The folder that RL_DATA_DIR names; None if it is not set, or empty.

    Raises:
        UserError: it names no folder.
    """
    return folder_named_by(VARIABLE)


@dataclass(frozen=True)
class Source:
    """Rows one by one, and where they come from: file names with hashes, or the hub's name with
    its revision. No path of a machine."""

    rows: Iterator[Row | Fault]
    told: str


def open_source(
    name: str,
    *,
    subset: str | None,
    split: str,
    revision: str,
    subset_is: Literal["data_dir", "name"],
    or_without_subset: bool = False,
) -> Source:
    """One split of a data set. Where RL_DATA_DIR is set nothing is downloaded.

    Args:
        name: on the hub, such as Anthropic/hh-rlhf.
        subset: folder or configuration within the data set; None if it has none.
        split: as the data set names it.
        revision: the hub's commit, 40 hexadecimal digits: a branch would move. Local files are
            told by their hashes instead.
        subset_is: what `datasets` calls a part of this data set.
        or_without_subset: a file beside others may leave the subset out of its name:
            gsm8k_test.jsonl for `main` of openai/gsm8k.

    Raises:
        UserError: a name or revision that is none, files that are missing or damaged, or a hub
            that is out of reach.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"name: expected owner/name as on the hub, got {name!r}")
    folder = data_directory()
    if folder is None:
        rows = _hub_rows(name, subset_is, subset=subset, split=split, revision=revision)
        return Source(rows, f"{name} {revision} {subset or ''}".rstrip() + f" {split}")
    paths = _find(folder, name, subset=subset, split=split, or_without=or_without_subset)
    return Source(
        (row for path in paths for row in _file_rows(path)),
        ", ".join(f"{path.relative_to(folder)} sha256 {file_sha256(path)}" for path in paths),
    )


def _find(
    folder: Path, name: str, *, subset: str | None, split: str, or_without: bool
) -> list[Path]:
    """The file of a split, or its pieces in their order."""
    own = name.split("/")[1]
    hub = folder / name / (subset or "")
    stems = [hub / split, hub / "data" / split, folder / _flat(own, subset, split)]
    if or_without and subset:
        stems.append(folder / _flat(own, None, split))
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


def _flat(name: str, subset: str | None, split: str) -> str:
    """The name of a file that holds a split, beside others."""
    return re.sub(r"[^\w]", "_", "_".join([name, *([subset] if subset else []), split]))


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
    name: str,
    subset_is: Literal["data_dir", "name"],
    *,
    subset: str | None,
    split: str,
    revision: str,
) -> Iterator[Row]:
    """Rows of the pinned commit: from the hub, or from the cache of `datasets` where the hub does
    not answer. That cache gives no `data_dir` back without the hub.

    Raises:
        UserError: a revision that is no commit, or neither has it.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"revision: expected a commit of the hub, 40 hexadecimal digits, got {revision!r}; a "
            "branch moves, and a run could not be repeated"
        )
    # Here, as the imports take seconds that local files need not wait for.
    import datasets
    from datasets.packaged_modules.cache.cache import Cache
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its client's
        HTTPError,
        XetDownloadError,
    )

    part = {subset_is: subset} if subset else {}
    failures = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
    try:
        builder = datasets.load_dataset_builder(name, revision=revision, **part)
        if builder.hash != revision:  # without the hub it takes what was cached last, of any commit
            builder = Cache(
                repo_id=name,
                dataset_name=builder.dataset_name,
                config_name=builder.config.name,
                version=str(builder.config.version),
                hash=revision,
            )
        builder.download_and_prepare()
        table = builder.as_dataset(split=split)
    except (*failures, HTTPError, XetDownloadError) as error:
        why = " ".join(str(error).split()) or "no more is said"
        raise UserError(
            f"{name}: the hub did not give {split} at {revision} ({type(error).__name__}: {why}). "
            f"Go online, or set {VARIABLE} to a folder that holds it"
        ) from None
    return iter(table)
