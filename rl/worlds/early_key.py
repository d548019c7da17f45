"""A sequence whose first token decides a reward that comes many tokens later."""

from collections.abc import Sequence

import numpy as np

from rl.seeding import uniforms
from rl.worlds.environment import Actions, Flags, Observations, Rewards, Story, World, unit_vectors


class EarlyKey(World):
    """One of K keys is shown, then `length` tokens are written. Writing the key first pays 1 with
    the last token; any other first token pays `bonus` at once. Later tokens change nothing.

    Discounted from the first token, the key is worth gamma^(length - 1): below `bonus`, the
    discounted objective prefers to forget the key. The observation is the place in the sequence
    (`length` unit vectors), the key while it is shown (K), and whether it was written (1).
    """

    cut_off = False

    def __init__(self, *, keys: int, length: int, bonus: float) -> None:
        """Sizes, and what a wrong first token pays.

        Raises:
            ValueError: fewer than two keys or tokens, or a bonus outside [0, 1).
        """
        if keys < 2 or length < 2 or not 0 <= bonus < 1:
            raise ValueError(
                f"expected keys >= 2, length >= 2 and bonus in [0, 1), got {keys}, {length}, "
                f"{bonus}"
            )
        self.features = length + keys + 1
        self.actions = keys
        self.horizon = length
        self._bonus = bonus

    def _begin(self, seeds: Sequence[int]) -> None:
        self._key_N = (uniforms(seeds, 1)[:, 0] * self.actions).astype(np.int64)
        self._held_N = np.zeros(len(seeds), dtype=bool)
        self._place_N = np.zeros(len(seeds), dtype=np.int64)

    def _advance(self, action_N: Actions, live_N: Flags) -> tuple[Rewards, Flags]:
        first_N = live_N & (self._place_N == 0)
        self._held_N = np.where(first_N, action_N == self._key_N, self._held_N)
        last_N = live_N & (self._place_N == self.horizon - 1)
        reward_N = np.where(first_N & ~self._held_N, self._bonus, 0.0)
        reward_N = reward_N + np.where(last_N & self._held_N, 1.0, 0.0)
        self._place_N = np.where(live_N & ~last_N, self._place_N + 1, self._place_N)
        return reward_N, last_N

    def _observe(self) -> Observations:
        shown_N = np.where(self._place_N == 0, self._key_N, -1)
        return np.hstack(
            [
                unit_vectors(self._place_N, self.horizon),
                unit_vectors(shown_N, self.actions),
                self._held_N[:, None].astype(np.float32),
            ]
        )

    def story(self, row: int) -> Story:
        """Keys and tokens as letters."""
        letters = [chr(ord("a") + action) for action in self._actions_of(row)]
        key = chr(ord("a") + int(self._key_N[row]))
        return Story(prompt=f"key {key}", answer=key, text=" ".join(letters))
