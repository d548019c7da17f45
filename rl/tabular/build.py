"""Worlds from sizes and a seed."""

import torch
from jaxtyping import Float
from torch import Tensor

from rl.seeding import derive
from rl.tabular.exact import list_responses, response_logps
from rl.tabular.policy import logits_of_entropy
from rl.tabular.rewards import REWARD_TABLES
from rl.tabular.worlds import World, tree_contexts, tree_world


def random_tree(
    *, prompts: int, vocabulary: int, length: int, entropy: float | None, rewards: str, seed: int
) -> tuple[World, Float[Tensor, "K V"]]:
    """A language model of normal logits with full context, and 0/1 or dense rewards for it.

    The seed fixes the logits, up to the factor that sets the entropy, and the rewards.

    Args:
        prompts, vocabulary, length: P, V and T.
        entropy: nats a token of every prompt's responses; None makes all responses equally likely.
        rewards: key of rl.tabular.rewards.REWARD_TABLES.
        seed: of this world.

    Returns:
        The world, whose demonstrator aims at the first of each prompt's best responses, and the
        logits [K, V].

    Raises:
        ValueError: an unknown table of rewards, or an entropy that the policy cannot have.
    """
    if rewards not in REWARD_TABLES:
        raise ValueError(f"rewards: expected one of {', '.join(REWARD_TABLES)}, got {rewards!r}")
    blank_PN = torch.zeros(prompts, vocabulary**length, dtype=torch.float64)
    target_P = torch.zeros(prompts, dtype=torch.int64)
    world = tree_world(blank_PN, target_P, vocabulary=vocabulary, length=length)
    logit_KV = torch.zeros(world.contexts, vocabulary, dtype=torch.float64)
    if entropy is not None:
        own = tree_contexts(vocabulary=vocabulary, length=length)
        drawn = [_normal(own, vocabulary, derive("tree-logits", seed, p)) for p in range(prompts)]
        logit_KV = logits_of_entropy(world, torch.cat(drawn), entropy=entropy)
    probability_PN = response_logps(list_responses(world), logit_KV.log_softmax(dim=1)).exp()
    reward_PN = REWARD_TABLES[rewards](probability_PN, seed=seed)
    world = tree_world(reward_PN, reward_PN.argmax(dim=1), vocabulary=vocabulary, length=length)
    return world, logit_KV


def _normal(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
