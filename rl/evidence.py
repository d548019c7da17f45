"""Evidence: what is known of an experiment, read from runs/ or committed to artifacts/.

Committed evidence is the content of a whole experiment's runs in four files: metrics.parquet,
runs.json, samples.jsonl and verdicts.json. runs.json holds a hash of each, itself included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rl.artifacts import read_lines, run_directory, run_fault, run_status
from rl.digests import file_sha256, json_sha256, short
from rl.errors import UserError
from rl.files import read_json, write_json
from rl.metrics import RUN

FACTS = frozenset(RUN)  # metrics that stand in manifests, one value a run

AGAIN = "run the experiment again: it sets this run aside and does it anew"
RUNS, METRICS, SAMPLES, VERDICTS = FILES = (
    *("runs.json", "metrics.parquet", "samples.jsonl", "verdicts.json"),
)
# In place of a plan that cannot be read.
NO_PLAN = {"profile": "laptop", "label": "laptop", "overrides": {}, "arms": {}, "seeds": []}
COLUMNS = ["arm", "seed", "step", "metric", "level", "value"]


@dataclass(frozen=True)
class Evidence:
    """What is known of an experiment, from runs/ or from artifacts/.

    `metrics` has one row a value with columns COLUMNS (level is NaN for metrics without levels).
    `plan` says what was to be run: experiment, profile, overrides, arms, seeds,
    arm_seeds (of arms with seeds of their own), claims_sha256.
    `damaged` tells of runs that ended and are no more what they were; they count as not complete.
    `faults` tells of committed files that are not what was promoted, by name.
    """

    plan: dict[str, Any]
    manifests: list[dict[str, Any]]
    metrics: pd.DataFrame
    samples: list[dict[str, Any]]
    damaged: Mapping[tuple[str, int], str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def spoilt(self) -> str:
        """Why nothing can be judged: faults of all files but verdicts.json, which others make."""
        return ", and ".join(text for name, text in self.faults.items() if name != VERDICTS)

    def complete(self) -> set[tuple[str, int]]:
        """(arm, seed) of every run that ended and is whole."""
        ended = {(m["arm"], m["seed"]) for m in self.manifests if m["status"] == "complete"}
        return ended - set(self.damaged)

    def missing(self) -> list[tuple[str, int]]:
        """Planned (arm, seed) without a complete run."""
        done = self.complete()
        return [run for run in self.planned() if run not in done]

    def planned(self) -> list[tuple[str, int]]:
        """Every planned (arm, seed)."""
        return planned(self.plan)

    def seeds_of(self, arm: str) -> list[int]:
        """The seeds that the plan has for an arm."""
        return seeds_of(self.plan, arm)


def planned(plan: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Every (arm, seed) of a plan."""
    return [(arm, seed) for arm in plan["arms"] for seed in seeds_of(plan, arm)]


def seeds_of(plan: Mapping[str, Any], arm: str) -> list[int]:
    """An arm's own planned seeds, where it has any, or those of all."""
    own = plan.get("arm_seeds", {})  # absent from older plans
    return list(own.get(arm, plan["seeds"]))


def read_runs(root: Path) -> Evidence:
    """Everything under one experiment's run folder; only complete, whole runs give metrics."""
    plan_file = root / "plan.json"
    if not plan_file.exists():
        raise UserError(f"{root}: no runs here; run the experiment first")
    plan = read_json(plan_file)
    manifests, rows, samples = [], [], []
    damaged = {}
    for arm, seed in planned(plan):
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


def aside_of(directory: Path) -> Path:
    """Where a promotion keeps the old evidence while the new takes its place."""
    return directory.with_name(f"{directory.name}.old")


def has_evidence(directory: Path) -> bool:
    """Is there anything that should be committed evidence, however damaged?"""
    return aside_of(directory).exists() or any((directory / name).exists() for name in FILES)


def seal(directory: Path) -> None:
    """Write into runs.json the hashes of all four files as they are now."""
    content = _unsealed(read_json(directory / RUNS))
    digests = {name: file_sha256(directory / name) for name in FILES if name != RUNS}
    write_json(directory / RUNS, {"sha256": {RUNS: json_sha256(content), **digests}, **content})


def _unsealed(runs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in runs.items() if key != "sha256"}


def evidence_faults(directory: Path) -> dict[str, str]:
    """Which committed files are not what was promoted, and what to do, by name.

    Raises:
        UserError: there is no evidence at all.
    """
    if not has_evidence(directory):
        raise UserError(f"{directory}: no committed evidence; promote a complete run first")
    if not directory.exists():
        told = f"a promotion was cut off; `mv {aside_of(directory)} {directory}` undoes it"
        return {RUNS: f"{directory}: missing, {told}"}
    try:
        runs = read_json(directory / RUNS) if (directory / RUNS).exists() else {"sha256": {}}
    except UserError:
        runs = {}
    sealed = runs.get("sha256") if isinstance(runs, dict) else None
    if not isinstance(sealed, dict):
        return {
            RUNS: f"{directory / RUNS}: damaged, or without hashes; {_remedy(directory / RUNS)}"
        }
    faults = {}
    for path in (directory / name for name in FILES):
        if not path.exists():
            faults[path.name] = f"{path}: missing; {_remedy(path)}"
            continue
        now = json_sha256(_unsealed(runs)) if path.name == RUNS else file_sha256(path)
        then = sealed.get(path.name)
        if now != then and (directory / RUNS).exists():
            faults[path.name] = (
                f"{path}: expected {short(then)} as promoted, got {short(now)}; {_remedy(path)}"
            )
    return faults


def _remedy(path: Path) -> str:
    other = "promote again"
    if path.name == VERDICTS:
        other = "delete it and run `python -m analysis.claims readme`"
    return f"`git checkout -- {path}` brings back what was committed, or {other}"


def read_evidence(directory: Path) -> Evidence:
    """The committed evidence of one experiment, from its artifacts/ folder.

    Of files that are not as promoted, `faults` tells and nothing is taken.

    Raises:
        UserError: there is no evidence at all.
    """
    faults = evidence_faults(directory)
    plan, manifests, metrics, samples = dict(NO_PLAN), [], _frame([]), []
    if RUNS not in faults:
        runs = read_json(directory / RUNS)
        plan, manifests = runs["plan"], runs["runs"]
    if METRICS not in faults and RUNS not in faults:
        try:
            metrics = pd.read_parquet(directory / METRICS)
        except (OSError, ValueError) as error:
            table = directory / METRICS
            faults[METRICS] = f"{table}: unreadable ({error}); {_remedy(table)}"
    if SAMPLES not in faults and RUNS not in faults:
        samples = read_lines(directory / SAMPLES)
    return Evidence(plan, manifests, metrics, samples, faults=faults)
