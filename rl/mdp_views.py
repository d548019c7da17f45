"""One generation problem, seen as a one-step bandit and as a token-level decision process.

A response has T tokens of a vocabulary of V. A policy is a table: logits_T[t] has a row for each
of the V^t prefixes, in lexicographic order (the prefix is a number in base V), and V columns.
Rewards come at the end and are one number for each of the V^T whole responses.

In a dialogue some tokens are the user's. They are drawn from the softmax of their row too, but
belong to the environment: they are part of what happens and carry no gradient.

Both functions return d E[R] / d logits_T[t] for every t; zeros at the user's places.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

Rewards = Float64[Tensor, " Y"]


def bandit_gradient(
    logits_T: Sequence[Tensor], reward_Y: Rewards, *, baseline: float, user: Collection[int]
) -> list[Tensor]:
    """A whole response is one action: sum_y P(y) (R(y) - b) grad log pi(y) (Williams 1992).

    P(y) is the chance of the response with the user's part in it, log pi(y) the log-probability
    of the policy's own tokens. All V^T responses are enumerated and autograd takes the gradient.

    Args:
        logits_T: the table [V^t, V] for each place t, float64.
        reward_Y: a reward for each whole response [V^T], float64.
        baseline: b; any number gives the same gradient.
        user: places whose tokens are the user's.

    Raises:
        ValueError: shapes that do not fit.
    """
    vocabulary = _checked(logits_T, reward_Y)
    tables = [logits.detach().requires_grad_() for logits in logits_T]
    logp_Y = torch.zeros(1, dtype=reward_Y.dtype)
    chance_Y = torch.zeros(1, dtype=reward_Y.dtype)
    for place, logits in enumerate(tables):
        step = logits.log_softmax(dim=1)
        own = 0.0 * step if place in user else step
        logp_Y = (logp_Y[:, None] + own).reshape(vocabulary ** (place + 1))
        chance_Y = (chance_Y[:, None] + step.detach()).reshape(vocabulary ** (place + 1))
    weight_Y = chance_Y.exp() * (reward_Y - baseline)
    return list(torch.autograd.grad((weight_Y * logp_Y).sum(), tables))


def token_gradient(
    logits_T: Sequence[Tensor], reward_Y: Rewards, *, user: Collection[int]
) -> list[Tensor]:
    """A prefix is a state, a token an action: the policy gradient theorem, by two recursions.

        d(x a) = d(x) pi(a | x), d of the empty prefix 1            how often a state is visited
        Q(x, a) = V(x a); V(x) = sum_a pi(a | x) Q(x, a)            V of a whole response: R
        dJ / dlogit(x, a) = d(x) pi(a | x) (Q(x, a) - V(x))

    (Sutton et al. 2000, theorem 1, with a softmax table.) Transitions are certain at the policy's
    places and drawn by the user at the user's. Nothing is enumerated beyond the states and no
    autograd is used.

    Raises:
        ValueError: shapes that do not fit.
    """
    vocabulary = _checked(logits_T, reward_Y)
    policy_T = [logits.detach().softmax(dim=1) for logits in logits_T]
    visits_T = [torch.ones(1, dtype=reward_Y.dtype)]
    for policy in policy_T[:-1]:
        visits_T.append((visits_T[-1][:, None] * policy).flatten())
    gradients: list[Tensor] = []
    value_X = reward_Y
    for place in reversed(range(len(logits_T))):
        action_XV = value_X.reshape(-1, vocabulary)
        value_X = (policy_T[place] * action_XV).sum(dim=1)
        advantage_XV = action_XV - value_X[:, None]
        gradient = visits_T[place][:, None] * policy_T[place] * advantage_XV  # theorem 1
        gradients.append(torch.zeros_like(gradient) if place in user else gradient)
    return gradients[::-1]


def _checked(logits_T: Sequence[Tensor], reward_Y: Tensor) -> int:
    """The size of the vocabulary."""
    if not logits_T:
        raise ValueError("logits_T: expected a table for one place or more, got none")
    vocabulary: int = logits_T[0].shape[-1]
    for place, logits in enumerate(logits_T):
        if tuple(logits.shape) != (vocabulary**place, vocabulary):
            raise ValueError(
                f"logits_T[{place}]: expected shape {(vocabulary**place, vocabulary)}, got "
                f"{tuple(logits.shape)}"
            )
    if reward_Y.shape != (vocabulary ** len(logits_T),):
        raise ValueError(
            f"reward_Y: expected a reward for each of {vocabulary ** len(logits_T)} responses, got "
            f"shape {tuple(reward_Y.shape)}"
        )
    return vocabulary
