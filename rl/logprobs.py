"""Log-probabilities of tokens. The shift by one position happens here and nowhere else."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def token_logps(
    logits_BTV: Float[Tensor, "B T V"], token_BT: Int[Tensor, "B T"], *, temperature: float
) -> Float[Tensor, "B T"]:
    """log pi(token_t | token_<t) = log softmax(logits_{t-1} / temperature)[token_t]; 0 at t = 0.

    The logits at position t-1 score token t. Entry 0 has nothing before it and is 0, so that the
    result is aligned with the tokens and with masks over them. Policy, old and reference logits
    are all divided by the temperature that the responses were sampled at.

    Args:
        logits_BTV: raw logits [B, T, V] for the tokens' own positions.
        token_BT: token ids [B, T], padding included (any valid id there; mask it later).
        temperature: sampling temperature, > 0.

    Returns:
        Log-probabilities in nats [B, T]; half-precision logits give float32.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not a positive number.
    """
    if logits_BTV.ndim != 3 or token_BT.shape != logits_BTV.shape[:2] or token_BT.shape[1] == 0:
        raise ValueError(
            f"expected logits [B, T, V] and tokens [B, T] with T >= 1, got "
            f"{tuple(logits_BTV.shape)} and {tuple(token_BT.shape)}"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    wide = torch.promote_types(logits_BTV.dtype, torch.float32)
    scaled = logits_BTV[:, :-1].to(wide) / temperature
    logp = torch.log_softmax(scaled, dim=-1).gather(-1, token_BT[:, 1:, None].long()).squeeze(-1)
    return torch.nn.functional.pad(logp, (1, 0))
