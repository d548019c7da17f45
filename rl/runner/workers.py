"""Who does the jobs: what every kind of worker offers, and the process on this machine."""

import os
from collections import Counter
from contextlib import suppress
from itertools import takewhile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rl.runner.worker import Job, work

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder each


class Worker(Protocol):
    """Takes one job at a time. `connection` is ready to be read when there is something to hear."""

    connection: Connection

    def give(self, job: Job) -> None:
        """Hand over the next job."""

    def hear(self) -> tuple[Any, ...]:
        """The next message: (`step`, steps done, value), (`done`,) or (`failed`, why)."""

    def dismiss(self) -> None:
        """No more jobs; waits for the end."""

    def kill(self) -> None:
        """Stop at once, whatever is in hand."""


def visible_gpus() -> list[str]:
    """This machine's GPUs that a process may use, by the names of CUDA_VISIBLE_DEVICES.

    As in CUDA, the first name there that is of no GPU ends the list: -1 leaves none.
    """
    there = len(list(DRIVER.glob("*")))
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(i) for i in range(there)]

    def of_a_gpu(name: str) -> bool:
        """A number, or the name of a GPU or of a part of one, which the driver does not list."""
        return int(name) < there if name.isdecimal() else name.startswith(("GPU-", "MIG-"))

    names = [name.strip() for name in given.split(",")]
    return list(takewhile(of_a_gpu, names)) if there else []


class LocalWorker:
    """A process of this machine, with the one of its GPUs that has the fewest of them."""

    _busy: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        gpus = visible_gpus()
        self._gpu = min(gpus, key=self._busy.__getitem__) if gpus else None
        if self._gpu is not None:
            self._busy[self._gpu] += 1
        context = get_context("spawn")
        self.connection, there = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=work, args=(there, self._gpu), daemon=True
        )
        self._process.start()
        there.close()

    def give(self, job: Job) -> None:
        """See Worker."""
        with suppress(BrokenPipeError):  # it has just died, which `hear` will tell
            self.connection.send(job)

    def hear(self) -> tuple[Any, ...]:
        """See Worker."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return "failed", f"its process ended with exit code {self._process.exitcode}"
        return message

    def dismiss(self) -> None:
        """See Worker."""
        with suppress(BrokenPipeError):  # it has ended by itself
            self.connection.send(None)
        self._process.join()
        self.connection.close()
        self._leave()

    def kill(self) -> None:
        """See Worker."""
        self._process.kill()
        self._process.join()
        self._leave()

    def _leave(self) -> None:
        if self._gpu is not None:
            self._busy[self._gpu] -= 1
