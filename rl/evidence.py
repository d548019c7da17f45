"""Evidence: what is known of an experiment, read from runs/ or committed to artifacts/.

Committed evidence is the content of a whole experiment's runs in four files: metrics.parquet,
runs.json, samples.jsonl and verdicts.json.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rl.artifacts import read_lines, run_directory, run_fault, run_status
from rl.errors import UserError
from rl.files import read_json, write_json

AGAIN = "run the experiment again: it sets this run aside and does it anew"
COLUMNS = ["arm", "seed", "step", "metric", "level", "value"]


@dataclass(frozen=True)
class Evidence:
    """What is known of an experiment, from runs/ or from artifacts/.

    `metrics` has one row a value with columns COLUMNS (level is NaN for metrics without levels).
    `plan` says what was to be run: experiment, profile, overrides, arms, seeds, claims_sha256.
    `damaged` tells of runs that ended and are no more what they were; they count as not complete.
    """

    plan: dict[str, Any]
    manifests: list[dict[str, Any]]
    metrics: pd.DataFrame
    samples: list[dict[str, Any]]
    damaged: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def complete(self) -> set[tuple[str, int]]:
        """(arm, seed) of every run that ended and is whole."""
        ended = {(m["arm"], m["seed"]) for m in self.manifests if m["status"] == "complete"}
        return ended - set(self.damaged)

    def missing(self) -> list[tuple[str, int]]:
        """Planned (arm, seed) without a complete run."""
        done = self.complete()
        planned = [(arm, seed) for arm in self.plan["arms"] for seed in self.plan["seeds"]]
        return [run for run in planned if run not in done]


def read_runs(root: Path) -> Evidence:
    """Everything under one experiment's run folder; only complete, whole runs give metrics."""
    plan_file = root / "plan.json"
    if not plan_file.exists():
        raise UserError(f"{root}: no runs here; run the experiment first")
    plan = read_json(plan_file)
    manifests, rows, samples = [], [], []
    damaged = {}
    for arm, seed in ((arm, seed) for arm in plan["arms"] for seed in plan["seeds"]):
        directory = run_directory(root, arm, seed)
        fault, status = run_fault(directory), run_status(directory)
        if fault:
            damaged[arm, seed] = f"{fault}; {AGAIN}"
        if status not in ("absent", "damaged"):
            manifests.append(read_json(directory / "manifest.json"))
        if status != "complete" or fault:
            continue
        for record in read_lines(directory / "metrics.jsonl"):
            rows += _rows(arm, seed, record)
        samples += read_lines(directory / "samples.jsonl")
    return Evidence(plan, manifests, _frame(rows), samples, damaged)


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
    if not isinstance(runs, dict) or not {"plan", "runs"} <= runs.keys():
        raise UserError(f"{directory / 'runs.json'}: no plan and runs in it; restore it from git")
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
