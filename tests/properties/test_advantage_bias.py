"""What holds of GAE's bias and variance whatever the policy, the rewards and the critic."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from rl.studies.advantage_estimates import by_place, estimate, exact_truth, moments
from rl.tabular.advantages import action_values, expected
from rl.tabular.worlds import tree_world

torch.set_num_threads(1)  # another number of threads sums in another order

SHARES = st.floats(0, 1)


@st.composite
def policies(draw):
    """A policy with its rewards, and any critic."""
    prompts, vocabulary = draw(st.integers(1, 2)), draw(st.integers(2, 3))
    length = draw(st.integers(1, 3))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    reward_PN = torch.randn(prompts, vocabulary**length, generator=random, dtype=torch.float64)
    target_P = torch.zeros(prompts, dtype=torch.int64)
    world = tree_world(reward_PN, target_P, vocabulary=vocabulary, length=length)
    logit_KV = torch.randn(world.contexts, vocabulary, generator=random, dtype=torch.float64)
    critic_K = torch.randn(world.contexts, generator=random, dtype=torch.float64)
    return exact_truth(world, logit_KV), critic_K


def exact_critic(truth):
    return expected(truth.logp_KV, action_values(truth.world, truth.logp_KV, discount=1.0))


@settings(max_examples=40)
@given(policies())
def test_lambda_one_has_an_unbiased_gradient_whatever_the_critic(policy):
    truth, critic_K = policy
    found = moments(truth, estimate(truth, critic_K, discount=1.0, trace=1.0))
    assert found["token_bias"] == pytest.approx(0, abs=1e-9)
    assert found["gradient_bias"] == pytest.approx(0, abs=1e-9)
    assert found["gradient_cosine"] == pytest.approx(1)
    # A critic adds a number a context, and no variance given the token.
    plain = moments(truth, estimate(truth, 0 * critic_K, discount=1.0, trace=1.0))
    assert found["variance"] == pytest.approx(plain["variance"], abs=1e-9)


@settings(max_examples=40)
@given(policies(), SHARES, SHARES)
def test_the_exact_critic_has_no_bias_and_less_variance_at_less_lambda(policy, one, other):
    truth, _ = policy
    value_K = exact_critic(truth)
    low, high = (
        moments(truth, estimate(truth, value_K, discount=1.0, trace=trace))
        for trace in sorted((one, other))
    )
    assert low["bias"] == pytest.approx(0, abs=1e-9)
    assert high["bias"] == pytest.approx(0, abs=1e-9)
    assert low["variance"] <= high["variance"] + 1e-12


@settings(max_examples=40)
@given(policies(), st.floats(-3, 3), SHARES)
def test_of_a_terminal_reward_a_constant_critic_lets_lambda_to_the_tokens_left(
    policy, constant, trace
):
    truth, critic_K = policy
    value_K = torch.full_like(critic_K, constant)
    seen = estimate(truth, value_K, discount=1.0, trace=trace)
    for place, found in by_place(truth, seen):
        left = truth.world.length - place
        assert found["recovered"] == pytest.approx(trace**left, abs=1e-9)


@settings(max_examples=40)
@given(policies(), SHARES, SHARES)
def test_one_place_and_zero_lambda_leave_nothing_to_chance(policy, discount, trace):
    """The last token decides the reward, and at lambda = 0 the next context is all that counts."""
    truth, critic_K = policy
    seen = estimate(truth, critic_K, discount=discount, trace=trace)
    *_, (_, last) = by_place(truth, seen)
    assert last["variance"] == pytest.approx(0, abs=1e-12)
    short = estimate(truth, critic_K, discount=discount, trace=0.0)
    assert float(short.variance_KV.abs().max()) == pytest.approx(0, abs=1e-12)
