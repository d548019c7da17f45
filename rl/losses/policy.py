"""Policy losses a token, to be minimised. One function a loss, all called through `policy_loss`.

Two are broken on purpose, as found in teaching material, for the claims that expose them:
`log_over_log` and `no_stop_gradient`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """A clipped ratio is kept within [1 - low, 1 + high]; `bound` is that of the BOUNDED losses."""

    low: float
    high: float
    bound: float


def policy_loss(
    logp_BT: Float[Tensor, "B T"],
    logp_old_BT: Float[Tensor, "B T"],
    advantage: Float[Tensor, " B"] | Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    name: str,
    clip_low: float,
    clip_high: float,
    bound: float | None = None,
) -> Float[Tensor, "B T"]:
    """The loss l_it that LOSSES has under `name`, of token t of response i.

    Below, w_it = pi(o_it) / pi_old(o_it) = exp(log pi(o_it) - log pi_old(o_it)), the importance
    ratio, and A_i the response's advantage, for which A_it stands where every token has one of its
    own. All log-probabilities are in nats.

    Args:
        logp_BT: under the policy being trained [B, T]; carries the gradient.
        logp_old_BT: under the policy that the batch is judged by [B, T]; never carries one.
        advantage: one a response [B], or one a token [B, T], off the response ignored.
        mask_BT: True on response tokens [B, T]; what stands elsewhere is ignored.
        name: key of LOSSES.
        clip_low, clip_high: bounds of a clipped ratio, [1 - clip_low, 1 + clip_high].
        bound: of the losses in BOUNDED, a ratio: 1 or more, over 1 for dual_clip. None for all
            others.

    Returns:
        Loss a token [B, T]; off the response it is finite, and means nothing.

    Raises:
        ValueError: an unknown name, shapes that do not fit, clip bounds or bound out of range, or
            a bound where there is nothing to be bounded.
    """
    if name not in LOSSES:
        raise ValueError(f"name: expected one of {', '.join(LOSSES)}, got {name!r}")
    _check(logp_BT, logp_old_BT, advantage, mask_BT, clip_low, clip_high)
    # At a bound of 1, dual_clip would cut fresh responses.
    fits = bound is None or (bound > 1 if name == "dual_clip" else bound >= 1)
    if (name in BOUNDED) != (bound is not None) or not fits:
        raise ValueError(
            f"bound: expected a ratio of 1 or more for {', '.join(BOUNDED)} (over 1 for "
            f"dual_clip), and None for all others, got {bound} for {name}"
        )
    # Filled before they meet: a NaN or an infinity off the response would spoil the gradient, for
    # the zero that masks a value later is multiplied by it on the way back.
    logp, old = (x_BT.masked_fill(~mask_BT, 0.0) for x_BT in (logp_BT, logp_old_BT.detach()))
    clip = Clip(clip_low, clip_high, bound or 0.0)
    return LOSSES[name](logp, old, _a_token(advantage, mask_BT), mask_BT, clip)


def reinforce(logp: Tensor, _old: Tensor, advantage: Tensor, _mask: Tensor, _: Clip) -> Tensor:
    """l_it = -A_i log pi(o_it) (REINFORCE, Williams 1992, theorem 1); right for fresh samples."""
    return -advantage * logp


def unclipped(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, _: Clip) -> Tensor:
    """l_it = -w_it A_i, the surrogate of conservative policy iteration (1707.06347, eq. 6)."""
    return -torch.exp(logp - old) * advantage


def clipped(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, clip: Clip) -> Tensor:
    """l_it = -min(w_it A_i, clip(w_it, 1 - clip_low, 1 + clip_high) A_i).

    PPO, 1707.06347, eq. 7. With clip_high above clip_low it is DAPO's clip-higher (2503.14476,
    eq. 10). Where w_it is exactly 1 its gradient is that of `reinforce`, bit for bit.
    """
    return -_least(torch.exp(logp - old), advantage, clip)


def dual_clip(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, clip: Clip) -> Tensor:
    """`clipped`, and where A_i < 0 no more than bound |A_i|: l_it = min(l_it, -bound A_i).

    1912.09729, eq. 5, with the bound c (3 there): without it a bad token that has become likely
    pushes as hard as its ratio is large.
    """
    loss = clipped(logp, old, advantage, _mask, clip)
    return torch.where(advantage < 0, torch.minimum(loss, -clip.bound * advantage), loss)


def gspo(logp: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, clip: Clip) -> Tensor:
    """`clipped` with one ratio a response, s_i = exp(mean over its tokens of log w_it).

    GSPO, 2507.18071, eq. 5 to 7; every token of the response has the loss of the whole, so that
    the mean over its tokens is that of eq. 5.
    """
    length = mask.sum(dim=1, keepdim=True).clamp(min=1)
    ratio = torch.exp((logp - old).sum(dim=1, keepdim=True) / length)
    return -_least(ratio, advantage, clip).expand_as(logp)


def cispo(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, clip: Clip) -> Tensor:
    """l_it = -sg(min(w_it, bound)) A_i log pi(o_it), sg: no gradient through the weight.

    CISPO, 2506.13585, eq. 4 and 5, bounded above only. The bound is one of w itself, about 4 to 8;
    not the distance from 1 that `clip_high` is.
    """
    return -torch.exp(logp - old).detach().clamp(max=clip.bound) * advantage * logp


def sequence_is(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, _: Clip) -> Tensor:
    """l_it = -sg(W_i) A_i log pi(o_it), W_i = prod_t w_it: importance sampling of responses.

    The mean over responses of pi_old of its gradient is the policy gradient of pi, without bias,
    whatever the distance (by change of measure), as long as A_i does not depend on the batch.
    """
    return -_response_ratio(logp, old).detach() * advantage * logp


def truncated_is(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, clip: Clip) -> Tensor:
    """`sequence_is` with min(W_i, bound) for the weight (truncated importance sampling, Ionides
    2008): less variance, and a bias where the bound is met."""
    weight = _response_ratio(logp, old).detach().clamp(max=clip.bound)
    return -weight * advantage * logp


def log_over_log(logp: Tensor, old: Tensor, advantage: Tensor, _mask: Tensor, _: Clip) -> Tensor:
    """l_it = -(log pi / log pi_old) A_i: broken.

    As log pi_old < 0, its gradient is (A_i / |log pi_old|) grad log pi, and a step down it makes
    good responses less likely. A token of probability 1 has no ratio; there its value is 0.
    """
    return -torch.where(old < 0, logp / old.clamp(max=-_TINY), 0.0) * advantage


def no_stop_gradient(
    logp: Tensor, _old: Tensor, advantage: Tensor, _mask: Tensor, _: Clip
) -> Tensor:
    """l_it = -exp(log pi - log pi) A_i: broken.

    The old policy is the present one and carries a gradient too: d/dx of p / p is 0.
    """
    return -torch.exp(logp - logp) * advantage


def ratio_shares(
    logp_BT: Float[Tensor, "B T"],
    logp_old_BT: Float[Tensor, "B T"],
    advantage: Float[Tensor, " B"] | Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    clip_low: float,
    clip_high: float,
) -> dict[str, float]:
    """Shares of the response's tokens whose ratio is beyond a clip bound, by side and sign of A.

    Returns:
        above_positive: w > 1 + clip_high and A > 0, which eq. 7 of 1707.06347 leaves without a
        gradient; below_negative: w < 1 - clip_low and A < 0, likewise; above_negative and
        below_positive, where the minimum takes the unclipped branch. Zeros for an empty mask.

    Raises:
        ValueError: as policy_loss.
    """
    _check(logp_BT, logp_old_BT, advantage, mask_BT, clip_low, clip_high)
    ratio_BT, each = torch.exp(logp_BT - logp_old_BT), _a_token(advantage, mask_BT)
    side = {"above": ratio_BT > 1 + clip_high, "below": ratio_BT < 1 - clip_low}
    sign = {"positive": each > 0, "negative": each < 0}
    tokens = max(int(mask_BT.sum()), 1)
    return {
        f"{beyond}_{of}": int((side[beyond] & sign[of] & mask_BT).sum()) / tokens
        for beyond in side
        for of in sign
    }


def clip_fraction(shares: dict[str, float]) -> float:
    """Of `ratio_shares`: tokens without a gradient because eq. 7 of 1707.06347 took its clip."""
    return shares["above_positive"] + shares["below_negative"]


_TINY = 1e-30  # stands for a log-probability of 0 where it would be divided by


def _least(ratio: Tensor, advantage: Tensor, clip: Clip) -> Tensor:
    """min(w A, clip(w, 1 - low, 1 + high) A) (1707.06347, eq. 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip.low, 1 + clip.high) * advantage)


