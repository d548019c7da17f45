"""One problem, two views, one gradient: whole responses against tokens, dialogues included."""

import pytest
import torch
from hypothesis import given, strategies as st

from rl.mdp_views import bandit_gradient, token_gradient


def problem(vocabulary, places, seed):
    """A random table and random rewards."""
    generator = torch.Generator().manual_seed(seed)
    logits = [
        torch.randn((vocabulary**t, vocabulary), generator=generator, dtype=torch.float64)
        for t in range(places)
    ]
    reward = torch.randn(vocabulary**places, generator=generator, dtype=torch.float64)
    return logits, reward


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_two_tokens_by_hand():
    """Uniform over 00, 01, 10, 11, reward 1 for 11 only: V = 1/4 at the start.

    First token: 1/2 (Q - V) = 1/2 (0 - 1/4) and 1/2 (1/2 - 1/4). Second after 1: visited half the
    time, 1/2 1/2 (0 - 1/2) and 1/2 1/2 (1 - 1/2); after 0 nothing depends on it.
    """
    logits = [torch.zeros((1, 2), dtype=torch.float64), torch.zeros((2, 2), dtype=torch.float64)]
    reward = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    expected = [
        torch.tensor([[-1 / 8, 1 / 8]], dtype=torch.float64),
        torch.tensor([[0, 0], [-1 / 8, 1 / 8]], dtype=torch.float64),
    ]
    close(token_gradient(logits, reward, user=()), expected)
    close(bandit_gradient(logits, reward, baseline=0.0, user=()), expected)


@given(st.integers(2, 3), st.integers(1, 4), st.integers(0, 10**6), st.floats(-3, 3), st.data())
def test_both_views_have_the_same_gradient(vocabulary, places, seed, baseline, data):
    logits, reward = problem(vocabulary, places, seed)
    user = data.draw(st.sets(st.integers(0, places - 1)))
    close(
        bandit_gradient(logits, reward, baseline=baseline, user=user),
        token_gradient(logits, reward, user=user),
    )


@pytest.mark.parametrize("user", [(), (1,), (0, 2)])
def test_it_is_the_gradient_of_the_expected_reward(user):
    """By autograd through the expectation itself, at the policy's places."""
    logits, reward = problem(3, 3, seed=1)
    tables = [table.requires_grad_() for table in logits]
    chance = torch.ones(1, dtype=torch.float64)
    for table in tables:
        chance = (chance[:, None] * table.softmax(dim=1)).flatten()
    whole = torch.autograd.grad(chance @ reward, tables)
    found = token_gradient(logits, reward, user=user)
    for place, (one, other) in enumerate(zip(found, whole, strict=True)):
        expected = torch.zeros_like(other) if place in user else other
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)


def test_taking_the_users_tokens_for_the_policys_is_another_gradient():
    """With them in log pi the update would push the user, too."""
    logits, reward = problem(2, 2, seed=0)
    right, wrong = (token_gradient(logits, reward, user=user) for user in ((1,), ()))
    assert float(right[1].abs().max()) == 0.0
    assert float(wrong[1].abs().max()) > 0.01
    torch.testing.assert_close(right[0], wrong[0])


def test_faults_are_told():
    logits, reward = problem(2, 2, seed=0)
    for view in (token_gradient, lambda *a, user: bandit_gradient(*a, baseline=0.0, user=user)):
        with pytest.raises(ValueError, match="each of 4 responses"):
            view(logits, reward[:3], user=())
        with pytest.raises(ValueError, match=r"logits_T\[1\]: expected shape \(2, 2\)"):
            view([logits[0], logits[0]], reward, user=())
        with pytest.raises(ValueError, match="got none"):
            view([], reward, user=())
