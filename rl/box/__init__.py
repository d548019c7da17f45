"""One untrusted Python program, isolated. Linux only; nothing but the standard library is loaded.

rl.rewards.sandbox runs `launcher.main` in a Python of its own, writes a Job to its standard input
as JSON and reads a Report, or why it was refused, from its standard output. Three processes:

    launcher   leaves the machine's namespaces, then waits
    watcher    process 1 of the new ones: builds the root, counts output, time and processes; when
               it ends, the kernel ends all that the program started
    program    a user without rights, in an empty directory, under limits and a filter of calls

`kernel` holds the calls that Python has no function for. Every step either works or ends in a
refusal, before the program has run.
"""

from typing import Any, Literal, TypedDict

Way = Literal["root", "user"]


class BoxLimits(TypedDict):
    """See rl.rewards.sandbox.Limits."""

    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    processes: int
    output_bytes: int


class Job(TypedDict):
    """What to run: a function that the program defines, called with each of the arguments."""

    way: Way
    program: str
    function: str
    arguments: list[list[Any]]
    limits: BoxLimits


class Report(TypedDict):
    """What the watcher saw. `lines` are the program's own words; see rl.box.program.run.

    `limit` is output, time, processes or empty; `status` the exit status or minus a signal's
    number, None where a limit came first; `cpu_seconds` the program's, without its children's.
    """

    lines: list[str]
    limit: str
    status: int | None
    cpu_seconds: float
