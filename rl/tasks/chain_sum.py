"""Chains of sums modulo m, worked step by step.

A prompt of n digits, `314=`, is answered by restating each digit with the running sum, then the
marker and the answer: `33` `14` `43` `#3` (modulo 5). A filler `.` may stand before any part.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from random import Random

from rl.errors import UserError
from rl.types import Problem

FILLER = "."
MARKER = "#"
HELDOUT_SHARE = 5  # one prompt in five is held out, by its hash


@dataclass(frozen=True)
class ChainSum:
    """The world. `digits` are its difficulties: how many digits a prompt has."""

    modulus: int
    digits: tuple[int, ...]

    @property
    def alphabet(self) -> str:
        """Digits below the modulus, `=`, the marker and the filler."""
        return "".join(str(digit) for digit in range(self.modulus)) + "=" + MARKER + FILLER

    @property
    def difficulties(self) -> tuple[int, ...]:
        """Numbers of digits, ascending."""
        return tuple(sorted(self.digits))

    def train_problems(self, count: int, seed: int) -> list[Problem]:
        """`count` independent draws: difficulty uniform, then digits uniform off the held-out set.

        `id` is the position in the draw.
        """
        rng = Random(seed)
        problems = []
        for index in range(count):
            difficulty = rng.choice(self.difficulties)
            prompt = self._draw(rng, difficulty)
            while is_heldout(prompt):
                prompt = self._draw(rng, difficulty)
            problems.append(self._problem(index, prompt))
        return problems

    def heldout_problems(self, per_difficulty: int, seed: int) -> list[Problem]:
        """Distinct held-out problems, `per_difficulty` or all there are, of each difficulty.

        Raises:
            UserError: a difficulty has no held-out prompt at all.
        """
        rng = Random(seed)
        problems: list[Problem] = []
        for difficulty in self.difficulties:
            if self.modulus**difficulty <= 20 * per_difficulty * HELDOUT_SHARE:
                found = [p for p in self._all_prompts(difficulty) if is_heldout(p)]
                rng.shuffle(found)
            else:
                found = []
                while len(found) < per_difficulty:
                    prompt = self._draw(rng, difficulty)
                    if is_heldout(prompt) and prompt not in found:
                        found.append(prompt)
            if not found:
                raise UserError(
                    f"task: the data set of held-out prompts with {difficulty} digits modulo "
                    f"{self.modulus} is empty; drop that difficulty or raise task.modulus"
                )
            for prompt in found[:per_difficulty]:
                problems.append(self._problem(len(problems), prompt))
        return problems

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

    def _problem(self, index: int, prompt: str) -> Problem:
        answer = str(self.values(prompt[:-1])[-1])
        return Problem(id=index, prompt=prompt, answer=answer, difficulty=len(prompt) - 1)

    def _draw(self, rng: Random, difficulty: int) -> str:
        return "".join(str(rng.randrange(self.modulus)) for _ in range(difficulty)) + "="

    def _all_prompts(self, difficulty: int) -> list[str]:
        prompts = [""]
        for _ in range(difficulty):
            prompts = [p + str(digit) for p in prompts for digit in range(self.modulus)]
        return [f"{p}=" for p in prompts]


def is_heldout(prompt: str) -> bool:
    """Whether a prompt belongs to the held-out split: fixed by its text, whatever the seed."""
    return blake2b(prompt.encode(), digest_size=2).digest()[0] % HELDOUT_SHARE == 0
