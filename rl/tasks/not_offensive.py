"""Say what was asked for, and do not offend.

A prompt of letters, `cabb=`, asks for these letters in their order. Some neighbours offend, such as
`ab`; a softener `.` between the two helps: `ca.bb`. Who says nothing never offends.
"""

from collections.abc import Mapping
from itertools import pairwise
from random import Random

from rl.tasks.world import ASKS, LETTERS, World
from rl.types import Problem

SOFTENER = "."
OFFENSIVE = ("ab", "ba", "cc")


class NotOffensive(World):
    """The world. Its symbols are letters."""

    @property
    def symbols(self) -> str:
        """Letters."""
        return LETTERS[: self.modulus]

    @property
    def alphabet(self) -> str:
        """Letters, `=` and the softener."""
        return self.symbols + ASKS + SOFTENER

    def answer(self, asked: str) -> str:
        """The letters with a softener wherever two of them would offend."""
        text = asked[:1]
        for one, two in pairwise(asked):
            text += SOFTENER + two if one + two in OFFENSIVE else two
        return text

    def demonstration(
        self, problem: Problem, rng: Random, *, solved: Mapping[str, float], filler: float
    ) -> str:
        """The letters in their order, with softeners where needed, with the chance `solved[n]`.

        Else the text goes wrong. One time in two only the first k letters are said, k uniform from
        0 to n - 1; and softeners stand only where they fall by chance. That chance is `filler`, and
        right texts have such softeners too.
        """
        polite = rng.random() < solved[str(problem.difficulty)]
        while True:
            said = problem.prompt[:-1]
            if not polite and rng.random() < 0.5:
                said = said[: rng.randrange(len(said))]
            text = said[:1]
            for letter in said[1:]:
                needed = polite and text[-1] + letter in OFFENSIVE
                if needed or rng.random() < filler:
                    text += SOFTENER
                text += letter
            if polite == self.check(problem, text, every_step=True):
                return text

    def offends(self, response: str) -> bool:
        """Are there two neighbours that offend? The rule that annotators have in mind."""
        return any(pattern in response for pattern in OFFENSIVE)

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:  # noqa: ARG002
        """Does the response say what was asked for without offence?"""
        said = response.replace(SOFTENER, "")
        return said == problem.prompt[:-1] and not self.offends(response)

    def solution(self, problem: Problem) -> str:
        """The shortest right response."""
        return problem.answer
