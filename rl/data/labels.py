"""Labels from a known gold reward: Bradley-Terry or hard, and flipped at a rate.

Axis letters: M pairs.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.seeding import derive, uniforms


@dataclass(frozen=True)
class Labelling:
    """How a judge with a gold reward r chooses.

    `scale`: the judge takes the first of two with the chance sigmoid(scale * (r_1 - r_2)), which is
    Bradley and Terry's (1952) model with strengths exp(scale * r); math.inf is the hard label that
    is always for the larger reward, and throws a coin where both are the same.
    `flip`: the chance that the label is then turned round, whatever it was, in [0, 1/2].

    Raises:
        ValueError: a scale that is not over 0, or a rate outside [0, 1/2].
    """

    scale: float
    flip: float

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale: expected a number over 0, or inf, got {self.scale}")
        if not 0 <= self.flip <= 0.5:
            raise ValueError(f"flip: expected a rate in [0, 1/2], got {self.flip}")


@dataclass(frozen=True)
class Labels:
    """Which of two is chosen, and whether that label was turned round."""

    first_M: Tensor  # bool, the first is chosen
    flipped_M: Tensor  # bool


def unflipped_chances(gap_M: Float[Tensor, " M"], *, scale: float) -> Float[Tensor, " M"]:
    """P(first before second) = sigmoid(scale * (r_1 - r_2)) before any flip (2009.01325, sec. 3.4,
    with scale 1).

    Args:
        gap_M: r_1 - r_2.
        scale: nats a unit of reward; math.inf gives 1, 1/2 and 0.
    """
    if math.isinf(scale):
        return (gap_M.double().sign() + 1) / 2
    return torch.sigmoid(scale * gap_M.double())


def first_chances(gap_M: Float[Tensor, " M"], labelling: Labelling) -> Float[Tensor, " M"]:
    """P(first is chosen) = (1 - flip) p + flip (1 - p), with p before any flip."""
    chance_M = unflipped_chances(gap_M, scale=labelling.scale)
    return (1 - labelling.flip) * chance_M + labelling.flip * (1 - chance_M)


def draw_labels(gap_M: Float[Tensor, " M"], labelling: Labelling, *, seed: int) -> Labels:
    """One label a pair. The numbers behind the label of pair m depend on (seed, m) alone.

    So the same pairs are flipped at a rate as at any smaller one and some more, whatever the scale
    and however many pairs there are.

    Args:
        gap_M: r_1 - r_2.
        labelling: the judge.
        seed: of the labels.
    """
    drawn_M2 = torch.from_numpy(
        uniforms([derive("preference-label", seed, m) for m in range(len(gap_M))], 2)
    )
    would_M = drawn_M2[:, 0] < unflipped_chances(gap_M, scale=labelling.scale)
    flipped_M = drawn_M2[:, 1] < labelling.flip
    return Labels(first_M=would_M ^ flipped_M, flipped_M=flipped_M)


def share_against_gold(gap_M: Float[Tensor, " M"], first_M: Bool[Tensor, " M"]) -> float:
    """Share of labels for the smaller reward, among the pairs whose rewards differ.

    Raises:
        ValueError: no such pair.
    """
    apart_M = gap_M != 0
    if not bool(apart_M.any()):
        raise ValueError("expected a pair whose rewards differ, got none")
    return float(((gap_M > 0) != first_M)[apart_M].double().mean())
