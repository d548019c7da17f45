"""Samplers: prompts in; token ids, log-probs and finish reasons out."""

from rl.rollout.local import LocalSampler
from rl.rollout.sampler import Request, Sampler
from rl.rollout.shared import SharedSampler
from rl.rollout.vllm import VllmSampler
from rl.rollout.vllm_engine import VllmSettings, check_installed

__all__ = [
    "LocalSampler",
    "Request",
    "Sampler",
    "SharedSampler",
    "VllmSampler",
    "VllmSettings",
    "check_installed",
]
