"""Process 1 of the box: it builds the root, starts the program and sees it to its end."""

import contextlib
import os
import select
import time

from rl.box import Job, Report
from rl.box.kernel import (
    BIND,
    NO_DEV,
    NO_EXEC,
    NO_SUID,
    PRIVATE,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    RefusedError,
    make_root,
    mount,
)
from rl.box.program import DIRECTORY_BYTES, take_files, take_part

TICK_SECONDS = 0.05
COVERED = "/tmp"  # noqa: S108 - a directory that every Linux has; covered in this namespace only


def build_root(user: int) -> None:
    """An empty root, read-only but for one small directory of the user's."""
    fixed = NO_SUID | NO_DEV | NO_EXEC
    mount("none", "/", "", RECURSIVE | PRIVATE, "")
    mount("tmpfs", COVERED, "tmpfs", fixed, "size=64k,nr_inodes=8,mode=755")
    os.chdir(COVERED)
    os.makedirs("box/work")  # noqa: PTH103
    options = f"size={DIRECTORY_BYTES},nr_inodes=64,mode=700,uid={user},gid={user}"
    mount("tmpfs", "box/work", "tmpfs", fixed, options)
    mount("none", COVERED, "", REMOUNT | BIND | READ_ONLY | fixed, "")
    make_root()


def watch(job: Job, user: int, nothing: int) -> Report:
    """Start the program, with `nothing` to read, and see it to its end, its own or a limit's.

    Raises:
        RefusedError: it could not be confined, and has not run.
    """
    results, said, ready = os.pipe(), os.pipe(), os.pipe()
    program = os.fork()
    if program == 0:
        take_files(nothing, said[1], said[1], results[1], ready[1])
        take_part(job, user)
    for end in (results[1], said[1], ready[1], nothing):
        os.close(end)
    with os.fdopen(ready[0], "rb") as file:
        word = file.read()
    if word != b"ok":
        raise RefusedError(word.decode("utf-8", "replace") or "the program's process ended early")

    limits = job["limits"]
    output = Output((results[0], said[0]), limits["output_bytes"])
    deadline = time.monotonic() + limits["wall_seconds"]
    limit, ended, probes, next_probe = "", None, 0, 0.0
    while not limit and ended is None:
        output.wait()
        ended = reap(program)
        if not output.read():
            limit = "output"
        elif ended is None and time.monotonic() >= deadline:
            limit = "time"
        if limit or ended or time.monotonic() >= next_probe:
            probes += 1
            # Numbers are given in turn: 1 is here, 2 the program, then what it started and probes.
            if probe() - 1 - probes > limits["processes"]:
                limit = "processes"
            next_probe = time.monotonic() + TICK_SECONDS
    status, cpu_seconds = ended or (None, 0.0)
    lines = output.text.decode("latin-1").split("\n")
    return {"lines": lines, "limit": limit, "status": status, "cpu_seconds": cpu_seconds}


class Output:
    """What comes out of two pipes: the text of the first, and the length of both."""

    def __init__(self, pipes: tuple[int, int], room: int) -> None:
        self.pipes, self.first, self.room, self.text = list(pipes), pipes[0], room, b""
        for pipe in pipes:
            os.set_blocking(pipe, False)

    def wait(self) -> None:
        """Until there is something to read, or for one tick."""
        select.select(self.pipes, [], [], TICK_SECONDS)

    def read(self) -> bool:
        """Take what is there; False once it is more than there is room for."""
        for pipe in tuple(self.pipes):
            try:
                while part := os.read(pipe, 65536):
                    self.room -= len(part)
                    if self.room < 0:
                        return False
                    if pipe == self.first:
                        self.text += part
                self.pipes.remove(pipe)  # closed on the other side
            except BlockingIOError:
                pass
        return True


def reap(program: int) -> tuple[int, float] | None:
    """The program's exit status (minus a signal's number) and CPU seconds, once it has ended."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status, usage = os.wait4(-1, os.WNOHANG)
            if child == 0:
                break
            if child == program:
                found = (os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
    return found


def probe() -> int:
    """The number that the next process gets: it tells how many there have been."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child
