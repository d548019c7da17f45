"""Tiny programs as Python, each judged in a box of its own: what any untrusted program would get.

The problems, prompts and unit tests are those of rl.tasks.tiny_programs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rl.box import Way
from rl.rewards.sandbox import Case, Limits, judge
from rl.tasks import TinyPrograms
from rl.tasks.tiny_programs import BOUNDS, Judgement, wanted
from rl.tasks.tiny_python import as_python
from rl.types import Problem

LIMITS = Limits(
    wall_seconds=10.0, cpu_seconds=2, memory_bytes=2**28, processes=1, output_bytes=10_000
)


@dataclass(frozen=True)
class BoxedPrograms(TinyPrograms):
    """The world, whose tests run in a box; `way` is how this machine isolates."""

    way: Way

    def judge(self, problem: Problem, program: str, inputs: Sequence[int]) -> Judgement:
        """How a program fares in the tests of these inputs. `reason` may also be one of the box's
        (rl.rewards.sandbox)."""
        cases = tuple((x, wanted(problem, x)) for x in inputs)
        return _judged(program, cases, self.way)


@lru_cache(maxsize=4096)  # score, outcome and reason of one response are asked for apart
def _judged(program: str, cases: tuple[tuple[int, int], ...], way: Way) -> Judgement:
    verdict = judge(
        as_python(program, BOUNDS),
        function="f",
        cases=[Case((x,), [value]) for x, value in cases],
        limits=LIMITS,
        way=way,
    )
    reason: str = "wrong" if verdict.reason == "failed" else verdict.reason
    if reason == "raised":  # an exception is named for the bound or the fault that it stands for
        reason = verdict.detail or reason
    return Judgement(reason, verdict.passed, verdict.tests)
