"""Jobs over workers: what comes next goes to who is free."""

from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait

from rl.errors import UserError
from rl.runner.progress import Progress
from rl.runner.worker import Job
from rl.runner.workers import Worker


def work_through(
    todo: list[Job], *, jobs: int, progress: Progress, hire: Callable[[], Worker]
) -> list[tuple[Job, str]]:
    """Every job on `jobs` workers at a time, each got by `hire`; returns those that failed, which
    harm no other.

    Raises:
        UserError: there is no worker at all. Where a further one cannot be had, its job has failed,
            and nothing goes on.
    """
    pool = _Pool(todo, progress, hire)
    try:
        while pool.queue and len(pool.busy) < jobs:
            pool.give(hire())
        while pool.busy:
            ready = wait(list(pool.busy))
            for connection in [one for one in pool.busy if one in ready]:
                pool.hear(connection)
    except UserError as error:
        if not (pool.busy or pool.failed):
            raise
        pool.failed.append((pool.queue[0], str(error)))
    finally:  # after Ctrl-C: their runs go on from their checkpoints another time
        for worker, _ in pool.busy.values():
            worker.kill()
    return pool.failed


class _Pool:
    """Who works at what, what is left and what failed."""

    def __init__(self, todo: list[Job], progress: Progress, hire: Callable[[], Worker]) -> None:
        self.queue = deque(todo)
        self.failed: list[tuple[Job, str]] = []
        self.busy: dict[Connection, tuple[Worker, Job]] = {}
        self._progress = progress
        self._hire = hire

    def give(self, worker: Worker) -> None:
        """The next job."""
        job = self.queue.popleft()
        self.busy[worker.connection] = worker, job
        self._progress.start(job.name, job.steps)
        worker.give(job)

    def hear(self, connection: Connection) -> None:
        """A worker's news. One whose job is done gets the next; one whose job failed has ended."""
        worker, job = self.busy[connection]
        kind, *rest = worker.hear()
        if kind == "step":
            self._progress.step(job.name, *rest)
            return
        del self.busy[connection]
        self._progress.finish(job.name, ok=kind == "done")
        if kind == "failed":
            self.failed.append((job, rest[0]))
        if kind == "failed" or not self.queue:
            worker.dismiss()
        if self.queue:
            self.give(self._hire() if kind == "failed" else worker)
