"""rl.advantages against numbers worked out by hand."""

import math

import pytest
import torch

from rl.advantages import BASELINES, SCALES, RunningMean, advantages

ONE_OF_FOUR = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
TWO_GROUPS = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])  # batch mean 2, group means 3 and 1


def compute(rewards, baseline="none", scale="none", ddof=1, eps=0.0, running_mean=0.0):
    return advantages(
        rewards,
        baseline=baseline,
        scale=scale,
        ddof=ddof,
        eps=eps,
        running_mean=running_mean,
    )


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("none", [[1, 2, 6], [0, 0, 3]]),
        ("running_mean", [[0.5, 1.5, 5.5], [-0.5, -0.5, 2.5]]),
        ("batch_mean", [[-1, 0, 4], [-2, -2, 1]]),
        ("group_mean", [[-2, -1, 3], [-1, -1, 2]]),
        ("leave_one_out", [[-3, -1.5, 4.5], [-1.5, -1.5, 3]]),
        ("group_max_only", [[0, 0, 6], [0, 0, 3]]),
        ("batch_max_only", [[0, 0, 6], [0, 0, 0]]),
    ],
)
def test_baselines(baseline, expected):
    found = compute(TWO_GROUPS, baseline, running_mean=0.5)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_every_baseline_and_scale_is_pinned_here():
    assert set(BASELINES) == {
        "none",
        "running_mean",
        "batch_mean",
        "group_mean",
        "leave_one_out",
        "group_max_only",
        "batch_max_only",
    }
    assert set(SCALES) == {"none", "group_std", "batch_std"}


@pytest.mark.parametrize(
    ("ddof", "eps", "std"),
    [
        (1, 0.0, 0.5),  # sqrt((.75^2 + 3 * .25^2) / 3)
        (0, 0.0, math.sqrt(3) / 4),  # the same sum over 4
        (1, 0.5, 1.0),
        (0, 0.5, math.sqrt(3) / 4 + 0.5),
    ],
)
@pytest.mark.parametrize("scale", ["group_std", "batch_std"])
def test_std_of_one_group(scale, ddof, eps, std):
    found = compute(ONE_OF_FOUR, "group_mean", scale, ddof, eps)
    torch.testing.assert_close(found, torch.tensor([[0.75, -0.25, -0.25, -0.25]]) / std)


