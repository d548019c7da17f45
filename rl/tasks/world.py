"""What the worlds share: prompts of n symbols and `=`, some of them held out for good."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from rl.errors import UserError
from rl.types import Problem

DIGITS, LETTERS = "0123456789", "abcdefghij"
ASKS = "="  # the end of every prompt
HELDOUT_SHARE = 5  # one prompt in five is held out, by its hash


@dataclass(frozen=True)
class World(ABC):
    """A world with `modulus` different symbols. `digits` are its difficulties: how many symbols a
    prompt has."""

    modulus: int
    digits: tuple[int, ...]

    @property
    def symbols(self) -> str:
        """What prompts are made of: digits, if the world does not say otherwise."""
        return DIGITS[: self.modulus]

    @property
    @abstractmethod
    def alphabet(self) -> str:
        """Every character of its prompts and responses, each a token."""

    def is_text(self, response: str) -> bool:
        """Whether it is of the alphabet: names of special tokens are not."""
        return set(response) <= set(self.alphabet)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """Numbers of symbols, ascending."""
        return tuple(sorted(self.digits))

    @abstractmethod
    def answer(self, asked: str) -> str:
        """What a problem keeps as its answer; `asked` is the prompt without its end."""

    @abstractmethod
    def demonstration(
        self, problem: Problem, rng: Random, *, solved: Mapping[str, float], filler: float
    ) -> str:
        """A response as pretraining text: right throughout with the chance `solved[n]` for a
        prompt of n symbols. What `filler` does is the world's to say."""

    @abstractmethod
    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Is the response right: what was asked for, or also all that leads there?"""

    @abstractmethod
    def solution(self, problem: Problem) -> str:
        """A response that is right throughout."""

    def train_problems(self, count: int, seed: int) -> list[Problem]:
        """`count` independent draws: difficulty uniform, then symbols uniform off the held-out set.

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

    def _problem(self, index: int, prompt: str) -> Problem:
        asked = prompt[:-1]
        return Problem(id=index, prompt=prompt, answer=self.answer(asked), difficulty=len(asked))

    def _draw(self, rng: Random, difficulty: int) -> str:
        drawn = (self.symbols[rng.randrange(self.modulus)] for _ in range(difficulty))
        return "".join(drawn) + ASKS

    def _all_prompts(self, difficulty: int) -> list[str]:
        prompts = [""]
        for _ in range(difficulty):
            prompts = [p + symbol for p in prompts for symbol in self.symbols]
        return [p + ASKS for p in prompts]


def is_heldout(prompt: str) -> bool:
    """Whether a prompt belongs to the held-out split: fixed by its text, whatever the seed."""
    return blake2b(prompt.encode(), digest_size=2).digest()[0] % HELDOUT_SHARE == 0
