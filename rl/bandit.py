"""Two actions, one parameter: the score-function estimator worked out exactly.

The policy picks action 1 with probability p = sigmoid(theta), else action 2. Its score is
s = d log pi / d theta: 1 - p for action 1, -p for action 2. One sample of the gradient of the
expected reward is g = s (R - b).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Mean and variance of one sample of the gradient."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Spread:
    """The two measures that share the name variance in lectures; one is not a variance."""

    sample_std: float
    population_variance: float


def gradient_moments(p: float, *, reward_1: float, reward_2: float, baseline: float) -> Moments:
    """Mean and variance of g = s (R - b) over the policy's own action.

        E[g]   = p (1 - p) (R1 - R2), whatever b is
        Var[g] = p (1 - p) ((1 - p) R1 + p R2 - b)^2

    The second line: g takes two values that differ by (1 - p)(R1 - b) + p (R2 - b), and a
    variable with two values has the variance p (1 - p) times their squared difference.

    Raises:
        ValueError: p outside [0, 1].
    """
    _check(p)
    first, second = (1 - p) * (reward_1 - baseline), -p * (reward_2 - baseline)
    return Moments(mean=p * first + (1 - p) * second, variance=p * (1 - p) * (first - second) ** 2)


def state_value(p: float, *, reward_1: float, reward_2: float) -> float:
    """V = p R1 + (1 - p) R2, the baseline that is not always a good one.

    Raises:
        ValueError: p outside [0, 1].
    """
    _check(p)
    return p * reward_1 + (1 - p) * reward_2


def optimal_baseline(p: float, *, reward_1: float, reward_2: float) -> float:
    """b* = E[s^2 R] / E[s^2] = (1 - p) R1 + p R2: the one of least variance, here zero.

    (Greensmith, Bartlett and Baxter 2004, the constant baseline of least variance.) Each reward is
    weighed by the probability of the OTHER action, as s^2 is large where an action is rare; V and
    b* agree at p = 1/2 and where R1 = R2.

    Raises:
        ValueError: p outside [0, 1].
    """
    _check(p)
    return (1 - p) * reward_1 + p * reward_2


def spread(deltas: Sequence[float]) -> Spread:
    """Sample standard deviation (n - 1) and population variance (n) of rewards less a baseline.

    CS336 (2025), lecture 17, calls the first one a variance: 5.323 for the rewards 11, 9, 0, 2 of
    its two states and 1.155 after a baseline. Neither looks at the signs of the scores, so neither
    is the variance of a gradient.

    Raises:
        ValueError: fewer than two numbers.
    """
    if len(deltas) < 2:
        raise ValueError(f"deltas: expected two or more numbers, got {len(deltas)}")
    values = np.asarray(deltas, dtype=np.float64)
    return Spread(sample_std=float(values.std(ddof=1)), population_variance=float(values.var()))


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability in [0, 1], got {p}")
