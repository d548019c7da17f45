"""Runs that several ranks do together, one run at a time, under DeepSpeed's launcher.

The launcher starts `rl.runner.rank_worker` once a rank, here or on the hosts of a hostfile, with
imports paid once for many runs. It ends them all when one of them ends badly.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

from rl.files import folder_for_sockets, named
from rl.runner.launch import Launch
from rl.runner.worker import Job

EXPORTED = ("RL_", "HF_", "OMP_", "MKL_")  # what names of variables begin with
END_SECONDS = 15.0  # for the launcher to see that a rank has ended, and to end the others
SOCKET = "runner"  # its name
_SIGNALS = {one.value: one.name for one in signal.Signals}


class RankedWorker:
    """The launcher and its ranks as one Worker (see there).

    A thread hears the ranks of this machine and passes on what rank 0 says. The first of them that
    ends without a word was killed; the first that says why it failed is the reason of a failure.
    """

    def __init__(self, launch: Launch, logs: Path) -> None:
        """`logs`: the folder where the ranks write theirs; the launcher's is there too.

        Raises:
            UserError: the log or a temporary folder cannot be written; nothing is left behind.
        """
        self._launch = launch
        self._log = logs / "launcher.txt"
        with named(self._log):
            logs.mkdir(parents=True, exist_ok=True)
            log = self._log.open("a", encoding="utf-8")
        with ExitStack() as made, log:
            self._folder = folder_for_sockets("rl-ranks-", longest=len(SOCKET))
            made.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._server = made.enter_context(socket.socket(socket.AF_UNIX))
            with named(self._folder):
                self._server.bind(str(self._folder / SOCKET))
                self._write_variables()
            self._server.listen()
            self._alive, held = os.pipe()  # ends with the launcher, which holds the other end
            made.callback(os.close, self._alive)
            try:
                self._launcher = self._start(log, held)
            finally:
                os.close(held)
            self._made = made.pop_all()
        self.connection, self._there = Pipe()
        self._job: Job | None = None
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _write_variables(self) -> None:
        """What the ranks of other hosts are to have of this environment."""
        ours = {k: v for k, v in os.environ.items() if k.startswith(EXPORTED) and "\n" not in v}
        text = "".join(f"{k}={v}\n" for k, v in ours.items())
        (self._folder / "variables").write_text(text, encoding="utf-8")

    def _start(self, log: TextIO, held: int) -> "subprocess.Popen[bytes]":
        """The launcher, which keeps `held` open until it ends."""
        return subprocess.Popen(
            self._launch.command(str(self._folder / SOCKET), _free_port()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(_python_path()),
                "DS_ENV_FILE": str(self._folder / "variables"),
            },
            pass_fds=(held,),
            process_group=0,  # Ctrl-C is for this process
        )

    def give(self, job: Job) -> None:
        """See Worker."""
        self._job = job
        with suppress(BrokenPipeError):  # they have just ended, which `hear` will tell
            self.connection.send(job)

    def hear(self) -> tuple[Any, ...]:
        """See Worker."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except EOFError:
            return "failed", f"its ranks are out of hearing; see {self._log}"
        return message

    def dismiss(self) -> None:
        """See Worker."""
        with suppress(BrokenPipeError):  # they have ended by themselves
            self.connection.send(None)
        self._thread.join()
        self._made.close()

    def kill(self) -> None:
        """See Worker."""
        self._stop(wait_first=False)
        self._thread.join()
        self._made.close()

    def _listen(self) -> None:
        """In the thread: the end of this is heard, whatever it is, and ends the launcher."""
        try:
            self._hear()
        finally:
            if self._launcher.poll() is None:
                self._stop(wait_first=False)
            self._there.close()

    def _hear(self) -> None:
        """Until the launcher has ended."""
        said: dict[int, str] = {}
        silent: list[int] = []
        by_rank: dict[int, Connection] = {}
        while True:
            jobs = [self._there] if len(by_rank) == self._launch.here else []
            ready = wait([self._server, self._alive, *by_rank.values(), *jobs])
            if self._server in ready:
                rank = Connection(self._server.accept()[0].detach())
                with suppress(EOFError, OSError):  # one that ended at once ends the launcher too
                    by_rank[rank.recv()] = rank
            if self._there in ready:
                job = self._there.recv()
                with suppress(ConnectionError):  # it has just died, which the next turn hears
                    by_rank[0].send(job)
                if job is None:
                    self._stop(wait_first=True)
                    return
            for number, rank in by_rank.items():
                if rank in ready:
                    self._pass_on(number, rank, said, silent)
            if said or silent or self._alive in ready:
                break
        # Of those that end at one time, one without a word comes first: it was killed.
        more = wait(list(by_rank.values()), timeout=0.2) if said and not silent else []
        for number, rank in by_rank.items():
            if rank in more:
                self._pass_on(number, rank, said, silent)
        self._stop(wait_first=not said or bool(silent))
        with suppress(OSError):  # nobody hears it after `kill`
            self._there.send(("failed", self._why(said, silent)))

    def _pass_on(
        self, number: int, rank: Connection, said: dict[int, str], silent: list[int]
    ) -> None:
        try:
            message = rank.recv()
        except (EOFError, OSError):
            if number not in said:
                silent.append(number)
            return
        if message[0] == "failed":
            said.setdefault(number, message[1])
        else:
            self._there.send(message)

    def _stop(self, *, wait_first: bool) -> None:
        """End the launcher and all that it started; it ends by itself where a rank was killed."""
        if wait_first:
            with suppress(subprocess.TimeoutExpired):
                self._launcher.wait(END_SECONDS)
        if len(self._launch.slots) > 1 and self._launcher.poll() is None:
            self._launcher.terminate()  # it ends those on the other hosts
            with suppress(subprocess.TimeoutExpired):
                self._launcher.wait(END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._launcher.pid, signal.SIGKILL)
        self._launcher.wait()

    def _why(self, said: Mapping[int, str], silent: list[int]) -> str:
        """What ended the ranks; where all is told; and what to do."""
        status = self._launcher.returncode
        if silent:
            # The launcher's status is that of the rank; of a signal it is 256 less its number.
            how = f"exit code {status}"
            if 256 - status in _SIGNALS:
                how = f"signal {_SIGNALS[256 - status]}"
            why = f"rank {silent[0]} of {self._launch.world} ended without a word, {how}"
        elif said:
            rank, error = next(iter(said.items()))
            why = error if rank == 0 else f"rank {rank} of {self._launch.world}: {error}"
        else:
            why = f"the launcher of the ranks ended by itself, exit code {status}"
        job = self._job.log_file if self._job is not None else self._log
        return (
            f"{why}; the ranks' logs: {job.with_suffix('')}*.txt, {self._log}. The same command "
            "goes on from the last checkpoint"
        )


def _python_path() -> list[str]:
    """The ranks run this very code, wherever the runner was started."""
    before = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).parents[2]), *([before] if before else [])]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        port: int = free.getsockname()[1]
        return port
