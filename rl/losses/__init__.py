"""Losses: per-token values in rl.losses.policy, their one reduction in rl.losses.aggregate."""

from rl.losses.aggregate import AGGREGATES, aggregate
from rl.losses.policy import LOSSES, clip_fraction

__all__ = ["AGGREGATES", "LOSSES", "aggregate", "clip_fraction"]
