"""rl.tabular.pairs and rl.tabular.gradients, by hand."""

import math

import pytest
import torch

from rl.tabular.build import random_tree
from rl.tabular.exact import divergences
from rl.tabular.gradients import cosine, listed, relative_gap
from rl.tabular.pairs import at_distance, normal_direction
from rl.tabular.worlds import tree_world


def one_token(vocabulary=2, prompts=1):
    rewards = torch.zeros(prompts, vocabulary, dtype=torch.float64)
    target_P = torch.zeros(prompts, dtype=torch.int64)
    return tree_world(rewards, target_P, vocabulary=vocabulary, length=1)


def test_the_distance_by_hand():
    # pi = (1/2, 1/2), the other policy (1/4, 3/4), whose logits are log(3) apart:
    # KL = (log 2 + log (2/3)) / 2 = log (4/3) / 2.
    world, even = one_token(), torch.zeros(1, 2, dtype=torch.float64)
    away = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    found = at_distance(world, even, -away, distance=math.log(4 / 3) / 2)
    assert found[0].tolist() == pytest.approx([-math.log(3) / 2, math.log(3) / 2], rel=1e-12)
    assert found.softmax(dim=1)[0].tolist() == pytest.approx([0.25, 0.75], rel=1e-12)


def test_it_is_kl_from_the_policy_and_not_back():
    # pi = (3/4, 1/4), the other (1/2, 1/2): KL(pi || other) = 3/4 log(3/2) + 1/4 log(1/2).
    world = one_token()
    logits = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)
    away = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = at_distance(world, logits, away, distance=kl)
    assert found.softmax(dim=1)[0].tolist() == pytest.approx([0.5, 0.5], rel=1e-9)


@pytest.mark.parametrize("distance", [0.0, 1e-4, 0.5, 3.0])
def test_the_mean_over_prompts_is_met(distance):
    world, logits = random_tree(
        prompts=3, vocabulary=3, length=2, entropy=0.8, rewards="graded", seed=5
    )
    other = at_distance(world, logits, normal_direction(world, seed=1), distance=distance)
    apart_P = divergences(world, logits.log_softmax(dim=1), other.log_softmax(dim=1))
    assert float(apart_P.mean()) == pytest.approx(distance, rel=1e-10, abs=1e-15)
    assert (distance == 0) == torch.equal(other, logits)


def test_directions_are_their_seeds():
    world = one_token(vocabulary=3, prompts=40)
    direction = normal_direction(world, seed=1)
    assert torch.equal(direction, normal_direction(world, seed=1))
    assert not torch.equal(direction, normal_direction(world, seed=2))
    assert float(direction.std()) == pytest.approx(1.0, abs=0.2)


def test_what_cannot_be_is_refused():
    world, even = one_token(), torch.zeros(1, 2, dtype=torch.float64)
    away = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        at_distance(world, even, away, distance=-1.0)
    # Both logits move alike: the policy stays.
    with pytest.raises(ValueError, match="out of reach"):
        at_distance(world, even, torch.ones_like(away), distance=0.1)


def test_a_batch_of_all_responses():
    rewards = torch.zeros(2, 4, dtype=torch.float64)
    world = tree_world(rewards, torch.zeros(2, dtype=torch.int64), vocabulary=2, length=2)
    batch = listed(world)
    # Prompt 0 has contexts 0 (root), 1 (after 0) and 2 (after 1); prompt 1 the next three.
    assert batch.context_BT.tolist() == [
        *([0, 1], [0, 1], [0, 2], [0, 2]),
        *([3, 4], [3, 4], [3, 5], [3, 5]),
    ]
    assert batch.token_BT.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] * 2
    assert batch.mask.all()
    assert batch.mask.shape == (8, 2)
    first = [[0.75, 0.25], [0.5, 0.5], [0.2, 0.8]]
    chances = batch.chances(torch.tensor([*first, *first[::-1]], dtype=torch.float64).log())
    # .75 * .5, .75 * .5, .25 * .2, .25 * .8; then .2 * .5, .2 * .5, .8 * .75, .8 * .25; over 2.
    assert chances.tolist() == pytest.approx(
        [0.1875, 0.1875, 0.025, 0.1, 0.05, 0.05, 0.3, 0.1], rel=1e-12
    )


def test_two_gradients_side_by_side():
    true = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert cosine(torch.tensor([4.0, 3.0]).double(), true) == pytest.approx(24 / 25)
    assert cosine(-2 * true, true) == pytest.approx(-1.0)
    assert cosine(1e-14 * true, true) == 0.0  # rounding points nowhere
    assert relative_gap(torch.tensor([3.0, 1.0]).double(), true) == pytest.approx(0.6)
    assert relative_gap(-true, true) == pytest.approx(2.0)
