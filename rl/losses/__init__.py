"""Losses: per-token values in rl.losses.policy, their one reduction in rl.losses.aggregate."""

from rl.losses.aggregate import AGGREGATES, aggregate
from rl.losses.gap import gap_weights
from rl.losses.policy import BOUNDED, LOSSES, clip_fraction, policy_loss, ratio_shares

__all__ = [
    "AGGREGATES",
    "BOUNDED",
    "LOSSES",
    "aggregate",
    "clip_fraction",
    "gap_weights",
    "policy_loss",
    "ratio_shares",
]
