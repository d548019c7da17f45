"""Texts, best-of-n, the frontier, the fitted reward: by lists and closed forms."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings, strategies as st

from rl.exact import best_of_n_kl
from rl.losses.reward import bradley_terry
from rl.tabular.best_of_n import best_of_n_chances
from rl.tabular.frontier import (
    area_grid,
    area_share,
    frontier_rewards,
    reward_and_kl,
    swept_rewards,
)
from rl.tabular.gibbs import gibbs_responses
from rl.tabular.reward_model import fit_reward
from rl.tabular.texts import list_texts, prefix_features, text_logps, token_features, tree_logps


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def close(a, b, atol=1e-12):
    return torch.allclose(a, b, rtol=0, atol=atol)


def test_texts_end_once():
    """Of two letters and an end, up to two places: the end alone, a letter and the end, 2 x 2."""
    texts = list_texts(prompts=2, vocabulary=3, length=2)
    said = [
        tuple(token for token, w in zip(row, written, strict=True) if w)
        for row, written in zip(texts.token_NT.tolist(), texts.written_NT.tolist(), strict=True)
    ]
    assert said == [(0,), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert texts.lengths.tolist() == [1, 2, 2, 2, 2, 2, 2]
    assert prefix_features(texts).shape == (7, 9)  # three first tokens, six after a letter
    # The end, 1 and 2 in the first place, the same in the second.
    assert token_features(texts)[4].tolist() == [0, 0, 1, 1, 0, 0]


def test_a_tree_and_its_texts_say_the_same():
    texts = list_texts(prompts=2, vocabulary=3, length=3)
    logp_KV = normal(texts.contexts, 3).log_softmax(dim=1)
    logp_PN = text_logps(texts, logp_KV)
    assert close(logp_PN.exp().sum(dim=1), torch.ones(2, dtype=torch.float64))
    back_KV = tree_logps(texts, logp_PN)
    reached_K = texts.context_PNT[:, texts.written_NT].unique()
    assert close(back_KV[reached_K], logp_KV[reached_K])
    assert close(text_logps(texts, back_KV), logp_PN)
    side_by_side_SPN = text_logps(texts, torch.stack([logp_KV, back_KV]))
    assert close(side_by_side_SPN, logp_PN.expand(2, -1, -1))


@pytest.mark.parametrize("score", [[0.3, 2.0, -1.0], [1.0, 0.0, 1.0]])
def test_best_of_n_is_that_of_all_draws(score):
    """All 27 draws of three, the first of equals kept."""
    chance = [0.5, 0.2, 0.3]
    found = [0.0, 0.0, 0.0]
    for draw in product(range(3), repeat=3):
        best = max(draw, key=lambda y: score[y])
        found[best] += math.prod(chance[y] for y in draw)
    exact_PN = best_of_n_chances(
        torch.tensor([chance], dtype=torch.float64), torch.tensor([score]), n=3
    )
    assert exact_PN[0].tolist() == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_without_ties_its_divergence_is_known(n):
    """log n - (n - 1) / n as responses become many; for any number of them, at most that."""
    for responses, slack in [(3, None), (1000, 1e-4)]:
        chance_PN = torch.full((1, responses), 1 / responses, dtype=torch.float64)
        best_PN = best_of_n_chances(chance_PN, normal(1, responses), n=n)
        _, kl = reward_and_kl(best_PN.log(), chance_PN.log(), chance_PN)
        assert float(kl) <= best_of_n_kl(n) + 1e-12
        if slack is not None:
            assert float(kl) == pytest.approx(best_of_n_kl(n), abs=slack)
    with pytest.raises(ValueError, match="expected 1 or more, got 0"):
        best_of_n_chances(chance_PN, chance_PN, n=0)


def test_the_frontier_is_that_of_the_gibbs_policies():
    ref_PN, gold_PN = normal(3, 6).log_softmax(dim=1), normal(3, 6, seed=1)
    betas = (5.0, 1.0, 0.2)
    best = [gibbs_responses(ref_PN, gold_PN, beta=beta)[0] for beta in betas]
    reward_S, kl_S = reward_and_kl(torch.stack(best), ref_PN, gold_PN)
    assert close(frontier_rewards(ref_PN, gold_PN, kl_S), reward_S, atol=1e-9)
    ends = frontier_rewards(ref_PN, gold_PN, torch.tensor([0.0, 1e3], dtype=torch.float64))
    assert float(ends[0]) == pytest.approx(float((ref_PN.exp() * gold_PN).sum() / 3), abs=1e-6)
    assert float(ends[1]) == pytest.approx(float(gold_PN.amax(dim=1).mean()), abs=1e-12)
    with pytest.raises(ValueError, match="0 or more"):
        frontier_rewards(ref_PN, gold_PN, torch.tensor([-0.1]))


def test_of_two_outcomes_the_frontier_is_a_quantile():
    """Reward 1 with the probability q > 1/2 whose KL from 1/2 is log 2 - entropy(q)."""
    ref_PN = torch.full((1, 2), 0.5, dtype=torch.float64).log()
    q = 0.8
    kl = math.log(2) + q * math.log(q) + (1 - q) * math.log(1 - q)
    reward_PN = torch.eye(2, dtype=torch.float64)[:1]
    kl_S = torch.full((1,), kl, dtype=torch.float64)
    reward = frontier_rewards(ref_PN, reward_PN, kl_S)
    assert float(reward) == pytest.approx(q, abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), far=st.floats(0.0, 8.0), spread=st.floats(0.0, 3.0))
def test_no_policy_beats_the_frontier(seed, far, spread):
    """Nor is it lower at more KL, and the hull of any sweep lies under it."""
    ref_PN = (spread * normal(2, 5, seed=seed)).log_softmax(dim=1)
    gold_PN = normal(2, 5, seed=seed + 1)
    other_SPN = (ref_PN + far * normal(4, 2, 5, seed=seed + 2)).log_softmax(dim=-1)
    reward_S, kl_S = reward_and_kl(other_SPN, ref_PN, gold_PN)
    kl_S = kl_S.clamp(min=0.0)
    assert bool((reward_S <= frontier_rewards(ref_PN, gold_PN, kl_S) + 1e-6).all())
    grid_Q = area_grid(3.0)
    best_Q = frontier_rewards(ref_PN, gold_PN, grid_Q)
    assert bool((best_Q.diff() >= -1e-9).all())
    start = float(reward_and_kl(ref_PN, ref_PN, gold_PN)[0])
    swept_Q = swept_rewards(kl_S, reward_S, grid_Q, start=start)
    assert bool((swept_Q <= best_Q + 1e-6).all())
    assert bool((swept_Q.diff() >= 0).all())
    assert -1e-6 <= area_share(swept_Q, best_Q, grid_Q) <= 1 + 1e-6


def test_a_sweep_is_worth_its_concave_hull():
    """Of (1, 2), (2, 1), (2, 2.2), (4, 3) from (0, 0) the two in the middle are under it."""
    kl_S = torch.tensor([4.0, 2.0, 1.0, 2.0])
    reward_S = torch.tensor([3.0, 2.2, 2.0, 1.0])
    at_Q = torch.tensor([0.0, 0.5, 1.0, 2.5, 4.0, 9.0])
    found_Q = swept_rewards(kl_S, reward_S, at_Q, start=0.0)
    assert found_Q.tolist() == pytest.approx([0.0, 1.0, 2.0, 2.5, 3.0, 3.0])
    flat_Q = swept_rewards(kl_S, reward_S, at_Q, start=5.0)
    assert flat_Q.tolist() == [5.0] * 6
    grid_Q = torch.tensor([0.0, 1.0, 2.0])
    assert area_share(grid_Q / 2, grid_Q, grid_Q) == pytest.approx(0.5)
    assert math.isnan(area_share(grid_Q * 0, grid_Q * 0, grid_Q))


PAIRS = {
    "prompt_M": torch.tensor([0, 0, 0, 1, 1]),
    "chosen_M": torch.tensor([0, 1, 1, 2, 3]),
    "rejected_M": torch.tensor([1, 0, 2, 0, 2]),
    "weight_M": torch.tensor([0.3, 0.1, 0.2, 0.3, 0.1], dtype=torch.float64),
}


def test_the_fit_is_at_rest():
    """By autograd of the objective, in features that responses share."""
    texts = list_texts(prompts=2, vocabulary=2, length=2)  # the end; a letter and either: 3 texts
    feature_ND = torch.cat([prefix_features(texts), normal(3, 1)], dim=1)
    feature_ND = torch.cat([feature_ND, normal(1, feature_ND.shape[1], seed=3)])
    score_PN = fit_reward(feature_ND, **PAIRS, prompts=2, l2=0.01)
    w_PD = torch.linalg.lstsq(feature_ND, score_PN.T).solution.T.detach().requires_grad_()
    fitted_PN = w_PD @ feature_ND.T
    assert close(fitted_PN.detach(), score_PN, atol=1e-9)
    at, off = (PAIRS["prompt_M"], PAIRS["chosen_M"]), (PAIRS["prompt_M"], PAIRS["rejected_M"])
    loss_M = bradley_terry(fitted_PN[at], fitted_PN[off], margin_B=None)
    loss = (PAIRS["weight_M"] * loss_M).sum() + 0.005 * w_PD.square().sum()
    (slope_PD,) = torch.autograd.grad(loss, w_PD)
    # The ridge is on weights in the features' span alone, where least squares are: rows suffice.
    assert float((slope_PD @ feature_ND.T).abs().max()) < 1e-8


def test_a_pair_that_is_labelled_both_ways_has_its_log_odds():
    """3 to 1 between two responses is log 3; what no pair holds stays at 0."""
    score_PN = fit_reward(
        torch.eye(3, dtype=torch.float64),
        prompt_M=torch.tensor([0, 0]),
        chosen_M=torch.tensor([0, 1]),
        rejected_M=torch.tensor([1, 0]),
        weight_M=torch.tensor([0.75, 0.25], dtype=torch.float64),
        prompts=1,
        l2=1e-9,
    )
    assert score_PN[0].tolist() == pytest.approx([math.log(3) / 2, -math.log(3) / 2, 0.0], abs=1e-6)
    with pytest.raises(ValueError, match="expected a number over 0"):
        fit_reward(torch.eye(4, dtype=torch.float64), **PAIRS, prompts=2, l2=0.0)
