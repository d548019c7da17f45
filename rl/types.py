"""What flows between the parts.

Axis letters: P prompts, G samples, B = P*G, T tokens, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol

import torch

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Problem:
    """One task instance. `id` is stable within its split and enters the sampling seed."""

    id: int
    prompt: str
    answer: str
    difficulty: int


class Task(Protocol):
    """What trainers ask of a world. Training and held-out prompts never overlap."""

    def is_text(self, response: str) -> bool:
        """Is it made of text alone? A special token is decoded by its name, and is none."""

    @property
    def difficulties(self) -> tuple[int, ...]:
        """The levels that metrics are split by."""

    def train_problems(self, count: int, seed: int) -> list[Problem]:
        """`count` independent draws over the difficulties."""

    def heldout_problems(self, per_difficulty: int, seed: int) -> list[Problem]:
        """Distinct held-out problems, `per_difficulty` or all there are, of each difficulty."""

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Is the response right: its answer, or also every step before it?"""


@dataclass(frozen=True)
class Completion:
    """One sampled response, EOS included when it stopped by itself.

    `logps` are under the sampling distribution (temperature applied), nats, one a token.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Rollout:
    """A problem with one completion of it, as text too."""

    problem: Problem
    sample: int
    prompt_ids: tuple[int, ...]
    completion: Completion
    text: str


@dataclass(frozen=True)
class Preference:
    """Two responses to one prompt, and which of them a judge took.

    A response follows its prompt as it is, white space included. `meta` says where the pair came
    from: a row number, scores, whether the label was flipped.
    """

    prompt: str
    chosen: str
    rejected: str
    meta: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences. Masks come from lengths, never from token ids.

    `logp_*_BT` and `response_BT` are aligned with `token_BT`: entry t speaks of token t.
    """

    token_BT: torch.Tensor  # int64
    length_B: torch.Tensor  # int64, prompt + response
    response_BT: torch.Tensor  # bool, True on response tokens
    logp_sampler_BT: torch.Tensor  # float32, 0 off the response
    advantage_B: torch.Tensor  # float32

    def rows(self, pick_B: torch.Tensor) -> "Batch":
        """Some of the rows, cut to the longest of them."""
        length_B = self.length_B[pick_B]
        width = int(length_B.max())
        return Batch(
            token_BT=self.token_BT[pick_B, :width],
            length_B=length_B,
            response_BT=self.response_BT[pick_B, :width],
            logp_sampler_BT=self.logp_sampler_BT[pick_B, :width],
            advantage_B=self.advantage_B[pick_B],
        )

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})
