"""Where a tabular policy is and where a batch has taken it; see rl.metrics, proximal/*."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rl.losses import clip_fraction, ratio_shares
from rl.tabular.exact import best_values, divergences, entropies, values
from rl.tabular.gibbs import gibbs_policy, regularised
from rl.tabular.worlds import World
from rl.trainers.update import QUANTILES

Metrics = dict[str, float | dict[float, float]]


@dataclass(frozen=True)
class Optimum:
    """The policy that is best for E[r] - beta KL(pi || start)."""

    beta: float
    start_KV: Tensor
    best_KV: Tensor
    value: float  # mean over prompts


def optimum(world: World, start_KV: Tensor, *, beta: float) -> Optimum | None:
    """None without a penalty."""
    if not beta:
        return None
    best_KV, log_z_P = gibbs_policy(world, start_KV, world.reward_KV, beta=beta)
    return Optimum(beta, start_KV, best_KV, beta * float(log_z_P.mean()))


def state_metrics(
    world: World,
    logp_KV: Tensor,
    *,
    start_KV: Tensor,
    reference_KV: Tensor,
    best: Optimum | None,
) -> Metrics:
    """What is known of a policy without sampling."""
    reward = float(values(world, logp_KV, world.reward_KV).mean())
    found: Metrics = {
        "proximal/reward": reward,
        "proximal/share_of_best": reward / float(best_values(world, world.reward_KV).mean()),
        "proximal/entropy": float(entropies(world, logp_KV).mean()),
        "proximal/kl_from_start": float(divergences(world, logp_KV, start_KV).mean()),
        "proximal/kl_from_reference": float(divergences(world, logp_KV, reference_KV).mean()),
    }
    if best is not None:
        reached_P = regularised(world, logp_KV, best.start_KV, world.reward_KV, beta=best.beta)
        found["proximal/gibbs_kl"] = float(divergences(world, logp_KV, best.best_KV).mean())
        found["proximal/regret"] = best.value - float(reached_P.mean())
    return found


def ratio_metrics(
    logp_BT: Tensor,
    logp_old_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> Metrics:
    """Where the ratios of a batch's tokens are; every row counts once."""
    shares = ratio_shares(
        logp_BT, logp_old_BT, advantage_B, mask_BT, clip_low=clip_low, clip_high=clip_high
    )
    ratio_N = (logp_BT - logp_old_BT)[mask_BT].exp()
    at_Q = ratio_N.quantile(torch.tensor(QUANTILES, dtype=ratio_N.dtype))
    return {
        **{f"proximal/ratio_{where}": share for where, share in shares.items()},
        "proximal/clip_fraction": clip_fraction(shares),
        "proximal/ratio_quantiles": dict(zip(QUANTILES, at_Q.tolist(), strict=True)),
        "proximal/ratio_max": float(ratio_N.max()),
    }


def cosine_with_gradient(world: World, logit_KV: Tensor, way_KV: Tensor) -> float:
    """Cosine of a direction with the exact gradient of the expected reward by the logits."""
    leaf_KV = logit_KV.detach().double().requires_grad_()
    reward = values(world, leaf_KV.log_softmax(dim=1), world.reward_KV).mean()
    (exact_KV,) = torch.autograd.grad(reward, leaf_KV)
    lengths = float(exact_KV.norm() * way_KV.norm())
    return float((exact_KV * way_KV).sum()) / lengths if lengths > 0 else 0.0
