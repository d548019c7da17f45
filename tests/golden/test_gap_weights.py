"""Weights for the gap between sampler and trainer, by hand."""

import math

import pytest
import torch

from rl.losses import gap_weights

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)
YES, NO = True, False


def test_ratio_of_trainer_to_sampler_up_to_the_cap() -> None:
    """pi_trainer / pi_sampler = (1/2) / (1/4), (1/4) / (1/2), (1/2) / (1/8), and 1."""
    trainer = torch.tensor([[-LN2, -LN4, -LN2, -LN3]])
    sampler = torch.tensor([[-LN4, -LN2, -3 * LN2, -LN3]])
    mask = torch.tensor([[YES, YES, YES, YES]])
    weight, capped = gap_weights(trainer, sampler, mask, cap=3.0)
    torch.testing.assert_close(weight, torch.tensor([[2.0, 0.5, 3.0, 1.0]]))
    assert capped.tolist() == [[NO, NO, YES, NO]]
    weight, capped = gap_weights(trainer, sampler, mask, cap=1.0)
    torch.testing.assert_close(weight, torch.tensor([[1.0, 0.5, 1.0, 1.0]]))
    assert capped.tolist() == [[YES, NO, YES, NO]]


def test_exactly_one_where_both_agree_whatever_the_cap() -> None:
    logp = -torch.rand(4, 7, generator=torch.Generator().manual_seed(0)) * 20
    mask = torch.ones(4, 7, dtype=torch.bool)
    for cap in (1.0, 2.0, 1e9):
        weight, capped = gap_weights(logp, logp.clone(), mask, cap=cap)
        assert torch.equal(weight, torch.ones(4, 7))
        assert not capped.any()


def test_what_stands_off_the_response_is_ignored() -> None:
    trainer = torch.tensor([[math.nan, -LN2, math.inf]])
    sampler = torch.tensor([[0.0, -LN4, -math.inf]])
    weight, capped = gap_weights(trainer, sampler, torch.tensor([[NO, YES, NO]]), cap=1.5)
    assert weight.tolist() == [[1.0, 1.5, 1.0]]
    assert capped.tolist() == [[NO, YES, NO]]


def test_no_gradient_goes_through() -> None:
    trainer = torch.tensor([[-LN2]], requires_grad=True)
    sampler = torch.tensor([[-LN4]], requires_grad=True)
    weight, _ = gap_weights(trainer, sampler, torch.tensor([[YES]]), cap=9.0)
    assert not weight.requires_grad


def test_expectation_under_the_sampler_is_that_under_the_trainer() -> None:
    """By enumeration of one token out of three: sum_v q_v (p_v / q_v) f_v = sum_v p_v f_v."""
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.25, 0.35, 0.4]).double()
    f = torch.tensor([1.0, -2.0, 5.0]).double()
    mask = torch.ones(3, 1, dtype=torch.bool)
    weight, _ = gap_weights(p.log()[:, None].float(), q.log()[:, None].float(), mask, cap=9.0)
    torch.testing.assert_close(float((q * weight[:, 0] * f).sum()), 0.9)  # .5 - .6 + 1


@pytest.mark.parametrize("cap", [0.5, -2.0, math.nan])
def test_a_cap_below_one_is_refused(cap: float) -> None:
    logp = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="a cap of 1 or more"):
        gap_weights(logp, logp, torch.ones(1, 2, dtype=torch.bool), cap=cap)
