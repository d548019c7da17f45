"""Rewards that a program can check. 1 for right, 0 for wrong; a truncated response is wrong."""

from collections.abc import Callable, Mapping

from rl.types import Rollout, Task

RewardFunction = Callable[[Task, Rollout], float]


def answer(task: Task, rollout: Rollout) -> float:
    """1 if the response ended by itself and its stated answer is right, else 0."""
    return _checked(task, rollout, every_step=False)


def solution(task: Task, rollout: Rollout) -> float:
    """1 if the response ended by itself and every step and the answer are right, else 0."""
    return _checked(task, rollout, every_step=True)


def _checked(task: Task, rollout: Rollout, *, every_step: bool) -> float:
    if rollout.completion.finish_reason != "stop":
        return 0.0
    if not set(rollout.text) <= set(task.alphabet):  # a special token, decoded by its name
        return 0.0
    return float(task.check(rollout.problem, rollout.text, every_step=every_step))


REWARDS: Mapping[str, RewardFunction] = {"answer": answer, "solution": solution}
