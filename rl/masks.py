"""Where a response stands in its row."""

from jaxtyping import Bool
from torch import Tensor


def last_tokens(mask_BT: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """True on the last token of each response [B, T]; nowhere in a row without one."""
    after_BT = mask_BT.flip(1).cumsum(dim=1).flip(1)  # response tokens from here on
    return mask_BT & (after_BT == 1)
