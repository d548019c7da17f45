"""Runs that several ranks do together, one run at a time, under DeepSpeed's launcher.

The launcher starts `rl.runner.rank_worker` once a rank, here or on the hosts of a hostfile, with
imports paid once for many runs. It ends them all when one of them ends badly.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any

from rl.errors import UserError
from rl.runner.worker import Job

EXPORTED = ("RL_", "HF_", "OMP_", "MKL_")  # what names of variables begin with
END_SECONDS = 15.0  # for the launcher to see that a rank has ended, and to end the others
_SIGNALS = {one.value: one.name for one in signal.Signals}
HOST = re.compile(r"(\S+)\s+slots=(\d+)\s*(?:#.*)?")


@dataclass(frozen=True)
class Launch:
    """Where the ranks of a run are: how many on each host, the first of which is this machine."""

    slots: Mapping[str, int]
    hostfile: Path | None = None
    devices: str = ""  # what CUDA_VISIBLE_DEVICES says here

    @property
    def world(self) -> int:
        """How many in all."""
        return sum(self.slots.values())

    @property
    def here(self) -> int:
        """How many on this machine."""
        return next(iter(self.slots.values()))

    def command(self, address: str, port: int) -> list[str]:
        """What starts them; `address` is the runner's socket, `port` where rank 0 is met."""
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--quiet"]
        launcher += [f"--master_port={port}", "--no_local_rank", f"--num_gpus={self.here}"]
        # Without one it would look for /job/hostfile.
        launcher.append(f"--hostfile={self.hostfile or os.devnull}")
        if self.hostfile is not None and len(self.slots) == 1:
            launcher += ["--no_ssh_check", "--master_addr=127.0.0.1"]
        elif self.hostfile is not None:
            launcher.append(f"--master_addr={next(iter(self.slots))}")
        worker = ["--module", "rl.runner.rank_worker", address]
        return [*launcher, *worker, *([f"--devices={self.devices}"] if self.devices else [])]


def find_ranks(gpus: str, hostfile: str) -> Launch | None:
    """What GPUS and HOSTFILE ask for; None where both are empty.

    Without a GPU the ranks are processes on the CPU.

    Raises:
        UserError: not a number, more than there are, or a hostfile that cannot be used.
    """
    if not gpus and not hostfile:
        return None
    count = int(gpus) if gpus.isdecimal() else 0
    if gpus and count < 1:
        raise UserError(f"GPUS: expected a whole number from 1 up, got {gpus!r}")
    if hostfile:
        slots = read_hostfile(Path(hostfile))
        few = {host: slot for host, slot in slots.items() if gpus and slot < count}
        if few:
            raise UserError(
                f"GPUS: expected at most the slots of each host of {hostfile}, got {count}; "
                f"{', '.join(f'{host} has {slot}' for host, slot in few.items())}"
            )
        if not gpus and len(set(slots.values())) > 1:
            raise UserError(
                f"{hostfile}: expected as many slots on every host, got "
                f"{', '.join(f'{host} slots={slot}' for host, slot in slots.items())}; choose "
                "how many ranks each has with GPUS"
            )
        if gpus:
            slots = dict.fromkeys(slots, count)
    else:
        slots = {"localhost": count}
    found = Launch(
        slots,
        hostfile=Path(hostfile).resolve() if hostfile else None,
        devices=os.environ.get("CUDA_VISIBLE_DEVICES", "") if len(slots) == 1 else "",
    )
    if len(slots) > 1 and shutil.which("pdsh") is None:
        raise UserError("HOSTFILE: DeepSpeed starts the ranks of other hosts by pdsh; install it")
    import torch  # seconds of imports, for those who ask for ranks

    there = torch.cuda.device_count()
    if 0 < there < found.here:
        raise UserError(f"GPUS: expected at most {there}, which this machine has, got {found.here}")
    return found


def read_hostfile(path: Path) -> dict[str, int]:
    """Slots by host of a file with lines `host slots=N`; this machine comes first.

    Raises:
        UserError: no such file, another form, a host twice, or the first is another machine.
    """
    if not path.is_file():
        raise UserError(f"HOSTFILE: expected a file with lines `host slots=N`; there is no {path}")
    slots: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = HOST.fullmatch(text)
        if match is None or not int(match[2]):
            raise UserError(f"{path}: line {number}: expected `host slots=N`, got {text!r}")
        if match[1] in slots:
            raise UserError(f"{path}: line {number}: host {match[1]} is there already")
        slots[match[1]] = int(match[2])
    if not slots:
        raise UserError(f"{path}: expected lines `host slots=N`, got none")
    first = next(iter(slots))
    if not _is_here(first, alone=len(slots) == 1):
        alone = "" if len(slots) == 1 else ", by the name that the other hosts know it by"
        raise UserError(
            f"{path}: the first host must be this machine, where rank 0 writes the runs{alone}; "
            f"got {first}"
        )
    return slots


def _is_here(host: str, *, alone: bool) -> bool:
    """Whether `host` is this machine: an address of it can be listened on. That of the loopback
    serves no other host."""
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    for address in addresses:
        if str(address).startswith(("127.", "::1")) and not alone:
            continue
        family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
        with socket.socket(family) as tried, suppress(OSError):
            tried.bind((address, 0))
            return True
    return False


class RankedWorker:
    """The launcher and its ranks as one Worker (see there).

    A thread hears the ranks of this machine and passes on what rank 0 says. The first of them that
    ends without a word was killed; the first that says why it failed is the reason of a failure.
    """

    def __init__(self, launch: Launch, logs: Path) -> None:
        """`logs`: the folder where the ranks write theirs; the launcher's is there too."""
        self._launch = launch
        self._log = logs / "launcher.txt"
        self._folder = tempfile.mkdtemp(prefix="rl-ranks-")  # this user's alone
        self._server = socket.socket(socket.AF_UNIX)
        address = f"{self._folder}/runner"
        self._server.bind(address)
        self._server.listen()
        self._alive, held = os.pipe()  # ends with the launcher, which holds the other end
        logs.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:
            self._launcher = subprocess.Popen(
                launch.command(address, _free_port()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(_python_path()),
                    "DS_ENV_FILE": str(self._variables()),
                },
                pass_fds=(held,),
                process_group=0,  # Ctrl-C is for this process
            )
        os.close(held)
        self.connection, self._there = Pipe()
        self._job: Job | None = None
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _variables(self) -> Path:
        """The file of what the ranks of other hosts are to have of this environment."""
        path = Path(self._folder) / "variables"
        ours = {k: v for k, v in os.environ.items() if k.startswith(EXPORTED) and "\n" not in v}
        path.write_text("".join(f"{k}={v}\n" for k, v in ours.items()), encoding="utf-8")
        return path

    def give(self, job: Job) -> None:
        """See Worker."""
        self._job = job
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
        self.connection.send(None)
        self._thread.join()
        self._clear()

    def kill(self) -> None:
        """See Worker."""
        self._stop(wait_first=False)
        self._thread.join()
        self._clear()

    def _listen(self) -> None:
        """In the thread: the end of this is heard, whatever it is."""
        try:
            self._hear()
        finally:
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

    def _clear(self) -> None:
        self._server.close()
        os.close(self._alive)
        shutil.rmtree(self._folder, ignore_errors=True)


def _python_path() -> list[str]:
    """The ranks run this very code, wherever the runner was started."""
    before = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).parents[2]), *([before] if before else [])]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        port: int = free.getsockname()[1]
        return port
