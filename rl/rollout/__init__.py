"""Samplers: prompts in; token ids, log-probs and finish reasons out."""

from rl.rollout.local import LocalSampler
from rl.rollout.sampler import Request, Sampler
from rl.rollout.shared import SharedSampler

__all__ = ["LocalSampler", "Request", "Sampler", "SharedSampler"]
