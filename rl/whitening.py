"""Numbers of tokens brought to mean 0 and spread 1, or to spread 1 alone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def whiten(
    value_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    ddof: int,
    eps: float,
    shift_mean: bool,
) -> Float[Tensor, "B T"]:
    """x' = (x - mean) / sqrt(var + eps), and + mean again where the mean is not to be shifted.

    As in 2403.17031, which whitens advantages with the shift and rewards without, by ddof 0 and
    eps 1e-8; others take ddof 1. `eps` is added to the variance; that of rl.advantages to the
    std.

    The scope is what is passed: mean and variance are over every token under the mask, so a call
    with the whole batch whitens by the batch and a call with a minibatch by the minibatch.

    Args:
        value_BT: advantages or rewards [B, T], any unit.
        mask_BT: True on response tokens. Others are not read, and are 0 in the result: masked
            again, for the shift would move them.
        ddof: 0 divides squared deviations by their number n, 1 by n - 1.
        eps: squared units of the values, 0 or more.
        shift_mean: whether the mean of the result is 0, or the mean of the values.

    Returns:
        [B, T] in the dtype of the values, worked out in float64, without a gradient. Values that
        are all equal, found by max == min, deviate by exactly 0.

    Raises:
        ValueError: shapes that differ, a mask that is not bool or is empty, or a ddof or eps out
            of range.
    """
    if value_BT.ndim != 2 or mask_BT.shape != value_BT.shape or mask_BT.dtype != torch.bool:
        raise ValueError(
            f"expected values and a bool mask of one shape [B, T], got {tuple(value_BT.shape)}, "
            f"{mask_BT.dtype} and {tuple(mask_BT.shape)}"
        )
    if ddof not in (0, 1):
        raise ValueError(f"ddof: expected 0 (population) or 1 (sample), got {ddof}")
    if not eps >= 0:
        raise ValueError(f"eps: expected a number >= 0, got {eps}")
    if not bool(mask_BT.any()):
        raise ValueError("mask_BT: expected one token or more, got none")
    value_M = value_BT.detach()[mask_BT].double()
    mean, flat = value_M.mean(), bool(value_M.max() == value_M.min())
    if flat:
        white_M = torch.zeros_like(value_M) if shift_mean else value_M
    else:
        white_M = (value_M - mean) / (value_M.var(correction=ddof) + eps).sqrt()
        white_M = white_M if shift_mean else white_M + mean
    found_BT = torch.zeros_like(value_BT)
    found_BT[mask_BT] = white_M.to(value_BT.dtype)
    return found_BT
