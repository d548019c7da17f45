"""Samplers: prompts in; token ids, log-probs and finish reasons out."""

from rl.rollout.local import LocalSampler
from rl.rollout.sampler import Request, Sampler

__all__ = ["LocalSampler", "Request", "Sampler"]
