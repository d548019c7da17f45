"""System calls that Python has no function for, and the filter that refuses some to a program.

Constants are those of linux/sched.h, mount.h, prctl.h, capability.h, filter.h, seccomp.h, audit.h.
"""

import ctypes
import errno
import os
import platform
import signal
import struct
from dataclasses import dataclass

READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND = 1, 2, 4, 8, 32, 4096
RECURSIVE, PRIVATE = 16384, 1 << 18


@dataclass(frozen=True)
class Machine:
    """What seccomp calls it, its number of pivot_root, and those of REFUSED, in that order."""

    audit: int
    pivot_root: int
    refused: tuple[int, ...]


# Refused to a program: memory that no limit counts, other processes' memory, namespaces, mounts,
# and doors into the kernel that it has no use for.
REFUSED = (
    *("shmget", "semget", "msgget", "memfd_create", "memfd_secret"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "unshare", "setns"),
    *("mount", "umount2", "chroot", "add_key", "request_key", "keyctl"),
    *("perf_event_open", "bpf", "userfaultfd", "io_uring_setup"),
)
# Of asm/unistd_64.h and asm-generic/unistd.h.
MACHINES = {
    "x86_64": Machine(
        audit=0xC000003E,
        pivot_root=155,
        refused=(
            *(29, 64, 68, 319, 447, 101, 310, 311, 272, 308),
            *(165, 166, 161, 248, 249, 250, 298, 321, 323, 425),
        ),
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        pivot_root=41,
        refused=(
            *(194, 190, 186, 279, 447, 117, 270, 271, 97, 268),
            *(40, 39, 51, 217, 218, 219, 241, 280, 282, 425),
        ),
    ),
}

_libc = ctypes.CDLL(None, use_errno=True)


class RefusedError(Exception):
    """A step of the isolation that this machine does not allow."""


def leave_namespaces(*, users: bool) -> None:
    """Go into new ones: mounts, cgroups, host name, IPC, processes (for children), network; and
    users, which gives every right inside and none outside."""
    flags = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
    if users:
        _prctl("PR_SET_DUMPABLE", 4, 1)  # else its own /proc may belong to root
        flags |= 0x10000000
    _must("unshare" + (" with a user namespace" if users else ""), _libc.unshare(flags))


def die_with_parent() -> None:
    """Be killed when the parent ends. A change of user undoes it."""
    _prctl("PR_SET_PDEATHSIG", 1, signal.SIGKILL)


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """mount(2)."""
    texts = (source.encode(), target.encode(), kind.encode())
    _must(f"mount on {target}", _libc.mount(*texts, ctypes.c_ulong(flags), options.encode()))


def make_root() -> None:
    """Make the working directory, which is a mount, the root, and let go of the old one."""
    number = MACHINES[platform.machine()].pivot_root
    # pivot_root(2): the new root is put on top of the old one, which is taken from under it.
    _must("pivot_root", _libc.syscall(ctypes.c_long(number), b".", b"."))
    _must("umount of the old root", _libc.umount2(b".", 2))
    os.chdir("/")


def become(user: int) -> None:
    """Be this user and no other."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def drop_rights() -> None:
    """No capabilities, and none to come by running a file that has them."""
    _must("capset", _libc.capset(_capability_header(), bytes(24)))
    _prctl("PR_SET_NO_NEW_PRIVS", 38, 1)


def rights() -> bytes:
    """The process's capabilities: effective, permitted, inheritable; zeros where there is none."""
    found = ctypes.create_string_buffer(24)
    _must("capget", _libc.capget(_capability_header(), found))
    return found.raw


def refuse_calls() -> None:
    """Calls of REFUSED end in EPERM from now on, those of another machine's table in death."""
    machine = MACHINES[platform.machine()]
    load, equal, at_least, end = 0x20, 0x15, 0x35, 0x06
    kill, allow, deny = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM
    # 2^30 and up are x86_64's second table, which has the same calls once more.
    tests = [(at_least, 1 << 30), *((equal, number) for number in machine.refused)]
    code = [
        *((load, 0, 0, 4), (equal, 1, 0, machine.audit), (end, 0, 0, kill), (load, 0, 0, 0)),
        *((test, len(tests) - i, 0, number) for i, (test, number) in enumerate(tests)),
        *((end, 0, 0, allow), (end, 0, 0, deny)),
    ]
    lines = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = struct.pack("@HP", len(code), ctypes.addressof(lines))
    _prctl("PR_SET_SECCOMP", 22, 2, ctypes.c_char_p(program))


def _capability_header() -> bytes:
    return struct.pack("Ii", 0x20080522, 0)


def _prctl(name: str, option: int, value: int, pointer: ctypes.c_char_p | None = None) -> None:
    zero = ctypes.c_ulong(0)
    status = _libc.prctl(option, ctypes.c_ulong(value), pointer or zero, zero, zero)
    _must(f"prctl({name})", status)


def _must(step: str, status: int) -> None:
    if status != 0:
        raise RefusedError(f"{step}: {os.strerror(ctypes.get_errno())}")
