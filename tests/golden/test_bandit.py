"""rl.bandit: every number of the two-state example, and the derivations by enumeration."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from rl.bandit import gradient_moments, optimal_baseline, spread, state_value

# CS336 (2025), lecture 17: rewards of both actions in both states.
FIRST = {"reward_1": 11.0, "reward_2": 9.0}
SECOND = {"reward_1": 0.0, "reward_2": 2.0}


def test_the_lectures_variance_is_a_sample_standard_deviation():
    plain, centred = spread([11, 9, 0, 2]), spread([11 - 10, 9 - 10, 0 - 1, 2 - 1])
    assert plain.sample_std == pytest.approx(5.323, abs=5e-4)
    assert centred.sample_std == pytest.approx(1.155, abs=5e-4)
    assert plain.population_variance == 21.25
    assert centred.population_variance == 1.0


@pytest.mark.parametrize(
    ("rewards", "mean", "variance"), [(FIRST, 0.5, 25.0), (SECOND, -0.5, 0.25)]
)
def test_signed_variances_at_one_half_vanish_with_the_value(rewards, mean, variance):
    plain = gradient_moments(0.5, baseline=0.0, **rewards)
    assert (plain.mean, plain.variance) == (mean, variance)
    value = state_value(0.5, **rewards)
    centred = gradient_moments(0.5, baseline=value, **rewards)
    assert (centred.mean, centred.variance) == (mean, 0.0)


def test_the_value_is_not_always_a_better_baseline():
    """State 2 where its worse action is rare: P(a1) = .1."""
    plain = gradient_moments(0.1, baseline=0.0, **SECOND)
    value = state_value(0.1, **SECOND)
    worse = gradient_moments(0.1, baseline=value, **SECOND)
    assert value == pytest.approx(1.8)
    assert plain.variance == pytest.approx(0.0036, rel=1e-12)
    assert worse.variance == pytest.approx(0.2304, rel=1e-12)
    assert plain.mean == pytest.approx(worse.mean) == pytest.approx(-0.18)


@pytest.mark.parametrize("rewards", [FIRST, SECOND])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_optimal_baseline_leaves_no_variance(p, rewards):
    best = optimal_baseline(p, **rewards)
    assert best == pytest.approx((1 - p) * rewards["reward_1"] + p * rewards["reward_2"])
    assert gradient_moments(p, baseline=best, **rewards).variance == pytest.approx(0, abs=1e-12)


P = st.floats(0.01, 0.99)
REWARD = st.floats(-20, 20)


def enumerated(p, reward_1, reward_2, baseline):
    """The score by differences of log pi, the moments by their definition."""
    chance = np.array([p, 1 - p])
    theta = math.log(p / (1 - p))
    score = []
    for sign in (1, -1):  # log sigmoid(theta) and log sigmoid(-theta)
        up, down = (-math.log1p(math.exp(-sign * (theta + e))) for e in (1e-5, -1e-5))
        score.append((up - down) / 2e-5)
    sample = np.array(score) * (np.array([reward_1, reward_2]) - baseline)
    mean = chance @ sample
    return np.array(score), mean, chance @ (sample - mean) ** 2


@given(P, REWARD, REWARD, REWARD)
def test_moments_and_optimum_are_what_enumeration_says(p, reward_1, reward_2, baseline):
    rewards = {"reward_1": reward_1, "reward_2": reward_2}
    score, mean, variance = enumerated(p, reward_1, reward_2, baseline)
    found = gradient_moments(p, baseline=baseline, **rewards)
    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.variance == pytest.approx(variance, rel=1e-6, abs=1e-6)
    chance = np.array([p, 1 - p])
    weighed = chance * score**2
    best = weighed @ np.array([reward_1, reward_2]) / weighed.sum()  # E[s^2 R] / E[s^2]
    assert optimal_baseline(p, **rewards) == pytest.approx(best, abs=1e-5)


@given(P, REWARD, REWARD, REWARD)
def test_no_baseline_moves_the_mean_and_none_beats_the_optimum(p, reward_1, reward_2, baseline):
    rewards = {"reward_1": reward_1, "reward_2": reward_2}
    best = gradient_moments(p, baseline=optimal_baseline(p, **rewards), **rewards)
    other = gradient_moments(p, baseline=baseline, **rewards)
    assert other.mean == pytest.approx(best.mean, abs=1e-9)
    assert best.variance <= other.variance + 1e-9


def test_faults_are_told():
    for function in (state_value, optimal_baseline):
        with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
            function(1.5, reward_1=0.0, reward_2=1.0)
    with pytest.raises(ValueError, match=r"in \[0, 1\], got -1"):
        gradient_moments(-1, reward_1=0.0, reward_2=1.0, baseline=0.0)
    with pytest.raises(ValueError, match="two or more numbers, got 1"):
        spread([1.0])
