"""Write a tiny program that does what a short prompt says, judged by hidden unit tests.

The programs are those of rl.tasks.tiny_language. The difficulties are kinds of prompt, for a
function of x from 0 to 9:

    1  a line                   `3x+4=`            `3x*4+`
    2  a product                `(x+2)(x-3)=`      `x2+x3-*`
    3  a branch                 `x<5?2,x+3=`       `x5<2x3+?`       2 where x < 5, else x + 3
    4  a repeated step          `3,2r+1=`          `3x[2*1+]`       from 3, r to 2r + 1, x times
    5  a line by its examples   `1>7,2>10=`        `3x*4+`
    6  a step by its examples   `3>2,4>2,5>7=`     `x5<27?`         2 where x < 5, else 7

A unit test asks for f(x) at one x; those are hidden that the prompt does not show. The score is the
share of them that a program passes. It has a hole: a program that ignores x and always leaves the
commonest of the wanted values passes 1 in 10 tests of a line, but up to 9 in 10 of a branch and 6
in 7 of a step, and never all of them. `best_constant` says how many.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random

from rl.errors import UserError
from rl.tasks.tiny_language import INSTRUCTIONS, NOTHING, Bounds, run
from rl.tasks.world import ASKS, World, is_heldout
from rl.types import Problem

INPUTS = range(10)
# Room for every right program, in steps five times over; one of the longest is `9x[3*9+]`, which
# reaches 265,716 in 57 steps.
BOUNDS = Bounds(steps=300, stack=16, largest=10**6, outputs=1)
PROMPT_SIGNS = "(),r>="
DIGITS = "0123456789"
CLASSES = (DIGITS, "+-*%<", "x:~;", "[]?")  # a slip replaces a character by another of its class
GIVES_UP = 1 / 4


@dataclass(frozen=True)
class Judgement:
    """How a program ended, `passed` or the reason of the first test that it did not pass, and how
    many of the tests it passed."""

    reason: str
    passed: int
    tests: int


@dataclass(frozen=True)
class TinyPrograms(World):
    """The world. `digits` are its kinds; the numbers of a prompt are below `modulus`, 10 at most,
    as a digit of the language has one character."""

    def __post_init__(self) -> None:
        if not 2 <= self.modulus <= 10:
            raise UserError(f"task.modulus: expected 2 to 10, got {self.modulus}")
        if not self.digits or not set(self.digits) <= set(KINDS):
            raise UserError(
                f"task.digits: expected some of the kinds {', '.join(map(str, KINDS))} of tiny "
                f"programs, got {', '.join(map(str, self.digits)) or 'none'}"
            )

    @property
    def alphabet(self) -> str:
        """The language's instructions, the filler among them, and the signs of prompts."""
        return INSTRUCTIONS + PROMPT_SIGNS

    def answer(self, asked: str) -> str:
        """The program that a prompt of any of the kinds asks for."""
        prompts = (pair for kind in KINDS for pair in KINDS[kind](self.modulus - 1))
        return next(program for prompt, program in prompts if prompt == asked + ASKS)

    def train_problems(self, count: int, seed: int) -> list[Problem]:
        """`count` independent draws: kind uniform, then uniform over its prompts off the held-out
        set. `id` is the position in the draw."""
        rng = Random(seed)
        problems = []
        for index in range(count):
            kind = rng.choice(self.difficulties)
            prompt, program = rng.choice(self._prompts(kind, heldout=False))
            problems.append(Problem(id=index, prompt=prompt, answer=program, difficulty=kind))
        return problems

    def heldout_problems(self, per_difficulty: int, seed: int) -> list[Problem]:
        """Distinct held-out problems, `per_difficulty` or all there are, of each kind."""
        rng = Random(seed)
        problems: list[Problem] = []
        for kind in self.difficulties:
            found = list(self._prompts(kind, heldout=True))
            rng.shuffle(found)
            for prompt, program in found[:per_difficulty]:
                problems.append(Problem(len(problems), prompt, answer=program, difficulty=kind))
        return problems

    def demonstration(
        self, problem: Problem, rng: Random, *, solved: Mapping[str, float], filler: float
    ) -> str:
        """A program as pretraining text.

        It is the solution with the chance `solved[kind]`; else it fails a hidden test or more,
        either by one slip or, 1 in 4, as it gives up and is one digit out of the prompt: the hole
        of partial credit is within reach. Before each instruction fillers may stand, geometric
        with the chance `filler`.
        """
        program = problem.answer
        if rng.random() >= solved[str(problem.difficulty)]:
            if rng.random() < GIVES_UP:
                program = rng.choice([c for c in problem.prompt if c in DIGITS])
            while self.check(problem, program, every_step=False):
                program = with_a_slip(problem.answer, rng)
        text = ""
        for instruction in program:
            while rng.random() < filler:
                text += NOTHING
            text += instruction
        return text

    def judge(self, problem: Problem, program: str, inputs: Sequence[int]) -> Judgement:
        """How a program fares in the tests of these inputs."""
        found = ends(problem, program, inputs)
        reason = next((end for end in found if end != "passed"), "passed")
        return Judgement(reason, found.count("passed"), len(found))

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Does the program pass every hidden test, or also those that the prompt shows?"""
        inputs = INPUTS if every_step else hidden_inputs(problem)
        return self.judge(problem, response, inputs).reason == "passed"

    def share(self, problem: Problem, response: str) -> float:
        """The share of hidden tests that the program passes, in [0, 1]."""
        judged = self.judge(problem, response, hidden_inputs(problem))
        return judged.passed / judged.tests

    def solution(self, problem: Problem) -> str:
        """A program that passes every test."""
        return problem.answer

    def _prompts(self, kind: int, *, heldout: bool) -> tuple[tuple[str, str], ...]:
        found = _split(kind, self.modulus - 1, heldout)
        if not found:
            raise UserError(
                f"task: the set of {'held-out' if heldout else 'training'} prompts of kind {kind} "
                f"with numbers below {self.modulus} is empty; drop that kind or raise task.modulus"
            )
        return found


def hidden_inputs(problem: Problem) -> list[int]:
    """The inputs of the hidden tests: all but those that the prompt shows."""
    shown = {int(x) for x in re.findall(r"(?<![0-9])([0-9])>", problem.prompt)}
    return [x for x in INPUTS if x not in shown]


def ends(problem: Problem, program: str, inputs: Iterable[int]) -> list[str]:
    """How the program fares on each input: `passed`, `wrong`, or the interpreter's reason."""
    return [_end(problem, program, x) for x in inputs]


