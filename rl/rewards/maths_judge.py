r"""Whether a stated answer is the reference: exact where it is plain, else by algebra.

Plain numbers and words are compared in this process (rl.rewards.maths_decide). All else goes to
math-verify (Kydlicek 2025), in a process of its own (rl.rewards.maths_worker) that the kernel ends
when its time is up. It is started when first needed and serves many answers; after an end a new
one is started for the next.

Where a verdict is a choice (`!` where math-verify alone says the other thing):

    reference     stated           verdict
    102           17 \cdot 6       unread ! a number is stated as a number: a question is no answer
    72            sold 72 clips    unread ! likewise; 72 clips, Total = 72 and **72** are right
    72            48+24=72         right    an equation states its last side
    72            48+25=72         wrong !  when its other sides say the same, exactly
    y=4           y=4=2x+3         wrong    likewise
    \sqrt{3}      x=\sqrt{3}=1.7   wrong !  likewise
    18            18 pairs         unread ! words that may change a number: lakh, twice, than, XIX
    70            70% off          unread ! likewise
    18            \approx 18       unread ! what is about something is only the same text
    6\sqrt{2}     \sqrt{72}        right    yet here it may be one, as no form is asked for
    6\sqrt{2}     8.485281         wrong !  floats agree in 12 decimals, not in 6
    1/3           0.333333         wrong !  no rounding
    2\pi          3 = 2\pi         wrong !  3 is no name of it; x, f(3), a/b and \angle A are
    12            -x = 12          unread ! nor is -x: it says that x is -12
    a/b           b/a = a/b        wrong !  nor are names that are related to each other
    3             \sqrt{9} = 3     right    a number on the left says the same, exactly,
    4             \sqrt{9} = 4     wrong !  or something else,
    2             \log(100) = 2    unread ! or is not worked out
    10            C(5,2) = 10      right    nobody says what a letter stands for: 11 were right too
    100 ft        100 sq ft        wrong    a square is no length
    (2,3)         \{2,3\}          wrong !  an interval or a pair is no set
    (2,3)         2,3              right    the brackets of a pair may be left out
    113_4         113_5            wrong !  a base may be left out, but not be another
    3m            3                wrong !  a bare letter is no unit
    [3,\infty)    [3,\infty]       right    a slip of writing
    [3,\infty)    x \ge 3          wrong    a set is asked for
    a column      (3,-2,-4)        wrong    likewise
    3:4           6:8              right    a ratio is a fraction

math-verify takes a difference below 1e-15 between surds for none. That, and a question repeated
where the reference is no number, are what a policy could exploit.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from rl.errors import UserError
from rl.rewards.maths import Verdict
from rl.rewards.maths_decide import decide
from rl.rewards.maths_plain import clean, readable, too_long

WORKER = Path(__file__).with_name("maths_worker.py")
ENVIRONMENT = {"PYTHONHASHSEED": "0"}  # sympy's order of work depends on hashes
TIME_IS_UP = (-signal.SIGPROF, -signal.SIGALRM)


class Judge:
    """Verdicts on answers; a context manager that ends its process. For one thread.

    `seconds` is the CPU time for one comparison (an answer takes one; a chain of equations one a
    side), `memory_bytes` the address space of the process, which
    takes 70 MB to start.
    """

    def __init__(self, *, seconds: float, memory_bytes: int = 2**30) -> None:
        if seconds <= 0 or memory_bytes < 2**27:
            raise UserError(
                "judge of maths answers: expected seconds above 0 and memory_bytes of 2**27 or "
                f"more, got {seconds} and {memory_bytes}; raise them"
            )
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self._algebra: _Algebra | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one. The judge starts another when it needs it."""
        if self._algebra is not None:
            self._algebra.end()
        self._algebra = None

    def verify(self, stated: str | None, reference: str) -> Verdict:
        """The verdict on one answer, as rl.rewards.maths.stated_answer gives it.

        Raises:
            UserError: there is no reference, or the process does not start.
        """
        expected = clean(reference)
        if not expected:
            raise UserError(
                f"judge of maths answers: expected a reference answer, got {reference!r}; "
                "drop this problem"
            )
        stripped = "" if stated is None else stated.strip()
        if too_long(stripped):
            return Verdict.TOO_LONG
        if not readable(stripped):
            return Verdict.UNREAD
        answer = clean(stripped)
        if not answer:
            return Verdict.NO_ANSWER
        decided = decide(answer, expected)
        if isinstance(decided, Verdict):
            return decided
        for question in decided:
            verdict = self._ask(question)
            if verdict is not Verdict.RIGHT:
                return verdict
        return Verdict.RIGHT

    def _ask(self, question: tuple[str, str]) -> Verdict:
        if self._algebra is None or self._algebra.has_ended():
            self.close()
            self._algebra = _Algebra(self.seconds, self.memory_bytes)
        return self._algebra.ask(question)


class _Algebra:
    """The process that compares by algebra."""

    def __init__(self, seconds: float, memory_bytes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", WORKER, str(seconds), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            process_group=0,  # a terminal's ^C is for us: the process ends with its input
        )
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101
        self._questions, self._answers = self._process.stdin, self._process.stdout
        if self._answers.readline() != b"ready\n":
            raise UserError(
                f"judge of maths answers: expected its process to start, got status {self.end()}; "
                "see that math-verify is installed (make setup) and that memory_bytes is enough"
            )

    def ask(self, question: tuple[str, str]) -> Verdict:
        """The verdict on a reference and an answer. The process is there for another or ended."""
        answer = b""
        try:
            self._questions.write(json.dumps(question).encode() + b"\n")
            self._questions.flush()
            answer = self._answers.readline()
        finally:  # nor is it of use after an interrupt: its next line would be this answer
            status = None if answer else self.end()
        if status is None:
            return Verdict(answer.decode().strip())
        return Verdict.TIMEOUT if status in TIME_IS_UP else Verdict.MEMORY

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def end(self) -> int:
        """End the process, if it has not ended by itself; its status."""
        self._process.kill()
        status = self._process.wait()
        self._questions.close()
        self._answers.close()
        return status
