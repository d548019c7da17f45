"""A batch of responses of a tabular policy, and what is said of them before it is updated."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rl.advantages import advantages
from rl.config import ProximalConfig
from rl.kl import kl_penalty
from rl.tabular.exact import Listing, response_logps
from rl.tabular.policy import draw_groups
from rl.tabular.worlds import World


@dataclass(frozen=True)
class State:
    """What one step hands to the next, weights apart."""

    step: int
    samples: int
    factor: float  # of reward.kl and kl.loss
    penalty: float  # coefficient of KL(pi_old || pi)
    reference_KV: Tensor  # log-probs


@dataclass(frozen=True)
class Batch:
    """Responses, as many to each prompt, with what is said of them before the first update."""

    context_BT: Tensor
    token_BT: Tensor
    mask_BT: Tensor  # all True
    weight_B: Tensor  # mean 1 a prompt: 1 for samples, N pi_old(y) for all N responses
    advantage_B: Tensor
    kl_B: Tensor  # estimate of KL(pi_old || reference), nats
    old_KV: Tensor  # log-probs of pi_old
    reference_KV: Tensor


def make_batch(
    config: ProximalConfig,
    world: World,
    listing: Listing,
    old_KV: Tensor,
    state: State,
    *,
    seed: int,
    step: int,
) -> Batch:
    """Samples of the policy, or all responses, with their advantages.

    The advantage is that of r - beta kl_hat, kl_hat the estimate of KL(pi_old || reference) that
    `config.kl` names, beta the coefficient in force.
    """
    beta = state.factor * config.reward.kl
    everything = _listed(listing)
    estimate = partial(_estimate, config, old_KV, state.reference_KV)
    probability_PN = response_logps(listing, old_KV).exp()
    if config.group_size is None:
        context_BT, token_BT, reward_B = everything
        weight_B = (listing.reward_PN.shape[1] * probability_PN).flatten()
    else:
        context_BT, token_BT = draw_groups(
            world,
            old_KV.exp(),
            count=config.group_size,
            stream="proximal-rollout",
            parts=(seed, step),
        )
        reward_B = world.reward_KV[context_BT, token_BT].sum(dim=1)
        weight_B = torch.ones_like(reward_B)
    kl_B = estimate(context_BT, token_BT)
    given_PG = (reward_B - beta * kl_B).view(world.prompts, -1)
    baseline = config.advantage.baseline
    if baseline == "exact_value":
        all_PN = (everything[2] - beta * estimate(*everything[:2])).view_as(probability_PN)
        given_PG = given_PG - (probability_PN * all_PN).sum(dim=1, keepdim=True)
        baseline = "none"
    advantage_PG = advantages(given_PG, baseline=baseline, scale="none", ddof=0, eps=0.0)
    return Batch(
        context_BT=context_BT,
        token_BT=token_BT,
        mask_BT=torch.ones_like(token_BT, dtype=torch.bool),
        weight_B=weight_B,
        advantage_B=advantage_PG.flatten(),
        kl_B=kl_B,
        old_KV=old_KV,
        reference_KV=state.reference_KV,
    )


def mean_kl(batch: Batch) -> float:
    """Estimate of KL(pi_old || reference), nats a response."""
    return float((batch.weight_B * batch.kl_B).mean())


def _estimate(
    config: ProximalConfig,
    logp_KV: Tensor,
    reference_KV: Tensor,
    context_BT: Tensor,
    token_BT: Tensor,
) -> Tensor:
    """Of KL(policy || reference) by each response [B], nats."""
    return kl_penalty(
        logp_KV[context_BT, token_BT],
        reference_KV[context_BT, token_BT],
        torch.ones_like(token_BT, dtype=torch.bool),
        estimator=config.kl.estimator,
        level=config.kl.level,
    ).sum(dim=1)


def _listed(listing: Listing) -> tuple[Tensor, Tensor, Tensor]:
    """Contexts, tokens [P * N, T] and rewards [P * N] of all responses, prompt by prompt."""
    prompts = len(listing.reward_PN)
    token_BT = listing.token_NT.repeat(prompts, 1)
    return listing.context_PNT.flatten(0, 1), token_BT, listing.reward_PN.flatten()
