"""A small repository with made-up evidence of experiment 03, written through rl.artifacts.

The numbers follow simple formulas plus seeded noise: they look like learning and mean nothing.
"""

import gc
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.verdicts import Verdict, judge
from rl.artifacts import RunWriter, run_directory
from rl.config import Claims, Experiment, RunConfig, config_digest, load_experiment
from rl.config.schema import read_yaml
from rl.evidence import COLUMNS, Evidence
from rl.files import write_json
from rl.promotion import promote

NAME = "03-std-scaling"
ACCURACY = {"metric": "eval/accuracy", "steps": "last"}
Values = Mapping[str, Sequence[float]]
REPOSITORY = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2, 3)

CLAIMS = """
alpha: 0.05
claims:
  - id: faster-on-hard
    role: primary
    text: "Dividing by the std helps hard problems more than easy ones, early on"
    source: "2503.20783 section 3.1"
    kind: interaction
    treatment: group_std
    control: none
    measure: {metric: eval/accuracy_by_difficulty, steps: [0.125, 0.25]}
    low: [2, 3]
    high: [7, 8]
    direction: greater
    min_effect: 0.02
  - id: learns
    role: control
    text: Training raises held-out accuracy
    source: "none: a check of the set-up"
    kind: trend
    arm: none
    measure: {metric: eval/accuracy, steps: all, reduce: slope_step}
    direction: greater
    min_effect: 0.0
  - id: norm-scales
    role: control
    text: "Ten times the reward gives ten times the first gradient | without scaling"
    source: "arithmetic"
    kind: exact
    treatment: none_x10
    control: none
    factor: 10.0
    measure: {metric: train/grad_norm, steps: first}
    tolerance: 1e-6
"""

README = "# Title\n\n<!-- claims:begin -->\n<!-- claims:end -->\n\nThe end.\n"


def pull(p: float, scale: str) -> float:
    """What moves the logit of a problem with success rate p."""
    return p * (1 - p) if scale == "none" else 0.8 * math.sqrt(p * (1 - p))


def _policy_log(log: RunWriter, arm: str, seed: int, config: RunConfig) -> None:
    x10 = config.reward.scale
    scale = config.advantage.scale
    # An arm and its x10 twin share their noise, as they share prompts and samples in a real run.
    rng = np.random.default_rng([seed, len(arm.removesuffix("_x10"))])
    levels = config.task.digits
    logits = {n: math.log(p / (1 - p)) for n in levels for p in [config.base.text.solved[str(n)]]}
    draws = config.eval.problems_per_difficulty * config.eval.samples
    speed = 0.25 * config.optim.lr / 1e-3
    for step in range(config.steps + 1):
        values: dict[str, float | dict[float, float]] = {}
        rates = {n: 1 / (1 + math.exp(-x)) for n, x in logits.items()}
        if step % config.eval.every == 0:
            measured = {float(n): rng.binomial(draws, p) / draws for n, p in rates.items()}
            values["eval/accuracy_by_difficulty"] = measured
            values["eval/accuracy"] = sum(measured.values()) / len(measured)
        if step < config.steps:
            size = sum(pull(p, scale) for p in rates.values()) / len(rates)
            noise = math.exp(0.1 * rng.standard_normal())
            values["train/grad_norm"] = size * noise * (x10 if scale == "none" else 1.0)
            values["train/update_norm"] = 0.02 * speed * noise * (1 + 0.5 / (step + 1))
        log.log(step, values)
        logits = {n: x + speed * pull(rates[n], scale) for n, x in logits.items()}


def _weight_log(log: RunWriter, arm: str, seed: int, config: RunConfig) -> None:
    group, scale = config.rollout.group_size, config.advantage.scale
    rng = np.random.default_rng([seed, len(arm)])
    rates = {float(n): config.base.text.solved[str(n)] for n in config.task.digits}
    exact = {n: pull(p, scale) * (1 - 1 / group) for n, p in rates.items()}
    log.log(
        0,
        {
            "weight/p": {
                n: p + 0.01 * p * (1 - p) * rng.standard_normal() for n, p in rates.items()
            },
            "weight/measured": {n: w + 0.02 * rng.standard_normal() for n, w in exact.items()},
            "weight/exact": {n: 0.95 * w for n, w in exact.items()},
            "weight/curve": {
                p: pull(p, scale) * (1 - 1 / group) for p in np.linspace(0.01, 0.99, 99).tolist()
            },
        },
    )


def _sample_log(log: RunWriter, arm: str, seed: int, config: RunConfig) -> None:
    for step, right in ((0, False), (config.steps, True)):
        for problem, digits in enumerate(config.task.digits):
            chain = [(problem + i * i) % 5 for i in range(digits)]
            sums = np.cumsum(chain) % 5
            end = int(sums[-1]) if right else int(sums[-1] + 1) % 5
            text = "".join(f"{c}{s}." for c, s in zip(chain, sums, strict=True)) + f"#{end}"
            log.sample(
                {
                    "arm": arm,
                    "seed": seed,
                    "step": step,
                    "problem_id": problem,
                    "difficulty": digits,
                    "prompt": "".join(map(str, chain)) + "=",
                    "answer": str(int(sums[-1])),
                    "text": text,
                    "reward": config.reward.scale * right,
                    "finish_reason": "stop",
                    "tokens": len(text) + 1,
                }
            )


