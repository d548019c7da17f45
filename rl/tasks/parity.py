"""Running sums modulo m, one for each digit: `1101=` is answered by `1001` (modulo 2: parity).

A response to n digits is n digits, of which the last is the answer: it is reached by one step a
token, each from the one before, so that a slip anywhere spoils all that follows, and the reward is
one bit after the last.
"""

from collections.abc import Mapping
from itertools import accumulate
from random import Random

from rl.tasks.world import ASKS, World
from rl.types import Problem


class Parity(World):
    """The world."""

    @property
    def alphabet(self) -> str:
        """Digits below the modulus and `=`."""
        return self.symbols + ASKS

    def answer(self, asked: str) -> str:
        """The sum of all digits."""
        return self._sums(asked)[-1]

    def demonstration(
        self,
        problem: Problem,
        rng: Random,
        *,
        solved: Mapping[str, float],
        filler: float,  # noqa: ARG002 - there is none
    ) -> str:
        """The sums. Each step goes wrong with the chance 1 - s^(1/n) that leaves the share
        s = solved[n] of texts right; the sums go on from where it led."""
        slip = 1.0 - solved[str(problem.difficulty)] ** (1.0 / problem.difficulty)
        total, text = 0, ""
        for digit in problem.prompt[:-1]:
            total += int(digit)
            if rng.random() < slip:
                total += rng.randrange(1, self.modulus)
            total %= self.modulus
            text += str(total)
        return text

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Is the response right: as many sums as digits, the last of them right, or all of them?

        Two slips may cancel: by the last alone they do, by every step they do not.
        """
        right = self.solution(problem)
        if every_step:
            return response == right
        return len(response) == len(right) and response[-1] == right[-1] and ASKS not in response

    def solution(self, problem: Problem) -> str:
        """Every sum."""
        return self._sums(problem.prompt[:-1])

    def _sums(self, asked: str) -> str:
        return "".join(str(total % self.modulus) for total in accumulate(map(int, asked)))
