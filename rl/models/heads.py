"""A score of a whole sequence: a decoder with one number read off its last real token.

Axis letters: B rows, T tokens, C channels, K members of an ensemble.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from rl.models.fused import Fused, can_fuse, causal
from rl.models.value import scalar_head


def last_places(length_B: Int[Tensor, " B"], *, width: int) -> Int[Tensor, " B"]:
    """Where each row's last real token stands, whatever its padding is made of.

    Args:
        length_B: real tokens of each right-padded row.
        width: tokens of a row, padding included.

    Raises:
        ValueError: a length outside 1..width.
    """
    if not bool(((length_B >= 1) & (length_B <= width)).all()):
        raise ValueError(f"length_B: expected lengths in 1..{width}, got {length_B.tolist()}")
    return length_B - 1


class RewardModel(nn.Module):
    """r(x, y) = w . h + b, with h the decoder's last state at the last real token of x y.

    w and b start as rl.models.value.scalar_head says. The decoder's own head takes no part.
    """

    def __init__(self, decoder: PreTrainedModel, *, seed: int) -> None:
        """The decoder is trained along; the same seed gives the same w."""
        super().__init__()
        self.decoder = decoder
        channels: int = decoder.config.hidden_size
        self.head = scalar_head(channels, seed=seed)
        if not decoder.config.tie_word_embeddings:
            whole: Any = decoder
            whole.lm_head.requires_grad_(False)

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B) of right-padded tokens (B, T) with real lengths (B).

        Attention is causal and the padding comes last, so that no score depends on it.
        """
        place_B = last_places(lengths, width=input_ids.shape[1])
        row_B = torch.arange(len(place_B), device=place_B.device)
        if can_fuse(self.decoder):
            fused = Fused(self.decoder)
            position_T = torch.arange(input_ids.shape[1], device=input_ids.device)
            hidden_BTC = fused.hidden(input_ids, position_T, causal)
            state_BC = fused.states(hidden_BTC[row_B, place_B])
        else:
            whole: Any = self.decoder
            hidden_BTC = whole.model(input_ids=input_ids, use_cache=False).last_hidden_state
            state_BC = hidden_BTC[row_B, place_B]
        score_B1: Tensor = self.head(state_BC)
        return score_B1[:, 0]

    def centre(self, mean: float) -> None:
        """Move b so that what had the score `mean` has 0: no preference changes."""
        with torch.no_grad():
            self.head.bias.sub_(mean)


def combined(score_KB: Float[Tensor, "K B"], *, how: str) -> Float[Tensor, " B"]:
    """One score a row of an ensemble of centred models: the `mean`, or the `lowest`, which trusts
    no single member (2310.02743, section 4, worst-case optimisation).

    Raises:
        ValueError: another way, or no members.
    """
    if score_KB.ndim != 2 or not len(score_KB):
        raise ValueError(f"score_KB: expected members and rows, got {tuple(score_KB.shape)}")
    if how == "mean":
        return score_KB.mean(dim=0)
    if how == "lowest":
        return score_KB.amin(dim=0)
    raise ValueError(f"how: expected mean or lowest, got {how!r}")