def write_runs(experiment: Experiment, root: Path) -> None:
    """Every planned run of `experiment` under root/label, as a finished one."""
    folder = root / experiment.label
    folder.mkdir(parents=True)
    write_json(
        folder / "plan.json",
        {
            "experiment": experiment.name,
            "number": experiment.number,
            "profile": experiment.profile,
            "label": experiment.label,
            "overrides": experiment.overrides,
            "arms": {a: json.loads(c.model_dump_json()) for a, c in experiment.arms.items()},
            "seeds": list(experiment.seeds),
            "claims_sha256": experiment.claims_sha256,
            "budget_minutes": experiment.budget_minutes,
        },
    )
    for spec in experiment.select(None, None):
        manifest = {
            "experiment": experiment.name,
            "profile": experiment.profile,
            "arm": spec.arm,
            "seed": spec.seed,
            "config": json.loads(spec.config.model_dump_json()),
            "config_sha256": config_digest(spec.config),
            "claims_sha256": experiment.claims_sha256,
            "claims": experiment.claims.digests(),
            "commit": "0" * 40,
            "clean_tree": True,
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
            "machine": {"cpu": "a processor", "cores": 2, "gpu": None},
            "base_model": "b" * 16,
            "started": "2026-01-01T00:00:00+00:00",
        }
        with RunWriter(run_directory(folder, spec.arm, spec.seed), manifest) as log:
            if spec.config.program == "policy":
                _policy_log(log, spec.arm, spec.seed, spec.config)
                _sample_log(log, spec.arm, spec.seed, spec.config)
            else:
                _weight_log(log, spec.arm, spec.seed, spec.config)
            log.finish({"seconds": 60.0, "tokens": 600000, "tokens_per_s": 10000.0})


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose laptop runs of experiment 03 are done and promoted. Read only."""
    root = tmp_path_factory.mktemp("repository")
    directory = root / "experiments" / NAME
    directory.mkdir(parents=True)
    # The arms and settings are the real ones, so that the notebook is tried on what it will read.
    config = read_yaml(REPOSITORY / "experiments" / NAME / "config.yaml")
    config["seeds"] = list(SEEDS)
    (directory / "config.yaml").write_text(json.dumps(config))
    (directory / "claims.yaml").write_text(CLAIMS)
    for page in (root / "README.md", directory / "README.md"):
        page.write_text(README)
    experiment = load_experiment(directory, "laptop")
    write_runs(experiment, root / "runs" / NAME)
    # verdicts.json is the command's to write; the tests that need it call the command.
    digests = {arm: config_digest(config) for arm, config in experiment.arms.items()}
    promote(root / "runs" / NAME / "laptop", directory / "artifacts", {}, digests, force=False)
    (directory / "artifacts" / "verdicts.json").unlink()
    return root


# --- evidence in memory, for the rules ------------------------------------------------------------


def spread(c: float, s: float) -> list[float]:
    return [c + s * i for i in (-2, -1, 0, 1, 2)]


def claims_of(*stated: dict[str, Any], alpha: float = 0.05) -> Claims:
    """Claims from their own keys; the common ones are filled in."""
    common = {"role": "primary", "text": "it is so", "source": "a paper", "measure": ACCURACY}
    full = [{"id": f"claim-{i}", **common, **one} for i, one in enumerate(stated)]
    return Claims.model_validate({"alpha": alpha, "claims": full}, strict=False)


def evidence(rows: list[tuple[Any, ...]], seeds: int, digests: dict[str, str]) -> Evidence:
    """Rows (arm, seed, step, metric, level, value); every arm and seed in them ran to its end."""
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    arms = list(dict.fromkeys(row[0] for row in rows))
    plan = {
        "arms": {arm: {"steps": 9} for arm in arms},
        "seeds": list(range(seeds)),
        "profile": "laptop",
    }
    manifests = [
        {"arm": arm, "seed": seed, "status": "complete", "claims": digests}
        for arm in arms
        for seed in range(seeds)
    ]
    return Evidence(plan, manifests, frame, [])


def accuracy(values: Values, stated: Claims) -> Evidence:
    """Held-out accuracy of each arm at step 9, by seed."""
    rows = [
        (arm, seed, 9, "eval/accuracy", math.nan, value)
        for arm, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    return evidence(rows, max(len(v) for v in values.values()), stated.digests())


def difference(direction: str, m: float, **more: Any) -> dict[str, Any]:
    one = {"kind": "difference", "treatment": "t", "control": "c"}
    return {**one, "direction": direction, "min_effect": m, **more}


def against_zero(d: Sequence[float]) -> Values:
    return {"t": d, "c": [0.0] * len(d)}


def one(stated: dict[str, Any], values: Values) -> Verdict:
    """The verdict on a single claim."""
    only = claims_of(stated)
    return judge(accuracy(values, only), only)[0]


@pytest.fixture(scope="session", autouse=True)
def _light_collections() -> None:
    """statsmodels collects garbage at every Holm correction; what is loaded by now is none."""
    gc.freeze()


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Builders of claims and of evidence in memory."""
    return SimpleNamespace(
        spread=spread,
        claims=claims_of,
        evidence=evidence,
        accuracy=accuracy,
        difference=difference,
        against_zero=against_zero,
        one=one,
    )
