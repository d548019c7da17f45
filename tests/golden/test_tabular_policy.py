"""rl.tabular: samples, stated entropies, reward tables and Hotelling's test."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from rl.seeding import uniforms
from rl.tabular.exact import entropies, list_responses, response_logps
from rl.tabular.hotelling import directions, hotelling
from rl.tabular.policy import TabularPolicy, before_first_slip, draw, logits_of_entropy
from rl.tabular.rewards import REWARD_TABLES
from rl.tabular.worlds import chain_world, tree_world


def tree(prompts=2, vocabulary=3, length=2):
    reward_PN = torch.zeros(prompts, vocabulary**length, dtype=torch.float64)
    target_P = torch.zeros(prompts, dtype=torch.int64)
    return tree_world(reward_PN, target_P, vocabulary=vocabulary, length=length)


def random_logits(world, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(world.next_KV.shape, generator=generator, dtype=torch.float64)


def test_a_policy_is_the_softmax_of_its_table():
    policy = TabularPolicy(torch.tensor([[0.0, math.log(3)]]).double())
    assert policy.logit_KV.dtype == torch.float32
    assert policy().dtype == torch.float64
    assert policy().exp()[0].tolist() == pytest.approx([0.25, 0.75])


def test_draws_by_hand():
    world = chain_world(prompts=2, good=2, lost=2, length=2)
    probability_KV = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).double().expand(4, 4)
    uniform_BT = torch.tensor([[0.05, 0.1], [0.29, 0.31], [0.6, 0.9999]]).double()
    context_BT, token_BT = draw(world, probability_KV, torch.tensor([0, 1, 1]), uniform_BT)
    assert token_BT.tolist() == [[0, 1], [1, 2], [3, 3]]
    assert context_BT.tolist() == [[0, 0], [1, 1], [1, 3]]
    # Token 1 is right after 0, 0 after 1; who gives up writes nothing after the first slip.
    assert before_first_slip(world, context_BT, token_BT).tolist() == [[True, False]] * 3
    right_BT = torch.tensor([[1, 0], [1, 3], [2, 0]])
    asked_BT = torch.tensor([[0, 1], [0, 1], [0, 2]])
    assert before_first_slip(world, asked_BT, right_BT).tolist() == [
        [True, True], [True, True], [True, False],
    ]  # fmt: skip


def test_draws_have_the_listed_probabilities():
    world = tree()
    logp_KV = random_logits(world).log_softmax(dim=1)
    count = 20_000
    prompt_B = torch.arange(2).repeat_interleave(count)
    uniform_BT = torch.from_numpy(uniforms([5], 2 * count * 2)).view(2 * count, 2)
    context_BT, token_BT = draw(world, logp_KV.exp(), prompt_B, uniform_BT)
    listing = list_responses(world)
    number_B = 3 * token_BT[:, 0] + token_BT[:, 1]
    assert torch.equal(context_BT, listing.context_PNT[prompt_B, number_B])
    expected_PN = count * response_logps(listing, logp_KV).exp()
    for prompt in (0, 1):
        found_N = torch.bincount(number_B[prompt_B == prompt], minlength=9)
        assert stats.chisquare(found_N.numpy(), expected_PN[prompt].numpy()).pvalue > 0.001


def test_a_token_of_no_probability_is_never_drawn():
    world = tree()
    probability_KV = torch.tensor([[0.0, 1.0, 0.0]]).double().expand(world.contexts, 3)
    uniform_BT = torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64)
    _, token_BT = draw(world, probability_KV, torch.tensor([0]), uniform_BT)
    assert token_BT.tolist() == [[1, 1]]


@pytest.mark.parametrize("entropy", [0.05, 0.5, 1.0])
def test_every_prompt_gets_the_entropy_asked_for(entropy):
    world = tree(prompts=3)
    logit_KV = random_logits(world)
    found_KV = logits_of_entropy(world, logit_KV, entropy=entropy)
    found_P = entropies(world, found_KV.log_softmax(dim=1)) / 2
    assert found_P.tolist() == pytest.approx([entropy] * 3, rel=1e-9)
    ratio_KV = found_KV / logit_KV  # one factor a prompt
    assert ratio_KV[:4].std() < 1e-9 < float((ratio_KV[0] - ratio_KV[4]).abs().max())


def test_an_entropy_above_that_of_even_chances_is_refused():
    world = tree()
    with pytest.raises(ValueError, match=r"nats a token in \(0, 1.0986\), got 1.1"):
        logits_of_entropy(world, random_logits(world), entropy=1.1)


def listed_probabilities(prompts=4):
    world = tree(prompts=prompts, vocabulary=4, length=3)
    logit_KV = logits_of_entropy(world, random_logits(world), entropy=0.9)
    return response_logps(list_responses(world), logit_KV.log_softmax(dim=1)).exp()


def test_graded_prompts_differ_in_difficulty():
    probability_PN = listed_probabilities()
    reward_PN = REWARD_TABLES["graded"](probability_PN, seed=3)
    assert set(reward_PN.unique().tolist()) == {0.0, 1.0}
    rate_P = (probability_PN * reward_PN).sum(dim=1)
    assert rate_P.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.01)
    assert bool((rate_P <= torch.tensor([0.2, 0.4, 0.6, 0.8])).all())


def test_graded_has_a_right_response_where_none_fits():
    probability_PN = torch.tensor([[0.6, 0.4]]).double()
    assert REWARD_TABLES["graded"](probability_PN, seed=0).tolist() == [[0.0, 1.0]]


def test_sparse_rewards_and_dense_ones():
    probability_PN = listed_probabilities()
    assert REWARD_TABLES["single"](probability_PN, seed=3).sum(dim=1).tolist() == [1.0] * 4
    likeliest_PN = REWARD_TABLES["likeliest"](probability_PN, seed=3)
    assert likeliest_PN.argmax(dim=1).tolist() == probability_PN.argmax(dim=1).tolist()
    assert likeliest_PN.sum(dim=1).tolist() == [1.0] * 4
    normal_PN = REWARD_TABLES["normal"](probability_PN, seed=3)
    assert float(normal_PN.std(dim=1).mean()) == pytest.approx(1.0, abs=0.15)
    assert float(normal_PN.mean(dim=1).std()) > 0.3  # prompts differ


@pytest.mark.parametrize("name", ["graded", "single", "normal"])
def test_a_reward_table_is_fixed_by_its_seed(name):
    probability_PN = listed_probabilities()
    once, again, other = (REWARD_TABLES[name](probability_PN, seed=s) for s in (3, 3, 4))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_hotelling_by_hand():
    # Mean (1, 0), S = [[2, 0], [0, 2]] * 2 / 3; T^2 = 4 * 1 * 3 / 4 = 3; F = 3 * 2 / (2 * 3) = 1.
    sample = torch.tensor([[2.0, 1.0], [2.0, -1.0], [0.0, 1.0], [0.0, -1.0]]).double()
    found = hotelling(sample, torch.zeros(2).double())
    assert found.t_squared == pytest.approx(3.0)
    assert found.f == pytest.approx(1.0)
    assert found.p_value == pytest.approx(0.5)  # F(2, 2) has its median at 1


def test_hotelling_of_one_direction_is_the_t_test():
    sample = np.array([0.3, -0.2, 0.9, 1.4, 0.1])
    found = hotelling(torch.from_numpy(sample)[:, None], torch.tensor([0.2]).double())
    expected = stats.ttest_1samp(sample, float(torch.tensor([0.2]).double()))
    assert found.t_squared == pytest.approx(expected.statistic**2)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_hotelling_is_calibrated():
    generator = torch.Generator().manual_seed(1)
    p_values = [
        hotelling(
            1 + torch.randn(40, 3, generator=generator, dtype=torch.float64), torch.ones(3).double()
        ).p_value
        for _ in range(400)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_what_hotelling_cannot_judge_is_refused():
    with pytest.raises(ValueError, match="more estimates than directions"):
        hotelling(torch.zeros(3, 3).double(), torch.zeros(3).double())
    flat = torch.tensor([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]]).double()
    with pytest.raises(ValueError, match="do not vary"):
        hotelling(flat, torch.zeros(2).double())


def test_directions_begin_with_the_gradient_and_are_orthonormal():
    gradient_D = torch.tensor([3.0, 0.0, -4.0, 0.0, 0.0]).double()
    basis_DK = directions(gradient_D, count=3, seed=2)
    torch.testing.assert_close(basis_DK[:, 0], gradient_D / 5)
    torch.testing.assert_close(basis_DK.T @ basis_DK, torch.eye(3).double())
    assert torch.equal(basis_DK, directions(gradient_D, count=3, seed=2))
    for bad in (torch.zeros(5).double(), gradient_D[:2]):
        with pytest.raises(ValueError, match="expected a gradient"):
            directions(bad, count=3, seed=2)
