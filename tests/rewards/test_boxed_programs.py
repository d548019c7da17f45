"""Tiny programs as Python in a box: judged as the interpreter judges them, or not at all."""

from typing import Any

import pytest

from rl.box import Way
from rl.config import RunSpec
from rl.errors import UserError
from rl.rewards import sandbox
from rl.runner import schedule
from rl.tasks import TinyPrograms
from rl.tasks.tiny_programs import hidden_inputs
from rl.trainers.boxed import BoxedPrograms
from rl.trainers.scoring import make_scorer, program_end
from rl.types import Completion, FinishReason, Problem, Rollout
from tests.tiny import decoder, run_config

TASK = TinyPrograms(modulus=10, digits=(1, 6))
LINE = Problem(0, "3x+4=", "3x*4+", 1)
STEP = Problem(1, "3>2,4>2,5>7=", "x5<27?", 6)
BOXED: dict[str, Any] = {
    "task": {"name": "tiny_programs", "modulus": 4, "digits": [3]},
    "base.digits": [3],
    "base.text": {"solved": {"3": 0.5}, "filler": 0.0},
    "reward": {"name": "share_of_tests", "scale": 1.0, "kl": 0.0, "programs": "python"},
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("problem", "program", "reason", "passed"),
    [
        (LINE, "4x3*+", "passed", 10),
        (LINE, "x4+", "wrong", 1),
        (LINE, "x[99*9*[]]4", "steps", 1),
        (LINE, "3x*4++", "stack", 0),
        (LINE, "3x*4+01x-%;", "zero", 9),
        (LINE, "[", "syntax", 0),
        (STEP, "7", "wrong", 4),
    ],
)
def test_both_ways_judge_alike(
    way: Way, problem: Problem, program: str, reason: str, passed: int
) -> None:
    inputs = hidden_inputs(problem)
    boxed = BoxedPrograms(TASK.modulus, TASK.digits, way)
    judged = boxed.judge(problem, program, inputs)
    assert judged == TASK.judge(problem, program, inputs)
    assert (judged.reason, judged.passed) == (reason, passed)
    assert boxed.share(problem, program) == TASK.share(problem, program)


def test_a_response_cut_off_is_no_program() -> None:
    def end(reason: FinishReason) -> str:
        completion = Completion((0,), (0.0,), reason)
        return program_end(TASK, Rollout(LINE, 0, (0,), completion, "3x*4+"))

    assert (end("stop"), end("length")) == ("passed", "truncated")


def test_a_machine_that_does_not_isolate_refuses_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "refusal", lambda way: f"no namespaces as {way}")
    config = run_config(BOXED)
    with pytest.raises(UserError, match="isolated or not at all"):
        make_scorer(config, TinyPrograms(4, (3,)), model=decoder(), seed=0)
    with pytest.raises(UserError, match="no namespaces as user"):
        schedule._check_data([RunSpec("arm", 0, config)])
    safe = run_config({**BOXED, "reward": {**BOXED["reward"], "programs": "interpreter"}})
    schedule._check_data([RunSpec("arm", 0, safe)])
    assert (
        type(make_scorer(safe, TinyPrograms(4, (3,)), model=decoder(), seed=0).end.args[0])
        is TinyPrograms
    )
