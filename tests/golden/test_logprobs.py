"""rl.logprobs against numbers worked out by hand: the shift, the temperature, the padding."""

import math

import pytest
import torch

from rl.logprobs import token_entropies, token_logps

# Odds 1 : 3 at position 0, 4 : 1 at position 1; the last position scores nothing.
LOGITS = torch.log(torch.tensor([[[1.0, 3.0], [4.0, 1.0], [1.0, 9.0]]], dtype=torch.float64))


def test_logits_at_t_minus_1_score_token_t():
    found = token_logps(LOGITS, torch.tensor([[0, 1, 0]]), temperature=1.0)
    expected = torch.tensor([[0.0, math.log(3 / 4), math.log(4 / 5)]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_the_first_token_is_not_scored_and_the_last_logits_score_nothing():
    tokens = torch.tensor([[0, 1, 0]])
    base = token_logps(LOGITS, tokens, temperature=1.0)
    other_first = token_logps(LOGITS, torch.tensor([[1, 1, 0]]), temperature=1.0)
    other_last = token_logps(
        torch.cat([LOGITS[:, :2], -LOGITS[:, 2:]], dim=1), tokens, temperature=1.0
    )
    assert other_first.tolist() == base.tolist() == other_last.tolist()
    assert float(base[0, 0]) == 0.0


@pytest.mark.parametrize(("temperature", "odds"), [(0.5, 9.0), (1.0, 3.0), (2.0, math.sqrt(3))])
def test_logits_are_divided_by_the_temperature(temperature, odds):
    found = token_logps(LOGITS, torch.tensor([[0, 1, 0]]), temperature=temperature)
    assert float(found[0, 1]) == pytest.approx(math.log(odds / (1 + odds)), rel=1e-12)


def test_a_sequence_of_one_token_has_nothing_to_score():
    found = token_logps(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long), temperature=1.0)
    assert found.tolist() == [[0.0], [0.0]]


def test_large_logits_do_not_overflow():
    logits = torch.tensor([[[1e4, 0.0], [0.0, 0.0]]])
    assert token_logps(logits, torch.tensor([[0, 1]]), temperature=0.5).tolist() == [[0.0, -2e4]]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_widened(dtype, expected):
    found = token_logps(LOGITS.to(dtype), torch.tensor([[0, 1, 0]]), temperature=1.0)
    assert found.dtype == expected


def test_the_gradient_is_that_of_the_score():
    logits = LOGITS.clone().requires_grad_()
    token_logps(logits, torch.tensor([[0, 1, 0]]), temperature=2.0).sum().backward()
    # (onehot - softmax) / temperature at positions 0 and 1; odds sqrt(3) and 2 at temperature 2.
    other = 1 / (1 + math.sqrt(3)) / 2
    expected = [[[-other, other], [1 / 6, -1 / 6], [0.0, 0.0]]]
    torch.testing.assert_close(logits.grad, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature: expected a positive number"):
        token_logps(LOGITS, torch.tensor([[0, 1, 0]]), temperature=temperature)


def test_entropy_by_hand_stands_where_its_token_does():
    """Odds 1 : 3, then 4 : 1; the last logits drew nothing."""
    found = token_entropies(LOGITS, temperature=1.0)
    by_hand = [
        0.0,
        -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)),
        -(0.8 * math.log(0.8) + 0.2 * math.log(0.2)),
    ]
    torch.testing.assert_close(found, torch.tensor([by_hand], dtype=torch.float64))
    hot = token_entropies(LOGITS, temperature=1e9)
    torch.testing.assert_close(hot[:, 1:], torch.full((1, 2), math.log(2)).double())


def test_entropy_is_the_mean_of_minus_logp_and_rises_along_its_gradient():
    logits = LOGITS.clone().requires_grad_()
    every = [
        token_logps(LOGITS, torch.tensor([[0, a, b]]), temperature=0.5)
        for a in (0, 1)
        for b in (0, 1)
    ]
    mean = -sum(logp.exp() * logp for logp in every)[:, 1:] / 2  # each token in two pairs
    found = token_entropies(logits, temperature=0.5)
    torch.testing.assert_close(found[:, 1:].detach(), mean)
    found.sum().backward()
    assert logits.grad[0, 0, 0] > 0 > logits.grad[0, 0, 1]  # towards even odds
    assert not logits.grad[0, 2].any()


def test_a_token_that_cannot_be_adds_no_entropy():
    logits = torch.tensor([[[0.0, 0.0, -math.inf], [0.0, 0.0, 0.0]]])
    found = token_entropies(logits, temperature=1.0)
    assert found.tolist() == [[0.0, pytest.approx(math.log(2))]]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_entropy_needs_a_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        token_entropies(LOGITS, temperature=temperature)
