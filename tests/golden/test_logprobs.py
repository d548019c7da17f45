"""rl.logprobs against numbers worked out by hand: the shift, the temperature, the padding."""

import math

import pytest
import torch

from rl.logprobs import token_logps

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
