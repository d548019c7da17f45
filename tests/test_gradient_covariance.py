"""The study of baselines: its sampled numbers against its exact ones, and the config's checks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rl.artifacts import RunWriter, read_lines
from rl.config import GradientCovarianceConfig, program_config
from rl.errors import UserError
from rl.mdp_views import token_gradient
from rl.studies import gradient_covariance
from rl.studies.gradient_covariance import measure_gradient_covariance
from tests.tiny import changed

torch.set_num_threads(1)  # another number of threads sums in another order

RUN: dict[str, Any] = {
    "program": "gradient_covariance",
    "steps": 2,
    "world": {
        "prompts": 3,
        "vocabulary": 3,
        "length": 2,
        "entropies": [0.4, 0.9],
        "rewards": "graded",
    },
    "advantage": {"baseline": "none", "constant": 0.5, "value_samples": 4},
    "group_size": 4,
    "estimates": 600,
    "directions": 5,
}
Values = dict[str, dict[str, float]]


def config(changes: dict[str, Any] | None = None) -> GradientCovarianceConfig:
    found = program_config(changed(RUN, changes), "test")
    assert isinstance(found, GradientCovarianceConfig)
    return found


def measured(
    directory: Path, changes: dict[str, Any] | None = None, seed: int = 0
) -> tuple[Values, int, list[int]]:
    """Metrics without their prefix, tokens, and the steps that were reported."""
    steps: list[int] = []
    folder = directory / str(len(list(directory.iterdir())))
    with RunWriter(folder, {"arm": "a", "seed": seed}) as log:
        tokens = measure_gradient_covariance(
            config(changes), seed=seed, log=log, report=lambda step, _: steps.append(step)
        )
    (record,) = read_lines(folder / "metrics.jsonl")
    assert record["step"] == 0
    values = {name.removeprefix("covariance/"): x for name, x in record["values"].items()}
    return values, tokens, steps


@pytest.mark.parametrize(
    ("name", "bias"),
    [
        ("none", 0.0),
        ("constant", 0.0),
        ("running_mean", 0.0),
        ("batch_mean", 1 / 12),  # a response is 1 of P * G in the mean
        ("group_mean", 1 / 4),
        ("leave_one_out", 0.0),
        ("learned_value", 0.0),
        ("exact_value", 0.0),
        ("optimal", 0.0),
    ],
)
def test_sampled_and_exact_numbers_agree(tmp_path: Path, name: str, bias: float) -> None:
    found, tokens, steps = measured(tmp_path, {"advantage.baseline": name})
    assert tokens == 600 * 3 * 4 * 2 * 2
    assert steps == [1, 2]
    for level in ("0.4", "0.9"):
        assert found["entropy"][level] == pytest.approx(float(level), rel=1e-9)
        assert found["bias"][level] == pytest.approx(bias, abs=1e-12)
        assert found["views_gap"][level] < 1e-12
        assert found["over_exact"][level] == pytest.approx(1.0, abs=0.2)
        assert found["recovered"][level] == pytest.approx(1 - bias, abs=0.12)
        assert found["over_optimal"][level] >= 1 - 1e-12
        assert bias or found["p_value"][level] > 0.001
        rescaled = found["trace_exact"][level] / (1 - bias) ** 2
        assert found["rescaled_exact"][level] == pytest.approx(rescaled)
    assert (min(found["p_value"].values()) < 0.001) == (bias > 0)


def test_a_shrunken_group_mean_is_leave_one_out_sample_by_sample(tmp_path: Path) -> None:
    mean, *_ = measured(tmp_path, {"advantage.baseline": "group_mean"})
    left_out, *_ = measured(tmp_path, {"advantage.baseline": "leave_one_out"})
    for level in ("0.4", "0.9"):
        ratio = mean["trace"][level] / left_out["trace"][level]
        assert ratio == pytest.approx((3 / 4) ** 2, rel=1e-12)
        assert mean["rescaled"][level] == pytest.approx(left_out["rescaled"][level], rel=1e-12)


def test_where_the_likeliest_response_is_right_no_baseline_beats_the_value(tmp_path: Path) -> None:
    """The two-state example at length: rare wrong responses have long scores, and only a baseline
    makes them count."""
    changes = {"world.rewards": "likeliest", "world.entropies": [0.15], "directions": 3}
    none, *_ = measured(tmp_path, changes)
    value, *_ = measured(tmp_path, {**changes, "advantage.baseline": "exact_value"})
    assert none["success"]["0.15"] > 0.8
    assert value["trace_exact"]["0.15"] > 2 * none["trace_exact"]["0.15"]
    assert value["trace"]["0.15"] > 2 * none["trace"]["0.15"]


def test_the_gap_between_the_views_is_relative_to_the_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token-level view that leaves out its last place misses exactly that place's part of g."""
    kept: list[float] = []

    def without_last(
        logits: list[Tensor], reward: Tensor, *, user: tuple[int, ...]
    ) -> list[Tensor]:
        places = token_gradient(logits, reward, user=user)
        kept.append(float(sum(g.square().sum() for g in places)))
        kept.append(float(places[-1].square().sum()))
        return [*places[:-1], torch.zeros_like(places[-1])]

    monkeypatch.setattr(gradient_covariance, "token_gradient", without_last)
    found, *_ = measured(tmp_path, {"world.entropies": [0.9], "steps": 1})
    missed = (sum(kept[1::2]) / sum(kept[0::2])) ** 0.5
    assert 0.3 < missed < 1
    assert found["views_gap"]["0.9"] == pytest.approx(missed, rel=1e-12)


def test_the_seed_alone_fixes_the_numbers(tmp_path: Path) -> None:
    once, again, other = (measured(tmp_path, seed=seed)[0] for seed in (3, 3, 4))
    assert once == again
    assert once["trace"]["0.4"] != other["trace"]["0.4"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"world.entropies": [1.2]}, r"entropy below log\(3\) = 1.0986"),
        ({"world.entropies": [0.5, 0.5]}, "expected distinct levels"),
        ({"world.length": 9}, "more than 10000000 scores"),
        ({"directions": 600}, "fewer than the estimates"),
        ({"directions": 37}, "at most one a logit, 36"),
        ({"group_size": 1}, "greater than or equal to 2"),
        ({"world.rewards": "normal"}, "rewards"),
        ({"world.rewards": "single"}, "expected at most 3, got 5"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(changes)
