"""Experiment 09's human preferences: trained on where they are; where not, told in one line."""

from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import RunWriter, read_lines
from rl.config import RewardModelConfig, load_experiment, program_config
from rl.data import VARIABLE, load_preferences
from rl.engine import Engine
from rl.errors import UserError
from rl.runner.schedule import run_experiment
from rl.trainers.reward_model import train_reward_model
from tests.places import ROOT

EXPERIMENT = ROOT / "experiments" / "09-reward-model"
SMALL: dict[str, Any] = {"pairs": 1, "batch_pairs": 1, "steps": 1, "context": 512}


def human() -> RewardModelConfig:
    """Arm `hh`, small enough for a file of a few rows."""
    arm = load_experiment(EXPERIMENT, "laptop").arms["hh"].model_dump(mode="json")
    arm["data"]["folds"] = 2
    config = program_config({**arm, **SMALL}, "test")
    assert isinstance(config, RewardModelConfig)
    return config


def test_the_arm_trains_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of our own in the published layout; as many seeds as folds hold each pair out once."""
    monkeypatch.setenv(VARIABLE, str(ROOT / "tests" / "fixtures" / "preferences"))
    monkeypatch.setattr(Engine, "close", lambda _: None)
    held = []
    for seed in range(3):
        with RunWriter(tmp_path / str(seed), {"arm": "hh", "seed": seed}) as log:
            train_reward_model(human(), seed=seed, log=log, report=lambda *_: None)
        values: dict[str, Any] = {}
        for record in read_lines(tmp_path / str(seed) / "metrics.jsonl"):
            values |= record["values"]
        held.append(values["reward_model/heldout_pairs"])
        assert 0 <= values["reward_model/accuracy"] <= 1
    whole = load_preferences(
        "Anthropic/hh-rlhf", schema="hh", subset="harmless-base", split="test", revision="-"
    )
    assert held[0] + held[1] == len(whole.preferences)
    assert held[0] != held[1]
    assert held[2] == held[0]


@pytest.mark.parametrize("found", [False, True])
def test_missing_data_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """Neither in the folder nor from the hub, and nothing is written."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the hub")

    if found:
        monkeypatch.setenv(VARIABLE, str(tmp_path))
    else:
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.setattr("datasets.load_dataset_builder", unreachable)
    experiment = load_experiment(EXPERIMENT, "laptop")
    with pytest.raises(UserError) as told:
        run_experiment(
            experiment, runs=tmp_path / "runs", arms=None, seeds=None, jobs=1, fresh=False
        )
    said = str(told.value)
    assert said.startswith("arm hh: ")
    assert "Anthropic/hh-rlhf" in said
    assert VARIABLE in said
    assert said.endswith("or choose other arms with ARMS")
    assert "\n" not in said
    assert not (tmp_path / "runs").exists()
