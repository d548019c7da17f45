"""Coverage: which responses a data set of preferences can hold at all.

Axis letters: P prompts, N responses that can be listed.
"""

import math
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def best_share(score_PN: Float[Tensor, "P N"], *, share: float) -> Bool[Tensor, "P N"]:
    """The ceil(share N) responses of each prompt with the highest scores; ties go to the earlier.

    The score says what kind of gap is left: the policy's log-probability covers its own habits,
    minus the gold reward leaves the best responses out, random numbers leave out any.

    Raises:
        ValueError: a share outside (0, 1], or scores that are not numbers.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected one in (0, 1], got {share}")
    if bool(score_PN.isnan().any()):
        raise ValueError("score_PN: expected numbers, got NaN")
    # Rounded first, so that .1 of 30 is 3 and not 4.
    count = math.ceil(round(share * score_PN.shape[1], 9))
    order_PN = score_PN.argsort(dim=1, descending=True, stable=True)
    covered_PN = torch.zeros_like(score_PN, dtype=torch.bool)
    return covered_PN.scatter(1, order_PN[:, :count], True)


def covered_chances(
    logp_PN: Float[Tensor, "P N"], *, temperature: float, covered_PN: Bool[Tensor, "P N"]
) -> Float[Tensor, "P N"]:
    """pi(y)^(1 / temperature) over the covered responses, 0 elsewhere, summing to 1.

    Args:
        logp_PN: log-probabilities of whole responses, nats.
        temperature: over 0; 1 keeps the policy, more draws rare responses more often.
        covered_PN: where a response can be drawn.

    Raises:
        ValueError: a temperature that is not over 0, or a prompt without two responses that can
            be drawn: there would be no pair.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number over 0, got {temperature}")
    chance_PN = (logp_PN.double() / temperature).masked_fill(~covered_PN, -math.inf).softmax(dim=1)
    poor = ((chance_PN > 0).sum(dim=1) < 2).nonzero().flatten().tolist()
    if poor:
        raise ValueError(
            f"expected two or more covered responses of each prompt, got fewer for {len(poor)}, "
            f"the first being prompt {poor[0]}; cover a larger share"
        )
    return chance_PN


def is_covered(prompt: str, response: str, *, share: float, seed: int) -> bool:
    """Is a text in the covered set? The hash of seed, prompt and text decides, with chance `share`:
    for responses that cannot be listed.

    Raises:
        ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected one in (0, 1], got {share}")
    # Lengths keep the parts apart.
    text = f"{seed} {len(prompt)} {prompt}{response}".encode()
    digest = blake2b(text, digest_size=8, person=b"covered").digest()
    return int.from_bytes(digest, "big") / 2**64 < share
