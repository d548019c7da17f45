"""A run that is killed and goes on, beside the same run whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import RunWriter, read_lines

MANIFEST = {"arm": "a", "seed": 0, "started": "now"}
Lines = list[dict[str, Any]]


class KilledError(Exception):
    """In place of a signal."""


def whole_and_cut(
    directory: Path, train: Callable[..., int], config: Any, *, after: int
) -> tuple[Lines, Lines]:
    """The metrics of a run that nothing disturbs, and of one that is killed after so many steps and
    begun again, which finds a checkpoint."""

    def run(name: str, report: Callable[[int, float], None]) -> bool:
        with RunWriter(directory / name, MANIFEST, checkpoint_seconds=0.0) as log:
            found = log.checkpoint is not None
            train(config, seed=0, log=log, report=report)
        return found

    def stop(step: int, _: float) -> None:
        if step == after:
            raise KilledError

    run("whole", lambda *_: None)
    with pytest.raises(KilledError):
        run("cut", stop)
    assert run("cut", lambda *_: None)
    whole, cut = (read_lines(directory / name / "metrics.jsonl") for name in ("whole", "cut"))
    return whole, cut
