"""A tiny run that is killed with SIGKILL at a named moment: python -m tests.killed ROOT.

For each moment of MOMENTS a fork of this process trains in ROOT/<moment> until it is killed there.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl import artifacts, files
from rl.artifacts import RunWriter
from rl.engine import Engine
from rl.rollout import local
from rl.trainers.policy import train_policy
from tests.tiny import decoder, run_config

CONFIG = run_config(
    {
        "steps": 5,
        "advantage.baseline": "running_mean",
        "loss.epochs": 2,
        "loss.minibatches": 2,
        "optim": {
            **run_config().optim.model_dump(mode="json"),
            "weight_decay": 0.1,
            "warmup_steps": 4,
            "schedule": "linear",
        },
        "eval.every": 2,
    }
)
FACTS: dict[str, Any] = {
    **dict.fromkeys(artifacts.SAME, "the same"),
    "arm": "plain",
    "seed": 3,
    "started": "now",
}


def train(directory: Path, facts: dict[str, Any]) -> list[int]:
    """The run, to its end; returns the steps that were done this time."""
    done: list[int] = []
    with RunWriter(directory, facts, checkpoint_seconds=0) as log:
        tokens = train_policy(
            CONFIG, seed=3, model=decoder(), log=log, report=lambda step, _: done.append(step)
        )
        log.finish({"tokens": tokens})
    return done


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at_call(owner: Any, name: str, count: int, act: Callable[..., Any]) -> None:
    """Call number `count` of owner.name goes to `act`, which gets the real one first."""
    real = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return act(real, *args, **kwargs) if calls == count else real(*args, **kwargs)

    setattr(owner, name, counted)


def _half_a_line(_: object, log: files.LineLog, record: dict[str, Any]) -> None:
    os.write(log._file.fileno(), str(record).encode()[:20])
    die()


def _then_die(real: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    real(*args, **kwargs)
    die()


# Steps log a line each; steps 0, 2 and 4, and the end, an evaluation's line before it.
MOMENTS: dict[str, Callable[[], None]] = {
    "sampling": lambda: _at_call(local, "sample", 35, die),
    "stepping": lambda: _at_call(Engine, "_gradient_norm", 10, die),
    "writing-a-line": lambda: _at_call(files.LineLog, "append", 9, _half_a_line),
    "writing-a-checkpoint": lambda: _at_call(Engine, "save", 3, _then_die),
    "between-two-checkpoints": lambda: _at_call(files.shutil, "rmtree", 5, die),
    "before-the-first-checkpoint": lambda: _at_call(Engine, "save", 1, die),
    "at-the-end": lambda: _at_call(Path, "replace", 8, die),
}


def main() -> None:
    root = Path(sys.argv[1])
    for moment, arrange in MOMENTS.items():
        child = os.fork()
        if child == 0:
            arrange()
            train(root / moment, FACTS)
            os._exit(0)  # it should not get here
        print(moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
