"""The rules: what the numbers of one claim say of it.

Most claims are statements about d, one number per seed. With [lo, hi] its interval and m the
claim's smallest effect that matters (`min_effect` or `margin`), after turning the sign where the
claim says `less`:

greater, less: reproduced if lo > 0 and the effect >= m; contradicted if hi < m (for m = 0: hi < 0);
    else inconclusive.
not_greater, not_less: the same two tests, one-sided, with the outcomes exchanged.
equivalence: reproduced if the interval of the TOST lies inside (-m, m); contradicted if the
    two-sided interval lies outside it; else inconclusive.
exact, enumeration: every seed within the tolerance, or contradicted. They are no tests and have no
    p value.

The effect and its interval, by kind:

difference, trend, interaction, contrast, equivalence, contrast_equivalence: the mean of d,
    Student's t.
variance_ratio: the same of d = log(treatment / control), m = log min_effect.
log_rank: Peto's log hazard ratio and its normal interval, m = log min_effect; the runs of the two
    arms are not paired (analysis.survival).
mcnemar: of the seeds that succeed in one arm alone, the share that does in the treatment, less 1/2,
    with Clopper and Pearson's interval; the test is McNemar's exact one.
exact: the deviation relative to the larger magnitude, and its range over seeds; enumeration: the
    deviation itself.

What is detectable is the effect that the same test would reject with 80% chance, given what these
seeds say of its error: the spread of d (Student), the log-rank V, the number of discordant pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import effects, stats
from analysis.stats import Sample
from analysis.survival import LogRank as Counts, log_rank
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

Outcome = Literal["reproduced", "contradicted", "inconclusive", "incomplete"]
Directed = Difference | Trend | Interaction | Contrast | VarianceRatio


@dataclass(frozen=True)
class Finding:
    """What the rule of a claim's kind finds; the fields are those of a verdict."""

    verdict: Outcome
    effect: float
    low: float
    high: float
    level: float
    detectable: float
    seed_sd: float


NOTHING = Finding("incomplete", math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)


def _smallest(claim: Any) -> float:
    return float(claim.min_effect)


def _log_smallest(claim: Any) -> float:
    return math.log(claim.min_effect)


def _margin(claim: Any) -> float:
    return float(claim.margin)


def _tolerance(claim: Any) -> float:
    return float(claim.tolerance)


def _nothing_refused(evidence: Evidence, claim: Any) -> str:  # noqa: ARG001 - takes all measures
    return ""


@dataclass(frozen=True)
class Rule:
    """How one kind of claim is judged.

    Attributes:
        data: what it is judged on: d, or a row of numbers, by seed; NaN where it is missing.
        p: the p value of that without gaps; None for a kind that is no test.
        find: the decision at the level that Holm leaves.
        threshold: the smallest effect, margin or tolerance, in the unit of the effect.
        threshold_name, effect_name: what a reader is told that the numbers are.
        ratio: what exp(effect) is called, where the effect is a logarithm; else empty.
        refused: why there can be no such effect, given measures that are all there; else empty.
        seeds: how many seeds the data has.
    """

    data: Callable[[Evidence, Any], "pd.Series[float] | pd.DataFrame"]
    p: Callable[[Any, Sample], float] | None
    find: Callable[[Any, Sample, float], Finding]
    threshold: Callable[[Any], float] = _smallest
    threshold_name: str = "smallest effect"
    effect_name: str = "effect, interval"
    ratio: str = ""
    refused: Callable[[Evidence, Any], str] = _nothing_refused
    seeds: Callable[[Sample], int] = len


def _outcome(*, reproduced: bool, contradicted: bool) -> Outcome:
    return "reproduced" if reproduced else "contradicted" if contradicted else "inconclusive"


def _turned(claim: Directed, d: Sample) -> Sample:
    """d with its sign turned where the claim speaks of less, so that "greater" is the only case."""
    return -d if claim.direction.endswith("less") else d


def _one_sided(claim: Directed) -> bool:
    return claim.direction.startswith("not_")


def _directed_p(claim: Directed, d: Sample) -> float:
    if _one_sided(claim):
        return stats.p_value(_turned(claim, d), claim.min_effect, "less")
    return stats.p_value(d)


def _directed(claim: Directed, d: Sample, alpha: float) -> Finding:
    negated = _one_sided(claim)
    level = 1 - 2 * alpha if negated else 1 - alpha
    smallest = RULES[claim.kind].threshold(claim)
    low, high = stats.interval(_turned(claim, d), level)
    beyond = low > 0 and stats.mean(_turned(claim, d)) >= smallest
    short = high < smallest
    return Finding(
        _outcome(reproduced=short, contradicted=beyond)
        if negated
        else _outcome(reproduced=beyond, contradicted=short),
        stats.mean(d),
        *stats.interval(d, level),
        level,
        stats.detectable_effect(stats.seed_sd(d), len(d), alpha, sides=1 if negated else 2),
        stats.seed_sd(d),
    )


