"""Log-probabilities and entropies of tokens. The shift by one position happens here and nowhere
else."""

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


def token_entropies(
    logits_BTV: Float[Tensor, "B T V"], *, temperature: float
) -> Float[Tensor, "B T"]:
    """H_t = -sum_v p_v log p_v, p = softmax(logits_{t-1} / temperature): of what token t was drawn
    from; 0 at t = 0.

    Aligned with the tokens as `token_logps` is. The gradient is that of the entropy itself, every
    token of the vocabulary included.

    Returns:
        Nats [B, T], in [0, log V]; half-precision logits give float32.

    Raises:
        ValueError: a shape that does not fit, or a temperature that is not a positive number.
    """
    if logits_BTV.ndim != 3 or logits_BTV.shape[1] == 0:
        raise ValueError(f"expected logits [B, T, V] with T >= 1, got {tuple(logits_BTV.shape)}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    wide = torch.promote_types(logits_BTV.dtype, torch.float32)
    logp = torch.log_softmax(logits_BTV[:, :-1].to(wide) / temperature, dim=-1)
    # A token that cannot be has p log p = 0, not 0 * -inf.
    entropy = -(logp.exp() * logp.masked_fill(logp == -math.inf, 0.0)).sum(dim=-1)
    return torch.nn.functional.pad(entropy, (1, 0))
