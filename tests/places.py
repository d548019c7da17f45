"""A repository with a miniature experiment, and accidents to happen to its runs."""

import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from rl.config import Experiment, load_experiment

ROOT = Path(__file__).resolve().parent.parent


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@dataclass(frozen=True)
class Place:
    """A repository with one experiment, and what was said there."""

    root: Path
    said: str
    result: bool

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def label(self) -> Path:
        return self.runs / "90-mini" / "laptop"

    def experiment(self) -> Experiment:
        return load_experiment(self.root / "experiments" / "90-mini", "laptop")


def on_a_terminal(root: Path, *arguments: str) -> tuple[int, str]:
    """Run the command on a pseudo-terminal: its status and all that it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rl.cli", "run", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        said += part
    os.close(ours)
    return process.wait(), said.decode(errors="replace")


def kill_the_run_of(arm: str, label: Path, told: list[int]) -> None:
    """Wait until a process has the arm's log open and some steps in it, then kill the process."""
    log = label / arm / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if not log.exists() or log.read_bytes().count(b"\n") < 6:
            continue
        for process in Path("/proc").glob("[0-9]*"):
            try:
                opened = [link.readlink() for link in (process / "fd").iterdir()]
            except OSError:  # ended, or not ours to look at
                continue
            if log in opened:
                told.append(int(process.name))
                os.kill(int(process.name), signal.SIGKILL)
                return


def processes_in(root: Path) -> dict[int, str]:
    """Command lines of the processes that work in `root`."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended, or not ours to look at
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if (process / "cwd").readlink() == root:
                found[int(process.name)] = words
    return found


class capture:  # noqa: N801 - used as a function
    """Standard output as text, for fixtures that live longer than capsys."""

    def __enter__(self) -> list[str]:
        self.said: list[str] = []
        self.real, sys.stdout = sys.stdout, self  # type: ignore[assignment]
        return self.said

    def __exit__(self, *_: object) -> None:
        sys.stdout = self.real

    def write(self, text: str) -> int:
        self.said.append(text)
        return len(text)

    def flush(self) -> None:
        pass


def in_a_small_place(options: str, command: list[str]) -> tuple[Path, str]:
    """Run `command PLACE` where PLACE is a small file system of its own, mounted with `options`.

    Returns:
        The place, which is gone again, and all that the command wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        mount = 'mount -t tmpfs -o "$0" tmpfs "$1" && place=$1 && shift && exec "$@" "$place"'
        alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
            pytest.skip("this machine does not let a process mount a file system of its own")
        done = subprocess.run(
            [*alone, "bash", "-c", mount, options, str(place), *command],
            cwd=ROOT,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return place, done.stdout
