"""What a tabular policy is, exactly, and what its samples say; see rl.metrics, tabular/*."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rl.tabular.exact import (
    best_values,
    divergences,
    entropies,
    greedy_logps,
    rewards_by_place,
    values,
)
from rl.tabular.worlds import World

SAME = 1e-9  # rewards as near as this are equal: T shares of 1 do not always add up to 1

Metrics = dict[str, float | dict[float, float]]


@dataclass(frozen=True)
class Responses:
    """Responses to all prompts, as many to each, prompt by prompt."""

    context_BT: Tensor
    token_BT: Tensor
    written_BT: Tensor  # bool; False where a demonstrator had given up
    reward_B: Tensor
    right_B: Tensor  # bool; the best reward that its prompt allows


def responses(world: World, context_BT: Tensor, token_BT: Tensor, written_BT: Tensor) -> Responses:
    """The responses with their rewards; what was not written earns nothing."""
    reward_BT = world.reward_KV[context_BT, token_BT].masked_fill(~written_BT, 0.0)
    reward_B = reward_BT.sum(dim=1)
    best_P = best_values(world, world.reward_KV)
    best_B = best_P.repeat_interleave(len(reward_B) // world.prompts)
    return Responses(context_BT, token_BT, written_BT, reward_B, reward_B >= best_B - SAME)


def exact_metrics(world: World, logp_KV: Tensor, *, start_KV: Tensor, data: Responses) -> Metrics:
    """Everything that is known of a policy without sampling.

    Args:
        world: its world.
        logp_KV: the policy's log-probabilities.
        start_KV: those of the policy before training.
        data: the demonstrations.
    """
    reward = float(values(world, logp_KV, world.reward_KV).mean())
    greedy = float(values(world, greedy_logps(logp_KV), world.reward_KV).mean())
    shown = float(data.reward_B.mean())
    logp_BT = logp_KV[data.context_BT, data.token_BT].masked_fill(~data.written_BT, 0.0)
    own_T = world.length * rewards_by_place(world, logp_KV, world.reward_KV)
    return {
        "tabular/reward": reward,
        "tabular/share_of_best": reward / float(best_values(world, world.reward_KV).mean()),
        "tabular/greedy_reward": greedy,
        "tabular/data_reward": shown,
        "tabular/above_data": reward - shown,
        "tabular/greedy_above_data": greedy - shown,
        "tabular/data_loss": -float(logp_BT.sum(dim=1).mean()),
        "tabular/entropy": float(entropies(world, logp_KV).mean()),
        "tabular/kl_from_start": float(divergences(world, logp_KV, start_KV).mean()),
        "tabular/own_reward": {place + 1: x for place, x in enumerate(own_T.tolist())},
        "tabular/forced_reward": _forced_rewards(world, logp_KV, data),
    }


def _forced_rewards(world: World, logp_KV: Tensor, data: Responses) -> dict[float, float]:
    """T times the policy's expected reward of a token after the prefixes of the demonstrations."""
    reward_K = world.length * (logp_KV.exp() * world.reward_KV).sum(dim=1)
    found: dict[float, float] = {}
    for place, (context_B, written_B) in enumerate(
        zip(data.context_BT.T, data.written_BT.T, strict=True), start=1
    ):
        if bool(written_B.any()):
            found[place] = float(reward_K[context_B[written_B]].mean())
    return found


def sample_metrics(logp_KV: Tensor, own: Responses) -> Metrics:
    """What the policy's own samples say; the gaps to SFT only where rewards are 0 or 1."""
    found: Metrics = {"tabular/sampled_reward": float(own.reward_B.mean())}
    if torch.equal(own.reward_B, own.right_B.double()):
        for name, gap in zip(("all", "kept"), sft_gaps(logp_KV, own), strict=True):
            found[f"tabular/sft_gap_{name}"] = gap
    return found


def sft_gaps(logp_KV: Tensor, own: Responses) -> tuple[float, float]:
    """|a - b| / |a|, with the right samples' SFT (b) divided by all samples, and by those kept.

    a = grad (1/B) sum_i r_i log pi(y_i), b = grad (1/D) sum_{i right} log pi(y_i), by the logits,
    B samples. For 0/1 rewards D = B makes them equal, and D = the number of right ones makes b
    longer by B / D. 0 where no sample is right and both vanish.
    """
    right = own.right_B
    if not bool(right.any()):
        return 0.0, 0.0
    logit_KV = logp_KV.clone().requires_grad_()

    def gradient(weight_B: Tensor, rows: Tensor, count: int) -> Tensor:
        logp_BT = logit_KV.log_softmax(dim=1)[own.context_BT[rows], own.token_BT[rows]]
        (slope_KV,) = torch.autograd.grad((weight_B * logp_BT.sum(dim=1)).sum() / count, logit_KV)
        return slope_KV

    everything, kept = len(right), int(right.sum())
    policy_KV = gradient(own.reward_B, torch.arange(everything), everything)
    ones, rows = torch.ones(kept, dtype=torch.float64), right.nonzero().flatten()
    over_all, over_kept = (
        float((policy_KV - gradient(ones, rows, count)).norm() / policy_KV.norm())
        for count in (everything, kept)
    )
    return over_all, over_kept
