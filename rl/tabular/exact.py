"""Expectations under a tabular policy, without sampling; differentiable in float64.

Axis letters: P prompts, K contexts, V tokens, T places, N = V^T responses. `logp_KV` are the
policy's log-probabilities in nats, and a reward is one a context and token, summed over the places.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.tabular.worlds import World, response_tokens

LEAST = -1e4  # stands for log 0 where it is multiplied by 0


def values(
    world: World, logp_KV: Float[Tensor, "K V"], reward_KV: Float[Tensor, "K V"]
) -> Float[Tensor, " P"]:
    """E[sum_t r(k_t, v_t) | prompt] for every prompt [P], by backward induction:

    V_T(k) = 0;  V_t(k) = sum_v pi(v | k) (r(k, v) + V_{t+1}(next(k, v))).

    Raises:
        ValueError: tables that are not [K, V].
    """
    _check(world, logp_KV, reward_KV)
    probability_KV = logp_KV.exp()
    value_K = torch.zeros_like(logp_KV[:, 0])
    for _ in range(world.length):
        value_K = (probability_KV * (reward_KV + value_K[world.next_KV])).sum(dim=1)
    return value_K[world.start_P]


def best_values(world: World, reward_KV: Float[Tensor, "K V"]) -> Float[Tensor, " P"]:
    """The largest sum of rewards that any response has, for every prompt [P]."""
    _check(world, reward_KV, reward_KV)
    value_K = torch.zeros_like(reward_KV[:, 0])
    for _ in range(world.length):
        value_K = (reward_KV + value_K[world.next_KV]).amax(dim=1)
    return value_K[world.start_P]


def greedy_logps(logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "K V"]:
    """The policy that always says its likeliest token (the first of equals)."""
    pick_K1 = logp_KV.argmax(dim=1, keepdim=True)
    return torch.full_like(logp_KV, -torch.inf).scatter(1, pick_K1, 0.0)


def entropies(world: World, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, " P"]:
    """Entropy of the whole response in nats, for every prompt [P]: E[-log pi(y)]."""
    return values(world, logp_KV, -logp_KV.clamp(min=LEAST))


def divergences(
    world: World, logp_KV: Float[Tensor, "K V"], logp_other_KV: Float[Tensor, "K V"]
) -> Float[Tensor, " P"]:
    """KL(pi || other) of whole responses in nats, for every prompt [P]: E[log pi(y) - log o(y)]."""
    return values(world, logp_KV, logp_KV.clamp(min=LEAST) - logp_other_KV)


def rewards_by_place(
    world: World, logp_KV: Float[Tensor, "K V"], reward_KV: Float[Tensor, "K V"]
) -> Float[Tensor, " T"]:
    """Expected reward of each place's token [T], mean over prompts, on the policy's own prefixes.

    The distribution of the context moves forward: d_{t+1}(next(k, v)) += d_t(k) pi(v | k).
    """
    _check(world, logp_KV, reward_KV)
    probability_KV = logp_KV.exp()
    share_K = torch.bincount(world.start_P, minlength=world.contexts).double() / world.prompts
    rewards = []
    for _ in range(world.length):
        joint_KV = share_K[:, None] * probability_KV
        rewards.append((joint_KV * reward_KV).sum())
        share_K = torch.zeros_like(share_K).index_add(
            0, world.next_KV.flatten(), joint_KV.flatten()
        )
    return torch.stack(rewards)


@dataclass(frozen=True)
class Listing:
    """Every response to every prompt. The score of a response is grad log pi(y) by the logits."""

    context_PNT: Tensor  # int64
    token_NT: Tensor  # int64
    reward_PN: Tensor  # float64


def list_responses(world: World) -> Listing:
    """All N = V^T responses and their rewards; for small N."""
    token_NT = response_tokens(vocabulary=world.vocabulary, length=world.length)
    context_PN = world.start_P[:, None].expand(-1, len(token_NT))
    contexts, reward_PN = [], torch.zeros(context_PN.shape, dtype=torch.float64)
    for token_N in token_NT.T:
        contexts.append(context_PN)
        reward_PN = reward_PN + world.reward_KV[context_PN, token_N]
        context_PN = world.next_KV[context_PN, token_N]
    return Listing(torch.stack(contexts, dim=-1), token_NT, reward_PN)


def response_logps(listing: Listing, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "P N"]:
    """log pi(y) of every response to every prompt [P, N]: the sum over its tokens."""
    return logp_KV[listing.context_PNT, listing.token_NT].sum(dim=-1)


def scores(
    listing: Listing, logp_KV: Float[Tensor, "K V"], *, prompt: int, first: int, count: int
) -> Float[Tensor, "N D"]:
    """Gradient of log pi(y) by the logits of `count` contexts from `first` on; D = count * V.

    For a softmax, d log pi(v | k) / d logit(k, u) = 1[u = v] - pi(u | k); a response adds this up
    over its places. In a tree a prompt's own contexts are (first, count) =
    (start, tree_contexts(...)), and all other entries are 0.

    Args:
        listing: from list_responses.
        logp_KV: log-probabilities [K, V].
        prompt: which one.
        first, count: which contexts.
    """
    probability_CV = logp_KV.detach().exp()[first : first + count]
    responses, vocabulary = len(listing.token_NT), logp_KV.shape[1]
    score_NCV = torch.zeros(responses, count, vocabulary, dtype=logp_KV.dtype)
    row_N = torch.arange(responses)
    for context_N, token_N in zip(
        listing.context_PNT[prompt].T - first, listing.token_NT.T, strict=True
    ):
        step_NV = -probability_CV[context_N]
        step_NV[row_N, token_N] += 1.0
        score_NCV.index_put_((row_N, context_N), step_NV, accumulate=True)
    return score_NCV.flatten(1)


def squared_scores(listing: Listing, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "P N"]:
    """|grad log pi(y)|^2 of every response to every prompt [P, N], in a tree.

    The contexts along a response differ, so that squares add up:
    sum_t (1 - 2 pi(v_t | k_t) + sum_u pi(u | k_t)^2).
    """
    square_KV = token_squared_scores(logp_KV)
    return square_KV[listing.context_PNT, listing.token_NT].sum(dim=-1)


def token_squared_scores(logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "K V"]:
    """|grad log pi(v | k)|^2 by the logits [K, V]: 1 - 2 pi(v | k) + sum_u pi(u | k)^2."""
    probability_KV = logp_KV.detach().exp()
    return 1 - 2 * probability_KV + probability_KV.square().sum(dim=1, keepdim=True)


def _check(world: World, *tables_KV: Tensor) -> None:
    for table_KV in tables_KV:
        if table_KV.shape != world.next_KV.shape:
            raise ValueError(
                f"expected tables [contexts, tokens] = {tuple(world.next_KV.shape)}, got "
                f"{tuple(table_KV.shape)}"
            )