def _a_token(advantage: Tensor, mask_BT: Tensor) -> Tensor:
    """Advantages [B, 1] or [B, T], of the tokens of each row."""
    if advantage.ndim == 1:
        return advantage[:, None]
    return advantage.masked_fill(~mask_BT, 0.0)


def _response_ratio(logp: Tensor, old: Tensor) -> Tensor:
    """W_i [B, 1], the product of a response's ratios."""
    return torch.exp((logp - old).sum(dim=1, keepdim=True))


def _check(
    logp_BT: Tensor,
    logp_old_BT: Tensor,
    advantage: Tensor,
    mask_BT: Tensor,
    clip_low: float,
    clip_high: float,
) -> None:
    if (
        logp_BT.ndim != 2
        or logp_old_BT.shape != logp_BT.shape
        or advantage.shape not in (logp_BT.shape[:1], logp_BT.shape)
    ):
        raise ValueError(
            f"expected logp and logp_old [B, T] and advantage [B] or [B, T], got "
            f"{tuple(logp_BT.shape)}, {tuple(logp_old_BT.shape)} and {tuple(advantage.shape)}"
        )
    if mask_BT.shape != logp_BT.shape or mask_BT.dtype != torch.bool:
        raise ValueError(
            f"expected a bool mask of shape {tuple(logp_BT.shape)}, got {mask_BT.dtype} of shape "
            f"{tuple(mask_BT.shape)}"
        )
    if not (0 < clip_low < 1 and clip_high > 0):
        raise ValueError(
            f"expected 0 < clip_low < 1 and clip_high > 0, got {clip_low} and {clip_high}"
        )


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Clip], Tensor]] = {
    "reinforce": reinforce,
    "unclipped": unclipped,
    "clipped": clipped,
    "dual_clip": dual_clip,
    "gspo": gspo,
    "cispo": cispo,
    "sequence_is": sequence_is,
    "truncated_is": truncated_is,
    "log_over_log": log_over_log,
    "no_stop_gradient": no_stop_gradient,
}
BOUNDED = ("dual_clip", "cispo", "truncated_is")  # the losses that have a bound
