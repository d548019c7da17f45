"""What rewards may undergo without a change of the advantages, or with a known one."""

import pytest
import torch
from hypothesis import given, strategies as st

from rl.advantages import BASELINES, SCALES, advantages

CENTRED = ("batch_mean", "group_mean", "leave_one_out")
EVERY = [(baseline, scale) for baseline in BASELINES for scale in SCALES]


@st.composite
def reward_batches(draw):
    """[P, G] of eighths in [-4, 4]: small enough that shifts by integers stay exact."""
    prompts, samples = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    size = prompts * samples
    eighths = draw(st.lists(st.integers(-32, 32), min_size=size, max_size=size))
    return torch.tensor(eighths, dtype=torch.float64).reshape(prompts, samples) / 8


DDOF = st.sampled_from((0, 1))
EPS = st.sampled_from((0.0, 1e-4, 0.5))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("baseline", CENTRED)
@given(reward_batches(), st.integers(-100, 100), DDOF, EPS)
def test_a_shift_of_all_rewards_changes_nothing(baseline, scale, rewards, shift, ddof, eps):
    options = {"baseline": baseline, "scale": scale, "ddof": ddof, "eps": eps}
    close(advantages(rewards + shift, **options), advantages(rewards, **options))


@pytest.mark.parametrize("scale", SCALES)
@given(reward_batches(), st.integers(-100, 100), DDOF, EPS)
def test_a_running_mean_that_shifts_along_changes_nothing(scale, rewards, shift, ddof, eps):
    options = {"baseline": "running_mean", "scale": scale, "ddof": ddof, "eps": eps}
    close(
        advantages(rewards + shift, **options, running_mean=0.25 + shift),
        advantages(rewards, **options, running_mean=0.25),
    )


@pytest.mark.parametrize("baseline", BASELINES)
@given(reward_batches(), st.sampled_from((0.1, 3.0, 10.0)), DDOF, EPS)
def test_without_a_scale_rewards_and_advantages_share_a_factor(
    baseline, rewards, factor, ddof, eps
):
    options = {"baseline": baseline, "scale": "none", "ddof": ddof, "eps": eps}
    close(
        advantages(factor * rewards, **options, running_mean=factor * 0.25),
        factor * advantages(rewards, **options, running_mean=0.25),
    )


@pytest.mark.parametrize("scale", ["group_std", "batch_std"])
@pytest.mark.parametrize("baseline", BASELINES)
@given(reward_batches(), st.sampled_from((0.1, 3.0, 10.0)), DDOF)
def test_a_std_without_eps_removes_the_factor(baseline, scale, rewards, factor, ddof):
    options = {"baseline": baseline, "scale": scale, "ddof": ddof, "eps": 0.0}
    close(
        advantages(factor * rewards, **options, running_mean=factor * 0.25),
        advantages(rewards, **options, running_mean=0.25),
    )


@given(reward_batches(), st.sampled_from((0.1, 3.0, 10.0)), DDOF, st.sampled_from((1e-4, 0.5)))
def test_eps_leaves_this_much_of_the_factor(rewards, factor, ddof, eps):
    options = {"baseline": "group_mean", "scale": "group_std", "ddof": ddof}
    std = rewards.std(dim=1, correction=ddof, keepdim=True)
    kept = factor * (std + eps) / (factor * std + eps)  # c d / (c s + eps) over d / (s + eps)
    close(
        advantages(factor * rewards, **options, eps=eps),
        kept * advantages(rewards, **options, eps=eps),
    )


@pytest.mark.parametrize(("baseline", "scale"), EVERY)
@given(reward_batches(), st.randoms(use_true_random=False), DDOF, EPS)
def test_order_of_groups_and_of_samples_carries_over(baseline, scale, rewards, random, ddof, eps):
    options = {"baseline": baseline, "scale": scale, "ddof": ddof, "eps": eps}
    groups = random.sample(range(rewards.shape[0]), rewards.shape[0])
    samples = random.sample(range(rewards.shape[1]), rewards.shape[1])
    close(
        advantages(rewards[groups][:, samples], **options, running_mean=0.25),
        advantages(rewards, **options, running_mean=0.25)[groups][:, samples],
    )


@given(reward_batches())
def test_centred_advantages_sum_to_zero(rewards):
    options = {"scale": "none", "ddof": 1, "eps": 0.0}
    for baseline in ("group_mean", "leave_one_out"):
        close(
            advantages(rewards, baseline=baseline, **options).sum(dim=1),
            torch.zeros(rewards.shape[0], dtype=torch.float64),
        )
    total = advantages(rewards, baseline="batch_mean", **options).sum()
    close(total, torch.zeros((), dtype=torch.float64))


@given(reward_batches(), DDOF)
def test_a_scaled_group_has_unit_std_or_none(rewards, ddof):
    found = advantages(rewards, baseline="group_mean", scale="group_std", ddof=ddof, eps=0.0)
    flat = rewards.amax(dim=1) == rewards.amin(dim=1)
    close(found.std(dim=1, correction=ddof), (~flat).double())