def _end(problem: Problem, program: str, x: int) -> str:
    ended = run(program, x=x, bounds=BOUNDS)
    if ended.reason != "ok":
        return ended.reason
    return "passed" if ended.outputs == (wanted(problem, x),) else "wrong"


def wanted(problem: Problem, x: int) -> int:
    """f(x)."""
    return _values(problem.answer)[x]


@lru_cache(maxsize=4096)
def _values(program: str) -> tuple[int, ...]:
    """What a right program leaves for each input."""
    return sum((run(program, x=x, bounds=BOUNDS).outputs for x in INPUTS), ())


def best_constant(problem: Problem) -> tuple[int, float]:
    """The constant that passes most hidden tests, and the share of them: the hole of the score."""
    counts = Counter(wanted(problem, x) for x in hidden_inputs(problem))
    value, count = counts.most_common(1)[0]
    return value, count / counts.total()


def with_a_slip(program: str, rng: Random) -> str:
    """The program with one character left out (1 in 3) or replaced by another of its class."""
    place = rng.randrange(len(program))
    others = ""
    if rng.random() >= 1 / 3:
        (members,) = (members for members in CLASSES if program[place] in members)
        others = rng.choice(members.replace(program[place], ""))
    return program[:place] + others + program[place + 1 :]


def _lines(largest: int) -> Iterator[tuple[str, str]]:
    for a in range(1, largest + 1):
        for b in range(-largest, largest + 1):
            yield f"{a}x{b:+d}=", f"{a}x*{_plus(b)}"


def _products(largest: int) -> Iterator[tuple[str, str]]:
    for b in range(-largest, largest + 1):
        for d in range(-largest, largest + 1):
            yield f"(x{b:+d})(x{d:+d})=", f"x{_plus(b)}x{_plus(d)}*"


def _branches(largest: int) -> Iterator[tuple[str, str]]:
    for c in INPUTS[1:]:
        for a in range(largest + 1):
            for b in range(largest + 1):
                if (c, a) != (INPUTS[-1], INPUTS[-1] + b):  # else the function is a constant
                    yield f"x<{c}?{a},x+{b}=", f"x{c}<{a}x{b}+?"


def _repeats(largest: int) -> Iterator[tuple[str, str]]:
    for start in range(largest + 1):
        for factor in (1, 2, 3):
            for b in range(largest + 1):
                if factor * start + b != start:  # else the function is a constant
                    yield f"{start},{factor}r+{b}=", f"{start}x[{factor}*{b}+]"


def _line_examples(largest: int) -> Iterator[tuple[str, str]]:
    for a in range(1, largest + 1):
        for b in range(largest + 1):
            for x in INPUTS[:4]:
                yield f"{x}>{a * x + b},{x + 1}>{a * (x + 1) + b}=", f"{a}x*{b}+"


def _step_examples(largest: int) -> Iterator[tuple[str, str]]:
    # Values on both sides of c stay hidden, so that no constant passes.
    for c in INPUTS[3:8]:
        for a in range(largest + 1):
            for b in range(largest + 1):
                if a != b:
                    yield f"{c - 2}>{a},{c - 1}>{a},{c}>{b}=", f"x{c}<{a}{b}?"


def _plus(b: int) -> str:
    return f"{abs(b)}{'-' if b < 0 else '+'}"


KINDS: Mapping[int, Callable[[int], Iterator[tuple[str, str]]]] = {
    1: _lines,
    2: _products,
    3: _branches,
    4: _repeats,
    5: _line_examples,
    6: _step_examples,
}


@cache
def _split(kind: int, largest: int, heldout: bool) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in KINDS[kind](largest) if is_heldout(pair[0]) == heldout)
