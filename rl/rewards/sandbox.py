"""Unit tests for untrusted Python programs, each run in a box of its own. Linux only.

A program defines a function; the tests call it. The box (rl.box) gives it

    a user of its own        under root one that nobody else is, else a user namespace
    no network               a namespace with no address but its own, and that one down
    no files                 an empty root, read-only but for one empty directory of 1 MiB; the
                             commonest modules of the standard library are there as they were loaded
    no other process         a namespace where it is process 2; when it ends, all it started ends
    no environment
    no rights                no capabilities, no new user namespace, 20 system calls refused
    limits                   CPU and wall time, memory a process, processes started, output

and this module the verdict. Expected values stay here: the box gets arguments and gives back text,
which is compared, never parsed. A pass takes the right text for every test and a process that came
to its own end. So a program can forge only what it could have computed.

Whatever cannot be isolated does not run: `find_way` and `judge` raise a UserError that says which
step this machine refuses. Tiny programs (rl.tasks.tiny_language) need none of this.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import rl.box
from rl.box import BoxLimits, Job, Report, Way
from rl.errors import UserError

# How a program can end.
Reason = Literal[
    "passed",
    "failed",  # a value that is not the expected one
    # What the box sees:
    "cpu",  # more CPU time than allowed
    "time",  # more time than allowed by the clock
    "processes",  # more processes and threads started than allowed
    "output",  # more written than allowed
    "crash",  # a signal ended it
    "early_exit",  # it left before the tests were over, whatever its exit status
    # What its own process tells:
    "memory",  # more memory than allowed
    "network",  # it reached for an address
    "denied",  # it reached for a file or a right
    "syntax",  # no program, or none that defines the function
    "raised",  # any other exception
]
REASONS: tuple[Reason, ...] = get_args(Reason)
TOLD = ("processes", "output", *REASONS[REASONS.index("early_exit") :])

SIGNALS = {signum.value: signum.name for signum in signal.Signals}
LEAST_MEMORY = 64 * 2**20  # of which the interpreter takes half
PATIENCE_SECONDS = 30.0  # beyond the wall limit, for a box that does not even report
# Neither site packages nor a script's directory among the modules. The environment is what is given
# here, and the box empties that, too.
START = "import sys; sys.path.append(sys.argv[1]); from rl.box.launcher import main; main()"
PYTHON = (sys.executable, "-s", "-S", "-P", "-c", START, str(Path(rl.box.__file__).parents[2]))
ENVIRONMENT = {"PYTHONHASHSEED": "0"}


class _RefusalError(UserError):
    """The step that the machine refuses, beside the message."""

    def __init__(self, way: Way, step: str) -> None:
        super().__init__(no_isolation({way: step}))
        self.step = step


@dataclass(frozen=True)
class Limits:
    """How far a program may go.

    `wall_seconds` and `cpu_seconds` are for all its tests together; CPU time and `memory_bytes`
    are of one process; `processes` is how many it may start in all, itself and threads included;
    `output_bytes` counts results, standard output and standard error together.
    """

    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    processes: int
    output_bytes: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = LEAST_MEMORY if name == "memory_bytes" else 0
            if value < least or value <= 0:
                raise UserError(
                    f"sandbox: expected {name} of {least or 'more than 0'}, got {value}; raise it"
                )


@dataclass(frozen=True)
class Case:
    """A unit test: plain data (what JSON can say; a tuple counts as a list) in and out."""

    arguments: tuple[Any, ...]
    expected: Any


@dataclass(frozen=True)
class Verdict:
    """How a program ended, and how many of its tests it passed before that.

    `detail` is the name of an exception or a signal, or empty.
    """

    reason: Reason
    detail: str
    passed: int
    tests: int

    @property
    def share(self) -> float:
        """The share of tests passed, in [0, 1]. It can be 1 although the reason is not `passed`."""
        return self.passed / self.tests


def judge(
    program: str, *, function: str, cases: Sequence[Case], limits: Limits, way: Way
) -> Verdict:
    """Run the program's function on every test's arguments in one new box.

    Values are equal when their JSON is, keys sorted: 1, 1.0 and True are three values.

    Raises:
        UserError: this machine does not isolate in this way; nothing was run.
    """
    if not cases:
        raise ValueError("judge: expected a unit test or more, got none")
    report = run_box(
        {
            "way": way,
            "program": program,
            "function": function,
            "arguments": [list(case.arguments) for case in cases],
            "limits": cast(BoxLimits, asdict(limits)),
        }
    )
    if isinstance(report, str):
        raise _RefusalError(way, report)
    return verdict(report, [as_text(case.expected) for case in cases], limits)


def find_way() -> Way:
    """A way that this machine can isolate programs in.

    Raises:
        UserError: it has none; the message says what each way lacks and what to do.
    """
    ways: tuple[Way, ...] = ("root", "user") if os.geteuid() == 0 else ("user",)
    refused: dict[Way, str] = {}
    for way in ways:
        refused[way] = refusal(way)
        if not refused[way]:
            return way
    raise UserError(no_isolation(refused))


def refusal(way: Way) -> str:
    """Which step of isolation this machine refuses; empty if none."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces, which Linux has"
    limits = Limits(
        wall_seconds=20.0, cpu_seconds=10, memory_bytes=2**28, processes=1, output_bytes=1000
    )
    try:
        found = judge("f = int", function="f", cases=[Case(("7",), 7)], limits=limits, way=way)
    except _RefusalError as error:
        return error.step
    return "" if found.reason == "passed" else f"a right program ended with {found.reason}"


