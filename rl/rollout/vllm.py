"""The sampler that hands its requests to vLLM, in this process or in one of its own.

A completion depends on its seed, its prompt and the weights, on a GPU up to what another batch
changes in the last bits. Its draws are vLLM's own: other ones than those of the local sampler.
"""

import atexit
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor
from transformers import PreTrainedModel

from rl.errors import UserError
from rl.models import Ends
from rl.rollout.sampler import Request
from rl.rollout.vllm_engine import (
    Asked,
    VllmEngine,
    VllmSettings,
    architecture_of,
)
from rl.rollout.vllm_process import DeadEngineError, VllmWorker
from rl.types import Completion

Answer = TypeVar("Answer")


class Holder(Protocol):
    """What holds a model: VllmEngine or VllmWorker."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See VllmEngine."""

    def generate(self, asked: Asked) -> list[Completion]:
        """See VllmEngine."""

    def close(self) -> None:
        """Free its memory."""


Key = tuple[str, VllmSettings, bool]


class VllmSampler:
    """Samples from weights that vLLM has a copy of.

    An engine whose process dies is started anew, once, with the weights of the last `load_weights`;
    then it is asked the same again.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        eos_id: int,
        settings: VllmSettings,
        separate: bool,
        on_restart: Callable[[str], None],
        ends: Ends | None = None,
        keep: bool = False,
    ) -> None:
        """An engine with the weights of `model`; see VllmEngine for what is refused.

        Args:
            model: its architecture is that of all weights to come.
            eos_id: the token that ends a response.
            settings: how vLLM holds the model.
            separate: in a process of its own.
            on_restart: told how the engine died, before it is started again.
            ends: where a response ends besides EOS; `settings` has the tokenizer for its text.
            keep: copy the weights of each `load_weights`, since the caller's tensors will not hold
                them until the next.
        """
        self._key: Key = (architecture_of(model), settings, separate)
        self._eos_id = eos_id
        self._ends = ends or Ends(frozenset(), None, frozenset(), lambda _: "")
        self._on_restart = on_restart
        self._keep = keep
        self._restarted = False
        self._holder = _take(self._key)
        self.load_weights(model.state_dict())

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """See Sampler. A whole state_dict, tied entries under both names."""
        self._state = (
            {k: v.detach().cpu().clone() for k, v in state.items()} if self._keep else state
        )
        self._surviving(lambda holder: holder.load(state))

    def generate(
        self,
        requests: Sequence[Request],
        *,
        temperature: float,
        max_new_tokens: int,
        ignore_eos: bool = False,
    ) -> list[Completion]:
        """As LocalSampler, by draws of vLLM's own.

        Raises:
            UserError: what vLLM cannot do, or an engine that died a second time.
        """
        if not requests:
            return []
        asked = Asked(
            tuple(requests),
            temperature,
            max_new_tokens,
            self._eos_id,
            ignore_eos,
            tuple(sorted(self._ends.token_ids)),
            self._ends.text,
        )
        return self._surviving(lambda holder: holder.generate(asked))

    def close(self) -> None:
        """Leave the engine to the next sampler of its kind."""
        _give_back(self._key, self._holder)

    def _surviving(self, do: Callable[[Holder], Answer]) -> Answer:
        try:
            return do(self._holder)
        except DeadEngineError as died:
            self._start_again(died)
        try:
            return do(self._holder)
        except DeadEngineError as died:
            raise self._gave_up(died) from None

    def _start_again(self, died: DeadEngineError) -> None:
        if self._restarted:
            raise self._gave_up(died) from None
        self._restarted = True
        self._on_restart(str(died))
        self._holder.close()
        self._holder = _take(self._key)
        try:
            self._holder.load(self._state)
        except DeadEngineError as again:
            raise self._gave_up(again) from None

    def _gave_up(self, died: DeadEngineError) -> UserError:
        self._holder.close()
        return UserError(
            "vLLM died twice in one run, which ends here; its checkpoint stays, and the same "
            f"command goes on from there: {died}"
        )


# The engine of the last run, idle. Starting one takes seconds, giving it weights milliseconds.
_idle: list[tuple[Key, Holder]] = []


def _take(key: Key) -> Holder:
    """The idle engine if it is of this kind, else a new one in its place."""
    if _idle:
        kept, holder = _idle.pop()
        if kept == key:
            return holder
        holder.close()
    architecture, settings, separate = key
    return (VllmWorker if separate else VllmEngine)(architecture, settings)


def _give_back(key: Key, holder: Holder) -> None:
    close_idle()
    _idle.append((key, holder))


@atexit.register
def close_idle() -> None:
    """Free the memory of the engine that no sampler has."""
    while _idle:
        _idle.pop()[1].close()
