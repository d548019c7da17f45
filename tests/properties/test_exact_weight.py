"""The enumerated weight against closed forms, for any p and group size."""

import numpy as np
from hypothesis import given, strategies as st

from rl.advantages import advantages
from rl.exact import expected_weight, mixed_group_probability

P = st.floats(0, 1, allow_subnormal=False)
SIZE = st.integers(2, 24)


def rule(baseline, scale="none"):
    return lambda rewards: advantages(rewards, baseline=baseline, scale=scale, ddof=0, eps=0.0)


@given(P, SIZE)
def test_group_mean_closed_form(p, size):
    found = expected_weight(p, group_size=size, advantage_fn=rule("group_mean"))
    np.testing.assert_allclose(found, p * (1 - p) * (1 - 1 / size), rtol=1e-9, atol=1e-15)


@given(P, SIZE)
def test_no_baseline_and_leave_one_out_are_unbiased(p, size):
    for baseline in ("none", "leave_one_out"):
        found = expected_weight(p, group_size=size, advantage_fn=rule(baseline))
        np.testing.assert_allclose(found, p * (1 - p), rtol=1e-9, atol=1e-15)


@given(P, SIZE)
def test_group_std_is_symmetric_and_never_below_the_group_mean(p, size):
    scaled = rule("group_mean", "group_std")
    found = expected_weight(p, group_size=size, advantage_fn=scaled)
    mirrored = expected_weight(1 - p, group_size=size, advantage_fn=scaled)
    np.testing.assert_allclose(found, mirrored, rtol=1e-7, atol=1e-12)
    # A 0/1 std is at most 1/2, so that the weight is at least twice that of the group mean.
    assert found >= 2 * p * (1 - p) * (1 - 1 / size) * (1 - 1e-9)


@given(P)
def test_a_pair_can_be_worked_out(p):
    # G = 2: only the mixed group acts, std 1/2: w = P(mixed) (1/2) [(1 - p) + p] = P(mixed) / 2.
    found = expected_weight(p, group_size=2, advantage_fn=rule("group_mean", "group_std"))
    np.testing.assert_allclose(found, mixed_group_probability(p, 2) / 2, rtol=1e-9, atol=1e-15)


@given(P, SIZE)
def test_mixed_groups_complement_the_equal_ones(p, size):
    assert 0 <= mixed_group_probability(p, size) <= 1
    np.testing.assert_allclose(
        mixed_group_probability(p, size),
        mixed_group_probability(1 - p, size),
        rtol=1e-9,
        atol=1e-12,
    )
