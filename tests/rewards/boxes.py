"""What the tests of the sandbox share: limits, a short way to judge, and a look at what is left."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rl.box import Way
from rl.rewards import sandbox
from rl.rewards.sandbox import Case, Limits, Verdict, judge

INIT = Path("/proc/1")  # takes in the children of processes that have ended
ROOMY: dict[str, Any] = {
    "wall_seconds": 120.0,
    "cpu_seconds": 60,
    "memory_bytes": 2**28,
    "processes": 4,
    "output_bytes": 20_000,
}


def limits(**changes: float) -> Limits:
    return Limits(**{**ROOMY, **changes})


def ended(way: Way, program: str, *expected: object, **changes: float) -> Verdict:
    """The verdict on `f`, which is given 0, 1, 2 ... and expected to return these."""
    cases = [Case((x,), value) for x, value in enumerate(expected or (None,))]
    return judge(program, function="f", cases=cases, limits=limits(**changes), way=way)


def boxes() -> list[int]:
    """The processes of boxes that this process has made, or a child of it, or that nobody owns.

    All are copies of a launcher, by fork. Those of tests that run beside these are theirs.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            if _is_box(process):
                above = list(_ancestors(process))
                owner = next(parent for parent in above if not _is_box(parent))
                if owner == INIT or Path("/proc") / str(os.getpid()) in above:
                    found.append(int(process.name))
    return found


def _is_box(process: Path) -> bool:
    command = (process / "cmdline").read_bytes().split(b"\0")
    return sandbox.PYTHON[-1].encode() in command and sandbox.START.encode() in command


def _ancestors(process: Path) -> Iterator[Path]:
    """From the parent up to init."""
    while process != INIT:
        status = (process / "status").read_text(encoding="utf-8")
        process = process.parent / status.partition("\nPPid:")[2].split()[0]
        yield process


def mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
