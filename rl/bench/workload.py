"""What every side of the comparison is given: model files, prompts, lengths, rewards, optimiser.

Loads neither the engine nor a trainer, so that another side starts with its own imports only.
"""

import random
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from rl.models import Tokenizer, new_decoder, save_decoder

PROMPTS, GROUP = 16, 16
ROWS = PROMPTS * GROUP
PROMPT_TOKENS, NEW_TOKENS, LEAST_TOKENS = 12, 64, 8
LETTERS = string.ascii_letters[:48]  # and three special tokens
OPTIMISER: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
SIZES = {
    "0.6M": {"hidden_size": 128, "layers": 3, "intermediate_size": 384},
    "2.6M": {"hidden_size": 256, "layers": 4, "intermediate_size": 512},
}
WORKS = ("fixed", "uneven")


def tokenizer() -> Tokenizer:
    """One token a letter."""
    return Tokenizer(LETTERS)


def write_model(directory: Path, size: str) -> None:
    """The decoder of a size in the hub's layout, from one seed."""
    model = new_decoder(
        tokenizer(),
        architecture="qwen2",
        heads=4,
        kv_heads=4,
        tie_embeddings=True,
        seed=0,
        **SIZES[size],
    )
    save_decoder(model, tokenizer(), directory)


def flops(size: str) -> dict[str, float]:
    """Floating-point operations a token: `sample` of a decoded one, `train` of one forward and
    backward; 2 a weight and pass, attention over the mean number of positions seen."""
    hidden, layers, inner = SIZES[size].values()
    weights = layers * (4 * hidden**2 + 3 * hidden * inner) + tokenizer().size * hidden
    seen = {"sample": PROMPT_TOKENS + NEW_TOKENS / 2, "train": (PROMPT_TOKENS + NEW_TOKENS) / 2}
    forward = {part: 2 * weights + 4 * layers * hidden * mean for part, mean in seen.items()}
    return {"sample": forward["sample"], "train": 3 * forward["train"]}


def prompts(step: int) -> list[str]:
    """The prompts of one step, each for a group."""
    rng = random.Random(step)
    return ["".join(rng.choices(LETTERS, k=PROMPT_TOKENS)) for _ in range(PROMPTS)]


def lengths(work: str) -> list[int]:
    """Response tokens of each row: all 64, or 8 to 64 in a fixed disorder."""
    if work == "fixed":
        return [NEW_TOKENS] * ROWS
    spread = [LEAST_TOKENS + i % (NEW_TOKENS - LEAST_TOKENS + 1) for i in range(ROWS)]
    random.Random(0).shuffle(spread)
    return spread


def rewards(work: str) -> list[float]:
    """Of each row: 0 and 1 in turn; uneven work has every second group right throughout."""
    flat = {i for i in range(PROMPTS) if i % 2} if work == "uneven" else set()
    return [1.0 if i // GROUP in flat else float(i % 2) for i in range(ROWS)]


class Timer:
    """CPU seconds of this process, and seconds by the clock, of named parts."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what the block takes to the part, and name it to a profiler."""
        cpu, wall = time.process_time(), time.perf_counter()
        with record_function(name):
            yield
        taken = self.parts.setdefault(name, {"cpu": 0.0, "wall": 0.0})
        taken["cpu"] += time.process_time() - cpu
        taken["wall"] += time.perf_counter() - wall


def peak_gflops(dtype: torch.dtype, size: int) -> float:
    """10^9 operations a CPU second of a product of two square matrices, the best of three."""
    a, b = torch.rand(size, size).to(dtype), torch.rand(size, size).to(dtype)
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        a @ b
        best = max(best, 2e-9 * size**3 / (time.process_time() - start))
    return best


class Lengths:
    """For transformers' generate: EOS where a row's length says so and nowhere else."""

    def __init__(self, lengths: list[int], prompt_tokens: int, eos_id: int) -> None:
        self._last_B = torch.tensor(lengths) + prompt_tokens - 1
        self._eos_id = eos_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) of the next token after `input_ids` (B, T)."""
        at_end_B = self._last_B[: len(scores)] <= input_ids.shape[1]
        eos_B = torch.where(at_end_B, 0.0, -torch.inf)
        scores = scores.masked_fill(at_end_B[:, None], -torch.inf)
        scores[:, self._eos_id] = eos_B
        return scores