def test_scales_have_their_scope():
    rewards = torch.tensor([[0.0, 2.0], [0.0, 6.0]])  # batch: mean 2, squares 4 + 0 + 4 + 16 = 24
    group = compute(rewards, "group_mean", "group_std", ddof=0)
    torch.testing.assert_close(group, torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    batch = compute(rewards, "group_mean", "batch_std", ddof=1)
    expected = torch.tensor([[-1.0, 1.0], [-3.0, 3.0]]) / math.sqrt(8)
    torch.testing.assert_close(batch, expected)
    population = compute(rewards, "group_mean", "batch_std", ddof=0)
    torch.testing.assert_close(population, torch.tensor([[-1.0, 1.0], [-3.0, 3.0]]) / math.sqrt(6))


@pytest.mark.parametrize(("size", "ratio"), [(4, 1.155), (8, 1.069), (16, 1.033)])
def test_population_std_gives_larger_advantages_by_a_known_ratio(size, ratio):
    rewards = torch.arange(size, dtype=torch.float64)[None] ** 2
    population = compute(rewards, "group_mean", "group_std", ddof=0)
    sample = compute(rewards, "group_mean", "group_std", ddof=1)
    torch.testing.assert_close(population, sample * math.sqrt(size / (size - 1)))
    assert float(population[0, -1] / sample[0, -1]) == pytest.approx(ratio, abs=5e-4)


@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_leave_one_out_is_the_group_mean_times_g_over_g_minus_1(size):
    rewards = torch.arange(size, dtype=torch.float64)[None] ** 2
    torch.testing.assert_close(
        compute(rewards, "leave_one_out"), size / (size - 1) * compute(rewards, "group_mean")
    )


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("scale", ["none", "group_std", "batch_std"])
@pytest.mark.parametrize("baseline", ["batch_mean", "group_mean", "leave_one_out"])
def test_equal_rewards_give_exactly_zero(baseline, scale, ddof):
    # The float64 mean of six times .1 is not .1: eps = 1e-12 would let the error through.
    rewards = torch.full((2, 3), 0.1, dtype=torch.float64)
    assert compute(rewards, baseline, scale, ddof, eps=1e-12).tolist() == [[0.0] * 3] * 2
    assert compute(rewards, baseline, scale, ddof, eps=0.0).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("baseline", ["none", "running_mean", "group_max_only", "batch_max_only"])
def test_equal_rewards_are_kept_where_nothing_compares_them(baseline):
    rewards = torch.full((2, 3), 0.75)
    assert compute(rewards, baseline, running_mean=0.0).tolist() == rewards.tolist()
    assert compute(rewards, baseline, "group_std", eps=1e-4).tolist() == [[0.0] * 3] * 2
    assert compute(rewards, baseline, "batch_std", eps=1e-4).tolist() == [[0.0] * 3] * 2


def test_one_equal_group_is_silenced_alone():
    rewards = torch.tensor([[0.1, 0.1], [0.0, 1.0]], dtype=torch.float64)
    for baseline in ("group_mean", "leave_one_out"):
        assert compute(rewards, baseline)[0].tolist() == [0.0, 0.0]
        assert compute(rewards, baseline)[1].abs().min() > 0.4
    by_group = compute(rewards, "batch_mean", "group_std")
    assert by_group[0].tolist() == [0.0, 0.0]
    assert by_group[1].abs().min() > 0
    # Against the batch, an equal group is below or above the mean: not silent.
    assert compute(rewards, "batch_mean")[0].tolist() == pytest.approx([-0.2, -0.2])


def test_a_max_tie_keeps_every_maximum():
    rewards = torch.tensor([[2.0, 2.0, 1.0], [-1.0, -2.0, -1.0]])
    assert compute(rewards, "group_max_only").tolist() == [[2, 2, 0], [-1, 0, -1]]
    assert compute(rewards, "batch_max_only").tolist() == [[2, 2, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("baseline", "scale"),
    [("group_mean", "none"), ("leave_one_out", "none"), ("none", "group_std")],
)
@pytest.mark.parametrize("ddof", [0, 1])
def test_a_group_of_one_is_refused(baseline, scale, ddof):
    with pytest.raises(ValueError, match="a group of one has nothing to be compared with"):
        compute(torch.tensor([[1.0], [0.0]]), baseline, scale, ddof)


def test_groups_of_one_may_be_compared_across_the_batch():
    rewards = torch.tensor([[1.0], [0.0]])
    assert compute(rewards, "batch_mean").tolist() == [[0.5], [-0.5]]
    assert compute(rewards, "batch_mean", "batch_std", ddof=0).tolist() == [[1.0], [-1.0]]
    assert compute(rewards[:1], "none", "batch_std", ddof=0).tolist() == [[0.0]]
    with pytest.raises(ValueError, match="2 or more rewards"):
        compute(rewards[:1], "none", "batch_std", ddof=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "mean"}, "baseline: expected one of none, running_mean"),
        ({"scale": "std"}, "scale: expected one of none, group_std, batch_std"),
        ({"ddof": 2}, "ddof: expected 0"),
        ({"eps": -1e-4}, "eps: expected a number >= 0"),
        ({"eps": math.nan}, "eps: expected a number >= 0"),
    ],
)
def test_bad_options_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        compute(ONE_OF_FOUR, **changes)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_an_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match="one or more of each"):
        compute(torch.zeros(shape))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="finite"):
        compute(torch.tensor([[0.0, value]]), "group_mean")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_stays_and_the_work_is_done_in_float64(dtype):
    # 256 + 1 is lost in bfloat16, where the mean of these rewards would be 256.
    rewards = torch.tensor([[256.0, 258.0]], dtype=dtype)
    found = compute(rewards, "group_mean", "group_std", ddof=0)
    assert found.dtype == dtype
    assert found.tolist() == [[-1.0, 1.0]]
    assert rewards.tolist() == [[256.0, 258.0]]


def test_running_mean_is_the_mean_of_all_rewards_so_far():
    start = RunningMean()
    assert start.mean == 0
    once = start.update(torch.tensor([[1.0, 3.0]]))
    assert (once.mean, once.count) == (2.0, 2)
    twice = once.update(torch.tensor([[5.0], [6.0], [7.0], [8.0]]))
    assert (twice.mean, twice.count) == (5.0, 6)  # 30 / 6, not the mean of the means 2 and 6.5
    assert start == RunningMean()
    with pytest.raises(ValueError, match="at least one reward"):
        twice.update(torch.zeros(0, 4))
