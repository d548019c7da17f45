"""The launcher: leave the machine's namespaces, start the watcher, wait."""

import contextlib
import json
import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from rl.box import Job, Way
from rl.box.kernel import MACHINES, RefusedError, become, die_with_parent, leave_namespaces
from rl.box.watcher import build_root, watch

INSIDE = 1  # the one user of a user namespace of its own; not 0, which can regain rights


def main() -> None:
    """From a job on standard input to a report on standard output."""
    job: Job = json.loads(sys.stdin.buffer.read())
    try:
        if platform.machine() not in MACHINES:
            raise RefusedError(f"no table of system calls for {platform.machine()}")
        nothing = os.open(os.devnull, os.O_RDONLY)
        with contextlib.suppress(OSError):  # where memory runs out, this goes first
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        user = leave(job["way"])
        watcher = os.fork()
        if watcher:
            os.waitpid(watcher, 0)
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a handler would let it be killed
        die_with_parent()
        build_root(user)
    except (OSError, RefusedError) as error:
        tell({"refused": str(error)})
        return
    try:
        tell(watch(job, user, nothing))
    except RefusedError as error:
        tell({"refused": str(error)})


def leave(way: Way) -> int:
    """Leave the machine's namespaces; returns the user who is to run the program.

    The way of root needs the right to mount. The way of a user takes a user namespace to get it;
    root can go that way too, as a user of its own.
    """
    if way == "root":
        leave_namespaces(users=False)
        die_with_parent()
        return own_user()
    if os.geteuid() == 0:
        become(own_user())
    maps = {
        "setgroups": "deny",
        "uid_map": f"{INSIDE} {os.geteuid()} 1",
        "gid_map": f"{INSIDE} {os.getegid()} 1",
    }
    leave_namespaces(users=True)
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text, encoding="ascii")
    die_with_parent()
    return INSIDE


def own_user() -> int:
    """A user that no other process is: high among those there are, by the launcher's number."""
    start, _, count = Path("/proc/self/uid_map").read_text("ascii").splitlines()[-1].split()
    top = int(start) + int(count) - 1
    return top // 2 + os.getpid() % max(top // 4, 1)


def tell(content: Mapping[str, object]) -> None:
    """Write the one answer."""
    sys.stdout.write(json.dumps(content))
    sys.stdout.flush()
