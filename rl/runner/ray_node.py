"""What a sweep's Ray actor does on its node, which shares no folder with the driver."""

import math
import os
import tempfile
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from rl.artifacts import run_directory
from rl.errors import UserError
from rl.files import lock, packed, unpack, write_folder
from rl.runner.base_models import base_directory
from rl.runner.provenance import unlike, versions
from rl.runner.worker import Job, job_error, output_to, run_job


class NodeRunner:
    """Does one job at a time, in a thread beside the one that answers the driver.

    All that it writes lies in TMPDIR/rl-<node>: the run until it is sent, without checkpoints, as
    nobody could go on from them; and base models, which stay.
    """

    def __init__(self, expected: Mapping[str, str]) -> None:
        """`expected`: the driver's versions, which this node must have too."""
        import ray

        context = ray.get_runtime_context()
        self._expected = expected
        self._name = f"{ray.util.get_node_ip_address()} {context.get_node_id()}"
        self._home = Path(tempfile.gettempdir()) / f"rl-{context.get_node_id()}"
        self._jobs = ThreadPoolExecutor(1)
        self._messages: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

    def start(self, job: Job, base: list[Any]) -> None:
        """Begin a job. `base` holds a reference to the files of its base model, or nothing: in a
        list, so that Ray brings them only where they are asked for."""
        Thread(target=self._see_to, args=(job, base), daemon=True).start()

    def messages(self) -> list[tuple[Any, ...]]:
        """Wait for news, and tell all there is: (`step`, steps done, value), and at the end
        (`done`, log, files of the run) or (`failed`, log, why)."""
        found = [self._messages.get()]
        while not self._messages.empty():
            found.append(self._messages.get())
        return found

    def _see_to(self, job: Job, base: list[Any]) -> None:
        """The job in a folder that is gone when its end is told: the driver may end this actor."""
        self._home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self._home) as folder:
            cache = self._home / "base-models"
            here = replace(job, root=Path(folder), cache=cache, checkpoint_seconds=math.inf)
            restore = output_to(here.log_file)
            error = self._jobs.submit(self._work, here, base).exception()
            if error is not None:
                traceback.print_exception(error)
            restore()
            log = here.log_file.read_bytes()
            if error is None:
                files = packed(run_directory(here.root, job.spec.arm, job.spec.seed))
                last: tuple[Any, ...] = "done", log, files
            else:
                last = "failed", log, job_error(error)
        self._messages.put(last)

    def _work(self, job: Job, base: list[Any]) -> None:
        print(f"node {self._name}", flush=True)
        if told := unlike(self._expected, versions()):
            raise UserError(f"node {self._name}: {told}")
        _bring_base_model(job, base)
        run_job(job, lambda step, value: self._messages.put(("step", step, value)))


def _bring_base_model(job: Job, base: list[Any]) -> None:
    """Have the job's base model in the node's cache, brought once for all of the node's actors."""
    import ray

    made = job.spec.config.base_model()
    if made is None:
        return
    target = base_directory(job.cache, made)
    held = lock(job.cache)
    try:
        if not target.exists():
            files = ray.get(base[0])
            write_folder(target, lambda folder: unpack(files, folder))
    finally:
        os.close(held)
