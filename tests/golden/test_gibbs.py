"""rl.tabular.gibbs: the optimum of E[r] - beta KL by closed forms, by a list and by autograd."""

import math

import pytest
import torch

from rl.tabular.exact import list_responses, response_logps, values
from rl.tabular.gibbs import gibbs_policy, gibbs_responses, places, regularised
from rl.tabular.worlds import chain_world, tree_world

BETA = 0.3


def random_tree(seed=0):
    generator = torch.Generator().manual_seed(seed)
    reward_PN = torch.randn(2, 27, generator=generator, dtype=torch.float64)
    world = tree_world(reward_PN, torch.zeros(2, dtype=torch.int64), vocabulary=3, length=3)
    logit_KV = torch.randn(world.next_KV.shape, generator=generator, dtype=torch.float64)
    return world, logit_KV.log_softmax(dim=1)


def test_binary_outcomes_move_by_the_difference_in_reward_over_beta():
    """logit p' = logit p + (r_1 - r_0) / beta."""
    p = 0.2
    world = tree_world(torch.tensor([[0.5, 2.0]]), torch.tensor([1]), vocabulary=2, length=1)
    reference_KV = torch.tensor([[1 - p, p]], dtype=torch.float64).log()
    best_KV, log_z_P = gibbs_policy(world, reference_KV, world.reward_KV, beta=BETA)
    logit = float(best_KV[0, 1] - best_KV[0, 0])
    assert logit == pytest.approx(math.log(p / (1 - p)) + 1.5 / BETA, abs=1e-12)
    z = (1 - p) * math.exp(0.5 / BETA) + p * math.exp(2.0 / BETA)
    assert float(log_z_P) == pytest.approx(math.log(z), abs=1e-12)


def test_token_by_token_it_is_the_tilted_distribution_of_responses():
    world, reference_KV = random_tree()
    listing = list_responses(world)
    best_KV, log_z_P = gibbs_policy(world, reference_KV, world.reward_KV, beta=BETA)
    tilted_PN, listed_z_P = gibbs_responses(
        response_logps(listing, reference_KV), listing.reward_PN, beta=BETA
    )
    ones_K = torch.ones(world.contexts, dtype=torch.float64)
    assert torch.allclose(best_KV.exp().sum(dim=1), ones_K, rtol=0, atol=1e-12)
    assert torch.allclose(response_logps(listing, best_KV), tilted_PN, rtol=0, atol=1e-12)
    assert torch.allclose(log_z_P, listed_z_P, rtol=0, atol=1e-12)


def test_no_policy_has_a_higher_objective():
    """Its gradient vanishes there, every perturbation lowers it, and its value is beta log Z."""
    world, reference_KV = random_tree(1)
    best_KV, log_z_P = gibbs_policy(world, reference_KV, world.reward_KV, beta=BETA)

    def objective(logit_KV):
        logp_KV = logit_KV.log_softmax(dim=1)
        return regularised(world, logp_KV, reference_KV, world.reward_KV, beta=BETA).mean()

    leaf_KV = best_KV.clone().requires_grad_()
    top = objective(leaf_KV)
    assert top.item() == pytest.approx(BETA * float(log_z_P.mean()), abs=1e-12)
    (slope_KV,) = torch.autograd.grad(top, leaf_KV)
    assert float(slope_KV.abs().max()) < 1e-12
    generator = torch.Generator().manual_seed(2)
    for size in (0.01, 0.1, 1.0):
        for _ in range(20):
            nudge_KV = size * torch.randn(best_KV.shape, generator=generator, dtype=torch.float64)
            assert float(objective(best_KV + nudge_KV)) < top.item()


def test_what_a_policy_lacks_is_beta_times_its_divergence_from_the_best():
    world, reference_KV = random_tree(3)
    _, other_KV = random_tree(4)
    best_KV, log_z_P = gibbs_policy(world, reference_KV, world.reward_KV, beta=BETA)
    lacking_P = BETA * log_z_P - regularised(
        world, other_KV, reference_KV, world.reward_KV, beta=BETA
    )
    kl_P = values(world, other_KV, other_KV - best_KV)
    assert torch.allclose(lacking_P, BETA * kl_P, rtol=0, atol=1e-12)
    assert float(lacking_P.min()) > 0


def test_places_and_faults():
    world, reference_KV = random_tree()
    assert places(world)[:13].tolist() == [0, 1, 1, 1, *[2] * 9]
    with pytest.raises(ValueError, match="a number over 0, got 0"):
        gibbs_policy(world, reference_KV, world.reward_KV, beta=0.0)
    with pytest.raises(ValueError, match="over 0, got -1"):
        gibbs_responses(torch.zeros(1, 2), torch.zeros(1, 2), beta=-1.0)
    with pytest.raises(ValueError, match="expected a tree"):
        places(chain_world(prompts=2, good=2, lost=2, length=3))
    with pytest.raises(ValueError, match="no prompt leads to"):
        places(chain_world(prompts=1, good=2, lost=2, length=1))
