"""Machines of a Ray cluster, as far as one machine can stand for two: each has a working directory,
a TMPDIR and a HOME of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PATIENCE_S = 240.0


class Node:
    """`ray start --block` with one CPU, in `folder`."""

    def __init__(self, folder: Path, *options: str, **variables: str) -> None:
        """`options`: --head or --address=..."""
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self._said = folder / "said.txt"
        with self._said.open("w") as said:
            self.process = psutil.Popen(
                [
                    *(Path(sys.executable).parent / "ray", "start", "--block", "--num-cpus=1"),
                    *("--num-gpus=0", f"--object-store-memory={100 * 2**20}"),
                    *(f"--temp-dir={folder / 'ray'}", "--disable-usage-stats", *options),
                ],
                cwd=folder,
                env=environment(folder, TMPDIR=str(self.temporary), **variables),
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Until it is up."""
        until(lambda: "Ray runtime started" in self._said.read_text(), self._said)

    @property
    def actors(self) -> list[int]:
        """Processes of a sweep that live here."""
        found = self.process.children(recursive=True) if self.process.is_running() else []
        return [one.pid for one in found if "NodeRunner" in "".join(_command(one))]

    def begun(self, arm: str, seed: int) -> set[Path]:
        """The logs of a run here, one a start; starts that were killed leave theirs."""
        return set(self.temporary.glob(f"rl-*/run-*/logs/{arm}-seed-{seed}.txt"))

    def logged(self, run: str) -> int:
        """How many lines of metrics the run that is here now has."""
        paths = self.temporary.glob(f"rl-*/run-*/{run}/metrics.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in paths)

    def kill(self) -> None:
        """All of its processes at once, as where a machine loses its power."""
        every = [self.process, *self.process.children(recursive=True)]
        for process in every:
            process.suspend()
        for process in every:
            process.kill()
        self.process.wait()


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's, without its settings of Ray and of experiments; Ray's files of a user lie in
    the home."""
    unset = ("RL_", "RAY_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    return {**kept, "HOME": str(home), **variables}


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has just ended
        return []


def until(true: Callable[[], bool], about: object = "") -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        shown = about.read_text() if isinstance(about, Path) else about
        assert time.monotonic() < deadline, f"waited in vain: {shown}"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports
