"""Three actions, pairs of the first two alone: by hand.

The reference is (.4, .4, .2), beta 1, and the first is preferred over the second with chance .8,
so that a reward learned of the pairs is (log 2, -log 2, 0). The optimum is (.8, .2, .2) / 1.2.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import program_config
from rl.errors import UserError
from rl.studies.unseen_action import dpo_optimum, expected_loss, measure_unseen_action
from tests.tiny import changed

RUN: dict[str, Any] = {
    "program": "unseen_action",
    "steps": 1,
    "world": {"reference": [0.4, 0.4, 0.2], "preferred": 0.8},
    "beta": 1.0,
    "masses": [0.5, 1 / 6],
}


def test_every_mass_of_the_third_is_a_least_of_dpo(tmp_path: Path) -> None:
    config = program_config(changed(RUN, None), "test")
    with RunWriter(tmp_path / "run", {"arm": "a", "seed": 0}) as log:
        measure_unseen_action(config, seed=0, log=log, report=lambda _step, _value: None)
    (record,) = read_lines(tmp_path / "run" / "metrics.jsonl")
    excess, gap = (list(record["values"][f"unseen/{k}"].values()) for k in NAMES)
    assert excess == pytest.approx([0, 0], abs=1e-12)
    # KL((.4, .1, .5) || (4, 1, 1) / 6) = .5 log .6 + .5 log 3
    assert gap == pytest.approx([math.log(1.8) / 2, 0], abs=1e-12)
    assert record["values"]["unseen/optimum_mass"] == pytest.approx(1 / 6)
    assert record["values"]["unseen/reference_mass"] == pytest.approx(0.2)


NAMES = ("dpo_excess", "objective_gap")


def test_the_least_is_one_only_in_the_first_two() -> None:
    ref_A = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64).log()
    best_A = dpo_optimum(ref_A, preferred=0.8, beta=1.0, mass=0.5)
    assert best_A.exp().tolist() == pytest.approx([0.4, 0.1, 0.5])
    # At half the beta odds count twice: 16 to 1.
    half_A = dpo_optimum(ref_A, preferred=0.8, beta=0.5, mass=0.15)
    assert half_A.exp().tolist() == pytest.approx([0.8, 0.05, 0.15])
    least = expected_loss(best_A, ref_A, preferred=0.8, beta=1.0)
    assert least == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert expected_loss(ref_A, ref_A, preferred=0.8, beta=1.0) == pytest.approx(math.log(2))
    assert expected_loss(half_A, ref_A, preferred=0.8, beta=1.0) > least + 0.1


def test_what_is_no_policy_of_three_actions() -> None:
    with pytest.raises(UserError, match="three probabilities that sum to 1"):
        program_config(changed(RUN, {"world.reference": [0.4, 0.4, 0.3]}), "test")
    with pytest.raises(UserError, match="preferred"):
        program_config(changed(RUN, {"world.preferred": 0.5}), "test")
