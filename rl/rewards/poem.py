"""The rule of five lines, which looks at nothing but their number."""

from typing import Protocol

from rl.rewards.verifiable import is_whole
from rl.types import Rollout, Task

FIVE = 5


class LinedTask(Task, Protocol):
    """A world whose responses have lines."""

    def lines(self, response: str) -> list[str]:
        """The lines of a response, empty ones too."""


def lines(task: LinedTask, rollout: Rollout) -> float:
    """-|number of lines - 5|; a response that was cut off counts as one without a line."""
    found = task.lines(rollout.text) if is_whole(task, rollout) else []
    return -float(abs(len(found) - FIVE))
