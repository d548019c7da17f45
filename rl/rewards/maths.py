"""What a text on a maths problem states: the reference of a data set, the answer of a response.

rl.rewards.maths_judge says whether the one is the other. All here is linear in the length of the
text, which a model wrote and which may be a megabyte of braces.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from rl.errors import UserError

THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace opens and closes nothing
UNBRACED = re.compile(r"[^\s$]*")
# The minus of 5-3 is no sign; commas belong to a number where they part thousands.
NUMBER = re.compile(
    r"(?:(?<![\w)])[-\u2212])?\$?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"(?:/[0-9]+)?%?"
)


class Verdict(StrEnum):
    """What an answer is found to be; all but `right` are worth 0."""

    RIGHT = "right"  # the reference, in another writing maybe
    WRONG = "wrong"  # anything else that was read, or that no reading was found for
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
    hash          the rest of the line after the last ####
    last_number   the last number in ASCII digits, with its sign, dollar, fraction and percent

    Of several answers the last counts, whatever the others are. So do MATH's own evaluation
    (Hendrycks et al. 2021) and Minerva's; math-verify makes one set of boxes that stand close
    together, and GSM8K's own evaluation takes the first ####. A last box that is not closed is no
    answer: no earlier one stands in for it. In `r1_zero` and `hash` a box is unwrapped.

    Raises:
        UserError: there is no such form.
    """
    readers: Mapping[str, Callable[[str], str | None]] = {
        "boxed": last_box,
        "r1_zero": _in_answer_tag,
        "hash": _after_hashes,
        "last_number": _last_number,
    }
    if form not in readers:
        raise UserError(f"form: expected one of {', '.join(readers)}, got {form!r}")
    return readers[form](response)


def well_formed(response: str, *, opened: bool = False) -> bool:
    """Whether a response is <think>...</think> <answer>...</answer>, each tag once, in order.

    Only white space stands around and between (the format of DeepSeek-R1-Zero, Table 1).
    `opened`: the prompt ends with <think>, so that the response must not.
    """
    text = (THINK if opened else "") + response.strip()
    if any(text.count(tag) != 1 for tag in (THINK, END_THINK, ANSWER, END_ANSWER)):
        return False
    if not (text.startswith(THINK) and text.endswith(END_ANSWER)):
        return False
    between = text.partition(END_THINK)[2].partition(ANSWER)
    return between[1] == ANSWER and not between[0].strip()


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
    return _unboxed(answer) if thought and opened and closed else None


def _after_hashes(text: str) -> str | None:
    _, hashes, after = text.rpartition("####")
    return _unboxed(after.partition("\n")[0]) if hashes else None


def _unboxed(answer: str) -> str | None:
    return last_box(answer) if BOX.search(answer) else answer.strip()


def _last_number(text: str) -> str | None:
    last = None
    for number in NUMBER.finditer(text):
        last = number[0]
    return last
