"""Rows of public preference data, read: each becomes a Preference, or has a fault with a name.

A prompt is all that stands before the last assistant turn, and what follows is the response. All
schemas write a dialogue in HH-RLHF's way, so that models of any of them see one form.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Literal

from rl.types import Preference

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
MARKS = {"system": "\n\nSystem:", "user": HUMAN, "assistant": ASSISTANT}
PAIR = ("chosen", "rejected")
HALF_PAIR = re.compile("[\ud800-\udfff]")


class Fault(StrEnum):
    """What can be wrong with a row. The value is how a report names it."""

    NOT_JSON = "not JSON"
    NOT_AN_OBJECT = "not a JSON object"
    MISSING_KEY = "missing key"
    WRONG_TYPE = "wrong type"
    NOT_UNICODE = "text with half a surrogate pair, which UTF-8 cannot write"
    NO_ASSISTANT = "no assistant turn"
    ENDS_WITH_HUMAN = "last turn is not the assistant's"
    PROMPTS_DIFFER = "chosen and rejected have different prompts"
    EMPTY_PROMPT = "empty prompt"
    EMPTY_CHOSEN = "empty chosen response"
    EMPTY_REJECTED = "empty rejected response"
    SAME_RESPONSES = "chosen and rejected are the same"
    TIED_SCORES = "tied scores"
    SCORES_AGAINST_LABEL = "rejected has the higher score"
    BAD_ROLE = "role other than system, user or assistant"
    NOT_TWO_RESPONSES = "not two responses"
    BAD_CHOICE = "choice is neither 0 nor 1"
    EMPTY_QUESTION = "empty question"
    BAD_LEVEL = "level is none of 1 to 5"
    NO_ANSWER = "solution without a final answer"


Row = Mapping[str, Any]


class FaultyRowError(Exception):
    """A row that is no pair."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True)
class Schema:
    """How rows of a layout are read, and what `datasets` calls a part of such a data set."""

    read: Callable[[Row], Preference]
    subset_is: Literal["data_dir", "name"]


def read_hh(row: Row) -> Preference:
    """Anthropic/hh-rlhf (2204.05862): two whole dialogues, `chosen` and `rejected`.

    Turns begin with "\\n\\nHuman:" and "\\n\\nAssistant:". prompt + response is the dialogue, to
    the character.

    Raises:
        FaultyRowError: the row is no pair.
    """
    (prompt, chosen), (other, rejected) = (_halves(text) for text in texts(row, *PAIR))
    refuse(prompt != other, Fault.PROMPTS_DIFFER)
    said = prompt.replace(HUMAN, "").replace(ASSISTANT, "")
    return _checked(Preference(prompt, chosen, rejected), said=said)


def read_ultrafeedback(row: Row) -> Preference:
    """HuggingFaceH4/ultrafeedback_binarized (2310.01377, binarised in 2310.16944): two lists of
    messages {role, content} and the judge's two scores.

    The keys `prompt` and `messages` repeat what stands in the lists and are not read. Where the
    scores are equal no response is preferred, whichever stands as `chosen`.

    Raises:
        FaultyRowError: the row is no pair.
    """
    keys = ("score_chosen", "score_rejected")
    refuse(any(key not in row for key in (*PAIR, *keys)), Fault.MISSING_KEY)
    refuse(not all(_is_number(row[key]) for key in keys), Fault.WRONG_TYPE)
    scores = {key: float(row[key]) for key in keys}
    left, right = (_turns(row[key]) for key in PAIR)
    refuse(left[:-1] != right[:-1], Fault.PROMPTS_DIFFER)
    refuse(scores["score_chosen"] == scores["score_rejected"], Fault.TIED_SCORES)
    refuse(scores["score_chosen"] < scores["score_rejected"], Fault.SCORES_AGAINST_LABEL)
    prompt = "".join(f"{MARKS[role]} {content}" for role, content in left[:-1]) + ASSISTANT
    said = "".join(content for role, content in left[:-1] if role == "user")
    return _checked(
        Preference(prompt, f" {left[-1][1]}", f" {right[-1][1]}", scores),
        said=said,
    )


