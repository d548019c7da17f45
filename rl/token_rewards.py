"""From one score a response to a reward a token, and what becomes of responses without an end.

Whether a response stopped by itself is known from its finish reason, never from its last token.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.masks import last_tokens


def token_rewards(
    score_B: Float[Tensor, " B"],
    kl_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    coefficient: float,
) -> Float[Tensor, "B T"]:
    """r_t = -beta kl_t, and + score at the response's last token.

    1909.08593, eq. 2, token by token. The last token is EOS, or whichever the response was cut off
    at.

    Args:
        score_B: of whole responses [B].
        kl_BT: log pi_old(o_t) - log pi_ref(o_t) of each token [B, T], nats, under the policy that
            drew the responses; `rl.kl.kl_penalty` with k1 by token.
        mask_BT: True on response tokens; what stands elsewhere is ignored.
        coefficient: beta, reward a nat, 0 or more.

    Returns:
        [B, T] in the unit of the score, 0 off the mask, without a gradient.

    Raises:
        ValueError: shapes that do not fit, a mask that is not bool, a response without tokens, or
            a coefficient below 0.
    """
    if (
        kl_BT.ndim != 2
        or score_B.shape != kl_BT.shape[:1]
        or mask_BT.shape != kl_BT.shape
        or mask_BT.dtype != torch.bool
    ):
        raise ValueError(
            "expected a score [B], and kl and a bool mask [B, T], got "
            f"{tuple(score_B.shape)}, {tuple(kl_BT.shape)}, {mask_BT.dtype} and "
            f"{tuple(mask_BT.shape)}"
        )
    if not coefficient >= 0:
        raise ValueError(f"coefficient: expected a number >= 0, got {coefficient}")
    if not bool(mask_BT.any(dim=1).all()):
        raise ValueError("mask_BT: a response without tokens has no place for its score")
    penalty_BT = -coefficient * kl_BT.detach().masked_fill(~mask_BT, 0.0)
    return penalty_BT + torch.where(last_tokens(mask_BT), score_B.detach()[:, None], 0.0)


def replaced_where_unended(
    score_B: Float[Tensor, " B"], stopped_B: Bool[Tensor, " B"], *, value: float
) -> Float[Tensor, " B"]:
    """The score, or `value` in its place where the response did not stop by itself.

    2403.17031 with value -1: what such a response says does not count.

    Raises:
        ValueError: shapes that differ or flags that are not bool.
    """
    _check(score_B, stopped_B)
    return torch.where(stopped_B, score_B, value)


def penalised_where_unended(
    score_B: Float[Tensor, " B"], stopped_B: Bool[Tensor, " B"], *, penalty: float
) -> Float[Tensor, " B"]:
    """The score, less `penalty` where the response did not stop by itself.

    TRL's missing_eos_penalty: such responses are still told apart by their scores, and a good one
    may have more than a bad one that ended.

    Raises:
        ValueError: shapes that differ, flags that are not bool, or a penalty below 0.
    """
    _check(score_B, stopped_B)
    if not penalty >= 0:
        raise ValueError(f"penalty: expected a number >= 0, which is taken off, got {penalty}")
    return torch.where(stopped_B, score_B, score_B - penalty)


def _check(score_B: Tensor, stopped_B: Tensor) -> None:
    if score_B.ndim != 1 or stopped_B.shape != score_B.shape or stopped_B.dtype != torch.bool:
        raise ValueError(
            f"expected scores and bool flags of one shape [B], got {tuple(score_B.shape)}, "
            f"{stopped_B.dtype} and {tuple(stopped_B.shape)}"
        )
