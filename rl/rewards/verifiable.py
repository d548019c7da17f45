"""Rewards that a program can check. 1 for right, 0 for wrong; a truncated response is wrong."""

from collections.abc import Callable
from typing import Any

from rl.types import Rollout, Task

# The first argument is a world that the reward fits; rl.config.reward.REWARDS_OF lists them.
RewardFunction = Callable[[Any, Rollout], float]


def answer(task: Task, rollout: Rollout) -> float:
    """1 if the response ended by itself and its stated answer is right, else 0."""
    return _checked(task, rollout, every_step=False)


def solution(task: Task, rollout: Rollout) -> float:
    """1 if the response ended by itself and every step and the answer are right, else 0."""
    return _checked(task, rollout, every_step=True)


def exact(task: Task, rollout: Rollout) -> float:
    """1 if the response ended by itself and is all that was asked for, else 0: what `solution` is
    where there are no steps."""
    return solution(task, rollout)


def is_whole(task: Task, rollout: Rollout) -> bool:
    """Whether the response ended by itself and is text: a special token is decoded by its name."""
    ended = rollout.completion.finish_reason == "stop"
    return ended and task.is_text(rollout.text)


def _checked(task: Task, rollout: Rollout, *, every_step: bool) -> float:
    if not is_whole(task, rollout):
        return 0.0
    return float(task.check(rollout.problem, rollout.text, every_step=every_step))
