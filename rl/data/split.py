"""Pairs to learn from and pairs held out, by hashes: rows may be added, and none changes sides."""

from collections.abc import Sequence
from hashlib import blake2b

from rl.data.schemas import ASSISTANT
from rl.types import Preference


def split_by_prompt(
    preferences: Sequence[Preference], *, heldout_share: float
) -> tuple[list[Preference], list[Preference]]:
    """(train, held out), each in the order given. No prompt is in both.

    What is hashed is the prompt's opening, up to the first assistant turn: HH-RLHF asks about
    several turns of one dialogue, and these prompts, each the start of the next, stay together.

    Args:
        preferences: the pairs.
        heldout_share: the chance of an opening to be held out, in (0, 1). The share of pairs is
            near it, not equal to it.

    Raises:
        ValueError: a share outside (0, 1).
    """
    if not 0 < heldout_share < 1:
        raise ValueError(f"heldout_share: expected a share in (0, 1), got {heldout_share}")
    train: list[Preference] = []
    heldout: list[Preference] = []
    for preference in preferences:
        place = _place(preference.prompt.split(ASSISTANT)[0])
        (heldout if place < heldout_share else train).append(preference)
    return train, heldout


def _place(text: str) -> float:
    """A number in [0, 1) that the text alone decides."""
    digest = blake2b(text.encode(), digest_size=8, person=b"heldout").digest()
    return int.from_bytes(digest, "big") / 2**64
