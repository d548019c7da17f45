"""Runs on disk: crash-safe logs in runs/. Local files are the truth.

A run directory holds manifest.json (written at the start, replaced atomically at the end),
metrics.jsonl and samples.jsonl (appended a line at a time), and while the run goes on its last
checkpoint, from which a killed run continues to the same numbers. Where several ranks do one run,
rank 0 alone writes.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rl import ranks
from rl.digests import log_facts, short
from rl.errors import UserError
from rl.files import CHECKPOINT_SECONDS, Checkpoints, LineLog, lock, read_json, write_json
from rl.metrics import METRICS, RUN

Values = Mapping[str, float | Mapping[float, float]]
LOGS = ("metrics.jsonl", "samples.jsonl")
# A killed run goes on only where all of these are as they were, what no manifest says included;
# else it starts again. Hashes tell files that a variable names, as their names may stay.
SAME = (
    *("config_sha256", "base_model", "base_sha256", "data"),
    *("source_sha256", "versions", "machine"),
)
_STATE = "logs.json"


class RunWriter:
    """Logs one run. Use as a context manager; `finish` marks the run complete."""

    def __init__(
        self,
        directory: Path,
        manifest: dict[str, Any],
        *,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        """Start the log, or take up that of a killed run of the same settings, code and machine.

        Waits while another process writes here: a worker that outlives its parent by a step.

        Raises:
            UserError: `directory` holds a complete run already, or cannot be written.
        """
        self._lock = lock(directory)
        if run_status(directory) in ("complete", "damaged"):
            raise UserError(f"{directory}: holds a complete run; evidence is never overwritten")
        self._directory = directory
        self._checkpoints = Checkpoints(directory / "checkpoints", every_s=checkpoint_seconds)
        self.checkpoint = self._checkpoint_to_go_on_from(manifest)
        if self.checkpoint is None:
            for path in directory.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            start = {"status": "running", "resumed": [], "ranks": [ranks.world()]}
            self._manifest = {**manifest, **start}
            bytes_, self._seconds_before = dict.fromkeys(LOGS, 0), 0.0
        else:
            state = read_json(self.checkpoint / _STATE)
            old = read_json(directory / "manifest.json")
            again = {"resumed": [*old["resumed"], manifest["started"]]}
            again["ranks"] = [*old["ranks"], ranks.world()]
            self._manifest = {**old, **again}
            bytes_, self._seconds_before = state["bytes"], state["seconds"]
        self._start = time.perf_counter()
        write_json(directory / "manifest.json", self._manifest)
        self._metrics, self._samples = (
            LineLog(directory / name, keep=bytes_[name]) for name in LOGS
        )
        ranks.agreed(self.checkpoint)

    def _checkpoint_to_go_on_from(self, manifest: dict[str, Any]) -> Path | None:
        last = self._checkpoints.last()
        if last is None or run_status(self._directory) != "running":
            return None
        old = read_json(self._directory / "manifest.json")
        if any(old.get(key) != manifest.get(key) for key in SAME):
            return None
        sizes = read_json(last / _STATE)["bytes"]
        paths = {self._directory / name: size for name, size in sizes.items()}
        whole = all(path.exists() and path.stat().st_size >= paths[path] for path in paths)
        return last if whole else None

    @property
    def seconds(self) -> float:
        """Seconds of work so far, those before a kill included up to its last checkpoint."""
        return self._seconds_before + time.perf_counter() - self._start

    def keep(self, step: int, save: Callable[[Path], None]) -> None:
        """Make a checkpoint if the last one is old enough: `step` steps are done and logged.

        `save` writes the trainer's state into the folder that it is given; on several ranks all
        call it, as each may hold a part.
        """
        if not self._checkpoints.due():
            ranks.agreed(None)
            return

        def write(folder: Path) -> None:
            save(ranks.agreed(folder))
            logs = (self._metrics, self._samples)
            for log in logs:
                log.sync()
            sizes = {log.path.name: log.bytes for log in logs}
            write_json(folder / _STATE, {"bytes": sizes, "seconds": self.seconds})

        self._checkpoints.keep(step, write)

    def log(self, step: int, values: Values) -> None:
        """Append one step's metrics; a value is a number, or a number a level.

        Raises:
            UserError: a name that rl.metrics does not document, or a fact's.
        """
        for name, value in values.items():
            if name not in METRICS:
                raise UserError(f"metric {name!r} is not documented in rl/metrics/; add it there")
            if name in RUN:
                raise UserError(f"{name!r} is a fact of the whole run; keep it by RunWriter.fact")
            if isinstance(value, Mapping) != (METRICS[name].level is not None):
                raise UserError(f"metric {name!r}: levels in the log and in rl/metrics/ disagree")
        plain = {
            name: {str(level): x for level, x in value.items()}
            if isinstance(value, Mapping)
            else value
            for name, value in values.items()
        }
        self._metrics.append({"step": step, "values": plain})

    def sample(self, record: dict[str, Any]) -> None:
        """Append one sample completion, with the arm and seed of its run."""
        run = {"arm": self._manifest["arm"], "seed": self._manifest["seed"]}
        self._samples.append({**run, **record})

    def fact(self, name: str, value: float) -> None:
        """Keep a fact of the whole run in its manifest.

        Raises:
            UserError: a name that rl.metrics.run does not document.
        """
        if name not in RUN:
            raise UserError(f"fact {name!r} is not documented in rl/metrics/run.py; add it there")
        self._manifest = {**self._manifest, name.removeprefix("run/"): value}
        write_json(self._directory / "manifest.json", self._manifest)

    def count(self, name: str) -> None:
        """Add one to a fact, which is 0 before; as `fact`."""
        self.fact(name, self._manifest.get(name.removeprefix("run/"), 0) + 1)

    def finish(self, facts: dict[str, Any]) -> None:
        """Mark the run complete, with what is known only at its end."""
        self._metrics.sync()
        self._samples.sync()
        logs = {name: log_facts(self._directory / name) for name in LOGS}
        self._manifest = {**self._manifest, **facts, "logs": logs, "status": "complete"}
        write_json(self._directory / "manifest.json", self._manifest)
        self._checkpoints.clear()

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
        os.close(self._lock)


class SilentWriter(RunWriter):
    """In the place of a RunWriter on every rank but 0: writes nothing, and goes on from the same
    checkpoint. Must be made, and asked to keep a state, when rank 0's is."""

    def __init__(self) -> None:
        self.checkpoint = ranks.agreed(None)
        self._start, self._seconds_before = time.perf_counter(), 0.0

    def keep(self, step: int, save: Callable[[Path], None]) -> None:  # noqa: ARG002
        """See RunWriter: rank 0 says whether."""
        folder: Path | None = ranks.agreed(None)
        if folder is not None:
            save(folder)

    def log(self, step: int, values: Values) -> None:
        """See RunWriter."""

    def sample(self, record: dict[str, Any]) -> None:
        """See RunWriter."""

    def fact(self, name: str, value: float) -> None:
        """See RunWriter."""

    def count(self, name: str) -> None:
        """See RunWriter: what rank 0 counts is kept."""

    def finish(self, facts: dict[str, Any]) -> None:
        """See RunWriter."""

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""