def _equivalence_p(claim: Equivalence | ContrastEquivalence, d: Sample) -> float:
    return stats.equivalence_p(d, claim.margin)


def _equivalent(claim: Equivalence | ContrastEquivalence, d: Sample, alpha: float) -> Finding:
    low, high = stats.interval(d, 1 - 2 * alpha)
    outer_low, outer_high = stats.interval(d, 1 - alpha)
    return Finding(
        _outcome(
            reproduced=-claim.margin < low and high < claim.margin,
            contradicted=outer_low >= claim.margin or outer_high <= -claim.margin,
        ),
        stats.mean(d),
        low,
        high,
        1 - 2 * alpha,
        stats.detectable_margin(stats.seed_sd(d), len(d), alpha),
        stats.seed_sd(d),
    )


def _within(claim: Exact | Enumeration, d: Sample, alpha: float) -> Finding:  # noqa: ARG001 - no test
    within = bool((np.abs(d) <= claim.tolerance).all())
    worst = float(d[np.abs(d).argmax()])
    outcome = _outcome(reproduced=within, contradicted=not within)
    spread = stats.seed_sd(d)
    return Finding(outcome, worst, float(d.min()), float(d.max()), math.nan, math.nan, spread)


def _found(
    claim: LogRank | McNemar, effect: float, ends: tuple[float, float], alpha: float, seen: float
) -> Finding:
    """The decision on an effect with its two-sided interval, of a kind without one d per seed."""
    smallest = RULES[claim.kind].threshold(claim)
    low, high = ends if claim.direction == "greater" else (-ends[1], -ends[0])
    size = effect if claim.direction == "greater" else -effect
    outcome = _outcome(reproduced=low > 0 and size >= smallest, contradicted=high < smallest)
    return Finding(outcome, effect, *ends, 1 - alpha, seen, math.nan)


def _counts(runs: Sample) -> Counts:
    """Of rows time, event, treated."""
    return log_rank(time_R=runs[:, 0], event_R=runs[:, 1] == 1, treated_R=runs[:, 2] == 1)


def _log_rank_p(claim: LogRank, runs: Sample) -> float:  # noqa: ARG001 - as of every kind
    return _counts(runs).p


def _log_rank(claim: LogRank, runs: Sample, alpha: float) -> Finding:
    counts = _counts(runs)
    effect, ends = counts.log_hazard_ratio, counts.interval(alpha)
    return _found(claim, effect, ends, alpha, counts.detectable(alpha))


def _fewer_runs(runs: Sample) -> int:
    """Seeds of the arm that has fewer."""
    treated = int((runs[:, 2] == 1).sum())
    return min(treated, len(runs) - treated)


def _discordant(d: Sample) -> tuple[int, int]:
    return int((d > 0).sum()), int((d < 0).sum())


def _mcnemar_p(claim: McNemar, d: Sample) -> float:  # noqa: ARG001 - as of every kind
    return stats.mcnemar_p(*_discordant(d))


def _mcnemar(claim: McNemar, d: Sample, alpha: float) -> Finding:
    pairs = _discordant(d)
    effect, *ends = stats.discordant_share(*pairs, alpha)
    return _found(
        claim, effect, (ends[0], ends[1]), alpha, stats.detectable_share(sum(pairs), alpha)
    )


RULES: dict[str, Rule] = {
    "difference": Rule(effects.paired, _directed_p, _directed),
    "equivalence": Rule(effects.paired, _equivalence_p, _equivalent, _margin, "margin"),
    "trend": Rule(effects.slope, _directed_p, _directed),
    "interaction": Rule(effects.interaction, _directed_p, _directed),
    "contrast": Rule(effects.weighted, _directed_p, _directed),
    "contrast_equivalence": Rule(effects.weighted, _equivalence_p, _equivalent, _margin, "margin"),
    "exact": Rule(
        *(effects.deviation, None, _within, _tolerance, "tolerance"),
        effect_name="largest deviation, range",
    ),
    "log_rank": Rule(
        *(effects.times, _log_rank_p, _log_rank, _log_smallest),
        effect_name="hazard ratio, interval",
        ratio="hazard ratio",
        seeds=_fewer_runs,
    ),
    "variance_ratio": Rule(
        *(effects.log_ratio, _directed_p, _directed, _log_smallest),
        effect_name="ratio, interval",
        ratio="ratio",
        refused=effects.not_positive,
    ),
    "mcnemar": Rule(
        *(effects.discordance, _mcnemar_p, _mcnemar),
        effect_name="share of discordant pairs less 1/2, interval",
    ),
    "enumeration": Rule(
        *(effects.paired, None, _within, _tolerance, "tolerance"),
        effect_name="largest deviation, range",
    ),
}
