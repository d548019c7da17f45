"""Chains of sums modulo m, worked step by step.

A prompt of n digits, `314=`, is answered by restating each digit with the running sum, then the
marker and the answer: `33` `14` `43` `#3` (modulo 5). A filler `.` may stand before any part.
"""

import re
from collections.abc import Mapping
from itertools import accumulate
from random import Random

from rl.tasks.world import ASKS, World
from rl.types import Problem

FILLER = "."
MARKER = "#"


class ChainSum(World):
    """The world."""

    @property
    def alphabet(self) -> str:
        """Digits below the modulus, `=`, the marker and the filler."""
        return self.symbols + ASKS + MARKER + FILLER

    def answer(self, asked: str) -> str:
        """The value after the last digit."""
        return str(self.values(asked)[-1])

    def demonstration(
        self, problem: Problem, rng: Random, *, solved: Mapping[str, float], filler: float
    ) -> str:
        """A worked response as pretraining text.

        Each step goes wrong with the chance 1 - s^(1/n) that leaves the share s = solved[n] of
        whole texts right; a wrong step adds a wrong offset and the chain goes on from there.
        """
        digits = problem.prompt[:-1]
        slip = 1.0 - solved[str(len(digits))] ** (1.0 / len(digits))
        total, parts = 0, []
        for digit in digits:
            total = self.step(total, int(digit))
            if rng.random() < slip:
                total = (total + rng.randrange(1, self.modulus)) % self.modulus
            parts.append(f"{digit}{total}")
        parts.append(f"{MARKER}{total}")
        text = ""
        for part in parts:
            while rng.random() < filler:
                text += FILLER
            text += part
        return text

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Is the response right: its answer, or also every step before it?

        The answer is what stands after the only marker, at the very end.
        """
        bare = response.replace(FILLER, "")
        if every_step:
            return bare == self.solution(problem)
        return re.fullmatch(rf"[^{MARKER}]*{MARKER}{re.escape(problem.answer)}", bare) is not None

    def solution(self, problem: Problem) -> str:
        """The response with every step right and no filler."""
        digits = problem.prompt[:-1]
        steps = zip(digits, self.values(digits), strict=True)
        return "".join(f"{digit}{total}" for digit, total in steps) + MARKER + problem.answer

    def step(self, value: int, digit: int) -> int:
        """What one digit makes of the value so far."""
        return (value + digit) % self.modulus

    def values(self, digits: str) -> list[int]:
        """The value after each digit, from 0 before the first."""
        return list(accumulate(map(int, digits), self.step, initial=0))[1:]
