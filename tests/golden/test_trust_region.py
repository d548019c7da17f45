"""rl.tabular.trust_region: the Fisher matrix against a list of scores, and the step's promises."""

import math

import pytest
import torch

from rl.tabular.exact import (
    divergences,
    list_responses,
    response_logps,
    scores,
    values,
)
from rl.tabular.trust_region import fisher, trust_region_step, visits
from rl.tabular.worlds import tree_world


def random_tree(seed=0, prompts=2):
    generator = torch.Generator().manual_seed(seed)
    reward_PN = torch.randn(prompts, 9, generator=generator, dtype=torch.float64)
    target_P = torch.zeros(prompts, dtype=torch.int64)
    world = tree_world(reward_PN, target_P, vocabulary=3, length=2)
    logit_KV = torch.randn(world.next_KV.shape, generator=generator, dtype=torch.float64)
    return world, logit_KV.float().double()


def step(world, logit_KV, *, radius, damping=1e-9, backtracks=10, sign=1.0):
    return trust_region_step(
        world,
        logit_KV,
        lambda logp_KV: sign * values(world, logp_KV, world.reward_KV).mean(),
        radius=radius,
        damping=damping,
        backtracks=backtracks,
    )


def test_the_fisher_matrix_is_the_mean_square_of_listed_scores():
    world, logit_KV = random_tree()
    logp_KV = logit_KV.log_softmax(dim=1)
    listing = list_responses(world)
    probability_PN = response_logps(listing, logp_KV).exp()
    own = world.contexts // world.prompts
    found_KVV = fisher(world, logp_KV)
    for prompt in range(world.prompts):
        first = prompt * own
        score_ND = scores(listing, logp_KV, prompt=prompt, first=first, count=own)
        listed_DD = score_ND.T @ (probability_PN[prompt][:, None] * score_ND) / world.prompts
        blocks_DD = torch.block_diag(*found_KVV[first : first + own])
        assert torch.allclose(listed_DD, blocks_DD, rtol=0, atol=1e-12)
    assert float(visits(world, logp_KV).sum()) == pytest.approx(world.length)


def test_the_fisher_matrix_is_the_curvature_of_the_divergence():
    world, logit_KV = random_tree(1)
    logp_KV = logit_KV.log_softmax(dim=1)

    def kl(flat_D):
        other_KV = flat_D.view_as(logit_KV).log_softmax(dim=1)
        return divergences(world, logp_KV, other_KV).mean()

    hessian_DD = torch.autograd.functional.hessian(kl, logit_KV.flatten())
    blocks_DD = torch.block_diag(*fisher(world, logp_KV))
    assert torch.allclose(hessian_DD, blocks_DD, rtol=0, atol=1e-12)


def test_two_tokens_by_hand():
    """One context, p = 1/2, rewards 0 and 1: g = (-1/4, 1/4) and F = [[1, -1], [-1, 1]] / 4, so
    that x = (-1/2, 1/2), x'Fx = 1/4, and the full step is sqrt(8 radius) x."""
    world = tree_world(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), vocabulary=2, length=1)
    logit_KV = torch.zeros(1, 2, dtype=torch.float64)
    radius = 1e-4
    found = step(world, logit_KV, radius=radius, damping=1e-12)
    half = math.sqrt(8 * radius) / 2 * found.share
    assert found.logit_KV.tolist() == [pytest.approx([-half, half], rel=1e-6)]
    assert found.share in (1.0, 0.5)
    assert found.divergence == pytest.approx(math.log(math.cosh(half)), rel=1e-6)


def test_it_is_the_best_of_all_steps_as_long_in_divergence():
    """To first order: no random direction of the same KL gains more."""
    world, logit_KV = random_tree(2)
    old_KV = logit_KV.log_softmax(dim=1)

    def gain(new_KV):
        logp_KV = new_KV.log_softmax(dim=1)
        reward = values(world, logp_KV, world.reward_KV) - values(world, old_KV, world.reward_KV)
        return float(reward.mean())

    found = step(world, logit_KV, radius=1e-6)
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        way_KV = torch.randn(logit_KV.shape, generator=generator, dtype=torch.float64)
        curvature = float(torch.einsum("kv,kvu,ku->", way_KV, fisher(world, old_KV), way_KV))
        other_KV = logit_KV + math.sqrt(2 * found.divergence / curvature) * way_KV
        assert gain(other_KV) < gain(found.logit_KV)


@pytest.mark.parametrize("radius", [1e-4, 0.01, 0.3, 3.0])
def test_it_stays_within_the_radius_and_raises_what_is_to_rise(radius):
    world, logit_KV = random_tree(4)
    before = values(world, logit_KV.log_softmax(dim=1), world.reward_KV).mean()
    for damping in (1e-9, 0.1):
        found = step(world, logit_KV, radius=radius, damping=damping)
        logp_KV = found.logit_KV.log_softmax(dim=1)
        kl = float(divergences(world, logit_KV.log_softmax(dim=1), logp_KV).mean())
        assert 0 < kl <= radius
        assert kl == found.divergence
        assert float(values(world, logp_KV, world.reward_KV).mean()) > float(before)
        assert torch.equal(found.logit_KV, found.logit_KV.float().double())
    down = step(world, logit_KV, radius=radius, sign=-1.0).logit_KV.log_softmax(dim=1)
    assert float(values(world, down, world.reward_KV).mean()) < float(before)


def test_without_a_gradient_nothing_moves():
    world, logit_KV = random_tree(5)
    found = step(world, logit_KV, radius=0.1, sign=0.0)
    assert torch.equal(found.logit_KV, logit_KV)
    assert (found.divergence, found.share) == (0.0, 0.0)
    with pytest.raises(ValueError, match="over 0, got 0"):
        step(world, logit_KV, radius=0.0)
