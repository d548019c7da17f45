"""The sandbox with programs that mean no harm, its verdicts by hand, and its refusal."""

import signal
from pathlib import Path

import pytest

from rl.box import Report, Way
from rl.box.kernel import MACHINES, REFUSED, RefusedError
from rl.box.program import look_around
from rl.errors import UserError
from rl.rewards import sandbox
from rl.rewards.sandbox import REASONS, Case, Limits, Verdict, find_way, judge, verdict
from tests.rewards.boxes import ROOMY, ended, limits

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_right_program_passes(way: Way) -> None:
    program = """
import math
from collections import Counter
def gcd_table(rows, *, names=("a", "b")):
    print("noise")
    return {"gcds": [math.gcd(*row) for row in rows], "count": Counter(len(r) for r in rows)}
"""
    expected = {"count": {2: 3}, "gcds": (2, 3, 1)}
    cases = [Case(([[4, 6], [9, 3], [5, 7]],), expected)]
    found = judge(program, function="gcd_table", cases=cases, limits=limits(), way=way)
    assert found == Verdict("passed", "", 1, 1)
    assert found.share == 1.0


@pytest.mark.parametrize(
    ("program", "reason", "detail", "passed"),
    [
        ("def f(x): return x * x", "passed", "", 3),
        ("def f(x): return x", "failed", "", 2),
        ("f = 7", "syntax", "SyntaxError", 0),
        ("def g(x): return x", "syntax", "SyntaxError", 0),
        ("def f(x: return x", "syntax", "SyntaxError", 0),
        ("", "syntax", "SyntaxError", 0),
        ("1 / 0", "raised", "ZeroDivisionError", 0),
        ("def f(x): return x * x if x else 1 / x", "raised", "ZeroDivisionError", 2),
        ("def f(x): return x * x if x < 2 else 1 / 0", "raised", "ZeroDivisionError", 2),
        ("def f(x): return [0, True, 4][x]", "failed", "", 2),
        ("def f(x): return [0, 1, 4.0][x]", "failed", "", 2),
        ("def f(x): return {x * x}", "raised", "TypeError", 0),
        ("def f(x): return f(x)", "raised", "RecursionError", 0),
        ("import sqlite3", "raised", "ModuleNotFoundError", 0),
        ("def f(x): return open('data').read()", "denied", "FileNotFoundError", 0),
        ("import sys\ndef f(x): return x * x if sys.stdin.read() == '' else None", "passed", "", 3),
        (
            "class E(Exception):\n  def __str__(self): raise self\ndef f(x): raise E",
            "raised",
            "E",
            0,
        ),
    ],
)
def test_ends_by_hand(way: Way, program: str, reason: str, detail: str, passed: int) -> None:
    assert ended(way, program, 0, 1, 4) == Verdict(reason, detail, passed, 3)  # type: ignore[arg-type]


def test_the_same_program_ends_the_same(way: Way) -> None:
    """Its random numbers and hashes do not depend on the run."""
    program = "import random\ndef f(x): return [random.random(), hash('a'), list({'a', 'b', 'c'})]"
    search = "def f(x): raise type('A' + str(abs(hash('a'))), (Exception,), {})"
    assert ended(way, search).detail == ended(way, search).detail != "A"
    # random.seed(0) draws this first (CPython's own Mersenne twister).
    assert ended(
        way, program.replace(", hash('a'), list({'a', 'b', 'c'})", ""), [0.8444218515250481]
    )


def test_the_least_memory_is_enough_to_run(way: Way) -> None:
    assert ended(way, "def f(x): return x", 0, memory_bytes=sandbox.LEAST_MEMORY).reason == "passed"


def test_a_caller_need_not_name_the_way(way: Way) -> None:
    assert find_way() in ("root", "user")
    assert sandbox.refusal(way) == ""


# Verdicts on reports by hand.
LIMITS = Limits(**{**ROOMY, "cpu_seconds": 3})
END = ["=1", "=2", ".", ""]


