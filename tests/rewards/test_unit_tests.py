"""Partial credit by hand, and beside all-or-nothing."""

import pytest

from rl.rewards import REWARDS
from rl.rewards.unit_tests import share_of_tests
from rl.rewards.verifiable import answer
from rl.tasks import TinyPrograms
from rl.types import Completion, FinishReason, Problem, Rollout

TASK = TinyPrograms(modulus=10, digits=(6,))
STEP = Problem(id=0, prompt="3>2,4>2,5>7=", answer="x5<27?", difficulty=6)


def rollout(text: str, reason: FinishReason = "stop") -> Rollout:
    return Rollout(STEP, 0, (0,), Completion((0,), (0.0,), reason), text)


@pytest.mark.parametrize(
    ("text", "share", "every"),
    [
        ("x5<27?", 1.0, 1.0),
        (".x.5<27?.", 1.0, 1.0),
        ("7", 4 / 7, 0.0),  # hidden: 0, 1, 2 want 2 and 6, 7, 8, 9 want 7
        ("2", 3 / 7, 0.0),
        ("x6<27?", 1.0, 1.0),  # wrong at 5, which the prompt shows: the tests do not ask for it
        ("x7<27?", 6 / 7, 0.0),
        ("x5<72?", 0.0, 0.0),
        ("27", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("x5<27?<eos>", 0.0, 0.0),
    ],
)
def test_share_by_hand_beside_all_or_nothing(text: str, share: float, every: float) -> None:
    assert REWARDS["share_of_tests"].score(TASK, rollout(text)) == share
    assert answer(TASK, rollout(text)) == every
    assert REWARDS["exact"].score(TASK, rollout(text)) == float(every and text != "x6<27?")


def test_a_truncated_program_scores_nothing() -> None:
    assert share_of_tests(TASK, rollout("x5<27?", "length")) == 0.0
