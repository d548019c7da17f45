"""Partial credit for programs: the share of hidden unit tests that they pass.

All-or-nothing is rl.rewards.verifiable's `answer`, which asks for every hidden test. A truncated
response is no program and scores 0 under both.
"""

from typing import Protocol

from rl.types import Problem, Rollout, Task


class TestedTask(Task, Protocol):
    """A world whose responses are programs with unit tests."""

    def share(self, problem: Problem, response: str) -> float:
        """The share of hidden tests that the program passes, in [0, 1]."""


def share_of_tests(task: TestedTask, rollout: Rollout) -> float:
    """The share of hidden tests passed, if the response ended by itself, else 0."""
    if rollout.completion.finish_reason != "stop":
        return 0.0
    if not task.is_text(rollout.text):
        return 0.0
    return task.share(rollout.problem, rollout.text)
