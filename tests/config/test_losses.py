"""Which loss has a bound, and penalties that could do nothing: refused before anything runs."""

from typing import Any, get_args

import pytest

from rl import kl
from rl.config import KLConfig, LossConfig
from rl.config.update import BOUNDED_LOSSES, LossName
from rl.losses import BOUNDED, LOSSES

KL = {
    "loss": 0.1,
    "estimator": "k2",
    "level": "sequence",
    "weighted": True,
    "refresh": None,
    "target": 0.5,
}


def test_config_and_losses_know_the_same_names() -> None:
    assert set(get_args(LossName)) == set(LOSSES)
    assert set(BOUNDED_LOSSES) == set(BOUNDED)
    assert set(get_args(KLConfig.model_fields["estimator"].annotation)) == set(kl.ESTIMATORS)
    assert set(get_args(KLConfig.model_fields["level"].annotation)) == set(kl.LEVELS)
    assert LossConfig.model_fields["name"].annotation == LossName


@pytest.fixture
def policies(files: Any) -> Any:
    """The small experiment without its study, whose weight is that of plain losses."""
    del files.config["arms"]["weight"]
    return files


@pytest.mark.parametrize(
    ("name", "bound", "told"),
    [
        ("cispo", 5.0, None),
        ("truncated_is", 1, None),
        ("dual_clip", 3, None),
        ("cispo", None, "loss.bound: expected with loss.name dual_clip, cispo, truncated_is, and"),
        ("clipped", 3, "loss.bound: expected with loss.name dual_clip, cispo, truncated_is, and"),
        ("cispo", 0.2, "bound: input should be greater than or equal to 1, got 0.2"),
        ("dual_clip", 1, "loss.bound: at 1, dual_clip cuts fresh responses; expected a ratio over"),
        ("no_stop_gradient", None, None),
    ],
)
def test_a_bound_is_stated_where_there_is_one(
    policies: Any, name: str, bound: float | None, told: str | None
) -> None:
    """.2 is a width as of a clip, not a bound of the ratio: every weight would be .2."""
    policies.config["run"]["loss"] |= {"name": name, "bound": bound}
    if told is None:
        assert policies.load().arms["none"].loss.bound == bound
    else:
        assert told in policies.fault()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"loss": 0.0, "weighted": False, "target": None}, None),
        ({"loss": 0.0, "target": None}, "kl.weighted: the importance ratio is 1 where a reward"),
        ({"loss": 0.0, "weighted": False}, "kl.target: there is no coefficient to be adapted; ex"),
        ({"target": 0.0}, "kl.target: input should be greater than 0, got 0"),
        ({"refresh": 0}, "kl.refresh: input should be greater than 0, got 0"),
        ({"loss": -0.1}, "kl.loss: input should be greater than or equal to 0, got -0.1"),
        ({"estimator": "k4"}, "kl.estimator: input should be 'k1', 'k2' or 'k3', got 'k4'"),
    ],
)
def test_a_penalty_that_could_do_nothing(
    policies: Any, change: dict[str, Any], told: str | None
) -> None:
    policies.config["run"]["kl"] = {**KL, **change}
    if told is None:
        assert policies.load().arms["none"].kl == KLConfig(**{**KL, **change})
    else:
        assert told in policies.fault()
    policies.config["run"]["reward"]["kl"] = 0.1
    if "kl.target: there" in str(told):  # the reward has a coefficient
        policies.load()


@pytest.mark.parametrize(
    ("path", "value"), [("loss", "gspo"), ("kl", KL), ("kl", {**KL, "target": None})]
)
def test_the_study_of_weights_is_of_plain_losses(files: Any, path: str, value: Any) -> None:
    if path == "loss":
        files.config["run"]["loss"]["name"] = value
    else:
        files.config["run"]["kl"] = value
    assert "expected reward.kl 0, no kl and loss.name reinforce or clipped, got" in files.fault()
