"""What a claim is judged on, by seed: the effect of each kind, out of the claim's measure.

NaN stands where a run or a value is missing, and makes the claim incomplete.
"""

import math

import pandas as pd

from analysis.measures import event_times, measure_values
from rl.config import (
    Contrast,
    ContrastEquivalence,
    Difference,
    Enumeration,
    Equivalence,
    Exact,
    Interaction,
    LogRank,
    McNemar,
    Trend,
    VarianceRatio,
)
from rl.evidence import Evidence

Paired = Difference | Equivalence | VarianceRatio | McNemar | Enumeration


def _arms(evidence: Evidence, claim: Paired | Exact) -> "tuple[pd.Series[float], pd.Series[float]]":
    """Treatment and control by seed; a number is the same for every seed."""
    treatment = measure_values(evidence, claim.measure, claim.treatment)
    if isinstance(claim.control, str):
        return treatment, measure_values(evidence, claim.measure, claim.control)
    return treatment, pd.Series(claim.control, index=treatment.index)


def paired(evidence: Evidence, claim: Paired) -> "pd.Series[float]":
    """treatment - control per seed."""
    treatment, control = _arms(evidence, claim)
    return treatment - control


def slope(evidence: Evidence, claim: Trend) -> "pd.Series[float]":
    return measure_values(evidence, claim.measure, claim.arm)


def weighted(evidence: Evidence, claim: Contrast | ContrastEquivalence) -> "pd.Series[float]":
    """The sum of weight * measure over arms, per seed; NaN where one is missing."""
    parts = [
        weight * measure_values(evidence, claim.measure, arm)
        for arm, weight in claim.weights.items()
    ]
    return pd.concat(parts, axis=1).sum(axis=1, skipna=False)


def interaction(evidence: Evidence, claim: Interaction) -> "pd.Series[float]":
    """(treatment - control) at the high levels less the same at the low levels, per seed."""
    at = {
        name: measure_values(evidence, measure, claim.treatment)
        - measure_values(evidence, measure, claim.control)
        for name, measure in (
            ("high", claim.measure.model_copy(update={"levels": claim.high})),
            ("low", claim.measure.model_copy(update={"levels": claim.low})),
        )
    }
    return at["high"] - at["low"]


def deviation(evidence: Evidence, claim: Exact) -> "pd.Series[float]":
    """(treatment - target) / max(|treatment|, |target|) per seed; 0 where both are 0."""
    treatment, control = _arms(evidence, claim)
    target = claim.factor * control
    size = pd.concat([treatment.abs(), target.abs()], axis=1).max(axis=1, skipna=False)
    return (treatment - target) / size.replace(0.0, 1.0)


def log_ratio(evidence: Evidence, claim: VarianceRatio) -> "pd.Series[float]":
    """log treatment - log control per seed; NaN where one of them is not above 0."""
    treatment, control = _arms(evidence, claim)
    return treatment.where(treatment > 0).map(math.log) - control.where(control > 0).map(math.log)


def not_positive(evidence: Evidence, claim: VarianceRatio) -> str:
    for arm, values in zip(claim.arms(), _arms(evidence, claim), strict=False):
        if (values <= 0).any():
            seed, value = next((s, x) for s, x in values.items() if x <= 0)
            return (
                f"{claim.measure.metric} is {value:.3g} in {arm} seed {seed}; a ratio needs "
                f"values above 0"
            )
    return ""


def discordance(evidence: Evidence, claim: McNemar) -> "pd.Series[float]":
    """1 for a seed that succeeds in the treatment alone, -1 in the control alone, else 0."""
    treatment, control = (
        values.ge(claim.reaches).astype("float64").where(values.notna())
        for values in _arms(evidence, claim)
    )
    return treatment - control


def times(evidence: Evidence, claim: LogRank) -> pd.DataFrame:
    """time, event, treated (1 or 0) of every run of the two arms."""
    return pd.concat(
        [
            event_times(evidence, claim, arm).assign(treated=float(arm == claim.treatment))
            for arm in claim.arms()
        ]
    )
