"""rl.losses.aggregate by hand, on responses of uneven length."""

import pytest
import torch

from rl.logprobs import token_logps
from rl.losses import AGGREGATES, aggregate

# Lengths 1, 3 and 2; 99 stands where nothing may look.
VALUE = torch.tensor([[6.0, 99.0, 99.0], [1.0, 2.0, 3.0], [4.0, -6.0, 99.0]])
MASK = torch.arange(3) < torch.tensor([1, 3, 2])[:, None]
TOTALS = {"sequences": 3, "tokens": 6, "max_length": 5}


@pytest.mark.parametrize(
    ("mode", "expected", "gradient"),
    [
        # by hand (6 + 6/3 - 2/2) / 3, and 1 / (3 |o_i|) a token
        ("sequence_mean", 7 / 3, [1 / 3, 1 / 9, 1 / 6]),
        # by hand (6 + 6 - 2) / 6
        ("token_mean", 10 / 6, [1 / 6, 1 / 6, 1 / 6]),
        # by hand (6 + 6 - 2) / (3 * 5): the padded width of 3 does not enter
        ("constant", 10 / 15, [1 / 15, 1 / 15, 1 / 15]),
    ],
)
def test_modes(mode, expected, gradient):
    value = VALUE.clone().requires_grad_()
    found = aggregate(value, MASK, mode=mode, **TOTALS)
    found.backward()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(value.grad, torch.tensor(gradient)[:, None] * MASK)


def test_every_mode_is_pinned_here():
    assert set(AGGREGATES) == {"sequence_mean", "token_mean", "constant"}


@pytest.mark.parametrize("mode", sorted(AGGREGATES))
def test_denominators_are_those_of_the_whole_batch(mode):
    whole = aggregate(VALUE, MASK, mode=mode, **TOTALS)
    parts = [aggregate(VALUE[i : i + 1], MASK[i : i + 1], mode=mode, **TOTALS) for i in range(3)]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    doubled = aggregate(VALUE, MASK, mode=mode, sequences=6, tokens=12, max_length=5)
    torch.testing.assert_close(doubled, whole / 2)


def test_only_constant_reads_max_length():
    for mode in ("sequence_mean", "token_mean"):
        with_length = aggregate(VALUE, MASK, mode=mode, **TOTALS)
        without = aggregate(VALUE, MASK, mode=mode, sequences=3, tokens=6)
        assert float(with_length) == float(without)
    shortest = aggregate(VALUE, MASK, mode="constant", sequences=3, tokens=6, max_length=1)
    assert float(shortest) == pytest.approx(10 / 3)
    for max_length in (None, 0):
        with pytest.raises(ValueError, match="needs max_length >= 1"):
            aggregate(VALUE, MASK, mode="constant", sequences=3, tokens=6, max_length=max_length)


@pytest.mark.parametrize(
    ("mode", "expected"), [("sequence_mean", 3.0), ("token_mean", 4.0), ("constant", 1.2)]
)
def test_an_empty_response_adds_nothing_and_still_counts(mode, expected):
    value = torch.tensor([[5.0, 7.0], [99.0, 99.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [False, False]])
    found = aggregate(value, mask, mode=mode, sequences=2, tokens=3, max_length=5)
    found.backward()
    # 6 / 2, 12 / 3 (one more token elsewhere in the batch), 12 / (2 * 5)
    assert float(found.detach()) == pytest.approx(expected)
    assert value.grad[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mode", sorted(AGGREGATES))
def test_a_batch_without_any_token_gives_zero(mode):
    none = torch.zeros(2, 3, dtype=torch.bool)
    found = aggregate(VALUE[:2], none, mode=mode, sequences=2, tokens=0, max_length=5)
    assert float(found) == 0.0


@pytest.mark.parametrize("mode", sorted(AGGREGATES))
def test_what_stands_in_the_padding_never_matters(mode):
    clean = aggregate(VALUE, MASK, mode=mode, **TOTALS)
    for dirt in (float("nan"), float("inf"), -1e30):
        value = VALUE.masked_fill(~MASK, dirt).requires_grad_()
        found = aggregate(value, MASK, mode=mode, **TOTALS)
        found.backward()
        assert float(found.detach()) == float(clean)
        assert value.grad[~MASK].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("mode", sorted(AGGREGATES))
def test_a_pad_that_is_also_eos_does_not_hide_the_real_eos(mode):
    # Prompt [3], response [2, 0], where 0 ends a text and also pads it.
    tokens = torch.tensor([[3, 2, 0, 0, 0]])
    logits = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
    logp = token_logps(logits, tokens, temperature=1.0)
    position = torch.arange(5)[None]
    mask = (position >= 1) & (position < 3)  # from the lengths: prompt 1, prompt + response 3
    totals = {"mode": mode, "sequences": 1, "tokens": 2, "max_length": 2}
    padded = aggregate(logp, mask, **totals)
    torch.testing.assert_close(padded, (logp[0, 1] + logp[0, 2]) / 2)
    by_id = aggregate(logp, mask & (tokens != 0), **totals)
    assert abs(float(by_id - padded)) > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "mean"}, "mode: expected one of sequence_mean, token_mean, constant"),
        ({"sequences": 0}, "whole batch's totals"),
        ({"tokens": -1}, "whole batch's totals"),
    ],
)
def test_bad_totals_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        aggregate(VALUE, MASK, **{"mode": "token_mean", **TOTALS, **changes})
