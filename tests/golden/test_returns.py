"""rl.returns by hand, and against a double loop that says what the formulas say."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from rl.returns import discounted_returns, first_solved, normalised, taken_steps, values_of_batch

# One episode of three steps, one of two; the 7 stands after its episode's end.
REWARDS = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 7.0]])
LENGTHS = np.array([3, 2])
KINDS = [(False, "start"), (False, "action"), (True, "start"), (True, "action")]


def returns(reward_to_go, discount_from, discount=0.5, rewards=REWARDS, lengths=LENGTHS):
    return discounted_returns(
        rewards,
        lengths,
        discount=discount,
        reward_to_go=reward_to_go,
        discount_from=discount_from,
    )


@pytest.mark.parametrize(
    ("reward_to_go", "discount_from", "expected"),
    [
        (False, "start", [[3, 3, 3], [5.5, 5.5, 0]]),  # 1 + 2/2 + 4/4; 3 + 5/2
        (False, "action", [[3, 3, 3], [5.5, 5.5, 0]]),
        (True, "start", [[3, 2, 1], [5.5, 2.5, 0]]),  # 2/2 + 4/4, 4/4; 5/2
        (True, "action", [[3, 4, 4], [5.5, 5, 0]]),  # 2 + 4/2, 4; 5
    ],
)
def test_returns_by_hand(reward_to_go, discount_from, expected):
    np.testing.assert_array_equal(returns(reward_to_go, discount_from), expected)


@pytest.mark.parametrize(("reward_to_go", "expected"), [(False, [7, 7, 7]), (True, [7, 6, 4])])
def test_the_first_reward_is_never_discounted_and_one_is_no_discount(reward_to_go, expected):
    for start in ("start", "action"):
        np.testing.assert_array_equal(returns(reward_to_go, start, discount=1.0)[0], expected)
        assert returns(reward_to_go, start, discount=0.0)[0, 0] == 1.0


def double_loop(rewards, lengths, discount, reward_to_go, discount_from):
    found = np.zeros_like(rewards)
    for n, length in enumerate(lengths):
        for t in range(length):
            first = t if reward_to_go else 0
            origin = t if reward_to_go and discount_from == "action" else 0
            found[n, t] = sum(
                discount ** (k - origin) * rewards[n, k] for k in range(first, length)
            )
    return found


@st.composite
def episodes(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 7)))
    rewards = draw(hnp.arrays(np.float64, shape, elements=st.floats(-5, 5)))
    lengths = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(1, shape[1])))
    return rewards, lengths


@pytest.mark.parametrize(("reward_to_go", "discount_from"), KINDS)
@given(batch=episodes(), discount=st.floats(0, 1))
def test_returns_are_the_double_loop(batch, discount, reward_to_go, discount_from):
    expected = double_loop(*batch, discount, reward_to_go, discount_from)
    found = returns(reward_to_go, discount_from, discount, *batch)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_values_behind_a_one_number_baseline():
    to_go = returns(True, "action")
    assert values_of_batch(to_go, LENGTHS, reward_to_go=True).tolist() == [3, 4, 4, 5.5, 5]
    whole = returns(False, "start")  # each episode counts once, not once a step
    assert values_of_batch(whole, LENGTHS, reward_to_go=False).tolist() == [3, 5.5]


@pytest.mark.parametrize(
    ("ddof", "eps", "std"),
    [(1, 0.0, math.sqrt(2.5)), (0, 0.0, math.sqrt(2.0)), (0, 0.5, math.sqrt(2.0) + 0.5)],
)
def test_normalised_over_the_batch(ddof, eps, std):
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 99.0]])  # mean 3, squared deviations 10 of 5
    found = normalised(values, LENGTHS, scope="batch", ddof=ddof, eps=eps)
    expected = np.array([[-2, -1, 0], [1, 2, 0]]) / std
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_normalised_within_episodes():
    values = np.array([[1.0, 2.0, 3.0], [4.0, 8.0, 99.0]])  # sample stds 1 and 4 / sqrt 2
    found = normalised(values, LENGTHS, scope="episode", ddof=1, eps=0.0)
    np.testing.assert_allclose(found, [[-1, 0, 1], [-math.sqrt(0.5), math.sqrt(0.5), 0]])


def test_pytorchs_example_by_hand():
    """Three rewards of 1 at gamma .99: returns 2.9701, 1.99, 1; std with n - 1; eps of float32."""
    eps = float(np.finfo(np.float32).eps)
    rewards, lengths = np.ones((1, 3)), np.array([3])
    to_go = returns(True, "action", 0.99, rewards, lengths)
    np.testing.assert_allclose(to_go, [[2.9701, 1.99, 1.0]], rtol=1e-12)
    found = normalised(to_go, lengths, scope="episode", ddof=1, eps=eps)
    np.testing.assert_allclose(found, [[0.99832, 0.00335, -1.00167]], atol=1e-5)


@pytest.mark.parametrize("scope", ["episode", "batch"])
def test_equal_values_and_single_steps_become_zero(scope):
    """0.1 three times has a mean that differs from it by rounding; one step has no sample std."""
    flat = np.full((2, 3), 0.1)
    found = normalised(flat, np.array([3, 1]), scope=scope, ddof=1, eps=0.0)
    assert (found == 0).all()


def test_no_scope_leaves_the_values_and_drops_the_padding():
    found = normalised(REWARDS, LENGTHS, scope="none", ddof=1, eps=0.0)
    np.testing.assert_array_equal(found, [[1, 2, 4], [3, 5, 0]])


@given(episodes(), st.floats(0.1, 10), st.floats(-100, 100))
def test_normalisation_takes_out_scale_and_shift(batch, factor, shift):
    values, lengths = batch
    values = np.round(values * 8) / 8  # so that a shift keeps equal values equal
    plain, moved = (
        normalised(x, lengths, scope="batch", ddof=0, eps=0.0)
        for x in (values, factor * values + np.round(shift))
    )
    np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_inputs_are_left_as_they_were():
    before = REWARDS.copy()
    returns(True, "start")
    normalised(REWARDS, LENGTHS, scope="episode", ddof=1, eps=0.0)
    np.testing.assert_array_equal(REWARDS, before)


def test_first_solved_counts_episodes_by_hand():
    played = [0.0, 4.0, 4.0, 1.0, 6.0]  # means of three: 8/3, 3, 11/3
    assert first_solved(played, window=3, line=3.0) == 4
    assert first_solved(played, window=3, line=2.0) == 3
    assert first_solved(played, window=3, line=3.7) is None
    assert first_solved(played[:2], window=3, line=0.0) is None
    assert first_solved([], window=1, line=0.0) is None


def test_taken_steps():
    assert taken_steps(LENGTHS, width=3).tolist() == [[True] * 3, [True, True, False]]
    for lengths in ([0], [4], []):
        with pytest.raises(ValueError, match="expected lengths from 1 to 3"):
            taken_steps(np.array(lengths, dtype=np.int64), width=3)


def test_faults_are_told():
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        returns(True, "action", discount=1.5)
    with pytest.raises(ValueError, match="start or action, got 'end'"):
        returns(True, "end")
    with pytest.raises(ValueError, match="none, episode, batch, got 'rank'"):
        normalised(REWARDS, LENGTHS, scope="rank", ddof=1, eps=0.0)
    with pytest.raises(ValueError, match="ddof"):
        normalised(REWARDS, LENGTHS, scope="batch", ddof=2, eps=0.0)
    with pytest.raises(ValueError, match="eps"):
        normalised(REWARDS, LENGTHS, scope="batch", ddof=1, eps=-1.0)
    with pytest.raises(ValueError, match="window"):
        first_solved([1.0], window=0, line=0.0)
