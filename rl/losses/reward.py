"""Losses of reward models, and how well their preferences fit. Axis letters: B pairs, K bins."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def bradley_terry(
    chosen_B: Float[Tensor, " B"],
    rejected_B: Float[Tensor, " B"],
    *,
    margin_B: Float[Tensor, " B"] | None,
) -> Float[Tensor, " B"]:
    """-log sigma(r(y_w) - r(y_l) - m) of each pair, nats; it is over 0.

    Without m the negative log-likelihood of a preference under P(y_w over y_l) = sigma(r_w - r_l)
    (Bradley and Terry 1952; 2203.02155, eq. 1). With m, that of Llama 2 (2307.09288, eq. 2).

    Args:
        chosen_B: scores of the preferred responses [B], any unit with a free zero.
        rejected_B: scores of the others [B].
        margin_B: m, in the unit of the scores, carrying no gradient; None for none.

    Raises:
        ValueError: shapes that differ.
    """
    others = [rejected_B] + ([] if margin_B is None else [margin_B])
    if chosen_B.ndim != 1 or any(other.shape != chosen_B.shape for other in others):
        raise ValueError(
            "expected scores, and a margin if there is one, of one shape [B], got "
            f"{', '.join(str(tuple(x.shape)) for x in (chosen_B, *others))}"
        )
    apart_B = chosen_B - rejected_B
    return -logsigmoid(apart_B if margin_B is None else apart_B - margin_B.detach())


def direct_assessment(
    score_B: Float[Tensor, " B"], good_B: Bool[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """-log sigma(s) of responses labelled good and -log sigma(-s) of others, nats.

    The binary cross-entropy of P(good | y) = sigma(s(y)), for labels of single responses.

    Args:
        score_B: logits of `good` [B].
        good_B: labels [B].

    Raises:
        ValueError: shapes that differ, or labels that are not bool.
    """
    if score_B.ndim != 1 or good_B.shape != score_B.shape or good_B.dtype != torch.bool:
        raise ValueError(
            f"expected scores and bool labels of one shape [B], got {tuple(score_B.shape)}, "
            f"{good_B.dtype} and {tuple(good_B.shape)}"
        )
    return binary_cross_entropy_with_logits(score_B, good_B.to(score_B.dtype), reduction="none")


def accuracies(margin_B: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """1 where the chosen response has the higher score, 0.5 at a tie, 0 elsewhere.

    A tie is half right, so that a model that tells nothing apart is at chance.

    Args:
        margin_B: r(y_w) - r(y_l), or a difference of implicit rewards [B], finite.

    Raises:
        ValueError: a margin that is not a number.
    """
    if bool(margin_B.isnan().any()):
        raise ValueError("margin_B: expected numbers, got NaN")
    return (margin_B.detach().sign() + 1) / 2


@dataclass(frozen=True)
class Calibration:
    """Bins of predicted probabilities: how many, what they said on average and what came.

    Means of a bin without a prediction are NaN. `error` is the expected calibration error.
    """

    count_K: Int[Tensor, " K"]
    predicted_K: Float[Tensor, " K"]
    observed_K: Float[Tensor, " K"]
    error: float


def calibration(
    probability_N: Float[Tensor, " N"],
    outcome_N: Float[Tensor, " N"],
    *,
    bins: int,
    lowest: float,
) -> Calibration:
    """ECE = sum_k (n_k / N) |mean outcome in bin k - mean probability in bin k|.

    Guo et al. (1706.04599, eq. 3), bins of equal width that hold their lower edge; the last holds
    1 too. The error of the population is 0 under calibration, that of a sample of size n is over
    it by about the spread of the means, so counts are told.

    Args:
        probability_N: predictions [N], in [lowest, 1].
        outcome_N: what came of them [N], in [0, 1]: 0 or 1, or its true probability.
        bins: number of bins, 1 or more.
        lowest: lower edge of the first: 0, or 0.5 for the confidence in the better of two.

    Returns:
        In float64.

    Raises:
        ValueError: no predictions, shapes that differ, or numbers out of range.
    """
    if probability_N.ndim != 1 or outcome_N.shape != probability_N.shape or not len(outcome_N):
        raise ValueError(
            "expected probabilities and outcomes of one shape [N], N >= 1, got "
            f"{tuple(probability_N.shape)} and {tuple(outcome_N.shape)}"
        )
    if bins < 1 or not 0 <= lowest < 1:
        raise ValueError(f"expected bins >= 1 and lowest in [0, 1), got {bins} and {lowest}")
    probability_N, outcome_N = probability_N.detach().double(), outcome_N.detach().double()
    for what, x_N, least in (("probability", probability_N, lowest), ("outcome", outcome_N, 0.0)):
        if not bool(((x_N >= least) & (x_N <= 1)).all()):
            raise ValueError(f"{what}_N: expected numbers in [{least}, 1]")
    edge_K = torch.linspace(lowest, 1, bins + 1, dtype=torch.float64)
    bin_N = torch.bucketize(probability_N, edge_K[1:-1], right=True)  # 1 falls into the last
    count_K = torch.bincount(bin_N, minlength=bins)
    predicted_K = torch.bincount(bin_N, weights=probability_N, minlength=bins) / count_K
    observed_K = torch.bincount(bin_N, weights=outcome_N, minlength=bins) / count_K
    gap_K = (observed_K - predicted_K).abs().nan_to_num(0.0)  # of an empty bin: 0 / 0
    error = float((count_K * gap_K).sum() / len(outcome_N))  # 1706.04599, eq. 3
    return Calibration(count_K, predicted_K, observed_K, error)


def preference_calibration(margin_B: Float[Tensor, " B"], *, bins: int) -> Calibration:
    """Calibration of P(y_w over y_l) = sigma(r_w - r_l), in bins over [0.5, 1].

    A pair says sigma(|r_w - r_l|) of the response that it has for better, and that response was
    the chosen one (1), or not (0), or is none (0.5, at a tie, where it says 0.5). Which of two
    stands first does not matter so.

    Raises:
        ValueError: as `calibration` and `accuracies`.
    """
    confidence_B = torch.sigmoid(margin_B.detach().double().abs())
    return calibration(confidence_B, accuracies(margin_B), bins=bins, lowest=0.5)
