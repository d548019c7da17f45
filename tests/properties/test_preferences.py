"""GAE against its double sum, and what must not change a loss of preferences."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, strategies as st

from rl.gae import gae
from rl.losses.preference import LOSSES, SMOOTHED, WITHOUT_REFERENCE, Pairs, preference_loss

SHARES = st.floats(0, 1)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@st.composite
def responses(draw):
    """Responses that start and end anywhere in their rows; V after them, 0 where they ended."""
    count, width = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    start = torch.tensor(draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    position = torch.arange(width)[None]
    length = torch.randint(0, 7, (count,), generator=random)
    mask = (position >= start[:, None]) & (position < (start + length)[:, None])
    reward, value = torch.randn(2, count, width, dtype=torch.float64, generator=random)
    after = torch.randn(count, dtype=torch.float64, generator=random)
    after = after * (torch.rand(count, generator=random) < 0.5)
    return reward, value, mask, after


def double_loop(reward, value, mask, after, discount, trace):
    found = torch.zeros_like(reward)
    for i in range(len(reward)):
        own = mask[i].nonzero().flatten().tolist()
        values = [float(value[i, t]) for t in own] + [float(after[i])]
        errors = [
            float(reward[i, t]) + discount * values[k + 1] - values[k] for k, t in enumerate(own)
        ]
        for k, t in enumerate(own):
            found[i, t] = sum((discount * trace) ** (m - k) * errors[m] for m in range(k, len(own)))
    return found


@given(responses(), SHARES, SHARES)
def test_gae_is_the_double_loop(batch, discount, trace):
    reward, value, mask, after = batch
    options = {"discount": discount, "trace": trace}
    advantage, target = gae(reward, value, mask, value_after_B=after, **options)
    close(advantage, double_loop(*batch, discount, trace))
    close(target, advantage + value.masked_fill(~mask, 0.0))
    ended, _ = gae(reward, value, mask, value_after_B=None, **options)
    close(ended, double_loop(reward, value, mask, torch.zeros_like(after), discount, trace))


@given(responses(), SHARES)
def test_gae_at_lambda_one_is_monte_carlo_less_the_value_and_at_zero_the_td_error(batch, discount):
    reward, value, mask, after = batch
    options = {"discount": discount, "value_after_B": after}
    _, monte_carlo = gae(reward, value, mask, trace=1.0, **options)
    errors, _ = gae(reward, value, mask, trace=0.0, **options)
    for i in range(len(reward)):
        to_go, next_value = float(after[i]), float(after[i])
        for t in reversed(mask[i].nonzero().flatten().tolist()):
            to_go = float(reward[i, t]) + discount * to_go
            assert float(monte_carlo[i, t]) == pytest.approx(to_go, abs=1e-9)
            error = float(reward[i, t]) + discount * next_value - float(value[i, t])
            assert float(errors[i, t]) == pytest.approx(error, abs=1e-9)
            next_value = float(value[i, t])


@given(responses(), SHARES, SHARES, st.integers(1, 3))
def test_padding_and_prompts_leave_gae_alone(batch, discount, trace, more):
    reward, value, mask, after = batch
    options = {"discount": discount, "trace": trace, "value_after_B": after}
    plain = gae(reward, value, mask, **options)
    wide = [
        torch.nn.functional.pad(x, (more, more), value=fill)
        for x, fill in ((reward, 9.0), (value, -9.0), (mask, False))
    ]
    for found, expected in zip(gae(*wide, **options), plain, strict=True):
        close(found[:, more:-more], expected)
        assert float(found[:, :more].abs().sum() + found[:, -more:].abs().sum()) == 0


@st.composite
def pairs_of(draw):
    count = draw(st.integers(1, 5))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    logp = -4 * torch.rand(4, count, dtype=torch.float64, generator=random)
    return Pairs(*logp, *torch.randint(1, 9, (2, count), generator=random))


def loss_of(pairs, name, beta=0.7, smoothing=0.0):
    if name in WITHOUT_REFERENCE:
        pairs = replace(pairs, ref_chosen_B=None, ref_rejected_B=None)
    gamma = 0.4 if name == "simpo" else None
    return preference_loss(pairs, name=name, beta=beta, label_smoothing=smoothing, gamma=gamma)


def swapped(pairs):
    return Pairs(
        pairs.rejected_B,
        pairs.chosen_B,
        pairs.ref_rejected_B,
        pairs.ref_chosen_B,
        pairs.rejected_length_B,
        pairs.chosen_length_B,
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(pairs_of(), st.randoms(use_true_random=False))
def test_pairs_are_judged_one_by_one(name, pairs, random):
    count = len(pairs.chosen_B)
    order = torch.tensor(random.sample(range(count), count))
    moved = Pairs(*(getattr(pairs, field.name)[order] for field in fields(Pairs)))
    close(loss_of(moved, name), loss_of(pairs, name)[order])


@pytest.mark.parametrize("name", SMOOTHED)
@given(pairs_of(), st.floats(0, 0.49))
def test_smoothing_is_a_mean_over_swapped_pairs(name, pairs, share):
    expected = (1 - share) * loss_of(pairs, name) + share * loss_of(swapped(pairs), name)
    close(loss_of(pairs, name, smoothing=share), expected)


@given(pairs_of(), st.integers(1, 9))
def test_of_one_length_the_mean_is_the_sum_at_another_beta(pairs, length):
    same = torch.full_like(pairs.chosen_length_B, length)
    pairs = replace(pairs, chosen_length_B=same, rejected_length_B=same)
    close(loss_of(pairs, "dpo_mean", beta=0.7), loss_of(pairs, "dpo", beta=0.7 / length))
    close(
        loss_of(pairs, "ipo_mean", beta=0.7),
        loss_of(pairs, "ipo", beta=0.7 / length) / length**2,
    )


@given(pairs_of(), st.floats(-3, 3))
def test_what_policy_and_reference_share_cancels(pairs, shift):
    moved = replace(pairs, chosen_B=pairs.chosen_B + shift, ref_chosen_B=pairs.ref_chosen_B + shift)
    for name in set(LOSSES) - set(WITHOUT_REFERENCE):
        close(loss_of(moved, name), loss_of(pairs, name))
