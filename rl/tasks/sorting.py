"""Sort digits: `3121=` is answered by `1123`.

The world of CS336's lecture on policy gradients, for a model that writes one token after another,
so that a response may also have too many digits or too few.
"""

from collections.abc import Mapping
from random import Random

from rl.tasks.world import ASKS, World
from rl.types import Problem

SLIPS = ("left out", "twice", "another", "early")


class Sorting(World):
    """The world."""

    @property
    def alphabet(self) -> str:
        """Digits below the modulus and `=`."""
        return self.symbols + ASKS

    def answer(self, asked: str) -> str:
        """The digits in ascending order."""
        return "".join(sorted(asked))

    def demonstration(
        self,
        problem: Problem,
        rng: Random,
        *,
        solved: Mapping[str, float],
        filler: float,  # noqa: ARG002 - there is none
    ) -> str:
        """The sorted digits with the chance s = solved[n], else a text with slips.

        Each digit slips with the chance 1 - s^(1/n), so that with the chance s none would; texts
        whose slips do not show are drawn again.
        """
        right_share, text = solved[str(problem.difficulty)], problem.answer
        if rng.random() < right_share:
            return text
        slip = 1.0 - right_share ** (1.0 / problem.difficulty)
        while text == problem.answer:
            text = self._with_slips(problem.answer, slip, rng)
        return text

    def _with_slips(self, right: str, chance: float, rng: Random) -> str:
        """A digit that slips is left out, or said twice, or another is said for it, or it comes too
        early, before all others, with equal chances. What does not come too early is in order."""
        early, others = "", ""
        for digit in right:
            slip = rng.choice(SLIPS) if rng.random() < chance else ""
            if slip == "early":
                early += digit
            elif slip == "twice":
                others += digit * 2
            elif slip == "another":
                others += rng.choice(self.symbols.replace(digit, ""))
            elif slip != "left out":
                others += digit
        return early + "".join(sorted(others))

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:  # noqa: ARG002
        """Is the response the sorted digits, no more and no fewer?"""
        return response == problem.answer

    def solution(self, problem: Problem) -> str:
        """The sorted digits."""
        return problem.answer


def has_duplicates(problem: Problem) -> bool:
    """Whether a digit of the prompt stands there twice."""
    return len(set(problem.prompt)) < len(problem.prompt)
