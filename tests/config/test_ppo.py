"""Faults in the settings of PPO, each told in one message."""

from typing import Any

import pytest

from rl.config import PPOConfig, program_config
from rl.errors import UserError
from tests.tiny import OPTIM, PPO, changed


def fault(changes: dict[str, Any]) -> str:
    with pytest.raises(UserError) as raised:
        program_config(changed(PPO, changes), "here")
    return str(raised.value)


def test_the_settings_are_those_of_the_program() -> None:
    assert isinstance(program_config(PPO, "here"), PPOConfig)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"advantage.trace": 1.5}, "advantage.trace: input should be less than or equal to 1"),
        ({"advantage.discount": -0.1}, "advantage.discount: input should be greater"),
        ({"advantage.whiten": "rank"}, "'none', 'batch' or 'minibatch'"),
        ({"loss.value": -1.0}, "loss.value: input should be greater"),
        ({"loss.value_clip": 0.0}, "loss.value_clip: input should be greater than 0"),
        ({"loss.minibatches": 3}, "do not divide into 3"),
        ({"loss.name": "cispo"}, "loss.bound: expected with"),
        ({"missing_eos.value": -1.0}, "expected 0 with method keep, got -1.0"),
        ({"missing_eos": {"method": "subtract", "value": -1.0}}, "over 0 with method subtract"),
        ({"critic.start": "reward_model"}, "critic.start: reward_model is a model of the policy"),
        ({"critic.kind": "head", "critic.start": "base"}, "expected start random and no pretrain"),
        (
            {"critic.kind": "head", "critic.pretrain": {"updates": 1, "optim": OPTIM}},
            "expected start random and no pretrain with kind head",
        ),
        ({"critic.pretrain": {"updates": 1}}, "critic.pretrain.optim: missing"),
        (
            {"loss.minibatches": 16, "advantage.whiten": "minibatch"},
            "advantage.whiten: one response may be one token",
        ),
        ({"engine.zero_stage": 4}, "engine.zero_stage"),
        ({"reward.name": "lines"}, "says nothing of task chain_sum"),
        ({"task.digits": [7]}, "never saw prompts of [7] digits"),
    ],
)
def test_faults_are_told(changes: dict[str, Any], told: str) -> None:
    assert told in fault(changes).replace("\n", " ")


@pytest.mark.parametrize("section", ["advantage", "critic", "loss", "missing_eos"])
def test_every_scientific_setting_must_be_stated(section: str) -> None:
    for key in PPO[section]:
        if key == "bound":  # of the losses that have one
            continue
        without = {name: value for name, value in PPO[section].items() if name != key}
        assert f"{section}.{key}: missing" in fault({section: without})
