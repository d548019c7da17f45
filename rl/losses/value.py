"""Losses of a value function a token, and how much of the returns it explains."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def value_loss(
    value_BT: Float[Tensor, "B T"],
    return_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    clip: float | None,
    value_old_BT: Float[Tensor, "B T"] | None,
) -> Float[Tensor, "B T"]:
    """l_t = 0.5 (V_t - R_t)^2; clipped, l_t = 0.5 max((V_t - R_t)^2, (V'_t - R_t)^2).

    V'_t = V_old_t + clip(V_t - V_old_t, -range, range), as PPO's first code has it and
    2403.17031 after it. Of the two the larger counts, so a value that has moved further than the
    range towards its return has no gradient; one that has moved away keeps it. The range is in
    units of the return: .2 in 2403.17031, .5 elsewhere.

    Args:
        value_BT: V of the state before token t [B, T]; carries the gradient.
        return_BT: targets R [B, T]; carry none.
        mask_BT: True on response tokens [B, T]; what stands elsewhere is ignored.
        clip: the range, over 0, or None for the plain loss.
        value_old_BT: V when the batch was drawn [B, T], carrying no gradient; None with no clip.

    Returns:
        [B, T], squared units of the return, 0 off the mask; reduce it with `aggregate`.

    Raises:
        ValueError: shapes that differ, a mask that is not bool, or a clip without old values, old
            values without a clip, or a range that is not over 0.
    """
    _check(value_BT, return_BT, mask_BT)
    if (clip is None) != (value_old_BT is None) or (clip is not None and not clip > 0):
        raise ValueError(
            "clip: expected a range over 0 with the old values, or None for both, got "
            f"{clip} with {'none' if value_old_BT is None else 'old values'}"
        )
    # Filled first: a NaN off the mask would come back as a NaN in the gradient.
    value, target = (x.masked_fill(~mask_BT, 0.0) for x in (value_BT, return_BT.detach()))
    loss_BT = (value - target).square()
    if clip is not None and value_old_BT is not None:
        if value_old_BT.shape != value_BT.shape:
            raise ValueError(
                f"value_old_BT: expected shape {tuple(value_BT.shape)}, got "
                f"{tuple(value_old_BT.shape)}"
            )
        old = value_old_BT.detach().masked_fill(~mask_BT, 0.0)
        kept = old + (value - old).clamp(-clip, clip)
        loss_BT = torch.maximum(loss_BT, (kept - target).square())
    return 0.5 * loss_BT


def explained_variance(
    value_BT: Float[Tensor, "B T"],
    return_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
) -> float | None:
    """1 - Var(R - V) / Var(R) over the tokens under the mask.

    1 of a perfect value function, 0 of any constant, below 0 of one that is worse than that. It
    does not see a constant error, which cancels in the variance.

    Returns:
        A number up to 1, worked out in float64, or None where all returns are equal and there is
        nothing to be explained.

    Raises:
        ValueError: shapes that differ, a mask that is not bool, or an empty mask.
    """
    _check(value_BT, return_BT, mask_BT)
    target = return_BT[mask_BT].detach().double()
    if not len(target):
        raise ValueError("mask_BT: expected one token or more, got none")
    if bool(target.max() == target.min()):
        return None
    left = target - value_BT[mask_BT].detach().double()
    return float(1 - left.var(correction=0) / target.var(correction=0))


def _check(value_BT: Tensor, return_BT: Tensor, mask_BT: Tensor) -> None:
    shape = value_BT.shape
    if len(shape) != 2 or return_BT.shape != shape or mask_BT.shape != shape:
        raise ValueError(
            "expected values, returns and a mask of one shape [B, T], got "
            f"{', '.join(str(tuple(x.shape)) for x in (value_BT, return_BT, mask_BT))}"
        )
    if mask_BT.dtype != torch.bool:
        raise ValueError(f"expected a bool mask, got {mask_BT.dtype}")
