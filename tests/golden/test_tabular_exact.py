"""rl.tabular: trees and chains by hand, and expectations against a list of all responses."""

import math

import pytest
import torch

from rl.tabular.exact import (
    best_values,
    divergences,
    entropies,
    greedy_logps,
    list_responses,
    response_logps,
    rewards_by_place,
    scores,
    squared_scores,
    values,
)
from rl.tabular.worlds import (
    chain_world,
    demonstrator,
    response_tokens,
    tree_contexts,
    tree_world,
)

REWARDS = torch.tensor(
    [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0]],
    dtype=torch.float64,
)


def tree():
    """Two prompts, two tokens, three places; the targets are 0 1 1 and 1 0 0."""
    return tree_world(REWARDS, torch.tensor([3, 4]), vocabulary=2, length=3)


def chain(length=3):
    return chain_world(prompts=2, good=2, lost=2, length=length)


def random_logps(world, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logit_KV = torch.randn(world.next_KV.shape, generator=generator, dtype=torch.float64)
    return logit_KV.log_softmax(dim=1)


def test_a_tree_by_hand():
    world = tree()
    assert tree_contexts(vocabulary=2, length=3) == 7  # 1 + 2 + 4
    assert (world.prompts, world.contexts, world.vocabulary) == (2, 14, 2)
    assert world.start_P.tolist() == [0, 7]
    assert world.next_KV[:7].tolist() == [[1, 2], [3, 4], [5, 6], *[[0, 0]] * 4]
    assert world.next_KV[7:10].tolist() == [[8, 9], [10, 11], [12, 13]]
    assert world.reward_KV[:7].tolist() == [*[[0, 0]] * 3, [0, 1], [2, 3], [4, 5], [6, 8]]
    # The target's token of the place, whatever came before.
    assert world.right_K.tolist() == [0, 1, 1, 1, 1, 1, 1, *[1, 0, 0, 0, 0, 0, 0]]
    assert demonstrator(world, noise=0.25)[:2].tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_a_slip_in_a_tree_is_any_other_token():
    world = tree_world(torch.zeros(1, 4).double(), torch.tensor([1]), vocabulary=4, length=1)
    assert demonstrator(world, noise=0.3)[0].tolist() == pytest.approx([0.1, 0.7, 0.1, 0.1])


def test_responses_are_the_digits_of_their_numbers():
    assert response_tokens(vocabulary=3, length=2).tolist() == [
        [0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2],
    ]  # fmt: skip


def test_a_chain_by_hand():
    world = chain()
    assert world.start_P.tolist() == [0, 1]
    assert world.right_K.tolist() == [1, 0, 0, 1]  # round the ring 0 1, and back from 2 and 3
    assert world.next_KV.tolist() == [[0, 1, 2, 3]] * 4
    assert demonstrator(world, noise=0.2).tolist() == [
        pytest.approx(row)
        for row in ([0, 0.8, 0.1, 0.1], [0.8, 0, 0.1, 0.1], [0.8, 0, 0.1, 0.1], [0, 0.8, 0.1, 0.1])
    ]
    assert best_values(world, world.reward_KV).tolist() == pytest.approx([1.0, 1.0])
    # A demonstrator of noise .2 is right .8 of the time everywhere.
    logp_KV = demonstrator(world, noise=0.2).log()
    assert values(world, logp_KV, world.reward_KV).tolist() == pytest.approx([0.8, 0.8])
    by_place = rewards_by_place(world, logp_KV, 3 * world.reward_KV)
    assert by_place.tolist() == pytest.approx([0.8, 0.8, 0.8])


def test_who_never_saw_a_slip_stays_lost():
    """Good contexts: right with .9, else a lost token; lost ones: all four tokens alike.

    On the track with chance d, right with .9 d + .25 (1 - d); then d' = .9 d + .5 (1 - d):
    1, .9, .86.
    """
    world = chain()
    probability_KV = demonstrator(world, noise=0.1)
    probability_KV[2:] = 0.25
    by_place = rewards_by_place(world, probability_KV.log(), 3 * world.reward_KV)
    assert by_place.tolist() == pytest.approx([0.9, 0.9 * 0.9 + 0.025, 0.9 * 0.86 + 0.035])


@pytest.mark.parametrize("make", [tree, chain])
def test_expectations_equal_sums_over_all_responses(make):
    world = make()
    logp_KV, other_KV = random_logps(world), random_logps(world, seed=1)
    listing = list_responses(world)
    logp_PN = response_logps(listing, logp_KV)
    probability_PN = logp_PN.exp()
    assert probability_PN.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])

    def mean(value_PN):
        return (probability_PN * value_PN).sum(dim=1)

    torch.testing.assert_close(values(world, logp_KV, world.reward_KV), mean(listing.reward_PN))
    torch.testing.assert_close(entropies(world, logp_KV), mean(-logp_PN))
    torch.testing.assert_close(
        divergences(world, logp_KV, other_KV), mean(logp_PN - response_logps(listing, other_KV))
    )
    torch.testing.assert_close(best_values(world, world.reward_KV), listing.reward_PN.amax(dim=1))
    total = rewards_by_place(world, logp_KV, world.reward_KV).sum()
    torch.testing.assert_close(total, mean(listing.reward_PN).mean())


