"""rl.kl by hand and by enumeration."""

import math

import pytest
import torch

from rl.kl import kl_penalty

NAN, INF = math.nan, math.inf


def sequence_k1(logp, reference, mask, level="token"):
    return kl_penalty(logp, reference, mask, estimator="k1", level=level).sum(dim=1)


def test_sum_over_the_response_by_hand():
    logp = torch.tensor([[0.0, -1.0, -2.0, NAN], [0.0, -0.5, -0.25, -3.0]])
    reference = torch.tensor([[0.0, -1.5, -1.0, 5.0], [9.0, -1.5, -0.75, -1.0]])
    mask = torch.tensor([[False, True, True, False], [False, True, True, True]])
    # (-1 + 1.5) + (-2 + 1) = -0.5; (1) + (0.5) + (-2) = -0.5
    assert sequence_k1(logp, reference, mask).tolist() == [-0.5, -0.5]
    assert sequence_k1(logp, -INF * torch.ones_like(logp), mask).tolist() == [INF, INF]
    assert sequence_k1(logp, reference, torch.zeros_like(mask)).tolist() == [0.0, 0.0]


def test_its_mean_over_all_responses_is_the_divergence():
    """Two tokens of two kinds; pi and its reference depend on the first token."""
    pi_first, ref_first = [0.7, 0.3], [0.4, 0.6]
    pi_next, ref_next = [[0.2, 0.8], [0.9, 0.1]], [[0.5, 0.5], [0.3, 0.7]]
    pairs = [(a, b) for a in (0, 1) for b in (0, 1)]
    chance = [pi_first[a] * pi_next[a][b] for a, b in pairs]
    logp, reference = (
        torch.tensor([[0.0, math.log(first[a]), math.log(then[a][b])] for a, b in pairs])
        for first, then in ((pi_first, pi_next), (ref_first, ref_next))
    )
    mask = torch.tensor([[False, True, True]] * 4)
    mean = float((torch.tensor(chance) * sequence_k1(logp, reference, mask)).sum())
    exact = sum(
        p * math.log(p / (ref_first[a] * ref_next[a][b]))
        for p, (a, b) in zip(chance, pairs, strict=True)
    )
    assert mean == pytest.approx(exact, rel=1e-5)
    assert exact > 0.3
