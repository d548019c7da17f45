"""What a sweep's Ray actor does on its node, which shares no folder with the driver."""

import math
import os
import tempfile
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rl.artifacts import run_directory
from rl.errors import UserError
from rl.files import lock, named, packed, unpack, write_folder
from rl.runner.base_models import base_directory
from rl.runner.provenance import unlike, versions
from rl.runner.worker import Job, job_error, output_to, run_job


class Runner:
    """Does one job at a time, in threads beside the one that answers the driver.

    All that it writes lies in a folder of its node: the run until it is sent, without checkpoints,
    as nobody could go on from them; and base models, which stay.
    """

    def __init__(self, expected: Mapping[str, str], *, node: str, name: str, home: Path) -> None:
        """`expected`: the driver's versions, which this node must have too. `node`: its address,
        for people; `name`: among all the nodes."""
        self._expected = expected
        self._node = node
        self._name = name
        self._home = home
        self._ends = ThreadPoolExecutor(1)
        self._jobs = ThreadPoolExecutor(1)
        self._messages: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

    def start(self, job: Job, base: list[Any]) -> None:
        """Begin a job. `base` holds a reference to the files of its base model, or nothing: in a
        list, so that Ray brings them only where they are asked for."""
        self._ends.submit(self._outcome, job, base).add_done_callback(self._tell)

    def messages(self) -> list[tuple[Any, ...]]:
        """Wait for news, and tell all there is: (`step`, steps done, value), and at the end
        (`done`, log, files of the run) or (`failed`, log, why)."""
        found = [self._messages.get()]
        while not self._messages.empty():
            found.append(self._messages.get())
        return found

    def _tell(self, outcome: Future[tuple[Any, ...]]) -> None:
        """Whatever happens to a job, its end is told: the driver waits for it."""
        error = outcome.exception()
        self._messages.put(outcome.result() if error is None else self._failed(b"", error))

    def _outcome(self, job: Job, base: list[Any]) -> tuple[Any, ...]:
        """The job in a folder that is gone when its end is told: the driver may end this actor."""
        with named(self._home):
            self._home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="run-", dir=self._home) as folder:
                cache = self._home / "base-models"
                here = replace(job, root=Path(folder), cache=cache, checkpoint_seconds=math.inf)
                restore = output_to(here.log_file)
                error = self._jobs.submit(self._work, here, base).exception()
                with suppress(OSError):  # the disk is full, which the job's own error tells
                    restore()
                log = here.log_file.read_bytes()
                if error is not None:
                    return self._failed(log, error)
                return "done", log, packed(run_directory(here.root, job.spec.arm, job.spec.seed))

    def _failed(self, log: bytes, error: BaseException) -> tuple[Any, ...]:
        """The last message. The traceback is the end of the log, and is not written here first."""
        refused = error.__context__
        if isinstance(refused, OSError) and str(error).startswith(str(self._home)):
            # What `named` says is of a run that stays, and this one's folder goes.
            error = UserError(
                f"{self._home}: cannot be written ({refused.strerror or refused}); make room or "
                f"give permission there, then the same command starts the run anew"
            ).with_traceback(error.__traceback__)
        traced = "".join(traceback.format_exception(error)).encode()
        return "failed", log + traced, f"node {self._node}: {job_error(error)}"

    def _work(self, job: Job, base: list[Any]) -> None:
        with named(self._home):
            print(f"node {self._name}", flush=True)
        if told := unlike(self._expected, versions()):
            raise UserError(
                f"expected the driver's packages, got {told}; `make setup-ray` there from the same "
                f"commit"
            )
        _bring_base_model(job, base)
        run_job(job, lambda step, value: self._messages.put(("step", step, value)))


class NodeRunner(Runner):
    """The same as an actor, in TMPDIR/rl-<node>."""

    def __init__(self, expected: Mapping[str, str]) -> None:
        import ray

        node, number = ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id()
        home = Path(tempfile.gettempdir()) / f"rl-{number}"
        super().__init__(expected, node=node, name=f"{node} {number}", home=home)


def _bring_base_model(job: Job, base: list[Any]) -> None:
    """Have the job's base model in the node's cache, brought once for all of the node's actors."""
    made = job.spec.config.base_model()
    if made is None:
        return
    target = base_directory(job.cache, made)
    held = lock(job.cache)
    try:
        if not target.exists():
            import ray

            files = ray.get(base[0])
            write_folder(target, lambda folder: unpack(files, folder))
    finally:
        os.close(held)
