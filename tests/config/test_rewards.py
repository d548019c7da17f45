"""Rewards that say nothing where they are asked for are refused before anything runs."""

from typing import Any

import pytest

from tests.tiny import OPTIM

CLASSIFIER = {
    "seed": 0,
    "texts": 10,
    "label_noise": 0.0,
    "order": 2,
    "steps": 3,
    "optim": {**OPTIM, "lr": 0.1},
}
STATED = "reward.classifier: expected with reward.name classifier, and only with it"


@pytest.fixture
def policies(files: Any) -> Any:
    """The small experiment without its study, which knows one world only."""
    del files.config["arms"]["weight"]
    return files


@pytest.mark.parametrize(
    ("task", "reward", "fits"),
    [
        ("chain_sum", "answer", True),
        ("chain_sum", "position", False),
        ("answer_first", "exact", False),
        ("sorting", "position", True),
        ("sorting", "inclusion_ordering", True),
        ("sorting", "multiset_ordering", True),
        ("sorting", "solution", False),
        ("sorting", "lines", False),
        ("copy", "exact", True),
        ("copy", "solution", False),
        ("parity", "solution", True),
        ("parity", "exact", False),
        ("poem", "lines", True),
        ("poem", "exact", True),
        ("poem", "position", False),
        ("not_offensive", "exact", True),
        ("not_offensive", "lines", False),
        ("not_offensive", "share_of_tests", False),
        ("tiny_programs", "position", False),
    ],
)
def test_a_reward_fits_its_world(policies: Any, task: str, reward: str, fits: bool) -> None:
    policies.put("run.task.name", task)
    policies.put("run.reward.name", reward)
    if fits:
        assert policies.load().decoder("none").reward.name == reward
    else:
        told = f"reward.name: {reward} says nothing of task {task}; expected one of "
        assert told in policies.fault()


def test_a_classifier_says_how_it_is_trained(policies: Any) -> None:
    policies.put("run.task.name", "not_offensive")
    policies.put("run.reward.name", "classifier")
    assert STATED in policies.fault()
    policies.put("run.reward.classifier", CLASSIFIER)
    stated = policies.load().decoder("none").reward.classifier
    assert stated.model_dump(mode="json") == CLASSIFIER
    policies.put("run.reward.name", "exact")
    assert STATED in policies.fault()


def test_tiny_programs_say_what_runs_them(policies: Any) -> None:
    told = "reward.programs: expected with task.name tiny_programs, and only with it"
    policies.put("run.task.name", "tiny_programs")
    for reward in ("exact", "share_of_tests"):
        policies.put("run.reward.name", reward)
        policies.config["run"]["reward"].pop("programs", None)
        assert told in policies.fault()
        for way in ("interpreter", "python"):
            policies.put("run.reward.programs", way)
            assert policies.load().decoder("none").reward.programs == way
    policies.put("run.task.name", "sorting")
    policies.put("run.reward.name", "exact")
    assert told in policies.fault()


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("kl", -0.1, "reward.kl: input should be greater than or equal to 0, got -0.1"),
        ("name", "anser", "reward.name: input should be 'answer', 'solution', 'exact', 'position'"),
        ("klassifier", {}, "reward.klassifier: unknown key; did you mean 'classifier'?"),
    ],
)
def test_a_bad_reward_is_told(policies: Any, path: str, value: Any, told: str) -> None:
    policies.put(f"run.reward.{path}", value)
    assert told in policies.fault()


def test_the_penalty_has_no_default(policies: Any) -> None:
    del policies.config["run"]["reward"]["kl"]
    assert "reward.kl: missing; every scientific setting must be stated" in policies.fault()


def test_the_study_of_weights_knows_no_penalty(files: Any) -> None:
    files.put("run.reward.kl", 0.1)
    assert (
        "program gradient_weight: the weight is that of 0/1 rewards, on-policy; expected"
        in files.fault()
    )
