"""The rules: what the evidence says of each claim.

Every claim but an exact one is a statement about d, one number per seed. With [lo, hi] its interval
and m the claim's smallest effect that matters (`min_effect` or `margin`), after turning the sign of
d where the claim says `less`:

greater, less (differences, trends, interactions): reproduced if lo > 0 and mean d >= m;
    contradicted if hi < m (for m = 0: hi < 0); else inconclusive.
not_greater, not_less: the same two tests, one-sided, with the outcomes exchanged.
equivalence: reproduced if the interval of the TOST lies inside (-m, m); contradicted if the
    two-sided interval lies outside it; else inconclusive.
exact: every seed within the tolerance, or contradicted. It is no test and has no p value.
incomplete: a planned seed of the claim's arms is missing or damaged, or the metric is missing, or
    the committed evidence is not what was promoted.

Levels. Holm runs over all claims of the experiment but the exact ones, on the p value of the
hypothesis that "reproduced" refutes: d = 0, two-sided; d >= m, one-sided, for not_greater; |d| >= m
for equivalence (TOST). An incomplete claim counts with p = 1, so that a partial run is not judged
more mildly. A claim that Holm holds to the level a is judged by two-sided intervals at coverage
1 - a, and where a decision is one-sided (not_greater, not_less, the inside of an equivalence) at
1 - 2a. At one claim and alpha = .05 these are the 95% and the 90% interval.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import stats
from analysis.measures import measure_values
from analysis.stats import Sample
from rl.config import Claim, Claims, Difference, Equivalence, Exact, Interaction, Trend
from rl.evidence import Evidence

Outcome = Literal["reproduced", "contradicted", "inconclusive", "incomplete"]
Directed = Difference | Trend | Interaction


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one claim.

    Numbers are in the unit of the claim's measure; None where there is none (an exact claim has no
    p value, an incomplete one no numbers, one seed no interval).

    Attributes:
        effect: mean d over seeds; for an exact claim the relative deviation farthest from 0.
        low, high, level: the interval that decides whether the claim is reproduced, and its
            coverage; for an exact claim the range of the deviations.
        threshold: the claim's min_effect, margin or tolerance.
        p, p_holm: as in the module's docstring; p_holm is adjusted, to compare with alpha.
        n, seed_sd: seeds with a number, and the standard deviation of d over them (ddof 1).
        detectable: smallest effect (equivalence: margin) that the test sees with 80% chance.
        post_hoc: the claim is not what it was when the runs started.
        reason: why it is incomplete, else empty.
    """

    claim: str
    kind: str
    role: str
    text: str
    source: str
    verdict: Outcome
    effect: float | None
    low: float | None
    high: float | None
    level: float | None
    threshold: float
    p: float | None
    p_holm: float | None
    n: int
    seed_sd: float | None
    detectable: float | None
    post_hoc: bool
    reason: str

    @property
    def underpowered(self) -> bool:
        """The effect that the claim speaks of is smaller than what these seeds could show."""
        return self.detectable is not None and self.detectable > self.threshold > 0


@dataclass(frozen=True)
class _Finding:
    verdict: Outcome
    effect: float
    low: float
    high: float
    level: float
    detectable: float