def read_tldr(row: Row) -> Preference:
    """openai/summarize_from_feedback, `comparisons` (2009.01325): a Reddit post, two summaries, and
    which of them, 0 or 1, a labeller took.

    The prompt is laid out as in the paper's table of formats: subreddit, title, post, "TL;DR:".
    Rows about news articles have no post, and count as empty prompts.

    Raises:
        FaultyRowError: the row is no pair.
    """
    refuse(any(key not in row for key in ("info", "summaries", "choice")), Fault.MISSING_KEY)
    info, summaries, choice = row["info"], row["summaries"], row["choice"]
    typed = isinstance(info, Mapping) and isinstance(summaries, list) and _is_number(choice)
    refuse(not typed, Fault.WRONG_TYPE)
    refuse(choice not in (0, 1), Fault.BAD_CHOICE)
    refuse(len(summaries) != 2, Fault.NOT_TWO_RESPONSES)
    refuse(not all(isinstance(summary, Mapping) for summary in summaries), Fault.WRONG_TYPE)
    refuse("post" in info and info["post"] is None, Fault.EMPTY_PROMPT)
    subreddit, title, post = texts(info, "subreddit", "title", "post")
    written = [f" {texts(summary, 'text')[0].strip()}" for summary in summaries]
    prompt = f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
    chosen, rejected = written[int(choice)], written[1 - int(choice)]
    return _checked(Preference(prompt, chosen, rejected), said=post)


# By the name that a configuration gives.
SCHEMAS: Mapping[str, Schema] = {
    "hh": Schema(read_hh, subset_is="data_dir"),
    "ultrafeedback": Schema(read_ultrafeedback, subset_is="name"),
    "tldr": Schema(read_tldr, subset_is="name"),
}


def refuse(wrong: bool, fault: Fault) -> None:
    """Raises FaultyRowError where something is `wrong`."""
    if wrong:
        raise FaultyRowError(fault)


def _checked(pair: Preference, *, said: str) -> Preference:
    """The pair, if there is something in each of its parts; `said` is the prompt without frame."""
    refuse(not said.strip(), Fault.EMPTY_PROMPT)
    refuse(not pair.chosen.strip(), Fault.EMPTY_CHOSEN)
    refuse(not pair.rejected.strip(), Fault.EMPTY_REJECTED)
    refuse(pair.chosen.strip() == pair.rejected.strip(), Fault.SAME_RESPONSES)
    return pair


def _halves(dialogue: str) -> tuple[str, str]:
    """What stands up to the last assistant mark, itself included, and what follows it."""
    before, mark, response = dialogue.rpartition(ASSISTANT)
    refuse(not mark, Fault.NO_ASSISTANT)
    refuse(HUMAN in response, Fault.ENDS_WITH_HUMAN)
    return before + mark, response


def _turns(messages: object) -> list[tuple[str, str]]:
    """(role, content) of each message, the last of them the assistant's."""
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise FaultyRowError(Fault.WRONG_TYPE)
    turns = []
    for message in messages:
        role, content = texts(message, "role", "content")
        refuse(role not in MARKS, Fault.BAD_ROLE)
        turns.append((role, content))
    refuse(all(role != "assistant" for role, _ in turns), Fault.NO_ASSISTANT)
    refuse(turns[-1][0] != "assistant", Fault.ENDS_WITH_HUMAN)
    return turns


def texts(row: Row, *keys: str) -> list[str]:
    """The texts under these keys.

    Raises:
        FaultyRowError: one is missing, or no text.
    """
    refuse(any(key not in row for key in keys), Fault.MISSING_KEY)
    found = [row[key] for key in keys]
    refuse(not all(isinstance(text, str) for text in found), Fault.WRONG_TYPE)
    # JSON can spell half a surrogate pair; no encoding of real text can.
    refuse(any(HALF_PAIR.search(text) for text in found), Fault.NOT_UNICODE)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