def test_rewards_of_a_tree_are_those_given():
    assert list_responses(tree()).reward_PN.tolist() == REWARDS.tolist()


@pytest.mark.parametrize("make", [tree, chain])
def test_scores_are_gradients(make):
    world = make()
    logit_KV = random_logps(world).requires_grad_()
    listing = list_responses(world)
    logp_PN = response_logps(listing, logit_KV.log_softmax(dim=1))
    score_ND = scores(listing, logit_KV.log_softmax(dim=1), prompt=1, first=0, count=world.contexts)
    assert score_ND.requires_grad is False
    for n in range(len(listing.token_NT)):
        (gradient_KV,) = torch.autograd.grad(logp_PN[1, n], logit_KV, retain_graph=True)
        torch.testing.assert_close(score_ND[n], gradient_KV.flatten())


def test_squared_scores_in_a_tree():
    world = tree()
    logp_KV = random_logps(world)
    listing = list_responses(world)
    for prompt in (0, 1):
        score_ND = scores(listing, logp_KV, prompt=prompt, first=7 * prompt, count=7)
        torch.testing.assert_close(
            squared_scores(listing, logp_KV)[prompt], score_ND.square().sum(dim=1)
        )


def test_a_certain_policy_has_no_entropy_and_takes_the_first_of_equals():
    world = tree()
    greedy_KV = greedy_logps(torch.zeros(14, 2).double())
    assert entropies(world, greedy_KV).tolist() == [0.0, 0.0]
    assert values(world, greedy_KV, world.reward_KV).tolist() == [0.0, 1.0]  # response 0 0 0
    assert divergences(world, greedy_KV, torch.full((14, 2), 0.5).double().log()).tolist() == (
        pytest.approx([3 * math.log(2)] * 2)
    )


def test_what_fits_no_world_is_refused():
    world = tree()
    with pytest.raises(ValueError, match=r"expected rewards \[P, V\^T\]"):
        tree_world(REWARDS, torch.tensor([0, 0]), vocabulary=3, length=2)
    with pytest.raises(ValueError, match=r"target_P: expected 2 numbers in \[0, 8\)"):
        tree_world(REWARDS, torch.tensor([0, 8]), vocabulary=2, length=3)
    with pytest.raises(ValueError, match="expected prompts >= 1"):
        chain_world(prompts=1, good=1, lost=1, length=3)
    with pytest.raises(ValueError, match="noise: expected a share"):
        demonstrator(world, noise=1.5)
    with pytest.raises(ValueError, match="expected tables"):
        values(world, torch.zeros(3, 2).double(), torch.zeros(3, 2).double())
