"""What every sampler offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from rl.types import Completion


@dataclass(frozen=True)
class Request:
    """One completion to sample. `seed` decides it, alone or in any batch.

    `max_new_tokens` is this row's own limit, where it is lower than that of the call.
    """

    prompt_ids: tuple[int, ...]
    seed: int
    max_new_tokens: int | None = None


class Sampler(Protocol):
    """Prompts in; token ids, log-probs under the sampling distribution, finish reasons out."""

    def generate(
        self,
        requests: Sequence[Request],
        *,
        temperature: float,
        max_new_tokens: int,
        ignore_eos: bool = False,
    ) -> list[Completion]:
        """One completion a request, in their order. With `ignore_eos` EOS ends none of them."""

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Sample from these weights from now on."""

    def close(self) -> None:
        """No more requests will come: let go of what it holds."""
