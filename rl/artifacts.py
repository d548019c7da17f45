"""Runs on disk: crash-safe logs in runs/. Local files are the truth.

A run directory holds manifest.json (written at the start, replaced atomically at the end),
metrics.jsonl and samples.jsonl (appended a line at a time).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rl.errors import UserError
from rl.metrics import METRICS

Values = Mapping[str, float | Mapping[float, float]]


def write_json(path: Path, data: Any) -> None:
    """Replace `path` atomically: a reader sees the old file or the new one, whole."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read one JSON file; a damaged one is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); restore it or run again") from None


class RunWriter:
    """Logs one run. Use as a context manager; `finish` marks the run complete."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        """Start the log.

        Raises:
            UserError: `directory` holds a complete run already.
        """
        if run_status(directory) == "complete":
            raise UserError(f"{directory}: holds a complete run; evidence is never overwritten")
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        self._directory = directory
        self._manifest = {**manifest, "status": "running"}
        write_json(directory / "manifest.json", self._manifest)
        self._metrics: TextIO = (directory / "metrics.jsonl").open("w", encoding="utf-8")
        self._samples: TextIO = (directory / "samples.jsonl").open("w", encoding="utf-8")

    def log(self, step: int, values: Values) -> None:
        """Append one step's metrics; a value is a number, or a number a level.

        Raises:
            UserError: a name that rl.metrics does not document.
        """
        for name, value in values.items():
            if name not in METRICS:
                raise UserError(f"metric {name!r} is not documented in rl/metrics.py; add it there")
            if isinstance(value, Mapping) != (METRICS[name].level is not None):
                raise UserError(f"metric {name!r}: levels in the log and in rl/metrics.py disagree")
        plain = {
            name: {str(level): x for level, x in value.items()}
            if isinstance(value, Mapping)
            else value
            for name, value in values.items()
        }
        _append(self._metrics, {"step": step, "values": plain})

    def sample(self, record: dict[str, Any]) -> None:
        """Append one sample completion, with the arm and seed of its run."""
        run = {"arm": self._manifest["arm"], "seed": self._manifest["seed"]}
        _append(self._samples, {**run, **record})

    def finish(self, facts: dict[str, Any]) -> None:
        """Mark the run complete, with what is known only at its end."""
        for file in (self._metrics, self._samples):
            file.flush()
            os.fsync(file.fileno())
        self._manifest = {**self._manifest, **facts, "status": "complete"}
        write_json(self._directory / "manifest.json", self._manifest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._metrics.close()
        self._samples.close()


def _append(file: TextIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record) + "\n")
    file.flush()


def run_status(directory: Path) -> str:
    """`absent`, `running` (or cut off) or `complete`."""
    manifest = directory / "manifest.json"
    return str(read_json(manifest)["status"]) if manifest.exists() else "absent"


def run_directory(root: Path, arm: str, seed: int) -> Path:
    """Where the run of one arm and seed lies under an experiment's run folder."""
    return root / arm / f"seed-{seed}"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL log. A cut last line is a crash's trace and is left out.

    Raises:
        UserError: a damaged line before the last.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path}: line {number} is damaged; run again") from None
    return records


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The log of a complete run, which ends with a whole line.

    Raises:
        UserError: the log is missing or was cut.
    """
    text = path.read_bytes() if path.exists() else b"missing"
    if text and not text.endswith(b"\n"):
        raise UserError(f"{path}: missing or cut, in a complete run; delete its folder, run again")
    return read_lines(path)
