"""What a text on a maths problem states: the reference of a data set, the answer of a response.

rl.rewards.maths_judge says whether the one is the other. All here is linear in the length of the
text, which a model wrote and which may be a megabyte of braces.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from rl.errors import UserError

END_THINK, ANSWER, END_ANSWER = "</think>", "<answer>", "</answer>"
BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace opens and closes nothing
UNBRACED = re.compile(r"[^\s$]*")


class Verdict(StrEnum):
    """What an answer is found to be; all but `right` are worth 0."""

    RIGHT = "right"  # the reference, in another writing maybe
    WRONG = "wrong"  # another answer
    UNREAD = "unread"  # no number where the reference is one, or characters that are no text
    NO_ANSWER = "no_answer"  # none where the form has it, or an empty one
    TOO_LONG = "too_long"  # longer, or in more brackets, than references are: not looked at
    TIMEOUT = "timeout"  # comparing took longer than allowed, so nobody knows
    MEMORY = "memory"  # comparing ended its process: out of memory or of stack

    @property
    def reward(self) -> float:
        """1 for right, else 0."""
        return float(self is Verdict.RIGHT)


def reference_answer(solution: str, *, dataset: str) -> str:
    r"""The answer that a data set's solution ends with, as it is written there.

    gsm8k   what stands after the last `####`, thousands commas and all
    math    what the last \boxed{...} or \fbox{...} holds; `\boxed 9` holds 9

    Raises:
        UserError: the solution has none, or the data set is another.
    """
    readers: Mapping[str, tuple[Callable[[str], str | None], str]] = {
        "gsm8k": (_after_hashes, "a line `#### answer`"),
        "math": (last_box, r"a \boxed{answer}"),
    }
    if dataset not in readers:
        raise UserError(f"dataset: expected one of {', '.join(readers)}, got {dataset!r}")
    read, expected = readers[dataset]
    answer = read(solution)
    if not answer:
        raise UserError(
            f"{dataset}: expected a solution with {expected}, got {solution[-200:]!r}; "
            "correct or drop this problem"
        )
    return answer


def stated_answer(response: str, *, form: str) -> str | None:
    r"""The answer that a response states, stripped; None if it has none where the form puts it.

    boxed         the content of the last \boxed or \fbox
    r1_zero       what stands in the last <answer> </answer> after the last </think>

    Of several answers the last counts, whatever the others are. So do MATH's own evaluation
    (Hendrycks et al. 2021) and Minerva's; math-verify makes one set of boxes that stand close
    together. A last box that is not closed is no answer: no earlier one stands in for it. In
    `r1_zero` a box is unwrapped.

    Raises:
        UserError: there is no such form.
    """
    readers: Mapping[str, Callable[[str], str | None]] = {
        "boxed": last_box,
        "r1_zero": _in_answer_tag,
    }
    if form not in readers:
        raise UserError(f"form: expected one of {', '.join(readers)}, got {form!r}")
    return readers[form](response)


def last_box(text: str) -> str | None:
    r"""The content of the last \boxed or \fbox, stripped; None if there is none or it is open.

    In nested boxes the last one to start is the innermost. Without braces the content goes up to
    white space or a dollar.
    """
    start = None
    for box in BOX.finditer(text):
        start = box.end()
    if start is None:
        return None
    if text[start : start + 1] != "{":
        unbraced = UNBRACED.match(text, start)
        return unbraced[0] if unbraced else None
    depth = 0
    for brace in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start + 1 : brace.start()].strip()
    return None


def _in_answer_tag(response: str) -> str | None:
    _, thought, after = response.rpartition(END_THINK)
    _, opened, last = after.rpartition(ANSWER)
    answer, closed, _ = last.partition(END_ANSWER)
    if not (thought and opened and closed):
        return None
    return last_box(answer) if BOX.search(answer) else answer.strip()


def _after_hashes(text: str) -> str | None:
    _, hashes, after = text.rpartition("####")
    return after.partition("\n")[0].strip() if hashes else None
