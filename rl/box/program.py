"""The program's own process: give up every right, then call the program's function.

Its box holds no files to import from: what a program can import is what is imported here, and what
that loads.
"""

import bisect  # noqa: F401
import collections  # noqa: F401
import copy  # noqa: F401
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import decimal  # noqa: F401
import encodings.idna  # noqa: F401 - addresses are encoded with it
import errno
import fractions  # noqa: F401
import functools  # noqa: F401
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import operator  # noqa: F401
import os
import random
import re  # noqa: F401
import resource
import signal
import socket
import statistics  # noqa: F401
import string  # noqa: F401
from collections.abc import Callable
from typing import Any, NoReturn

from rl.box import Job
from rl.box.kernel import RefusedError, become, drop_rights, refuse_calls, rights

DIRECTORY_BYTES = 2**20
OPEN_FILES = 32
RESULTS, READY = 3, 4  # file descriptors above the standard three
NO_NETWORK = {
    *(errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL),
    *(errno.ECONNREFUSED, errno.EAFNOSUPPORT),
}
TOO_MUCH_WRITTEN = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def take_files(*files: int) -> None:
    """Make these the file descriptors 0, 1, 2 and so on, and close all others."""
    for target, source in enumerate(files):
        os.dup2(source, 100 + target)
    for target in range(len(files)):
        os.dup2(100 + target, target)
    os.closerange(len(files), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def take_part(job: Job, user: int) -> NoReturn:
    """Give up every right, say so, run the program, and end."""
    status = 1
    try:
        try:
            confine(job, user)
            word = "ok"
        except (OSError, ValueError, RefusedError) as error:
            word = str(error)
        os.write(READY, word.encode())
        os.close(READY)
        if word == "ok":
            run(job["program"], job["function"], job["arguments"])
            status = 0
    finally:
        os._exit(status)


def confine(job: Job, user: int) -> None:
    """Everything that keeps the program in."""
    os.chroot("/box")  # in a root that is not its namespace's no process gets a user namespace
    os.chdir("/work")
    if job["way"] == "root":
        become(user)
    drop_rights()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    random.seed(0)
    limits = job["limits"]
    # One process more than allowed, so that a breach shows. In a user namespace of its own the
    # launcher and the watcher count too.
    processes = limits["processes"] + 1 + (0 if job["way"] == "root" else 2)
    for name, most in (
        *(("CORE", 0), ("MEMLOCK", 0), ("MSGQUEUE", 0), ("NICE", 0), ("RTPRIO", 0)),
        *(("NOFILE", OPEN_FILES), ("FSIZE", DIRECTORY_BYTES), ("NPROC", processes)),
        ("AS", limits["memory_bytes"]),
    ):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    # At the first limit comes a signal that a program can ignore; at the second its end.
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    refuse_calls()
    look_around(user)


def look_around(user: int) -> None:
    """Is this the box that it should be?

    Raises:
        RefusedError: it is not.
    """
    for name, found, expected in (
        ("users", {*os.getresuid(), *os.getresgid()}, {user}),
        ("rights", rights(), bytes(24)),
        ("processes", os.getpid(), 2),
        ("files", os.listdir("/") + os.listdir("."), ["work"]),  # noqa: PTH208
        ("networks", reaches_out(), False),
        ("environment", dict(os.environ), {}),
    ):
        if found != expected:
            raise RefusedError(f"{name} in the box: expected {expected!r}, got {found!r}")


def reaches_out() -> bool:
    """Is there a route to anywhere? Nothing is sent: a datagram socket is only given an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return asked.connect_ex(("192.0.2.1", 9)) == 0


def run(program: str, function: str, arguments: list[list[Any]]) -> None:
    """Call the program's function, one line a call: `=` and the value as JSON, or `!` and why not.

    A `.` ends what has come to its end. All this runs in the program's own process, where it could
    be forged; forging a value takes knowing it, and the expected ones are not here.
    """
    try:
        names: dict[str, Any] = {"__name__": "program"}
        exec(compile(program, "<program>", "exec"), names)  # noqa: S102 - what the box is for
        called = names.get(function)
        if not callable(called):
            raise SyntaxError(f"no function {function}")
        for values in arguments:
            tell(outcome(called, values))
        tell(".")
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its verdict
        tell(fault(error))


def outcome(called: Callable[..., Any], values: list[Any]) -> str:
    """One call's line."""
    try:
        value = called(*values)
        return "=" + json.dumps(value, sort_keys=True, separators=(",", ":"))
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its verdict
        return fault(error)


def tell(line: str) -> None:
    """Write a line of results, all of it."""
    left = line.encode() + b"\n"
    while left:
        left = left[os.write(RESULTS, left) :]


def fault(error: BaseException) -> str:
    """`!`, a reason of rl.rewards.sandbox, and the name of what was raised."""
    name = type(error).__name__
    return f"!{reason(error)} {name if name.isidentifier() else ''}"


def reason(error: BaseException) -> str:
    """What ended a call, of the reasons that a program can tell by itself."""
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in NO_NETWORK:
        return "network"
    if getattr(error, "errno", None) in TOO_MUCH_WRITTEN:
        return "output"
    if isinstance(error, BlockingIOError) or error.args == ("can't start new thread",):
        return "processes"
    for kind, word in (
        (SystemExit, "early_exit"),
        (MemoryError, "memory"),
        (SyntaxError, "syntax"),
        (OSError, "denied"),
    ):
        if isinstance(error, kind):
            return word
    return "raised"