@pytest.mark.parametrize(
    ("changes", "reason", "detail", "passed"),
    [
        ({}, "passed", "", 2),
        ({"lines": ["=1", "=3", ".", ""]}, "failed", "", 1),
        ({"lines": ["=3", "=2", ".", ""]}, "failed", "", 1),
        ({"lines": ["=1 ", "=2", ".", ""]}, "failed", "", 1),
        ({"lines": ["=3", "!raised E", ".", ""]}, "failed", "", 0),
        ({"lines": ["!raised E", "=3", ".", ""]}, "raised", "E", 0),
        ({"lines": ["=1", "!memory MemoryError", ".", ""]}, "memory", "MemoryError", 1),
        ({"lines": ["=1", "!raised a b", ".", ""]}, "raised", "", 1),
        ({"lines": ["=1", "!passed", ".", ""]}, "early_exit", "", 1),
        ({"lines": ["=1", "!cpu", ".", ""]}, "early_exit", "", 1),
        ({"lines": ["=1", "!nonsense", ".", ""]}, "early_exit", "", 1),
        ({"lines": ["!syntax SyntaxError", ""]}, "syntax", "SyntaxError", 0),
        ({"lines": []}, "early_exit", "", 0),
        ({"lines": [""]}, "early_exit", "", 0),
        ({"lines": ["=1", ""]}, "early_exit", "", 1),
        ({"lines": ["=1", "=2", ""]}, "early_exit", "", 2),
        ({"lines": ["=1", "=2"]}, "early_exit", "", 2),
        ({"lines": ["=1", "=2", "."]}, "early_exit", "", 2),
        ({"lines": ["=1", "=2", "=2", ".", ""]}, "early_exit", "", 2),
        ({"lines": ["=1", "=2", "!early_exit SystemExit", ""]}, "early_exit", "SystemExit", 2),
        ({"lines": [*END, "=2", ""]}, "early_exit", "", 2),
        ({"status": 1}, "early_exit", "", 2),
        ({"status": -signal.SIGXCPU}, "cpu", "", 2),
        ({"status": -signal.SIGKILL}, "crash", "SIGKILL", 2),
        ({"status": -signal.SIGKILL, "cpu_seconds": 2.9}, "crash", "SIGKILL", 2),
        ({"status": -signal.SIGKILL, "cpu_seconds": 3.0}, "cpu", "", 2),
        ({"status": -signal.SIGSEGV, "cpu_seconds": 3.0}, "crash", "SIGSEGV", 2),
        ({"status": -40}, "crash", "signal 40", 2),
        ({"status": None, "limit": "time"}, "time", "", 2),
        ({"status": None, "limit": "output", "lines": ["=1"]}, "output", "", 1),
        ({"limit": "processes"}, "processes", "", 2),
    ],
)
def test_verdicts_by_hand(
    changes: dict[str, object], reason: str, detail: str, passed: int
) -> None:
    report: Report = {"lines": END, "limit": "", "status": 0, "cpu_seconds": 0.1}
    report.update(changes)  # type: ignore[typeddict-item]
    found = verdict(report, ["1", "2"], LIMITS)
    assert found == Verdict(reason, detail, passed, 2)  # type: ignore[arg-type]
    assert found.reason in REASONS


def test_lines_that_look_like_tests_do_not_count_beyond_them() -> None:
    report: Report = {"lines": ["=1", "=1", "=1"], "limit": "", "status": 0, "cpu_seconds": 0.0}
    assert verdict(report, ["1"], LIMITS) == Verdict("early_exit", "", 1, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wall_seconds", 0.0),
        ("cpu_seconds", 0),
        ("memory_bytes", 2**26 - 1),
        ("processes", 0),
        ("output_bytes", -1),
    ],
)
def test_limits_that_nothing_passes_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"expected {name} of .*, got {value}"):
        limits(**{name: value})


def test_a_program_without_tests_has_no_score() -> None:
    with pytest.raises(ValueError, match="a unit test or more"):
        judge("", function="f", cases=[], limits=limits(), way="root")


# The refusal.

UNISOLATED = (
    "import sys; sys.path.append(sys.argv[1]); from rl.box.kernel import drop_rights, refuse_calls;"
    " drop_rights(); refuse_calls(); from rl.box.launcher import main; main()"
)


@pytest.mark.skipif(not Path("/proc/self/uid_map").exists(), reason="not a Linux machine")
def test_what_cannot_be_isolated_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher on a kernel that gives it no namespaces: by the filter that programs get."""
    python = [UNISOLATED if part == sandbox.START else part for part in sandbox.PYTHON]
    monkeypatch.setattr(sandbox, "PYTHON", python)
    with pytest.raises(UserError) as caught:
        find_way()
    message = str(caught.value)
    assert "run isolated or not at all, and this machine does not" in message
    assert "  as user: " in message
    assert "Operation not permitted" in message
    assert "user.max_user_namespaces above 0" in message
    assert "tiny programs" in message

    mark = tmp_path / "mark"
    for refused in ("root", "user"):
        with pytest.raises(UserError, match=f"as {refused}: .*not permitted"):
            ended(refused, f"open({str(mark)!r}, 'w')")  # type: ignore[arg-type]
    assert not mark.exists()


def test_no_linux_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(UserError, match="darwin has no namespaces"):
        find_way()


def test_a_launcher_that_fails_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    python = [part.replace("main()", "1 / 0") for part in sandbox.PYTHON]
    monkeypatch.setattr(sandbox, "PYTHON", python)
    with pytest.raises(UserError, match="launcher ended with status 1: ZeroDivisionError"):
        ended("user", "f = int", 0)


def test_a_box_that_is_not_as_it_should_be_is_refused() -> None:
    """Seen from out here: the process has another user, files and a number."""
    with pytest.raises(RefusedError, match="in the box: expected"):
        look_around(4321)


def test_the_tables_of_calls_agree() -> None:
    for machine in MACHINES.values():
        assert len(machine.refused) == len(set(machine.refused)) == len(REFUSED)


@pytest.mark.parametrize(
    ("machine", "header", "prefix"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        ("aarch64", "/usr/include/asm-generic/unistd.h", "__NR_"),
    ],
)
def test_the_tables_are_those_of_the_kernel(machine: str, header: str, prefix: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"no {header}: the kernel's headers are not installed")
    numbers = {
        name.removeprefix(prefix): int(number)
        for line in Path(header).read_text(encoding="ascii").splitlines()
        for define, name, number in [[*line.split(), "", "", ""][:3]]
        if define == "#define" and name.startswith(prefix) and number.isdigit()
    }
    found = MACHINES[machine]
    assert [numbers[name] for name in REFUSED] == list(found.refused)
    assert numbers["pivot_root"] == found.pivot_root
