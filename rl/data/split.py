"""Pairs to learn from and pairs held out, by hashes: rows may be added, and none changes sides."""

from collections.abc import Sequence
from hashlib import blake2b

from rl.data.schemas import ASSISTANT
from rl.types import Preference


def split_by_prompt(
    preferences: Sequence[Preference], *, folds: int, fold: int
) -> tuple[list[Preference], list[Preference]]:
    """(train, held out), each in the order given. No prompt is in both.

    What is hashed is the prompt's opening, up to the first assistant turn: HH-RLHF asks about
    several turns of one dialogue, and these prompts, each the start of the next, stay together.
    Over all folds each pair is held out once.

    Args:
        preferences: the pairs.
        folds: how many parts, 2 or more. An opening is in each with the same chance, so that parts
            are about as large as each other, not quite.
        fold: the part that is held out, from 0.

    Raises:
        ValueError: fewer than two folds, or no such fold.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f"expected folds >= 2 and fold in [0, folds), got {folds} and {fold}")
    train: list[Preference] = []
    heldout: list[Preference] = []
    for preference in preferences:
        place = _place(preference.prompt.split(ASSISTANT)[0])
        (heldout if int(place * folds) == fold else train).append(preference)
    return train, heldout


def _place(text: str) -> float:
    """A number in [0, 1) that the text alone decides."""
    digest = blake2b(text.encode(), digest_size=8, person=b"heldout").digest()
    return int.from_bytes(digest, "big") / 2**64
