"""A dialogue: the policy guesses a number, a simulated user says higher, lower or right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl.seeding import uniforms
from rl.worlds.environment import Actions, Flags, Observations, Rewards, Story, World, unit_vectors

ANSWERS = ("higher", "lower", "right")


@dataclass(frozen=True)
class Tokens:
    """A dialogue as one sequence of tokens. `policy` is True on the policy's own: only those have
    a log-probability under it, so only those carry a gradient."""

    ids: tuple[int, ...]
    policy: tuple[bool, ...]


class GuessNumber(World):
    """The user thinks of a number from 1 to `numbers`; after each guess comes an answer, and after
    `turns` guesses the dialogue ends. The reward is 1 at its end if the last guess was right.

    Halving finds every number where numbers < 2^turns. The observation is the transcript: for each
    turn so far a unit vector of the guess and one of the answer (higher or lower).
    """

    cut_off = False

    def __init__(self, *, numbers: int, turns: int) -> None:
        """How many numbers and how many guesses.

        Raises:
            ValueError: fewer than two numbers or fewer than one guess.
        """
        if numbers < 2 or turns < 1:
            raise ValueError(f"expected numbers >= 2 and turns >= 1, got {numbers}, {turns}")
        self.features = turns * (numbers + 2)
        self.actions = numbers
        self.horizon = turns

    def _begin(self, seeds: Sequence[int]) -> None:
        self._secret_N = (uniforms(seeds, 1)[:, 0] * self.actions).astype(np.int64)
        self._transcript: list[Observations] = []

    def _advance(self, action_N: Actions, live_N: Flags) -> tuple[Rewards, Flags]:
        right_N = live_N & (action_N == self._secret_N)
        over_N = right_N | (live_N & (len(self._transcript) == self.horizon - 1))
        # The user's turn. Nobody answers in a dialogue that is over, so that it stays as it was.
        answer_N = np.where(action_N < self._secret_N, 0, 1)
        goes_on_N = live_N & ~over_N
        self._transcript.append(
            np.hstack(
                [
                    unit_vectors(np.where(goes_on_N, action_N, -1), self.actions),
                    unit_vectors(np.where(goes_on_N, answer_N, -1), 2),
                ]
            )
        )
        return right_N.astype(np.float64), over_N

    def _observe(self) -> Observations:
        count = len(self._secret_N)
        missing = self.horizon - len(self._transcript)
        empty = np.zeros((count, self.actions + 2), dtype=np.float32)
        return np.hstack([*self._transcript[: self.horizon], *[empty] * missing])

    def tokens(self, row: int) -> Tokens:
        """The dialogue so far: guess g is token g - 1, the user's ANSWERS[k] is numbers + k."""
        ids: list[int] = []
        for guess in self._actions_of(row):
            ids += [guess, self.actions + self._answer(row, guess)]
        return Tokens(tuple(ids), (True, False) * (len(ids) // 2))

    def story(self, row: int) -> Story:
        """The dialogue so far as text; the user's first turn is the prompt."""
        lines = []
        for guess in self._actions_of(row):
            lines += [f"policy: {guess + 1}", f"user: {ANSWERS[self._answer(row, guess)]}"]
        return Story(
            prompt=f"user: I am thinking of a number from 1 to {self.actions}.",
            answer=str(int(self._secret_N[row]) + 1),
            text="\n".join(lines),
        )

    def _answer(self, row: int, guess: int) -> int:
        secret = int(self._secret_N[row])
        return 2 if guess == secret else int(guess > secret)
