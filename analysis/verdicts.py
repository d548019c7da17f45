"""Verdicts: all claims of an experiment judged together, by the rules of analysis.rules.

incomplete: a planned seed of the claim's arms is missing or damaged, or the metric is missing or
    not one that has the effect, or the committed evidence is not what was promoted.

Levels. Holm runs over all claims of the experiment but those that are no test (exact, enumeration),
on the p value of the hypothesis that "reproduced" refutes: d = 0, two-sided (log_rank: equal
hazards; mcnemar: a share of 1/2); d >= m, one-sided, for not_greater; |d| >= m for equivalence
(TOST). An incomplete claim counts with p = 1, so that a partial run is not judged more mildly. A
claim that Holm holds to the level a is judged by two-sided intervals at coverage 1 - a, and where a
decision is one-sided (not_greater, not_less, the inside of an equivalence) at 1 - 2a. At one claim
and alpha = .05 these are the 95% and the 90% interval.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats
from analysis.measures import never_inside
from analysis.rules import NOTHING, RULES, Outcome, Rule
from rl.config import Claim, Claims
from rl.evidence import Evidence


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one claim.

    Effects are in the unit of the claim's measure; of log_rank and variance_ratio all of them are
    logarithms, the threshold too, and of mcnemar shares. None where there is none (an exact claim
    has no p value, an incomplete one no numbers, one seed no interval).

    Attributes:
        effect: mean d over seeds, or as the kind's rule says; for an exact claim the relative
            deviation farthest from 0, for an enumeration the deviation farthest from 0.
        low, high, level: the interval that decides whether the claim is reproduced, and its
            coverage; for an exact claim or an enumeration the range of the deviations.
        threshold: the claim's min_effect, margin or tolerance, a ratio as its logarithm.
        p, p_holm: as in the module's docstring; p_holm is adjusted, to compare with alpha.
        n, seed_sd: seeds with a number (log_rank: of the arm with fewer), and the standard
            deviation of d over them (ddof 1), where there is one d per seed.
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


def judge(evidence: Evidence, claims: Claims) -> list[Verdict]:
    """The verdict on every claim, in the order of claims.yaml."""
    tables = {c.id: pd.DataFrame(_rule(c).data(evidence, c)) for c in claims.claims}
    reasons = {c.id: _why_incomplete(evidence, c, tables[c.id]) for c in claims.claims}
    samples = {name: _sample(table) for name, table in tables.items()}
    p_values = {
        claim.id: 1.0 if reasons[claim.id] else test(claim, samples[claim.id])
        for claim in claims.claims
        if (test := _rule(claim).p) is not None
    }
    adjusted, levels = stats.holm(list(p_values.values()), claims.alpha)
    p_holm = dict(zip(p_values, adjusted, strict=True))
    alphas = dict(zip(p_values, levels, strict=True))
    changed = changed_claims(evidence, claims.digests())
    verdicts = []
    for claim in claims.claims:
        rule = _rule(claim)
        sample, reason = samples[claim.id], reasons[claim.id]
        alpha = alphas.get(claim.id, math.nan)
        found = NOTHING if reason else rule.find(claim, sample, alpha)
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
                threshold=rule.threshold(claim),
                p=None if reason else p_values.get(claim.id),
                p_holm=None if reason else p_holm.get(claim.id),
                n=rule.seeds(sample),
                seed_sd=_number(found.seed_sd),
                detectable=_number(found.detectable),
                post_hoc=claim.id in changed,
                reason=reason,
            )
        )
    return verdicts


def _rule(claim: Claim) -> Rule:
    return RULES[_kind(claim)]


def _sample(table: pd.DataFrame) -> stats.Sample:
    """The rows without gaps; one number a row is a plain list of them."""
    whole = np.array(table.dropna(), dtype=np.float64)
    return whole[:, 0] if whole.shape[1] == 1 else whole


def _kind(claim: Claim) -> str:
    return str(claim.kind)  # type: ignore[attr-defined]  # every kind of claim has its tag


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _why_incomplete(evidence: Evidence, claim: Claim, table: pd.DataFrame) -> str:
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
    refused = _rule(claim).refused(evidence, claim)
    if refused:
        return refused
    for arm in claim.arms():
        never = never_inside(evidence, claim.measure, arm)
        if never and (band := claim.measure.where):
            seeds = ", ".join(map(str, never))
            return f"{band.metric} never lies in [{band.low:g}, {band.high:g}], {arm} seed {seeds}"
    absent = dict.fromkeys(table.index[table.isna().any(axis=1)])
    if absent:
        names = " or ".join(claim.metrics())
        return f"{names} is not there as asked for, seed {', '.join(map(str, absent))}"
    return ""


def changed_claims(evidence: Evidence, digests: Mapping[str, str]) -> set[str]:
    """Claims that at least one complete run did not know, or knew in another form."""
    recorded = [m.get("claims", {}) for m in evidence.manifests if m["status"] == "complete"]
    return {
        name for name, digest in digests.items() if any(r.get(name) != digest for r in recorded)
    }
