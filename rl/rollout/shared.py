"""A sampler whose requests several ranks share."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from rl import ranks
from rl.rollout.sampler import Request, Sampler
from rl.types import Completion


class SharedSampler:
    """Each rank samples its share, round robin, and all get all completions.

    A completion is decided by its prompt and seed, so that they are those of one sampler alone, up
    to what another batch changes in the last bits.
    """

    def __init__(self, own: Sampler) -> None:
        """`own` is this rank's."""
        self._own = own

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """See Sampler."""
        self._own.load_weights(state)

    def close(self) -> None:
        """See Sampler."""
        self._own.close()

    def generate(
        self,
        requests: Sequence[Request],
        *,
        temperature: float,
        max_new_tokens: int,
        ignore_eos: bool = False,
    ) -> list[Completion]:
        """See Sampler. All ranks must call it, with the same requests."""
        mine = requests[ranks.rank() :: ranks.world()]
        completions: list[Completion] = []
        if mine:
            completions = self._own.generate(
                mine,
                temperature=temperature,
                max_new_tokens=max_new_tokens,
                ignore_eos=ignore_eos,
            )
        return ranks.in_order(completions)
