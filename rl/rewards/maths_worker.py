"""The process that asks math-verify whether two answers are equal; started as a script.

It reads a JSON line [reference, stated] and writes a line `right` or `wrong`, after a first line
`ready`. It imports nothing of this package, so no torch.

Its limits are the kernel's, as sympy and a power like 9^{9^{9}} hold off every signal handler: the
timers' signals have none, so they end the process, wherever it is. Time is CPU time, which is
nearly the same on a busy machine. math-verify's own timeouts are off: they count as wrong. A
MemoryError that sympy catches itself counts as wrong; one that comes up here ends the process.

Nothing here runs what a model wrote: of math-verify's parsers only the grammar of LaTeX is used,
and not the one for plain expressions, which goes through Python's eval.
"""

import json
import logging
import resource
import signal
import sys
from dataclasses import replace

from math_verify import parse, verify
from math_verify.parser import LatexExtractionConfig

PATIENCE_SECONDS = 600.0  # by the clock beyond the limit, for what waits instead of computing
DIGITS = 12  # decimals in which floats agree: with 6, math-verify's choice, 1.414214 is sqrt(2)

# The whole box is parsed, or nothing: no second try on a part of it that parses. Units have been
# dealt with; math-verify would take the letter off 3t and 3m.
WHOLE_BOX = LatexExtractionConfig(
    try_extract_without_anchor=False,
    boxed_match_priority=0,
    normalization_config=replace(
        LatexExtractionConfig().normalization_config, units=False, boxed="last"
    ),
)


def equal(reference: str, stated: str) -> bool:
    """Whether math-verify finds two pieces of LaTeX equal."""
    gold, found = (
        parse(
            f"\\boxed{{{latex}}}",
            [WHOLE_BOX],
            extraction_mode="first_match",
            parsing_timeout=None,
        )
        for latex in (reference, stated)
    )
    return bool(verify(gold, found, float_rounding=DIGITS, timeout_seconds=None))


def main(seconds: float, memory_bytes: int) -> None:
    """Answer until the input ends."""
    logging.disable(logging.CRITICAL)  # math-verify warns that its timeouts are off
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ends in (signal.SIGPROF, signal.SIGALRM):  # whatever the parent made of them
        signal.signal(ends, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPROF, signal.SIGALRM))
    print("ready", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, seconds + PATIENCE_SECONDS)
        verdict = "right" if equal(*json.loads(line)) else "wrong"
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        print(verdict, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