def open_run(
    directory: Path, manifest: dict[str, Any], *, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> RunWriter:
    """The log of a run: on rank 0 see RunWriter; the others have one that is silent."""
    if ranks.rank():
        return SilentWriter()
    return RunWriter(directory, manifest, checkpoint_seconds=checkpoint_seconds)


def run_status(directory: Path) -> str:
    """`absent`, `running` (or cut off), `complete`, or `damaged`: its manifest is unreadable."""
    manifest = directory / "manifest.json"
    if not manifest.exists():
        return "absent"
    try:
        return str(read_json(manifest)["status"])
    except (UserError, KeyError, TypeError):
        return "damaged"


def run_fault(directory: Path) -> str:
    """How a complete run is no more what it was at its end; empty if it is, or never ended.

    A manifest without hashes is of a run that ended before they were kept: its logs must end with
    a whole line.
    """
    status = run_status(directory)
    manifest = directory / "manifest.json"
    if status == "damaged":
        return f"{manifest}: damaged"
    if status != "complete":
        return ""
    written = read_json(manifest).get("logs")
    for path in (directory / name for name in LOGS):
        if not path.exists():
            return f"{path}: missing"
        if written is None:
            try:
                whole_lines(path)
            except UserError as error:
                return str(error)
            continue
        then, now = written.get(path.name, {}), log_facts(path)
        if then != now:
            return f"{path}: expected {_told(then)} as at the run's end, got {_told(now)}"
    return ""


def _told(log: Mapping[str, str | int]) -> str:
    return f"{log.get('lines')} lines with {short(log.get('sha256'))}"


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
        raise UserError(f"{path}: missing or cut, in a complete run; run again")
    return read_lines(path)
