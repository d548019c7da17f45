"""What the tests of vLLM share: a model that its CPU build can hold, and a sampler of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rl.logprobs import token_logps
from rl.models import Decoder
from rl.rollout import Request, VllmSampler, VllmSettings
from rl.trainers.parts import forward_logits
from rl.types import Completion
from tests.tiny import decoder, tokenizer

TOKENS = tokenizer()
LIMIT = 14
PROMPTS = [TOKENS.encode(text) for text in ("0=", "21=", "2102=", "1", "112010=", "#.")]
REQUESTS = [Request(PROMPTS[i % len(PROMPTS)], seed=1000 + i) for i in range(48)]
SIZES: dict[str, Any] = {"hidden_size": 64, "layers": 2}  # heads of 32 channels
SETTINGS = VllmSettings(
    dtype="float32", kv_cache_mib=16, gpu_memory=0.4, tensor_parallel=1, eager=True
)


def small(seed: int = 0, **changes: Any) -> Decoder:
    """A random decoder; the embeddings are tied unless `changes` say otherwise."""
    return decoder(seed=seed, **{**SIZES, **changes})


@contextmanager
def vllm(
    model: Decoder,
    *,
    separate: bool = False,
    settings: VllmSettings = SETTINGS,
) -> Iterator[VllmSampler]:
    """A sampler with the model's weights. The engine behind it serves test after test."""

    def unexpected(died: str) -> None:
        raise AssertionError(died)

    sampler = VllmSampler(
        model,
        eos_id=TOKENS.eos_id,
        settings=settings,
        separate=separate,
        on_restart=unexpected,
    )
    yield sampler
    sampler.close()


def sampled(sampler: VllmSampler, requests: list[Request], **changes: Any) -> list[Completion]:
    """Completions at temperature 1 unless `changes` say otherwise."""
    return sampler.generate(requests, **{"temperature": 1.0, "max_new_tokens": LIMIT, **changes})


def gap(
    model: Decoder, requests: list[Request], completions: list[Completion], temperature: float
) -> float:
    """Largest difference from the log-probs of the trainer's forward, without a cache."""
    worst = 0.0
    for request, completion in zip(requests, completions, strict=True):
        expected = teacher(model, request, completion, temperature)
        worst = max(worst, float((torch.tensor(completion.logps) - expected).abs().max()))
    return worst


def teacher(model: Decoder, request: Request, completion: Completion, temperature: float) -> Tensor:
    """Log-probs of the completion in the trainer's forward, without a cache or padding."""
    tokens = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
    with torch.no_grad():
        logits = forward_logits(model, tokens)
    return token_logps(logits, tokens, temperature=temperature)[0, len(request.prompt_ids) :]
