"""A decoder kept close to a reference: in its reward or its loss, fixed or renewed, and adapted."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import RunWriter, read_lines
from rl.trainers.policy import train_policy
from tests.tiny import GUESSED, decoder, run_config

KL: dict[str, Any] = {
    "loss": 0.0,
    "estimator": "k1",
    "level": "token",
    "weighted": False,
    "refresh": None,
    "target": None,
}
WORLD = {**GUESSED, "rollout.group_size": 32, "study.samples": 32, "eval.every": 100, "steps": 4}


def train(
    directory: Path, changes: dict[str, Any], *, stop_at: int | None = None
) -> dict[int, dict[str, Any]]:
    """Metrics by step; `stop_at` cuts the run off after that step."""

    def report(step: int, _: float) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    facts = {"arm": "arm", "seed": 0, "started": ""}
    with RunWriter(directory, facts, checkpoint_seconds=0) as log:
        train_policy(
            run_config({**WORLD, **changes}),
            seed=0,
            model=decoder(gain=1.0, modulus=2),
            log=log,
            report=report,
        )
    steps: dict[int, dict[str, Any]] = {}
    for record in read_lines(directory / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record["values"])
    return steps


def shared(steps: dict[int, dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    """What the steps log under some names."""
    return [{name: values.get(name) for name in names} for values in steps.values()]


def test_a_reference_renewed_at_every_step_costs_no_reward(tmp_path: Path) -> None:
    """It is the policy that draws the responses: each is at distance 0, to the last bit."""
    plain = train(tmp_path / "plain", {})
    kl = {**KL, "refresh": 1}
    steps = train(tmp_path / "renewed", {"reward.kl": 5.0, "kl": kl})
    assert shared(steps, set(plain[0])) == shared(plain, set(plain[0]))
    assert [steps[step]["train/kl"] for step in range(4)] == [0.0] * 4
    assert steps[3]["train/base_k3"] > 0.01


def test_a_fixed_reference_is_what_the_reward_alone_asks_for(tmp_path: Path) -> None:
    alone = train(tmp_path / "alone", {"reward.kl": 0.5})
    stated = train(tmp_path / "stated", {"reward.kl": 0.5, "kl": KL})
    assert shared(stated, set(alone[0])) == shared(alone, set(alone[0]))


def test_a_reference_renewed_now_and_then_is_left_behind_in_between(tmp_path: Path) -> None:
    steps = train(tmp_path / "run", {"reward.kl": 0.5, "kl": {**KL, "refresh": 2}, "steps": 6})
    kl = [steps[step]["train/kl"] for step in range(6)]
    assert kl[0] == kl[2] == kl[4] == 0.0
    assert 0.0 not in (kl[3], kl[5])


@pytest.mark.parametrize(("estimator", "level"), [("k2", "sequence"), ("k3", "token")])
def test_a_penalty_in_the_loss_keeps_the_policy_near(
    tmp_path: Path, estimator: str, level: str
) -> None:
    """With its sign turned it would drive the policy away."""
    late = {}
    for loss in (1e-9, 3.0):
        kl = {**KL, "loss": loss, "estimator": estimator, "level": level}
        steps = train(tmp_path / f"{loss}", {"kl": kl, "steps": 8, "optim.lr": 0.02})
        late[loss] = sum(steps[step]["train/base_k3"] for step in range(5, 8)) / 3
    assert late[1e-9] > 0.2
    assert late[3.0] < 0.5 * late[1e-9]


def test_estimates_start_at_zero_and_state_their_errors(tmp_path: Path) -> None:
    steps = train(tmp_path / "run", {"kl": KL, "optim.lr": 0.02})
    for estimator in ("k1", "k2", "k3"):
        names = [f"train/base_{estimator}{end}" for end in ("", "_std", "_se")]
        assert [steps[0][name] for name in names] == [0.0] * 3
        mean, std, error = (steps[3][name] for name in names)
        assert std == pytest.approx(error * math.sqrt(6 * 32))
        assert mean != 0.0 < std
    assert steps[3]["train/base_k3"] > 0 < steps[3]["train/base_k2"]
    assert "train/base_std_ratio" not in steps[0]
    ratio = steps[3]["train/base_k3_std"] / steps[3]["train/base_k1_std"]
    assert steps[3]["train/base_std_ratio"] == ratio
    # k1 = log(pi / base) is on average the distance, which k3 estimates too.
    apart = steps[3]["train/base_k1"] - steps[3]["train/base_k3"]
    assert abs(apart) < 4 * (steps[3]["train/base_k1_se"] + steps[3]["train/base_k3_se"])


def test_the_weight_matters_only_once_the_policy_has_moved(tmp_path: Path) -> None:
    """Its value is 1 for fresh responses; its gradient counts where the estimate is not 0."""
    kl = {**KL, "loss": 1.0, "level": "sequence", "estimator": "k1"}
    plain = train(tmp_path / "plain", {"kl": kl})
    weighted = train(tmp_path / "weighted", {"kl": {**kl, "weighted": True}})
    for name, step in (("loss", 0), ("grad_norm", 0), ("loss", 1)):
        assert plain[step][f"train/{name}"] == weighted[step][f"train/{name}"]
    assert plain[1]["train/grad_norm"] != weighted[1]["train/grad_norm"]


def test_coefficients_follow_the_distance(tmp_path: Path) -> None:
    """Halved under target / 1.5, doubled over 1.5 target, by the estimate of each step."""
    target = 0.02
    kl = {**KL, "loss": 0.25, "estimator": "k3", "target": target}
    steps = train(tmp_path / "run", {"kl": kl, "reward.kl": 0.5, "steps": 8})
    reward, base = steps[7]["train/reward"], steps[7]["train/base_k1"]
    coefficient = steps[7]["train/kl_coefficient"]
    assert abs(coefficient * base) > 1e-3
    assert steps[7]["train/objective"] == pytest.approx(reward - coefficient * base)
    wanted, found = 0.75, []
    for step in range(8):
        assert steps[step]["train/kl_coefficient"] == wanted
        found.append(wanted)
        estimate = steps[step]["train/kl"]
        wanted *= 0.5 if estimate < target / 1.5 else 2.0 if estimate > 1.5 * target else 1.0
    assert min(found) < 0.75
    assert any(late > early for early, late in pairwise(found))


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_run_goes_on_with_its_own_reference(tmp_path: Path, stop_at: int) -> None:
    changes = {
        "reward.kl": 0.3,
        "kl": {**KL, "refresh": 3, "target": 0.02, "loss": 0.1},
        "steps": 6,
    }
    whole = train(tmp_path / "whole", changes)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", changes, stop_at=stop_at)
    assert train(tmp_path / "cut", changes) == whole


def test_ratios_are_told_where_a_step_is_several_updates(tmp_path: Path) -> None:
    once = train(tmp_path / "once", {})
    assert not any(name.startswith("train/ratio") for name in once[0])
    values = train(tmp_path / "often", {"loss.epochs": 4, "optim.lr": 0.02})[1]
    shares = {
        (side, sign): values[f"train/ratio_{side}_{sign}"]
        for side in ("above", "below")
        for sign in ("positive", "negative")
    }
    assert 0 < sum(shares.values()) < 1
    assert values["train/clip_fraction"] == pytest.approx(
        shares["above", "positive"] + shares["below", "negative"]
    )
    quantiles = [*values["train/ratio_quantiles"].values(), values["train/ratio_max"]]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] < 1 < quantiles[-1]
