"""The gap between sampler and trainer: one set of weights, two programs, other log-probs."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def gap_weights(
    logp_trainer_BT: Float[Tensor, "B T"],
    logp_sampler_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    cap: float,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """c_it = min(w_it, cap), w_it = pi_trainer(o_it) / pi_sampler(o_it), nothing through it.

    Token t of response i was drawn from pi_sampler; its policy loss is that of samples of
    pi_trainer, so it is multiplied by c_it: truncated importance sampling (Ionides 2008), of the
    two programs' own difference (Yao et al. 2025, "Your efficient RL framework secretly brings you
    off-policy RL training"). Both log-probs are under the weights that the batch was drawn with;
    the ratio to a policy that has moved on since is the loss's own. Where the two agree c_it is
    exactly 1.

    Args:
        logp_trainer_BT: by the trainer's forward pass before any update, nats [B, T].
        logp_sampler_BT: as the sampler reported them, nats [B, T].
        mask_BT: True on response tokens [B, T]; what stands elsewhere is ignored.
        cap: the largest weight, 1 or more.

    Returns:
        The weights [B, T], 1 off the mask, and where on the mask w_it was over the cap.

    Raises:
        ValueError: shapes that differ, a mask that is not bool, or a cap below 1.
    """
    if logp_sampler_BT.shape != logp_trainer_BT.shape or mask_BT.shape != logp_trainer_BT.shape:
        raise ValueError(
            f"expected log-probs and mask of one shape, got {tuple(logp_trainer_BT.shape)}, "
            f"{tuple(logp_sampler_BT.shape)} and {tuple(mask_BT.shape)}"
        )
    if mask_BT.dtype != torch.bool or not cap >= 1:
        raise ValueError(f"expected a bool mask and a cap of 1 or more, got {mask_BT.dtype}, {cap}")
    gap_BT = (logp_trainer_BT - logp_sampler_BT).detach().masked_fill(~mask_BT, 0.0)
    ratio_BT = gap_BT.exp()
    return ratio_BT.clamp(max=cap), ratio_BT > cap
