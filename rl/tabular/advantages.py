"""Advantages of a tree's contexts and tokens, and what an estimate of them is on average.

Axis letters: P prompts, B = P * N listed responses, T places, K contexts, V tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rl.tabular.gradients import Batch
from rl.tabular.worlds import World, tree_contexts


def action_values(
    world: World, logp_KV: Float[Tensor, "K V"], *, discount: float
) -> Float[Tensor, "K V"]:
    """Q(k, v) of every context and token of a tree [K, V], in units of the reward.

    Q(k, v) = r(k, v) + gamma V(next(k, v)), V(k) = sum_v pi(v | k) Q(k, v), and nothing follows a
    response's last token. A(k, v) = Q(k, v) - V(k).

    Args:
        world: a tree (rl.tabular.worlds).
        logp_KV: log-probabilities of the policy [K, V], nats.
        discount: gamma in [0, 1], a token.

    Raises:
        ValueError: contexts that are not a tree's, or a discount outside [0, 1].
    """
    own = tree_contexts(vocabulary=world.vocabulary, length=world.length)
    if world.contexts != own * world.prompts:
        raise ValueError(
            f"expected a tree of {own} contexts a prompt, {own * world.prompts} in all, got "
            f"{world.contexts}"
        )
    if not 0 <= discount <= 1:
        raise ValueError(f"expected a discount in [0, 1], got {discount}")
    inner = tree_contexts(vocabulary=world.vocabulary, length=world.length - 1)
    goes_on_K = torch.arange(world.contexts) % own < inner
    action_KV = world.reward_KV
    for _ in range(world.length - 1):
        next_KV = expected(logp_KV, action_KV)[world.next_KV]
        action_KV = world.reward_KV + discount * next_KV * goes_on_K[:, None]
    return action_KV


def expected(logp_KV: Float[Tensor, "K V"], each_KV: Float[Tensor, "K V"]) -> Float[Tensor, " K"]:
    """sum_v pi(v | k) x(k, v) for every context [K]."""
    return (logp_KV.exp() * each_KV).sum(dim=1)


def visits(batch: Batch, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "K V"]:
    """Chance that a token of a response is v after k [K, V]: mean over prompts and places, sum 1.

    Args:
        batch: every response to every prompt of a tree, from rl.tabular.gradients.listed.
        logp_KV: log-probabilities of the policy that speaks [K, V], nats.
    """
    chance_BT = batch.chances(logp_KV)[:, None].expand(batch.token_BT.shape)
    return _summed(batch, chance_BT, like_KV=logp_KV) / batch.token_BT.shape[1]


def given_token(
    batch: Batch, logp_KV: Float[Tensor, "K V"], each_BT: Float[Tensor, "B T"]
) -> Float[Tensor, "K V"]:
    """E[x_t | k_t = k, v_t = v] over what may follow [K, V].

    In a tree the responses that pass through a context and a token differ only in what follows,
    which has the chance pi(v_{t+1} | k_{t+1}) ... pi(v_T | k_T).

    Args:
        batch: every response to every prompt of a tree, from rl.tabular.gradients.listed.
        logp_KV: log-probabilities of the policy that speaks [K, V], nats.
        each_BT: x, a number a response and place [B, T].
    """
    logp_BT = batch.logps(logp_KV)
    after_BT = logp_BT.sum(dim=1, keepdim=True) - logp_BT.cumsum(dim=1)
    return _summed(batch, after_BT.exp() * each_BT, like_KV=logp_KV)


def _summed(batch: Batch, each_BT: Tensor, *, like_KV: Tensor) -> Tensor:
    """Every number added to the entry of its context and token."""
    entry_BT = batch.context_BT * like_KV.shape[1] + batch.token_BT
    total = torch.zeros(like_KV.numel(), dtype=torch.float64)
    return total.index_add_(0, entry_BT.flatten(), each_BT.flatten()).view_as(like_KV)
