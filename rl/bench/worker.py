"""One side in a process of its own: python -m rl.bench.worker SIDE MODEL-FOLDER.

Commands come as JSON lines on stdin, answers go as JSON lines to what was stdout; everything else
that is printed goes to stderr. Every process has one thread.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO


def main() -> int:
    """Build the side, tell what starting cost, serve commands until stdin ends."""
    side, directory = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if side == "ours":
        from rl.runner.worker import load

        load()
    import torch

    torch.set_num_threads(1)
    if side == "trl":
        _serve_trl(directory, answers)
        return 0
    served = _side(side, directory)
    _tell(answers, _started())
    while (command := _heard()) is not None:
        name, arguments = command
        found = toy() if name == "toy" else getattr(served, name)(*arguments)
        _tell(answers, {"parts": found, "memory_mib": _memory_mib()})
    return 0


def _side(side: str, directory: Path) -> Any:
    if side == "ours":
        from rl.bench.ours import Ours

        return Ours(directory)
    from rl.bench import others

    return {"transformers": others.Transformers, "vllm": others.Vllm}[side](directory)


def _serve_trl(directory: Path, answers: TextIO) -> None:
    from rl.bench.trl_side import Trl

    started = False

    def wait() -> str | None:
        nonlocal started
        if not started:
            _tell(answers, _started())
            started = True
        command = _heard()
        return command[1][0] if command else None

    with TemporaryDirectory() as folder:
        side = Trl(directory, Path(folder))
        side.run(wait, lambda parts: _tell(answers, {"parts": parts, "memory_mib": _memory_mib()}))


def toy() -> dict[str, float]:
    """See rl.bench.ours."""
    from rl.bench.ours import toy_seed

    return toy_seed()


def _started() -> dict[str, float]:
    return {"startup_cpu": time.process_time()}


def _memory_mib() -> float:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _heard() -> tuple[str, list[Any]] | None:
    line = sys.stdin.readline()
    if not line:
        return None
    name, *arguments = json.loads(line)
    return name, arguments


def _tell(answers: TextIO, data: dict[str, Any]) -> None:
    answers.write(json.dumps(data) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
