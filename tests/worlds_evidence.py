"""Made-up evidence of any experiment of small worlds, from its own config.yaml and claims.yaml.

Every metric that an arm's program logs follows a simple formula plus seeded noise: it looks like
learning and means nothing. The files are written and sealed as a promotion does it.
"""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import as_json
from analysis.verdicts import judge
from rl.config import Experiment, load_experiment
from rl.evidence import COLUMNS, METRICS, RUNS, SAMPLES, VERDICTS, Evidence, seal
from rl.files import write_json
from rl.metrics import METRICS as KNOWN

Row = tuple[str, int, int, str, float, float]


def write_evidence(source: Path, target: Path, seeds: int, steps: int) -> Path:
    """A copy of the experiment in `source` under `target`, with artifacts of `seeds` seeds.

    Args:
        source: an experiment's directory; its artifacts are left alone.
        target: the folder that takes the place of experiments/.
        seeds: the first so many of each arm are kept.
        steps: logged evaluations of a run of many steps.
    """
    directory = target / source.name
    directory.mkdir(parents=True)
    for name in ("config.yaml", "claims.yaml", "README.md"):
        shutil.copy(source / name, directory / name)
    experiment = load_experiment(directory, "laptop")
    evidence = made_up(experiment, seeds, steps)
    artifacts = directory / "artifacts"
    artifacts.mkdir()
    evidence.metrics.to_parquet(artifacts / METRICS, index=False)
    lines = [json.dumps(sample) + "\n" for sample in evidence.samples]
    (artifacts / SAMPLES).write_text("".join(lines))
    write_json(artifacts / VERDICTS, as_json(evidence, judge(evidence, experiment.claims)))
    write_json(artifacts / RUNS, {"plan": evidence.plan, "runs": evidence.manifests})
    seal(artifacts)
    return artifacts


def made_up(experiment: Experiment, seeds: int, steps: int) -> Evidence:
    """Evidence in memory; see `write_evidence`."""
    kept = {arm: list(experiment.seeds_of(arm))[:seeds] for arm in experiment.arms}
    plan = {
        "experiment": experiment.name,
        "number": experiment.number,
        "profile": experiment.profile,
        "label": experiment.label,
        "overrides": {},
        "arms": {a: json.loads(c.model_dump_json()) for a, c in experiment.arms.items()},
        "seeds": list(experiment.seeds)[:seeds],
        "arm_seeds": kept,
        "claims_sha256": experiment.claims_sha256,
    }
    rows, manifests, samples = list[Row](), [], []
    for i, (arm, config) in enumerate(plan["arms"].items()):
        for seed in kept[arm]:
            rng = np.random.default_rng([seed, i])
            rows += _rows(arm, seed, config, steps, rng)
            manifests.append(_manifest(experiment, arm, seed))
            samples += _samples(arm, seed, config)
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    return Evidence(plan, manifests, frame, samples)


def _manifest(experiment: Experiment, arm: str, seed: int) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "status": "complete",
        "claims": experiment.claims.digests(),
        "commit": "0" * 40,
        "versions": {"python": "3.11.2"},
        "machine": {"cpu": "a processor", "cores": 2},
        "seconds": 60.0,
        "tokens": 600000,
        "config": json.loads(experiment.arms[arm].model_dump_json()),
    }


def _rows(
    arm: str, seed: int, config: dict[str, Any], steps: int, rng: np.random.Generator
) -> Iterator[Row]:
    program, total = config["program"], config["steps"]
    once = program in ("gradient_covariance", "gradient_weight")
    places = [0] if once else sorted({round(x) for x in np.linspace(0, total, steps + 1)})
    speed = rng.uniform(1, 4)
    for metric, meant in KNOWN.items():
        if meant.program != program:
            continue
        levels = _levels(metric, meant.level, config)
        for step in places:
            for level in levels:
                learnt = 1 - math.exp(-speed * step / max(1, total))
                noise = 0.05 * rng.standard_normal()
                value = _value(metric, learnt, level, noise)
                yield arm, seed, step, metric, level, value


def _levels(metric: str, level: str | None, config: dict[str, Any]) -> list[float]:
    """The levels at which a run of `config` logs the metric; none if it does not."""
    world = config.get("world") or {}
    if metric.startswith("episodes/p_action_"):
        states, actions = {"bandit": (3, 2), "grid": (16, 4)}.get(world.get("name"), (0, 0))
        return [float(s) for s in range(states)] if int(metric[-1]) < actions else []
    if metric.endswith("_by_duplicates"):
        return [0.0, 1.0] if config["task"]["name"] == "sorting" else []
    if level is None:
        return [math.nan]
    known = {
        "entropy": world.get("entropies"),
        "place": range(1, 1 + world.get("length", 3)),
        "difficulty": config.get("task", {}).get("digits"),
        "distinct tokens in the prompt": (1, 2, 3),
        "p": (0.25, 0.5, 0.75),
    }
    return [float(x) for x in known.get(level) or (1, 2, 3)]


def _value(metric: str, x: float, level: float, noise: float) -> float:
    """Value of a metric from how much is learnt (x, from 0 to 1), its level and noise."""
    if metric.startswith("episodes/p_action_"):
        # Right in the first three of four cells, down in the last.
        likely = (level % 4 < 3) == (metric[-1] == "1")
        return min(1.0, max(0.0, 0.25 + 0.5 * x * likely + noise))
    if metric.startswith("covariance/"):
        return (0.5 + level) * math.exp(4 * noise)
    special = {
        "episodes/to_solve": 1000 * x + 100 * noise,
        "episodes/return_last_100": 475 * x + 500 * noise,
        "episodes/solved": float(x > 0.9),
        "tabular/samples": 1000 * x,
        "tabular/own_reward": x * 0.97**level + 0.2 * noise,
    }
    return special.get(metric, x + noise)


def _samples(arm: str, seed: int, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if config["program"] not in ("policy", "episodes"):
        return
    for step in (0, config["steps"]):
        for digits in config.get("task", {}).get("digits", [0]):
            texts = ["1122", "0112", "2"]
            for text in texts:
                yield {
                    "arm": arm,
                    "seed": seed,
                    "step": step,
                    "problem_id": digits,
                    "difficulty": digits,
                    "prompt": "2121=",
                    "answer": "1122",
                    "text": text,
                    "reward": float(len(text) == 4),
                    "finish_reason": "stop",
                    "tokens": len(text),
                    **({"hacked": True} if text == "0112" else {}),
                }