def no_isolation(refused: Mapping[Way, str]) -> str:
    """The message of a machine that does not isolate."""
    steps = "\n".join(f"  as {way}: {step}" for way, step in refused.items())
    return (
        "sandbox: untrusted Python programs run isolated or not at all, and this machine does not "
        f"isolate them:\n{steps}\n"
        "Be root with CAP_SYS_ADMIN (docker run --privileged), or allow user namespaces (sysctl "
        "user.max_user_namespaces above 0; on Ubuntu also "
        "kernel.apparmor_restrict_unprivileged_userns=0), or take the tiny programs, which need "
        "no isolation."
    )


def run_box(job: Job) -> Report | str:
    """The report of one box, or why there is none. What it had started is gone by then."""
    try:
        ended = subprocess.run(
            PYTHON,
            input=json.dumps(job).encode(),
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # a terminal's ^C is for us: the box ends with its parent
            timeout=job["limits"]["wall_seconds"] + PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"lines": [], "limit": "time", "status": None, "cpu_seconds": 0.0}
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"the launcher ended with status {ended.returncode}: {said}"
    if not ended.stdout:  # something ended the watcher
        return {"lines": [], "limit": "", "status": -signal.SIGKILL, "cpu_seconds": 0.0}
    answer = json.loads(ended.stdout)
    return str(answer["refused"]) if "refused" in answer else cast(Report, answer)


def verdict(report: Report, expected: Sequence[str], limits: Limits) -> Verdict:
    """What a box's report says about a program whose tests expect these texts.

    Of the lines of the report one stands for each test, `=` and a value or `!` and a reason; `.`
    comes after the last.
    """
    lines, status = report["lines"], report["status"]
    right = [f"={text}" == line for text, line in zip(expected, lines, strict=False)]

    def so(reason: Reason, detail: str = "") -> Verdict:
        return Verdict(reason, detail, sum(right), len(expected))

    if status is None or report["limit"]:
        return so(cast(Reason, report["limit"]))
    if status < 0:
        cpu = status == -signal.SIGKILL and report["cpu_seconds"] >= limits.cpu_seconds
        if cpu or status == -signal.SIGXCPU:
            return so("cpu")
        return so("crash", SIGNALS.get(-status, f"signal {-status}"))
    if status == 0 and lines[len(expected) :] == [".", ""] and all(right):
        return so("passed")
    # The first test that it did not pass; where all came out right, its end is what is wrong.
    first = right.index(False) if False in right else len(right)
    line = lines[first] if first < len(lines) else ""
    if line.startswith("=") and first < len(expected):
        return so("failed")
    reason, _, detail = line.removeprefix("!").partition(" ")
    if line.startswith("!") and reason in TOLD:
        return so(reason, detail if detail.isidentifier() else "")
    return so("early_exit")


def as_text(value: Any) -> str:
    """A value as the box writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
