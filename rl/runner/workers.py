"""Who does the jobs: what every kind of worker offers, and the process on this machine."""

from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from rl.runner.worker import Job, work


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


class LocalWorker:
    """A process of this machine."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, there = context.Pipe()
        self._process: BaseProcess = context.Process(target=work, args=(there,), daemon=True)
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

    def kill(self) -> None:
        """See Worker."""
        self._process.kill()
        self._process.join()
