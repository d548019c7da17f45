"""Pairs as token ids that fit a model's context: what is too long is cut or left out, and told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rl.types import Preference


class Encoder(Protocol):
    """What is asked of a tokenizer."""

    eos_id: int

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text, none of them special."""


@dataclass(frozen=True)
class EncodedPair:
    """One pair. Each response ends with EOS; `index` is the pair's place in what was encoded."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    index: int


@dataclass(frozen=True)
class Encoded:
    """What fits. `cut_prompts` prompts lost `cut_tokens` tokens at their start; `too_long` are the
    indices of pairs left out, as one of their responses does not fit."""

    pairs: list[EncodedPair]
    cut_prompts: int
    cut_tokens: int
    too_long: tuple[int, ...]


def encode_pairs(
    preferences: Sequence[Preference],
    tokenizer: Encoder,
    *,
    context: int,
    prompt_at_least: int,
) -> Encoded:
    """Ids of prompt + response + EOS, at most `context` of them.

    A response is never cut: its end is part of what was judged. A prompt is cut from the left, to
    one length for both of its responses. A cut may fall inside a character of several bytes.

    Args:
        preferences: the pairs.
        tokenizer: gives ids.
        context: tokens that the model takes.
        prompt_at_least: tokens that must be left of a prompt, all of a shorter one; 1 or more. A
            pair that leaves fewer is too long.

    Raises:
        ValueError: a context with no room for a response, or no token of the prompt asked for.
    """
    if not 1 <= prompt_at_least < context:
        raise ValueError(
            f"expected 1 <= prompt_at_least < context, got {prompt_at_least} and {context}"
        )
    pairs: list[EncodedPair] = []
    too_long: list[int] = []
    cuts: list[int] = []
    for index, preference in enumerate(preferences):
        prompt_ids = tokenizer.encode(preference.prompt)
        chosen_ids = (*tokenizer.encode(preference.chosen), tokenizer.eos_id)
        rejected_ids = (*tokenizer.encode(preference.rejected), tokenizer.eos_id)
        room = context - max(len(chosen_ids), len(rejected_ids))
        if room < min(prompt_at_least, len(prompt_ids)):
            too_long.append(index)
            continue
        cut = max(0, len(prompt_ids) - room)
        cuts.append(cut)
        pairs.append(EncodedPair(prompt_ids[cut:], chosen_ids, rejected_ids, index))
    return Encoded(
        pairs=pairs,
        cut_prompts=sum(cut > 0 for cut in cuts),
        cut_tokens=sum(cuts),
        too_long=tuple(too_long),
    )


def encode_scored(
    prompt: str,
    response: str,
    *,
    ended: bool,
    tokenizer: Encoder,
    context: int,
    prompt_at_least: int,
) -> tuple[int, ...]:
    """Ids of one response to be judged, whatever tokenizer wrote it; cut as by `encode_pairs`.

    That a response ended by itself is no part of its text, and goes beside it: EOS follows where it
    did, and none where the length limit cut it off. Any other special token stands in the text by
    its name, and stays that: the text is read literally.

    Args:
        prompt: as text.
        response: as text, without its EOS.
        ended: whether it ended by itself.
        tokenizer: that of the judge.
        context: tokens that the judge takes.
        prompt_at_least: tokens that must be left of a prompt, all of a shorter one; 1 or more.

    Raises:
        ValueError: no room for the response, or for enough of the prompt.
    """
    prompt_ids = tokenizer.encode(prompt)
    response_ids = (*tokenizer.encode(response), *([tokenizer.eos_id] if ended else []))
    room = context - len(response_ids)
    if room < min(prompt_at_least, len(prompt_ids)):
        raise ValueError(
            f"expected a response that leaves {prompt_at_least} of {context} tokens to its prompt, "
            f"got one of {len(response_ids)} tokens; raise context"
        )
    return (*prompt_ids[max(0, len(prompt_ids) - room) :], *response_ids)
