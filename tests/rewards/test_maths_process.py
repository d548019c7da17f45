"""The process of math-verify: its limits, its end, and that it runs nothing that it is given."""

import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rl.errors import UserError
from rl.rewards import maths_judge
from rl.rewards.maths import Verdict
from rl.rewards.maths_judge import ENVIRONMENT, WORKER, Judge

ENDLESS = "9^{9^{9}}"


def process(judge: Judge) -> int:
    assert judge._algebra is not None
    return judge._algebra._process.pid


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_plain_answers_start_no_process() -> None:
    with Judge(seconds=1.0) as judge:
        assert judge.verify("5", "5") is Verdict.RIGHT
        assert judge.verify(ENDLESS, "5") is Verdict.UNREAD
        assert judge._algebra is None


def test_time_ends_the_process_and_nothing_else() -> None:
    """The verdict before and after is the same, from one process and then from another."""
    with Judge(seconds=1.0) as judge:
        assert judge.verify(r"\sqrt{12}", r"2\sqrt3") is Verdict.RIGHT
        first = process(judge)
        assert judge.verify(r"\sqrt{8}", r"2\sqrt2") is Verdict.RIGHT
        assert process(judge) == first
        assert judge.verify(ENDLESS, r"2\pi") is Verdict.TIMEOUT
        assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT
        second = process(judge)
        assert second != first
        assert not lives(first)
    assert not lives(second)
    assert judge.verify(r"\sqrt{12}", r"2\sqrt3") is Verdict.RIGHT  # a new one, as it is needed
    judge.close()
    judge.close()


def test_a_process_that_ends_during_an_answer_is_told_apart() -> None:
    """As the kernel ends one when memory is short."""
    with Judge(seconds=30.0) as judge:
        assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT
        killer = threading.Timer(0.3, os.kill, (process(judge), signal.SIGKILL))
        killer.start()
        assert judge.verify(ENDLESS, r"2\pi") is Verdict.MEMORY
        killer.join()
        assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT


def test_a_process_that_ended_between_answers_is_replaced() -> None:
    with Judge(seconds=30.0) as judge:
        assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT
        assert judge._algebra is not None
        os.kill(process(judge), signal.SIGKILL)
        os.waitid(os.P_PID, process(judge), os.WEXITED | os.WNOWAIT)
        assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT


def test_an_interrupt_leaves_no_process_that_is_an_answer_behind() -> None:
    """Else the next answer would get the verdict of this one."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Judge(seconds=30.0) as judge:
            assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT
            first = process(judge)
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                judge.verify(ENDLESS, r"2\pi")
            assert not lives(first)
            assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT
    finally:
        signal.signal(signal.SIGUSR1, usual)


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="not a Linux machine")
def test_the_limits_are_the_kernel_s() -> None:
    with Judge(seconds=5.0, memory_bytes=2**28) as judge:
        assert judge.verify(r"\pi+\pi", r"2\pi") is Verdict.RIGHT
        limits = Path(f"/proc/{process(judge)}/limits").read_text("utf-8").splitlines()
        rows = {line[:26].strip(): line[26:].split()[:2] for line in limits}
        assert rows["Max address space"] == [str(2**28)] * 2
        assert rows["Max file size"] == ["0", "0"]


def test_a_worker_that_lost_its_judge_ends_itself() -> None:
    """The time limit is its own; so is the end of its input."""
    for question, status in (("", 0), (f'["2\\\\pi", "{ENDLESS}"]\n', -signal.SIGPROF)):
        ended = subprocess.run(
            [sys.executable, "-s", "-P", WORKER, "0.5", str(2**30)],
            input=question.encode(),
            capture_output=True,
            env=ENVIRONMENT,
            check=False,
            timeout=120,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (status, b"ready\n", b"")


def test_the_worker_loads_no_torch() -> None:
    program = (
        f"import runpy, sys; runpy.run_path({str(WORKER)!r})\n"
        "sys.exit(sorted({'torch', 'numpy', 'rl'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-s", "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_process_that_does_not_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "worker.py"
    broken.write_text("import math_verify_of_another_name")
    monkeypatch.setattr(maths_judge, "WORKER", broken)
    with (
        Judge(seconds=1.0) as judge,
        pytest.raises(UserError, match="got status 1; see that math-verify is installed"),
    ):
        judge.verify(r"\pi+\pi", r"2\pi")


@pytest.mark.parametrize(("seconds", "memory"), [(0.0, 2**30), (-1.0, 2**30), (1.0, 2**20)])
def test_limits_that_nothing_passes_are_refused(seconds: float, memory: int) -> None:
    with pytest.raises(UserError, match="expected seconds above 0 and memory_bytes of"):
        Judge(seconds=seconds, memory_bytes=memory)


def test_code_is_not_run(tmp_path: Path) -> None:
    """In no writing that a parser of expressions or of LaTeX might take for something to run."""
    mark = tmp_path / "mark"
    call = f"__import__('os').system('touch {mark}')"
    tricks = [
        call,
        f"\\text{{{call}}}",
        f"\\operatorname{{{call}}}(x)",
        f"\\mathrm{{{call}}}",
        f"1 + {call}",
        f"[{call}][0]",
        f"\\sqrt{{{call}}}",
        f"\\input{{|touch {mark}}}",
        f"\\write18{{touch {mark}}}",
        f"; touch {mark} #",
        "\\begin{eval}" + call + "\\end{eval}",
        f"exec(\"open('{mark}', 'w')\")",
    ]
    with Judge(seconds=5.0) as judge:
        for reference in ("5", r"2\pi", r"\text{odd}", "x^2", "(1,2)"):
            for trick in tricks:
                assert judge.verify(trick, reference) is not Verdict.RIGHT
    assert not mark.exists()


def test_the_worker_parses_latex_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """sympy's parser of plain expressions evaluates Python: math-verify must not come to it."""
    import latex2sympy2_extended.latex2sympy2
    import math_verify.parser

    def refuse(text: str, **_: object) -> None:
        raise AssertionError(f"{text} was to be evaluated")

    monkeypatch.setattr(math_verify.parser, "parse_expr", refuse)
    monkeypatch.setattr(latex2sympy2_extended.latex2sympy2, "parse_expr", refuse)
    equal = runpy.run_path(str(WORKER))["equal"]
    assert equal(r"2\pi", r"\pi + \pi")
    for stated in ("1+1", "2**3", "(1)", "1/2", "3 and 5", "answer: 1+1", "__import__('os')"):
        assert not equal(r"2\pi", stated)
