"""Worlds small enough to be known exactly: contexts, tokens, and rewards that add up.

Axis letters: P prompts, K contexts, V tokens, T places in a response, N = V^T responses.

A policy sees a context and draws a token; the token leads to the next context. In a tree every
prefix of every prompt is a context of its own, which makes the policy a language model with full
context, whose responses can all be listed. In a chain the context is the last token, shared by all
prompts and places, so that responses may be long.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Prompts whose responses have `length` tokens; the reward is the sum over the tokens.

    `right_K` is the token that a flawless demonstrator says in each context, and `slip_KV` the
    distribution of what one says who slips.
    """

    start_P: Tensor  # int64, the context of a prompt's first token
    next_KV: Tensor  # int64, the context after a token
    reward_KV: Tensor  # float64
    right_K: Tensor  # int64
    slip_KV: Tensor  # float64
    length: int

    @property
    def prompts(self) -> int:
        """P."""
        return len(self.start_P)

    @property
    def contexts(self) -> int:
        """K."""
        return self.next_KV.shape[0]

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.next_KV.shape[1]


def tree_contexts(*, vocabulary: int, length: int) -> int:
    """Contexts of one prompt: its prefixes of 0 to length - 1 tokens, (V^T - 1) / (V - 1)."""
    return sum(vocabulary**place for place in range(length))


def tree_world(
    reward_PN: Float[Tensor, "P N"], target_P: Int[Tensor, " P"], *, vocabulary: int, length: int
) -> World:
    """Full context: a table entry a prompt and prefix.

    Response n has the digits of n in base V as its tokens, the first token being the highest. The
    prefixes of a prompt are numbered as in a heap: the root is 0, and token v after prefix i leads
    to i V + 1 + v. The reward is given with the last token.

    Args:
        reward_PN: reward of each response to each prompt [P, N].
        target_P: the response that a flawless demonstrator gives [P]. It says the target's token
            of the place whatever the prefix; who slips says one of the others.
        vocabulary: V, 2 or more.
        length: T.

    Raises:
        ValueError: sizes that do not fit, or a target that is no response.
    """
    prompts, responses = reward_PN.shape
    if vocabulary < 2 or length < 1 or responses != vocabulary**length:
        raise ValueError(
            f"expected rewards [P, V^T] with V >= 2 and T >= 1, got shape {tuple(reward_PN.shape)} "
            f"for V = {vocabulary}, T = {length}"
        )
    if target_P.shape != (prompts,) or not bool(((target_P >= 0) & (target_P < responses)).all()):
        raise ValueError(f"target_P: expected {prompts} numbers in [0, {responses})")
    contexts = tree_contexts(vocabulary=vocabulary, length=length)
    leaves = responses // vocabulary
    first_leaf = contexts - leaves
    start_P = contexts * torch.arange(prompts)
    child_CV = vocabulary * torch.arange(contexts)[:, None] + 1 + torch.arange(vocabulary)
    child_CV = child_CV.masked_fill(child_CV >= contexts, 0)  # nothing follows the last token
    reward_PCV = torch.zeros(prompts, contexts, vocabulary, dtype=torch.float64)
    reward_PCV[:, first_leaf:] = reward_PN.double().view(prompts, leaves, vocabulary)
    place_C = torch.cat([torch.full((vocabulary**place,), place) for place in range(length)])
    digit_PT = response_tokens(vocabulary=vocabulary, length=length)[target_P]
    right_K = digit_PT[:, place_C].flatten()
    others_KV = torch.full((prompts * contexts, vocabulary), 1 / (vocabulary - 1)).double()
    return World(
        start_P=start_P,
        next_KV=(start_P[:, None, None] + child_CV).view(-1, vocabulary),
        reward_KV=reward_PCV.view(-1, vocabulary),
        right_K=right_K,
        slip_KV=others_KV.scatter(1, right_K[:, None], 0.0),
        length=length,
    )


def response_tokens(*, vocabulary: int, length: int) -> Int[Tensor, "N T"]:
    """Every response [N, T]: the digits of 0 to V^T - 1 in base V."""
    power_T = vocabulary ** torch.arange(length - 1, -1, -1)
    return torch.arange(vocabulary**length)[:, None] // power_T % vocabulary


def chain_world(*, prompts: int, good: int, lost: int, length: int) -> World:
    """First-order context: a track of `good` tokens in a ring, and `lost` tokens beside it.

    The right token after good token k is (k + 1) mod good; after the j-th lost token it is
    j mod good, back on the track. Slips go to lost tokens, evenly. The reward is the share of right
    tokens. Prompt p starts as if token p mod good had just been said.

    Raises:
        ValueError: fewer than one prompt, two good tokens, one lost token or one place.
    """
    if prompts < 1 or good < 2 or lost < 1 or length < 1:
        raise ValueError(
            "expected prompts >= 1, good >= 2, lost >= 1 and length >= 1, got "
            f"{prompts}, {good}, {lost} and {length}"
        )
    vocabulary = good + lost
    token_V = torch.arange(vocabulary)
    right_K = torch.where(token_V < good, (token_V + 1) % good, (token_V - good) % good)
    slip_V = (token_V >= good).double() / lost
    reward_KV = torch.zeros(vocabulary, vocabulary, dtype=torch.float64)
    return World(
        start_P=torch.arange(prompts) % good,
        next_KV=token_V.expand(vocabulary, vocabulary),
        reward_KV=reward_KV.scatter(1, right_K[:, None], 1 / length),
        right_K=right_K,
        slip_KV=slip_V.expand(vocabulary, vocabulary),
        length=length,
    )


def demonstrator(world: World, *, noise: float) -> Float[Tensor, "K V"]:
    """Token probabilities [K, V] of who slips with chance `noise` at every token.

    Raises:
        ValueError: noise outside [0, 1].
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise: expected a share in [0, 1], got {noise}")
    right_KV = torch.nn.functional.one_hot(world.right_K, world.vocabulary).double()
    return (1 - noise) * right_KV + noise * world.slip_KV
