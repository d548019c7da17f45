"""A worker on a Ray cluster: jobs go to an actor, and runs come back into their place."""

import os
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from rl.artifacts import run_directory, run_fault, run_status
from rl.errors import UserError
from rl.files import lock, named, unpack, write_folder
from rl.runner.ray_cluster import GOES_ON, Cluster, last_line
from rl.runner.worker import Job

RESTARTS = 2  # of a run whose node was lost
CHECK_S = 10.0  # how often the cluster is looked at


class RayWorker:
    """See Worker: an actor, and a thread that passes on what it tells. Where its node or process is
    lost, the next actor starts the run again."""

    def __init__(self, cluster: Cluster) -> None:
        self.connection, self._told = Pipe(duplex=False)
        self._cluster = cluster
        self._actor = cluster.actor()
        self._checked = time.monotonic()
        self._ended = False
        self._change = Lock()  # of the actor, and of its end

    def give(self, job: Job) -> None:
        """See Worker."""
        self._job = job
        base = self._cluster.base(job)
        self._thread = Thread(target=self._pass_on, args=(job, base), daemon=True)
        self._thread.start()

    def hear(self) -> tuple[Any, ...]:
        """See Worker. A run that is done is in its place then."""
        try:
            kind, *rest = self.connection.recv()
        except EOFError:
            return "failed", f"the connection to the cluster was lost; {GOES_ON}"
        if kind == "step":
            return kind, *rest
        log, result = rest
        try:
            with named(self._job.log_file):
                self._job.log_file.parent.mkdir(parents=True, exist_ok=True)
                self._job.log_file.write_bytes(log)
            if kind == "failed":
                return kind, result
            put_in_place(self._job, result)
        except UserError as error:
            return "failed", str(error)
        return ("done",)

    def dismiss(self) -> None:
        """See Worker."""
        self.connection.close()
        with self._change:
            self._ended = True
            self._cluster.end(self._actor)
        self._thread.join()

    def kill(self) -> None:
        """See Worker."""
        self.dismiss()

    def _pass_on(self, job: Job, base: list[Any]) -> None:
        """In the thread: a job from its start to its end."""
        try:
            self._told.send(self._outcome(job, base))
        except BrokenPipeError:  # dismissed
            return
        except ConnectionError:  # of a cluster outside
            self._told.close()  # which the scheduler hears
        except BaseException:
            self._told.close()
            raise

    def _outcome(self, job: Job, base: list[Any]) -> tuple[Any, ...]:
        """Pass on the steps; returns the last message."""
        for lost in range(RESTARTS + 1):
            try:
                if lost:
                    self._take_another()
                return self._follow(job, base)
            except UserError as error:
                return "failed", b"", str(error)
            except self._cluster.ray.exceptions.RayError as error:
                why = last_line(error)
        return "failed", b"", f"lost {RESTARTS + 1} times with its node or process; the last: {why}"

    def _take_another(self) -> None:
        with self._change:
            if self._ended:
                raise UserError("dismissed")  # which nobody hears
            self._cluster.end(self._actor)  # if it is only out of reach
            self._actor = self._cluster.actor()

    def _follow(self, job: Job, base: list[Any]) -> tuple[Any, ...]:
        self._await(self._actor.start.remote(job, base))
        while True:
            for message in self._await(self._actor.messages.remote()):
                if message[0] != "step":
                    return tuple(message)
                self._told.send(message)

    def _await(self, answer: Any) -> Any:
        """The actor's answer, which may take long: it may have to wait for room.

        Raises:
            UserError: the cluster is lost, or no node is left.
        """
        while True:
            if time.monotonic() > self._checked + CHECK_S:  # also while a run tells of its steps
                self._cluster.check()
                self._checked = time.monotonic()
            if self._cluster.ray.wait([answer], timeout=CHECK_S)[0]:
                return self._cluster.ray.get(answer)


def put_in_place(job: Job, files: Mapping[str, bytes]) -> None:
    """Write a run that came from a node where a local worker would have written it, at once.

    Raises:
        UserError: it cannot be written, or did not come whole.
    """
    directory = run_directory(job.root, job.spec.arm, job.spec.seed)

    def write(folder: Path) -> None:
        unpack(files, folder)
        if run_status(folder) != "complete" or run_fault(folder):
            raise UserError(f"{directory}: did not come whole from its node; run again")

    held = lock(directory)  # a local worker may outlive its parent by a step
    try:
        write_folder(directory, write)
    finally:
        os.close(held)
