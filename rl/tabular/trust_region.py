"""A trust-region step (TRPO, 1502.05477) with the exact Fisher matrix of a tabular policy.

Axis letters: P prompts, K contexts, V tokens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.tabular.exact import divergences
from rl.tabular.worlds import World


@dataclass(frozen=True)
class TrustRegionStep:
    """The logits after it [K, V], KL(pi_old || pi) in nats a response, and the share of the full
    step that was taken: 0 where none was found."""

    logit_KV: Tensor
    divergence: float
    share: float


def visits(world: World, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, " K"]:
    """How often a response comes by each context [K], expected, mean over prompts."""
    probability_KV = logp_KV.exp()
    share_K = torch.bincount(world.start_P, minlength=world.contexts).double() / world.prompts
    total_K = share_K
    for _ in range(world.length - 1):
        joint_KV = share_K[:, None] * probability_KV
        share_K = torch.zeros_like(share_K).index_add(
            0, world.next_KV.flatten(), joint_KV.flatten()
        )
        total_K = total_K + share_K
    return total_K


def fisher(world: World, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "K V V"]:
    """E[s s'], s = grad log pi(y) by the logits, mean over prompts: one block a context,

    visits(k) (diag(pi(. | k)) - pi(. | k) pi(. | k)').

    The other blocks are 0, as the score of a token has mean 0 whatever came before it. It is the
    Hessian of KL(pi_old || pi) at pi = pi_old (1502.05477, section 6).
    """
    probability_KV = logp_KV.exp()
    own_KVV = torch.diag_embed(probability_KV)
    own_KVV = own_KVV - probability_KV[:, :, None] * probability_KV[:, None, :]
    return visits(world, logp_KV)[:, None, None] * own_KVV


def trust_region_step(
    world: World,
    logit_KV: Float[Tensor, "K V"],
    surrogate: Callable[[Tensor], Tensor],
    *,
    radius: float,
    damping: float,
    backtracks: int,
) -> TrustRegionStep:
    """The longest step along the natural gradient that the line search accepts.

    With g the gradient of the surrogate and F the Fisher matrix, x = (F + damping I)^-1 g is
    scaled to the length at which the second-order KL is the radius, sqrt(2 radius / x'Fx)
    (1502.05477, appendix C), and halved until KL(pi_old || pi), exact and mean over prompts, is
    within the radius and the surrogate has risen. Without a step that does both nothing moves.

    Args:
        world: where the policy speaks.
        logit_KV: of the old policy [K, V], float32 numbers.
        surrogate: what is to rise, of log-probabilities [K, V].
        radius: nats a response, over 0.
        damping: added to the Fisher matrix, whose inverse would else be without bound where the
            policy hardly ever comes; over 0, nats per squared logit.
        backtracks: how many lengths are tried.

    Returns:
        The step. Its logits are float32 numbers too, so that what was measured is what is kept.

    Raises:
        ValueError: a radius, damping or number of lengths that is not over 0.
    """
    if not (radius > 0 and damping > 0 and backtracks > 0):
        raise ValueError(
            f"expected radius, damping and backtracks over 0, got {radius}, {damping}, {backtracks}"
        )
    old_KV = logit_KV.detach().double()
    leaf_KV = old_KV.clone().requires_grad_()
    before = surrogate(leaf_KV.log_softmax(dim=1))
    (gradient_KV,) = torch.autograd.grad(before, leaf_KV)
    logp_old_KV = old_KV.log_softmax(dim=1)
    fisher_KVV = fisher(world, logp_old_KV)
    damped_KVV = fisher_KVV + damping * torch.eye(world.vocabulary, dtype=torch.float64)
    way_KV = torch.linalg.solve(damped_KVV, gradient_KV)
    curvature = float(torch.einsum("kv,kvu,ku->", way_KV, fisher_KVV, way_KV))
    if not curvature > 0:  # no gradient
        return TrustRegionStep(old_KV, 0.0, 0.0)
    full_KV = math.sqrt(2 * radius / curvature) * way_KV
    for halvings in range(backtracks):
        share = 0.5**halvings
        new_KV = (old_KV + share * full_KV).float().double()
        logp_KV = new_KV.log_softmax(dim=1)
        divergence = float(divergences(world, logp_old_KV, logp_KV).mean())
        if divergence <= radius and float(surrogate(logp_KV)) > float(before.detach()):
            return TrustRegionStep(new_KV, divergence, share)
    return TrustRegionStep(old_KV, 0.0, 0.0)
