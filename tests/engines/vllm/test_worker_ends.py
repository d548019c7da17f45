"""A run and the process of its vLLM: whichever of them is killed, no process or file stays."""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from rl.rollout.vllm_engine import Asked, architecture_of
from rl.rollout.vllm_process import DeadEngineError, VllmWorker, own_folder
from tests.engines.vllm.leftovers import is_there, leaving_nothing, left_in_memory, soon
from tests.engines.vllm.models import REQUESTS, SETTINGS, TOKENS, small

pytestmark = pytest.mark.engines

ROOT = Path(__file__).resolve().parents[3]
PART = 1000  # bytes: more than the head of a message
# More than a minute's work, of which the processes of the engine end nothing before that.
LONG = Asked(tuple(REQUESTS * 100), 1.0, 400, TOKENS.eos_id, ignore_eos=True)

RUN = """
import sys
from dataclasses import replace
from rl.rollout.vllm_engine import architecture_of
from rl.rollout.vllm_process import VllmWorker
from tests.engines.vllm.models import SETTINGS, small
from tests.engines.vllm.test_worker_ends import LONG

settings = replace(SETTINGS, tensor_parallel=int(sys.argv[1]))
worker = VllmWorker(architecture_of(small()), settings)
worker.load(small().state_dict())
print(worker.pid, flush=True)
sys.stdin.readline()
if sys.argv[2] == "load":
    worker.load(small().state_dict())
else:
    worker.generate(LONG)
"""


@contextmanager
def run(act: str, tensor_parallel: int = 1) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run whose worker is to do `act` once the run is told to `go`, and the worker's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tensor_parallel), act],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        worker = int(process.stdout.readline())
        try:
            yield process, worker
        finally:
            process.kill()
            if is_there(worker):
                os.kill(worker, signal.SIGKILL)


def go(process: subprocess.Popen[str]) -> None:
    """And wait until it is in the middle of it."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(2)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of them that still run."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_the_worker_of_a_killed_run_ends_in_the_middle_of_its_work(tensor_parallel: int) -> None:
    with leaving_nothing(), run("generate", tensor_parallel) as (process, worker):
        go(process)
        theirs = [psutil.Process(worker), *psutil.Process(worker).children(recursive=True)]
        assert len(alive(theirs)) >= tensor_parallel
        process.kill()
        process.wait()
        assert soon(lambda: not alive(theirs)), "all its processes end"


def test_weights_on_their_way_go_with_the_run() -> None:
    """Also where the worker does not run and can clear nothing away."""
    before = left_in_memory()
    with leaving_nothing(), run("load") as (process, worker):
        os.kill(worker, signal.SIGSTOP)
        go(process)
        process.kill()
        process.wait()
        assert left_in_memory() <= before
        os.kill(worker, signal.SIGCONT)
        assert soon(lambda: not is_there(worker))


class KilledMidway:
    """The run's end of a pipe to a worker that is killed once part of its answer has come."""

    def __init__(self, connection: Connection, worker: subprocess.Popen[bytes]) -> None:
        self._connection = connection
        self._worker = worker
        self.send, self.close = connection.send, connection.close

    def recv(self) -> Any:
        """What does not come whole, as a pipe does not hold so much at once."""
        while self._unread() < PART:
            time.sleep(0.01)
        self._worker.kill()
        self._worker.wait()  # else it might write on while this one reads
        return self._connection.recv()

    def _unread(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self._connection, termios.FIONREAD, bytes(4)))
        return int(count)


def test_a_worker_that_is_killed_while_it_answers_is_told_as_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with leaving_nothing(), closing(VllmWorker(architecture_of(small()), SETTINGS)) as worker:
        asked = replace(LONG, requests=tuple(REQUESTS * 3))
        killed = KilledMidway(worker._connection, worker._process)
        monkeypatch.setattr(worker, "_connection", killed)
        with pytest.raises(DeadEngineError, match="its process ended with exit code -9"):
            worker.generate(asked)


def test_what_fails_in_the_worker_is_told_with_its_traceback() -> None:
    """An error of files is no loss of the run, which would be passed over."""
    told = pytest.raises(DeadEngineError, match=r"exit code 1\n(?s:.*)No such file.*/nowhere")
    with leaving_nothing(), closing(VllmWorker(architecture_of(small()), SETTINGS)) as worker, told:
        worker._ask("load", "/nowhere")


@pytest.mark.parametrize("length", [53, 54])
def test_paths_of_sockets_in_its_folder_are_no_longer_than_they_may_be(length: int) -> None:
    with leaving_nothing(), pytest.MonkeyPatch.context() as patch:
        place = Path(tempfile.gettempdir())
        place /= "x" * (length - len(str(place)) - 1)
        place.mkdir()
        patch.setattr(tempfile, "tempdir", str(place))
        folder = own_folder()
        assert folder.parent == (place if length == 53 else Path("/tmp"))  # noqa: S108
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(folder / str(uuid4())))
        shutil.rmtree(folder)
        place.rmdir()
