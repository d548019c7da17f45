"""Policy losses a token, to be minimised. One function a loss, all with one signature.

Every entry of the log-probabilities must be finite, those off the response too: they are masked
only when the values are aggregated.
"""

from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class PolicyLoss(Protocol):
    """The signature that LOSSES promises. All log-probabilities are in nats.

    Args:
        logp_BT: under the policy being trained [B, T]; carries the gradient.
        logp_old_BT: under the policy that the batch is judged by [B, T]; never carries one.
        advantage_B: one advantage a response [B].
        clip_low, clip_high: the ratio is kept within [1 - clip_low, 1 + clip_high].

    Returns:
        Loss a token [B, T].

    Raises:
        ValueError: shapes that do not fit, or clip bounds out of range.
    """

    def __call__(
        self,
        logp_BT: Float[Tensor, "B T"],
        logp_old_BT: Float[Tensor, "B T"],
        advantage_B: Float[Tensor, " B"],
        *,
        clip_low: float,
        clip_high: float,
    ) -> Float[Tensor, "B T"]: ...


def reinforce(
    logp_BT: Float[Tensor, "B T"],
    logp_old_BT: Float[Tensor, "B T"],
    advantage_B: Float[Tensor, " B"],
    *,
    clip_low: float,
    clip_high: float,
) -> Float[Tensor, "B T"]:
    """l_it = -A_i log pi(o_it) (REINFORCE, Williams 1992, theorem 1); see PolicyLoss.

    Neither the old log-probabilities nor the clip bounds enter.
    """
    _check(logp_BT, logp_old_BT, advantage_B, clip_low, clip_high)
    return -advantage_B[:, None] * logp_BT  # Williams 1992, theorem 1


def clipped(
    logp_BT: Float[Tensor, "B T"],
    logp_old_BT: Float[Tensor, "B T"],
    advantage_B: Float[Tensor, " B"],
    *,
    clip_low: float,
    clip_high: float,
) -> Float[Tensor, "B T"]:
    """l_it = -min(w_it A_i, clip(w_it, 1 - clip_low, 1 + clip_high) A_i); see PolicyLoss.

    PPO, 1707.06347, eq. 7, with w_it = exp(log pi(o_it) - log pi_old(o_it)). Where w_it is
    exactly 1 its gradient is that of `reinforce`, bit for bit.
    """
    _check(logp_BT, logp_old_BT, advantage_B, clip_low, clip_high)
    advantage_B1 = advantage_B[:, None]
    ratio_BT = torch.exp(logp_BT - logp_old_BT.detach())  # 1707.06347, eq. 6, r_t
    bounded_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio_BT * advantage_B1, bounded_BT * advantage_B1)  # eq. 7


def clip_fraction(
    logp_BT: Float[Tensor, "B T"],
    logp_old_BT: Float[Tensor, "B T"],
    advantage_B: Float[Tensor, " B"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    clip_low: float,
    clip_high: float,
) -> Float[Tensor, ""]:
    """Share of the masked tokens without a gradient because eq. 7 of 1707.06347 took its clip.

    That is A > 0 with w > 1 + clip_high, or A < 0 with w < 1 - clip_low; elsewhere the minimum
    takes the unclipped branch. 0 where the mask is empty. Arguments as in PolicyLoss.

    Raises:
        ValueError: shapes that do not fit, clip bounds out of range, or a mask that is not bool.
    """
    _check(logp_BT, logp_old_BT, advantage_B, clip_low, clip_high)
    if mask_BT.shape != logp_BT.shape or mask_BT.dtype != torch.bool:
        raise ValueError(
            f"expected a bool mask of shape {tuple(logp_BT.shape)}, got {mask_BT.dtype} of shape "
            f"{tuple(mask_BT.shape)}"
        )
    advantage_B1 = advantage_B[:, None]
    ratio_BT = torch.exp(logp_BT - logp_old_BT)
    above_BT = (advantage_B1 > 0) & (ratio_BT > 1 + clip_high)
    below_BT = (advantage_B1 < 0) & (ratio_BT < 1 - clip_low)
    cut = ((above_BT | below_BT) & mask_BT).sum()
    return cut.to(logp_BT.dtype) / mask_BT.sum().clamp(min=1)


def _check(
    logp_BT: Tensor, logp_old_BT: Tensor, advantage_B: Tensor, clip_low: float, clip_high: float
) -> None:
    if (
        logp_BT.ndim != 2
        or logp_old_BT.shape != logp_BT.shape
        or advantage_B.shape != logp_BT.shape[:1]
    ):
        raise ValueError(
            f"expected logp and logp_old [B, T] and advantage [B], got {tuple(logp_BT.shape)}, "
            f"{tuple(logp_old_BT.shape)} and {tuple(advantage_B.shape)}"
        )
    if not (0 < clip_low < 1 and clip_high > 0):
        raise ValueError(
            f"expected 0 < clip_low < 1 and clip_high > 0, got {clip_low} and {clip_high}"
        )


LOSSES: dict[str, PolicyLoss] = {"reinforce": reinforce, "clipped": clipped}
