"""Chains of maps modulo m with the answer first, then the working, then a check.

A prompt of n digits, `314=`, stands for maps applied in turn to 0: digit d takes v to
(1 + d mod (m - 1)) v + d. The response gives the answer after the marker, then the value after each
digit, then `!` if the last value is the answer and `?` if not: `#1` `3` `2` `1` `!` (modulo 5);
fillers `.` may come after that.

The maps do not commute, so that a small model can learn the answer to a short prompt without the
working, and to a long one is right by chance. The working is easy, and what follows it tells the
model whether it was right. So wrong answers persist, the model knows them, and how long it then
goes on is up to it.
"""

import re
from collections.abc import Mapping
from random import Random

from rl.tasks.chain_sum import FILLER, MARKER, ChainSum
from rl.types import Problem

AGREES, DIFFERS = "!", "?"


class AnswerFirst(ChainSum):
    """The world."""

    @property
    def alphabet(self) -> str:
        """Digits below the modulus, `=`, the marker, the filler and the two outcomes of the
        check."""
        return super().alphabet + AGREES + DIFFERS

    def demonstration(
        self, problem: Problem, rng: Random, *, solved: Mapping[str, float], filler: float
    ) -> str:
        """A worked response as pretraining text.

        With the chance `solved[n]` the answer is right, else it is one of the others; values and
        check are right. One more filler follows with the chance `filler` after a wrong answer and
        with half of it after a right one, as people go on longer when something is wrong.
        """
        answer, check = int(problem.answer), AGREES
        if rng.random() >= solved[str(problem.difficulty)]:
            answer, check = (answer + rng.randrange(1, self.modulus)) % self.modulus, DIFFERS
        text = f"{MARKER}{answer}{self.working(problem)}{check}"
        chance = filler if check == DIFFERS else filler / 2
        while rng.random() < chance:
            text += FILLER
        return text

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Is the response right: the answer that it opens with, or also all that follows?"""
        bare = response.replace(FILLER, "")
        if every_step:
            return bare == self.solution(problem)
        return re.fullmatch(rf"{MARKER}{problem.answer}[^{MARKER}]*", bare) is not None

    def solution(self, problem: Problem) -> str:
        """The response with answer, values and check right and no filler."""
        return f"{MARKER}{problem.answer}{self.working(problem)}{AGREES}"

    def working(self, problem: Problem) -> str:
        """The value after each digit."""
        return "".join(map(str, self.values(problem.prompt[:-1])))

    def step(self, value: int, digit: int) -> int:
        """What one digit makes of the value so far."""
        return ((1 + digit % (self.modulus - 1)) * value + digit) % self.modulus
