"""KL estimators as values and as losses, without sampling, through rl.kl itself.

Axis letters: P prompts, B = P * N responses, K contexts, V tokens.

What enumeration says of the losses, pi drawing the responses and the estimate standing alone:

    k1              its gradient is 0, as E[grad log pi] = 0.
    k2 by sequence  that of KL(pi || ref) (2506.09477).
    k2 by token     at place t that of the tokens' own divergence at t, which leaves out what a
                    token decides about the places after it: right at the last place only.
    k3 by sequence  that of KL(ref || pi).
    k3 by token     in every context that of KL(ref || pi) between the tokens there, but contexts
                    weigh as pi reaches them, and not as ref does: it is that of KL(ref || pi) at
                    the first place, and not after it.

With the importance ratio of whole responses, pi / pi_old, k1 and k3 have the gradient of
KL(pi || ref) whoever drew the responses, and k2 that of its own mean.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.kl import ESTIMATORS, kl_penalty
from rl.tabular.exact import divergences
from rl.tabular.gradients import Batch
from rl.tabular.worlds import World

REACH, CELL = 12.0, 0.01  # of the sum that stands for an integral over x, in standard deviations


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of one estimate, nats."""

    mean: float
    std: float


def normal_estimate(estimator: str, x_N: Float[Tensor, " N"], *, kl: float) -> Tensor:
    """The estimate [N] at draws of pi = N(0, 1) against ref = N(m, 1), KL = m^2 / 2.

    d = log pi(x) - log ref(x) = m^2 / 2 - m x.
    """
    m = math.sqrt(2 * kl)
    return ESTIMATORS[estimator](kl - m * x_N)


def normal_moments(estimator: str, *, kl: float) -> Moments:
    """Mean and standard deviation of `normal_estimate`, integrated over x.

    The trapezoid rule on the whole line has an error that falls faster than any power of the cell
    for such integrands. k3^2 is largest about x = 2 m, which the range covers.
    """
    high = REACH + 2 * math.sqrt(2 * kl)
    x_N = torch.arange(-high, high, CELL, dtype=torch.float64)
    weight_N = torch.exp(-x_N.square() / 2) * CELL / math.sqrt(2 * math.pi)
    value_N = normal_estimate(estimator, x_N, kl=kl)
    mean = float((weight_N * value_N).sum())
    variance = float((weight_N * (value_N - mean).square()).sum())
    return Moments(mean, math.sqrt(variance))


@dataclass(frozen=True)
class Penalty:
    """How rl.kl.kl_penalty is called; `weighted` by the ratio to who drew the responses."""

    estimator: str
    level: str
    weighted: bool


def estimates(
    batch: Batch,
    penalty: Penalty,
    logp_KV: Float[Tensor, "K V"],
    logp_ref_KV: Float[Tensor, "K V"],
    logp_old_KV: Float[Tensor, "K V"],
) -> Float[Tensor, " B"]:
    """The estimate of each response [B], nats, with a gradient by logp_KV."""
    return kl_penalty(
        batch.logps(logp_KV),
        batch.logps(logp_ref_KV),
        batch.mask,
        estimator=penalty.estimator,
        level=penalty.level,
        logp_old_BT=batch.logps(logp_old_KV) if penalty.weighted else None,
    ).sum(dim=1)


def loss_gradient(
    batch: Batch,
    penalty: Penalty,
    logit_KV: Float[Tensor, "K V"],
    ref_KV: Float[Tensor, "K V"],
    old_KV: Float[Tensor, "K V"],
) -> Float[Tensor, "K V"]:
    """d/d logits of the penalty as a loss, averaged over responses of pi_old to all prompts.

    Args:
        batch: all responses, from rl.tabular.gradients.listed.
        penalty: the estimator.
        logit_KV, ref_KV, old_KV: logits of pi, of the reference and of who draws.
    """
    logp_ref_KV, logp_old_KV = (each.log_softmax(dim=1) for each in (ref_KV, old_KV))
    chance_B = batch.chances(logp_old_KV)

    def mean(logp_KV: Tensor) -> Tensor:
        return chance_B @ estimates(batch, penalty, logp_KV, logp_ref_KV, logp_old_KV)

    return _gradient(mean, logit_KV)


def reverse_gradient(
    world: World, logit_KV: Float[Tensor, "K V"], ref_KV: Float[Tensor, "K V"]
) -> Float[Tensor, "K V"]:
    """d/d logits of the mean over prompts of KL(pi || ref), by autograd."""
    logp_ref_KV = ref_KV.log_softmax(dim=1)
    return _gradient(lambda logp_KV: divergences(world, logp_KV, logp_ref_KV).mean(), logit_KV)


def forward_gradient(
    world: World, logit_KV: Float[Tensor, "K V"], ref_KV: Float[Tensor, "K V"]
) -> Float[Tensor, "K V"]:
    """d/d logits of the mean over prompts of KL(ref || pi), by autograd."""
    logp_ref_KV = ref_KV.log_softmax(dim=1)
    return _gradient(lambda logp_KV: divergences(world, logp_ref_KV, logp_KV).mean(), logit_KV)


def value_moments(
    batch: Batch,
    penalty: Penalty,
    logit_KV: Float[Tensor, "K V"],
    ref_KV: Float[Tensor, "K V"],
) -> Moments:
    """Of one fresh response's estimate: the mean over prompts of E[k], and the root of the mean
    over prompts of its variance."""
    logp_KV, logp_ref_KV = (each.log_softmax(dim=1) for each in (logit_KV, ref_KV))
    value_B = estimates(batch, penalty, logp_KV, logp_ref_KV, logp_KV)
    value_PN = value_B.view(batch.prompts, -1)
    chance_PN = batch.chances(logp_KV).view_as(value_PN) * batch.prompts
    mean_P = (chance_PN * value_PN).sum(dim=1)
    variance_P = (chance_PN * (value_PN - mean_P[:, None]).square()).sum(dim=1)
    return Moments(float(mean_P.mean()), math.sqrt(float(variance_P.mean())))


def flow(
    probability_V: Float[Tensor, " V"], gradient_V: Float[Tensor, " V"]
) -> Float[Tensor, " V"]:
    """d p / d time under gradient flow on the logits, d logit / d time = -gradient.

    dp_v = p_v (dl_v - sum_u p_u dl_u), the softmax's Jacobian.
    """
    return probability_V * ((probability_V * gradient_V).sum() - gradient_V)


def _gradient(value: Callable[[Tensor], Tensor], logit_KV: Tensor) -> Tensor:
    logit_KV = logit_KV.detach().clone().requires_grad_()
    return torch.autograd.grad(value(logit_KV.log_softmax(dim=1)), logit_KV)[0]
