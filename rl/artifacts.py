"""Runs and evidence on disk: crash-safe logs in runs/, small committed files in artifacts/.

A run directory holds manifest.json (written at the start, replaced atomically at the end),
metrics.jsonl and samples.jsonl (appended a line at a time) and log.txt. Evidence is the same
content of a whole experiment in four files: metrics.parquet, runs.json, samples.jsonl and
verdicts.json. Local files are the truth.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import pandas as pd

from rl.errors import UserError
from rl.metrics import METRICS

COLUMNS = ["arm", "seed", "step", "metric", "level", "value"]
Values = Mapping[str, float | Mapping[float, float]]


@dataclass(frozen=True)
class Evidence:
    """What is known of an experiment, from runs/ or from artifacts/.

    `metrics` has one row a value with columns COLUMNS (level is NaN for metrics without levels).
    `plan` says what was to be run: experiment, profile, overrides, arms, seeds, claims_sha256.
    """

    plan: dict[str, Any]
    manifests: list[dict[str, Any]]
    metrics: pd.DataFrame
    samples: list[dict[str, Any]]

    def complete(self) -> set[tuple[str, int]]:
        """(arm, seed) of every run that ended."""
        return {(m["arm"], m["seed"]) for m in self.manifests if m["status"] == "complete"}

    def missing(self) -> list[tuple[str, int]]:
        """Planned (arm, seed) without a complete run."""
        done = self.complete()
        planned = [(arm, seed) for arm in self.plan["arms"] for seed in self.plan["seeds"]]
        return [run for run in planned if run not in done]


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


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The log of a complete run, which ends with a whole line.

    Raises:
        UserError: the log is missing or was cut.
    """
    text = path.read_bytes() if path.exists() else b"missing"
    if text and not text.endswith(b"\n"):
        raise UserError(f"{path}: missing or cut, in a complete run; delete its folder, run again")
    return read_lines(path)


def read_runs(root: Path) -> Evidence:
    """Everything under one experiment's run folder; only complete runs give metrics."""
    plan_file = root / "plan.json"
    if not plan_file.exists():
        raise UserError(f"{root}: no runs here; run the experiment first")
    plan = read_json(plan_file)
    manifests, rows, samples = [], [], []
    for arm in plan["arms"]:
        for seed in plan["seeds"]:
            directory = run_directory(root, arm, seed)
            if run_status(directory) == "absent":
                continue
            manifests.append(read_json(directory / "manifest.json"))
            if manifests[-1]["status"] != "complete":
                continue
            for record in _whole_lines(directory / "metrics.jsonl"):
                rows += _rows(arm, seed, record)
            samples += _whole_lines(directory / "samples.jsonl")
    return Evidence(plan, manifests, _frame(rows), samples)


def _rows(arm: str, seed: int, record: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for name, value in record["values"].items():
        pairs = value.items() if isinstance(value, dict) else [("nan", value)]
        rows += [(arm, seed, record["step"], name, float(level), x) for level, x in pairs]
    return rows


def _frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    types = {"arm": "str", "seed": "int64", "step": "int64", "metric": "str"}
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({**types, "level": "float64", "value": "float64"})


def read_evidence(directory: Path) -> Evidence:
    """The committed evidence of one experiment, from its artifacts/ folder."""
    if not (directory / "runs.json").exists():
        raise UserError(f"{directory}: no committed evidence; promote a complete run first")
    runs = read_json(directory / "runs.json")
    table = directory / "metrics.parquet"
    try:
        metrics = pd.read_parquet(table)
    except (OSError, ValueError) as error:
        raise UserError(f"{table}: missing or damaged ({error}); restore it from git") from None
    return Evidence(
        plan=runs["plan"],
        manifests=runs["runs"],
        metrics=metrics,
        samples=read_lines(directory / "samples.jsonl"),
    )


def promote(root: Path, target: Path, verdicts: Any, force: bool) -> None:
    """Turn a complete, clean-tree run into committed evidence.

    Raises:
        UserError: runs missing, a changed tree, overrides, or evidence that is there already.
    """
    evidence = read_runs(root)
    missing = evidence.missing()
    if missing:
        listed = ", ".join(f"{arm} seed {seed}" for arm, seed in missing[:5])
        raise UserError(
            f"{root}: incomplete, {len(missing)} of the planned runs are missing ({listed}"
            f"{', ...' if len(missing) > 5 else ''}); run the experiment to its end first"
        )
    if evidence.plan["overrides"]:
        raise UserError(f"{root}: made with SET overrides; only a run as configured is evidence")
    dirty = [m for m in evidence.manifests if not m["clean_tree"]]
    if dirty:
        raise UserError(
            f"{root}: {len(dirty)} run(s) started with uncommitted changes, so no commit says what "
            f"ran; commit, set these runs aside with FRESH=1 and run again"
        )
    if (target / "runs.json").exists() and not force:
        raise UserError(f"{target}: evidence is there already; FORCE=1 replaces it")
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    evidence.metrics.to_parquet(new / "metrics.parquet", compression="zstd", index=False)
    with (new / "samples.jsonl").open("w", encoding="utf-8") as file:
        for sample in evidence.samples:
            file.write(json.dumps(sample) + "\n")
    write_json(new / "verdicts.json", verdicts)
    write_json(new / "runs.json", {"plan": evidence.plan, "runs": evidence.manifests})
    if target.exists():  # only now, with the new evidence whole on disk
        shutil.rmtree(target)
    new.rename(target)