_NOTHING = _Finding("incomplete", math.nan, math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class _Rule:
    """How one kind of claim is judged: d per seed, its p value (None: no test), the decision."""

    effects: Callable[[Evidence, Any], "pd.Series[float]"]
    p: Callable[[Any, Sample], float] | None
    find: Callable[[Any, Sample, float], _Finding]
    threshold: str


def _paired(evidence: Evidence, claim: Difference | Equivalence) -> "pd.Series[float]":
    """treatment - control per seed; the control may be a number."""
    treatment = measure_values(evidence, claim.measure, claim.treatment)
    if isinstance(claim.control, str):
        return treatment - measure_values(evidence, claim.measure, claim.control)
    return treatment - claim.control


def _slope(evidence: Evidence, claim: Trend) -> "pd.Series[float]":
    return measure_values(evidence, claim.measure, claim.arm)


def _contrast(evidence: Evidence, claim: Interaction) -> "pd.Series[float]":
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


def _deviation(evidence: Evidence, claim: Exact) -> "pd.Series[float]":
    """(treatment - target) / max(|treatment|, |target|) per seed; 0 where both are 0."""
    treatment = measure_values(evidence, claim.measure, claim.treatment)
    if isinstance(claim.control, str):
        target = claim.factor * measure_values(evidence, claim.measure, claim.control)
    else:
        target = pd.Series(claim.factor * claim.control, index=treatment.index)
    size = pd.concat([treatment.abs(), target.abs()], axis=1).max(axis=1, skipna=False)
    return (treatment - target) / size.replace(0.0, 1.0)


def _turned(claim: Directed, d: Sample) -> Sample:
    """d with its sign turned where the claim speaks of less, so that "greater" is the only case."""
    return -d if claim.direction.endswith("less") else d


def _one_sided(claim: Directed) -> bool:
    return claim.direction.startswith("not_")


def _directed_p(claim: Directed, d: Sample) -> float:
    if _one_sided(claim):
        return stats.p_value(_turned(claim, d), claim.min_effect, "less")
    return stats.p_value(d)


def _directed(claim: Directed, d: Sample, alpha: float) -> _Finding:
    negated = _one_sided(claim)
    level = 1 - 2 * alpha if negated else 1 - alpha
    low, high = stats.interval(_turned(claim, d), level)
    beyond = low > 0 and stats.mean(_turned(claim, d)) >= claim.min_effect
    short = high < claim.min_effect
    return _Finding(
        _outcome(reproduced=short, contradicted=beyond)
        if negated
        else _outcome(reproduced=beyond, contradicted=short),
        stats.mean(d),
        *stats.interval(d, level),
        level,
        stats.detectable_effect(stats.seed_sd(d), len(d), alpha, sides=1 if negated else 2),
    )


def _equivalence_p(claim: Equivalence, d: Sample) -> float:
    return stats.equivalence_p(d, claim.margin)


def _equivalent(claim: Equivalence, d: Sample, alpha: float) -> _Finding:
    low, high = stats.interval(d, 1 - 2 * alpha)
    outer_low, outer_high = stats.interval(d, 1 - alpha)
    return _Finding(
        _outcome(
            reproduced=-claim.margin < low and high < claim.margin,
            contradicted=outer_low >= claim.margin or outer_high <= -claim.margin,
        ),
        stats.mean(d),
        low,
        high,
        1 - 2 * alpha,
        stats.detectable_margin(stats.seed_sd(d), len(d), alpha),
    )


def _exactly(claim: Exact, d: Sample, alpha: float) -> _Finding:  # noqa: ARG001 - no test, no level
    within = bool((np.abs(d) <= claim.tolerance).all())
    worst = float(d[np.abs(d).argmax()])
    outcome = _outcome(reproduced=within, contradicted=not within)
    return _Finding(outcome, worst, float(d.min()), float(d.max()), math.nan, math.nan)


def _outcome(*, reproduced: bool, contradicted: bool) -> Outcome:
    return "reproduced" if reproduced else "contradicted" if contradicted else "inconclusive"


RULES: dict[str, _Rule] = {
    "difference": _Rule(_paired, _directed_p, _directed, "min_effect"),
    "equivalence": _Rule(_paired, _equivalence_p, _equivalent, "margin"),
    "trend": _Rule(_slope, _directed_p, _directed, "min_effect"),
    "interaction": _Rule(_contrast, _directed_p, _directed, "min_effect"),
    "exact": _Rule(_deviation, None, _exactly, "tolerance"),
}


def judge(evidence: Evidence, claims: Claims) -> list[Verdict]:
    """The verdict on every claim, in the order of claims.yaml."""
    effects = {c.id: RULES[_kind(c)].effects(evidence, c) for c in claims.claims}
    reasons = {c.id: _why_incomplete(evidence, c, effects[c.id]) for c in claims.claims}
    samples = {name: np.array(d.dropna(), dtype=np.float64) for name, d in effects.items()}
    p_values = {
        claim.id: 1.0 if reasons[claim.id] else test(claim, samples[claim.id])
        for claim in claims.claims
        if (test := RULES[_kind(claim)].p) is not None
    }
    adjusted, levels = stats.holm(list(p_values.values()), claims.alpha)
    p_holm = dict(zip(p_values, adjusted, strict=True))
    alphas = dict(zip(p_values, levels, strict=True))
    changed = changed_claims(evidence, claims.digests())
    verdicts = []
    for claim in claims.claims:
        rule = RULES[_kind(claim)]
        d, reason = samples[claim.id], reasons[claim.id]
        alpha = alphas.get(claim.id, math.nan)
        found = _NOTHING if reason else rule.find(claim, d, alpha)
        verdicts.append(
            Verdict(
                claim=claim.id,
                kind=_kind(claim),
                role=claim.role,
                text=claim.text,
                source=claim.source,
                verdict=found.verdict,
                effect=_number(found.effect),
                low=_number(found.low),
                high=_number(found.high),
                level=_number(found.level),
                threshold=float(getattr(claim, rule.threshold)),
                p=None if reason else p_values.get(claim.id),
                p_holm=None if reason else p_holm.get(claim.id),
                n=len(d),
                seed_sd=None if reason else _number(stats.seed_sd(d)),
                detectable=_number(found.detectable),
                post_hoc=claim.id in changed,
                reason=reason,
            )
        )
    return verdicts


def _kind(claim: Claim) -> str:
    return str(claim.kind)  # type: ignore[attr-defined]  # every kind of claim has its tag


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _why_incomplete(evidence: Evidence, claim: Claim, effects: "pd.Series[float]") -> str:
    if evidence.spoilt:
        return evidence.spoilt
    left_out = [arm for arm in claim.arms() if arm not in evidence.plan["arms"]]
    if left_out:
        return f"profile {evidence.plan['profile']} does not run {', '.join(left_out)}"
    missing = [
        f"{arm} seed {seed}"
        + (f" ({fault})" if (fault := evidence.damaged.get((arm, seed))) else "")
        for arm, seed in evidence.missing()
        if arm in claim.arms()
    ]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return f"no complete run of {', '.join(missing[:3])}{more}"
    absent = [str(seed) for seed in effects.index[effects.isna()]]
    if absent:
        return f"{claim.measure.metric} is not there as asked for, seed {', '.join(absent)}"
    return ""


def changed_claims(evidence: Evidence, digests: Mapping[str, str]) -> set[str]:
    """Claims that at least one complete run did not know, or knew in another form."""
    recorded = [m.get("claims", {}) for m in evidence.manifests if m["status"] == "complete"]
    return {
        name for name, digest in digests.items() if any(r.get(name) != digest for r in recorded)
    }
