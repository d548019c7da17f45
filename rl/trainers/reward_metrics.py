"""What is said of a reward model: how often it is right, how surely, and how well it knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rl.data import length_rules
from rl.losses.reward import accuracies, calibration, preference_calibration
from rl.types import Preference

Values = dict[str, float | dict[float, float]]


@dataclass(frozen=True)
class Judged:
    """Centred scores: of the preferred responses of all pairs, then of the others.

    `text`, `gap_B` and `chance_B` are of held-out pairs, as in rl.trainers.preference_pairs.
    """

    train_score_B: Tensor
    heldout_score_B: Tensor
    disagreement: float
    gap_B: Tensor | None
    chance_B: Tensor | None
    text: Sequence[Preference]


def pair_metrics(judged: Judged, *, bins: int) -> Values:
    """Accuracies, margins and calibration; see rl.metrics.reward_model."""
    margin_B, train_margin_B = _margins(judged.heldout_score_B), _margins(judged.train_score_B)
    accuracy = float(accuracies(margin_B).mean())
    fit = preference_calibration(margin_B, bins=bins)
    edges = torch.linspace(0.5, 1, bins + 1, dtype=torch.float64)[:-1].tolist()
    filled = [k for k in range(bins) if int(fit.count_K[k])]
    rules = data_metrics(judged.text)
    values: Values = {
        "reward_model/accuracy": accuracy,
        "reward_model/train_accuracy": float(accuracies(train_margin_B).mean()),
        "reward_model/margin_mean": float(margin_B.mean()),
        "reward_model/margin_std": float(margin_B.std(correction=0)),
        "reward_model/calibration_error": fit.error,
        "reward_model/predicted": {edges[k]: float(fit.predicted_K[k]) for k in filled},
        "reward_model/observed": {edges[k]: float(fit.observed_K[k]) for k in filled},
        "reward_model/in_bin": {
            edges[k]: float(fit.count_K[k]) / len(margin_B) for k in range(bins)
        },
        "reward_model/over_length_rules": accuracy - max(rules.values()),
        "reward_model/disagreement": judged.disagreement,
    }
    if judged.gap_B is not None and judged.chance_B is not None:
        right = gold_accuracy(margin_B, judged.gap_B)
        if right is not None:
            values["reward_model/gold_accuracy"] = right
        side_B = margin_B.sign()
        right_B = torch.where(side_B < 0, 1 - judged.chance_B, judged.chance_B)
        right_B = torch.where(side_B == 0, 0.5, right_B)
        values["reward_model/chance_error"] = calibration(
            torch.sigmoid(margin_B.abs()), right_B, bins=bins, lowest=0.5
        ).error
    return values


def gold_accuracy(margin_B: Tensor, gap_B: Tensor) -> float | None:
    """How often a margin has the sign of the gap in gold; of gaps that are none, nothing. None
    where there is no other."""
    apart_B = gap_B != 0
    if not bool(apart_B.any()):
        return None
    return float(accuracies(margin_B[apart_B] * gap_B[apart_B].sign()).mean())


def data_metrics(text: Sequence[Preference]) -> dict[str, float]:
    """Accuracies of the two length rules over all pairs, ties half right."""
    rules, count = length_rules(text), len(text)
    return {
        "reward_model/longer_accuracy": (rules.longer + rules.ties / 2) / count,
        "reward_model/shorter_accuracy": (rules.shorter + rules.ties / 2) / count,
    }


def _margins(score_B: Tensor) -> Tensor:
    """Of pairs whose preferred responses come first, then the others."""
    chosen_B, rejected_B = score_B.chunk(2)
    return chosen_B - rejected_B
