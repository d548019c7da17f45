"""Learning curves in bf16 and under torch.compile beside fp32: python -m rl.bench.precision.

Experiment 03's arm `none` in a small world, base model included, all else equal.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rl.artifacts import read_lines, run_directory
from rl.config import find_experiment, load_experiment
from rl.errors import UserError, exit_status
from rl.files import read_json, write_json
from rl.runner import run_experiment

SMALL: dict[str, Any] = {
    "task.modulus": 2,
    "task.digits": [4, 5, 7, 8],
    "base.digits": [4, 5, 7, 8],
    "base.text.solved": {"4": 0.85, "5": 0.75, "7": 0.6, "8": 0.5},
    "base.model.hidden_size": 64,
    "base.model.layers": 2,
    "base.model.intermediate_size": 128,
    "base.steps": 300,
    "base.batch_size": 64,
    "base.optim.lr": 0.004,
    "steps": 16,
    "eval.every": 2,
    "eval.problems_per_difficulty": 8,
    "eval.samples": 2,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp32, compiled": {"engine.compile": True},
    "bf16": {"engine.precision": "bf16"},
}
ARM, SEEDS = "none", [0, 1, 2, 3]


def main() -> int:
    """Run what is not done yet and write each seed's accuracy by step, and its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("analysis/bench/precision.json"))
    parser.add_argument("--runs", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    return exit_status(lambda: _measure(options.runs, options.out))


def _measure(runs: Path, out: Path) -> int:
    found: dict[str, Any] = {}
    for name, changes in SETTINGS.items():
        experiment = load_experiment(find_experiment(3), "laptop", {**SMALL, **changes})
        done = run_experiment(experiment, runs=runs, arms=[ARM], seeds=SEEDS, jobs=1, fresh=False)
        if not done:
            raise UserError(f"bench: a run in {name} failed; its log is shown above")
        found[name] = {
            str(seed): _curve(run_directory(runs / experiment.name / experiment.label, ARM, seed))
            for seed in SEEDS
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    return 0


def _curve(directory: Path) -> dict[str, Any]:
    """Held-out accuracy by step, and the run's seconds by the clock."""
    lines = read_lines(directory / "metrics.jsonl")
    found = [
        (line["step"], line["values"]["eval/accuracy"])
        for line in lines
        if "eval/accuracy" in line["values"]
    ]
    return {"accuracy": found, "seconds": read_json(directory / "manifest.json")["seconds"]}


if __name__ == "__main__":
    sys.exit(main())
