"""Rewards: functions of a world and a rollout."""

from collections.abc import Mapping
from dataclasses import dataclass

from rl.rewards.learned import OffenceClassifier, label_loss
from rl.rewards.poem import lines
from rl.rewards.sorting import inclusion_ordering, multiset_ordering, position
from rl.rewards.unit_tests import share_of_tests
from rl.rewards.verifiable import RewardFunction, answer, exact, is_whole, solution


@dataclass(frozen=True)
class Reward:
    """What is rewarded, the most that it can be, and what was meant by it, 1 or 0."""

    score: RewardFunction
    best: float
    right: RewardFunction


# All but `classifier`, which is made by training.
REWARDS: Mapping[str, Reward] = {
    "answer": Reward(answer, 1.0, answer),
    "solution": Reward(solution, 1.0, solution),
    "exact": Reward(exact, 1.0, exact),
    "position": Reward(position, 1.0, exact),
    "inclusion_ordering": Reward(inclusion_ordering, 1.0, exact),
    "multiset_ordering": Reward(multiset_ordering, 1.0, exact),
    "lines": Reward(lines, 0.0, exact),
    "share_of_tests": Reward(share_of_tests, 1.0, exact),
}

__all__ = [
    "REWARDS",
    "OffenceClassifier",
    "Reward",
    "RewardFunction",
    "exact",
    "is_whole",
    "label_loss",
]
