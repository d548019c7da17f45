"""Synthetic preferences: two responses that a policy wrote, and a judge with a known gold reward.

Axis letters: M pairs, P prompts, N responses that can be listed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from rl.data.labels import Labelling, draw_labels
from rl.seeding import derive, uniforms
from rl.types import Preference

# Responses to prompts, one each and one seed each: `sample(prompts, seeds)`.
Sample = Callable[[Sequence[str], Sequence[int]], Sequence[str]]


@dataclass(frozen=True)
class Synthetic:
    """Pairs in the order of the prompts, and what was drawn in vain.

    `meta` of a pair: its `pair` number, `gold_chosen`, `gold_rejected`, and `flipped`.
    `same` and `uncovered` count pairs drawn again: both responses were one text, or one of them
    was not covered. `without_pair` are the numbers of prompts for which no pair was found.
    """

    preferences: list[Preference]
    same: int
    uncovered: int
    without_pair: tuple[int, ...]


def synthetic_preferences(
    prompts: Sequence[str],
    *,
    sample: Sample,
    gold: Callable[[str, str], float],
    covered: Callable[[str, str], bool],
    labelling: Labelling,
    attempts: int,
    seed: int,
) -> Synthetic:
    """One labelled pair a prompt; a prompt may stand there several times.

    A pair whose two responses are the same, or not both covered, is drawn anew as a whole: what
    is kept is two independent responses, given that they differ and are covered. Pair m depends on
    the seed, m and its prompt alone, if `sample` heeds its seeds.

    Args:
        prompts: one a pair [M].
        sample: the policy, at the temperature that is wanted.
        gold: the reward of (prompt, response).
        covered: whether (prompt, response) may be in the data; see rl.data.coverage.is_covered.
        labelling: the judge.
        attempts: how often a pair is drawn at most.
        seed: of the pairs and their labels.

    Raises:
        ValueError: no attempts, or a sampler that gives another number of responses.
    """
    if attempts < 1:
        raise ValueError(f"attempts: expected 1 or more, got {attempts}")
    found: dict[int, tuple[str, str]] = {}
    same = uncovered = 0
    for attempt in range(attempts):
        pending = [m for m in range(len(prompts)) if m not in found]
        if not pending:
            break
        asked = [prompts[m] for m in pending]
        first, second = (
            _sampled(sample, asked, [_seed(seed, m, attempt, side) for m in pending])
            for side in (0, 1)
        )
        for m, one, two in zip(pending, first, second, strict=True):
            if one == two:
                same += 1
            elif not (covered(prompts[m], one) and covered(prompts[m], two)):
                uncovered += 1
            else:
                found[m] = (one, two)
    gold_M2 = torch.zeros(len(prompts), 2, dtype=torch.float64)
    for m, responses in found.items():
        gold_M2[m] = torch.tensor([gold(prompts[m], text) for text in responses])
    labels = draw_labels(gold_M2[:, 0] - gold_M2[:, 1], labelling, seed=seed)
    preferences = []
    for m in sorted(found):
        chosen = 0 if labels.first_M[m] else 1
        preferences.append(
            Preference(
                prompt=prompts[m],
                chosen=found[m][chosen],
                rejected=found[m][1 - chosen],
                meta={
                    "pair": m,
                    "gold_chosen": float(gold_M2[m, chosen]),
                    "gold_rejected": float(gold_M2[m, 1 - chosen]),
                    "flipped": bool(labels.flipped_M[m]),
                },
            )
        )
    without = tuple(m for m in range(len(prompts)) if m not in found)
    return Synthetic(preferences, same, uncovered, without)


def _sampled(sample: Sample, prompts: Sequence[str], seeds: Sequence[int]) -> Sequence[str]:
    responses = sample(prompts, seeds)
    if len(responses) != len(prompts):
        raise ValueError(
            f"sample: expected one response to each of {len(prompts)} prompts, got {len(responses)}"
        )
    return responses


def _seed(seed: int, pair: int, attempt: int, side: int) -> int:
    return derive("preference-response", seed, pair, attempt, side)


@dataclass(frozen=True)
class ListedPairs:
    """Pairs of responses that are numbers of a list, all [M]."""

    prompt_M: Tensor  # int64
    chosen_M: Tensor  # int64
    rejected_M: Tensor  # int64
    gap_M: Tensor  # float64, gold of chosen less gold of rejected
    flipped_M: Tensor  # bool


def listed_preferences(
    prompt_M: Int[Tensor, " M"],
    *,
    chance_PN: Float[Tensor, "P N"],
    gold_PN: Float[Tensor, "P N"],
    labelling: Labelling,
    seed: int,
) -> ListedPairs:
    """The same where all responses are listed: the exact law of every pair is known.

    P(i, j) = pi(i) pi(j) / (1 - sum_n pi(n)^2) for i other than j, drawn in two steps: i with
    pi(i) (1 - pi(i)) / (1 - sum_n pi(n)^2), then j with pi(j) / (1 - pi(i)).

    Args:
        prompt_M: the prompt of each pair.
        chance_PN: what responses are drawn with; see rl.data.coverage.covered_chances.
        gold_PN: rewards.
        labelling: the judge.
        seed: of the pairs and their labels.

    Raises:
        ValueError: a prompt with fewer than two responses that can be drawn.
    """
    chance_MN = chance_PN.double()[prompt_M]
    if bool(((chance_MN > 0).sum(dim=1) < 2).any()):
        raise ValueError("chance_PN: expected two or more responses with a chance for each prompt")
    seeds = [derive("preference-listed", seed, m) for m in range(len(prompt_M))]
    drawn_M2 = torch.from_numpy(uniforms(seeds, 2))
    first_M = _inverted(chance_MN * _others(chance_MN), drawn_M2[:, 0])
    left_MN = chance_MN.scatter(1, first_M[:, None], 0.0)
    second_M = _inverted(left_MN, drawn_M2[:, 1])
    gold_MN = gold_PN.double()[prompt_M]
    gap_M = (gold_MN.gather(1, first_M[:, None]) - gold_MN.gather(1, second_M[:, None])).squeeze(1)
    labels = draw_labels(gap_M, labelling, seed=seed)
    return ListedPairs(
        prompt_M=prompt_M,
        chosen_M=torch.where(labels.first_M, first_M, second_M),
        rejected_M=torch.where(labels.first_M, second_M, first_M),
        gap_M=torch.where(labels.first_M, gap_M, -gap_M),
        flipped_M=labels.flipped_M,
    )


def _others(weight_MN: Float[Tensor, "M N"]) -> Float[Tensor, "M N"]:
    """What all others weigh, added up, as 1 - pi(i) is lost where pi(i) is near 1."""
    before_MN = pad(weight_MN[:, :-1].cumsum(dim=1), (1, 0))
    after_MN = pad(weight_MN[:, 1:].flip(1).cumsum(dim=1), (1, 0)).flip(1)
    return before_MN + after_MN


def _inverted(weight_MN: Float[Tensor, "M N"], uniform_M: Float[Tensor, " M"]) -> Tensor:
    """The place where the running sum of weights first exceeds its share u of the whole."""
    upto_MN = weight_MN.cumsum(dim=1)
    place_M = (uniform_M[:, None] * upto_MN[:, -1:] >= upto_MN).sum(dim=1)
    # By rounding, u times the sum may be the sum: the last one that has a weight, then.
    numbers_N = torch.arange(weight_MN.shape[1])
    last_M = torch.where(weight_MN > 0, numbers_N, -1).amax(dim=1)
    return torch.minimum(place_M, last_M)
