"""Say digits again: `3121=` is answered by `3121`.

Every place counts alike and none helps with another; the reward is one bit after the last. So how
far back it has to be carried is the length of the prompt, and nothing else changes with that.
"""

from collections.abc import Mapping
from random import Random

from rl.tasks.world import ASKS, World
from rl.types import Problem


class Copy(World):
    """The world."""

    @property
    def alphabet(self) -> str:
        """Digits below the modulus and `=`."""
        return self.symbols + ASKS

    def answer(self, asked: str) -> str:
        """The digits."""
        return asked

    def demonstration(
        self,
        problem: Problem,
        rng: Random,
        *,
        solved: Mapping[str, float],
        filler: float,  # noqa: ARG002 - there is none
    ) -> str:
        """The digits, each another one with the chance 1 - s^(1/n) that leaves the share
        s = solved[n] of texts right."""
        slip = 1.0 - solved[str(problem.difficulty)] ** (1.0 / problem.difficulty)
        return "".join(
            rng.choice(self.symbols.replace(digit, "")) if rng.random() < slip else digit
            for digit in problem.answer
        )

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:  # noqa: ARG002
        """Is the response the digits, no more and no fewer?"""
        return response == problem.answer

    def solution(self, problem: Problem) -> str:
        """The digits."""
        return problem.answer
