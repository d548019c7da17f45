"""From per-token values to one number. Written once, normalised by the whole optimiser batch."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def aggregate(
    value_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    mode: str,
    sequences: int,
    tokens: int,
    max_length: int | None = None,
) -> Float[Tensor, ""]:
    """This micro-batch's part of the loss of the whole optimiser batch.

    With o_i the response of row i, |o_i| its number of tokens and l_it the values:

        sequence_mean  (1 / sequences) sum_i (1 / |o_i|) sum_t l_it  GRPO, 2402.03300, eq. 3
        token_mean     (1 / tokens) sum_i sum_t l_it                 DAPO, 2503.14476, eq. 12
        constant       (1 / (sequences max_length)) sum_i sum_t l_it  Dr. GRPO, 2503.20783, sec. 3.2

    The denominators are totals over all micro-batches and all ranks, so the SUM of the results
    over any split into micro-batches is the loss of the whole; nothing may average them again. A
    row without tokens adds 0, and still counts in `sequences`.

    Args:
        value_BT: per-token loss [B, T]; entries off the mask are ignored.
        mask_BT: True on response tokens [B, T], made from lengths.
        mode: key of AGGREGATES.
        sequences: responses in the whole optimiser batch.
        tokens: response tokens in the whole optimiser batch.
        max_length: tokens, a constant of the experiment and never the padded width; read by
            constant only.

    Returns:
        A scalar in the unit of the values.

    Raises:
        ValueError: an unknown mode, shapes that differ, a mask that is not bool, totals out of
            range, or constant without max_length.
    """
    if value_BT.ndim != 2 or mask_BT.shape != value_BT.shape or mask_BT.dtype != torch.bool:
        raise ValueError(
            f"expected values and a bool mask of one shape [B, T], got {tuple(value_BT.shape)}, "
            f"{mask_BT.dtype} and {tuple(mask_BT.shape)}"
        )
    if mode not in AGGREGATES:
        raise ValueError(f"mode: expected one of {', '.join(AGGREGATES)}, got {mode!r}")
    if sequences < 1 or tokens < 0:
        raise ValueError(
            f"expected the whole batch's totals, sequences >= 1 and tokens >= 0, got {sequences} "
            f"and {tokens}"
        )
    if mode == "constant" and (max_length is None or max_length < 1):
        raise ValueError(f"mode 'constant' needs max_length >= 1, got {max_length}")
    # Filled, not multiplied: 0 * inf in the padding would be NaN.
    kept_BT = value_BT.masked_fill(~mask_BT, 0.0)
    return AGGREGATES[mode](kept_BT, mask_BT, sequences, tokens, max_length or 0)


def _sequence_mean(
    kept_BT: Tensor, mask_BT: Tensor, sequences: int, _tokens: int, _max_length: int
) -> Tensor:
    length_B = mask_BT.sum(dim=1).clamp(min=1)  # a row without tokens: 0 / 1
    return (kept_BT.sum(dim=1) / length_B).sum() / sequences  # 2402.03300, eq. 3


def _token_mean(
    kept_BT: Tensor, _mask_BT: Tensor, _sequences: int, tokens: int, _max_length: int
) -> Tensor:
    return kept_BT.sum() / max(tokens, 1)  # 2503.14476, eq. 12; no token at all: 0 / 1


def _constant(
    kept_BT: Tensor, _mask_BT: Tensor, sequences: int, _tokens: int, max_length: int
) -> Tensor:
    return kept_BT.sum() / (sequences * max_length)  # 2503.20783, sec. 3.2


AGGREGATES: dict[str, Callable[[Tensor, Tensor, int, int, int], Tensor]] = {
    "sequence_mean": _sequence_mean,
    "token_mean": _token_mean,
    "constant": _constant,
}
