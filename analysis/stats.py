"""Statistics of a few seeds: intervals, tests, Holm's correction, what a test could have seen.

`values` is always one number per seed, in the unit of the metric; for a paired comparison it is the
difference per seed. Seeds that agree exactly are exact: the interval is one point, and no quotient
0/0 is ever taken. A single seed says nothing about spread: its interval is the whole line, its p is
1 and its detectable effect infinite.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

Sample = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]


def _checked(values: Sample) -> Sample:
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected finite numbers, one per seed, got {values!r}")
    return values


def _constant(values: Sample) -> bool:
    """True if all seeds agree exactly. Their float mean and variance would be off by rounding."""
    return bool(_checked(values).min() == values.max())


def mean(values: Sample) -> float:
    """Arithmetic mean; of equal values, that value without rounding."""
    return float(values[0] if _constant(values) else values.mean())


def seed_sd(values: Sample) -> float:
    """Sample standard deviation over seeds (ddof 1); NaN for one seed.

    It contains the evaluation's sampling error; `binomial_standard_error` tells that part.
    """
    if len(_checked(values)) < 2:
        return math.nan
    return 0.0 if _constant(values) else float(values.std(ddof=1))


def _standard_error(values: Sample) -> float:
    return seed_sd(values) / math.sqrt(len(values))


def interval(values: Sample, level: float) -> tuple[float, float]:
    """Two-sided Student t interval of the mean: mean -+ t_{(1+level)/2, n-1} * sd / sqrt(n).

    Args:
        values: one number per seed.
        level: coverage, in (0, 1).

    Returns:
        (low, high) in the unit of `values`; (-inf, inf) for one seed.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number in (0, 1), got {level}")
    if len(_checked(values)) < 2:
        return -math.inf, math.inf
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * _standard_error(values)
    return mean(values) - half, mean(values) + half


def p_value(values: Sample, null: float = 0.0, alternative: Alternative = "two-sided") -> float:
    """Student's t test of "the mean is `null`", t = (mean - null) / (sd / sqrt(n)), n-1 degrees.

    Args:
        values: one number per seed; differences per seed make it the paired t test.
        null: the mean under the hypothesis that is tested.
        alternative: where the mean is if it is not `null`.
    """
    if len(_checked(values)) < 2:
        return 1.0
    distance = mean(values) - null
    error = _standard_error(values)
    if error == 0.0:
        t = math.copysign(math.inf, distance) if distance else 0.0
        # A sample that is exactly the null is no evidence for any alternative.
        if t == 0.0:
            return 1.0
    else:
        t = distance / error
    tail = {"greater": t, "less": -t, "two-sided": abs(t)}[alternative]
    sides = 2 if alternative == "two-sided" else 1
    return float(sides * stats.t.sf(tail, len(values) - 1))


def equivalence_p(values: Sample, margin: float) -> float:
    """TOST: the larger p of the one-sided tests "mean <= -margin" and "mean >= margin".

    It is below a exactly when the two-sided interval at level 1 - 2a lies inside (-margin, margin).
    """
    if len(_checked(values)) < 2:
        return 1.0
    if _constant(values):
        return 0.0 if -margin < mean(values) < margin else 1.0
    return float(DescrStatsW(values).ttost_mean(-margin, margin)[0])


def holm(p_values: Sequence[float], alpha: float) -> tuple[list[float], list[float]]:
    """Holm's step-down correction (1979), with the level that each test was held to.

    With p_(1) <= ... <= p_(m), the i-th smallest is held to alpha / (m - i + 1). From the first one
    that fails, Holm rejects nothing more: it and all later ones get that one's level. Hence "p <=
    level" says what Holm rejects, and so does an interval at coverage 1 - level that misses the
    null. Equal p values get the strictest level among their ranks, so that order is no matter.

    Args:
        p_values: one per claim.
        alpha: family-wise level.

    Returns:
        (adjusted p values, levels), both in the order given.
    """
    if not p_values:
        return [], []
    p = np.asarray(p_values, dtype=np.float64)
    rejected, adjusted, _, _ = multipletests(p, alpha, method="holm")
    levels = alpha / (len(p) - stats.rankdata(p, method="min") + 1)
    if not rejected.all():
        levels[~rejected] = levels[~rejected].min()
    return [float(x) for x in adjusted], [float(x) for x in levels]


def _needed(sd: float, n: int, alpha: float, power: float) -> float:
    """Distance that a one-sided t test at `alpha` sees with chance `power`, in the unit of `sd`."""
    if n < 2:
        return math.inf
    if sd == 0.0:
        return 0.0
    solved = TTestPower().solve_power(nobs=n, alpha=alpha, power=power, alternative="larger")
    return float(solved) * sd


def detectable_effect(
    sd: float, n: int, alpha: float, sides: Literal[1, 2], power: float = 0.8
) -> float:
    """Smallest true effect that a t test of n seeds rejects with chance `power`.

    A two-sided test is solved as the one-sided test at alpha/2: the other tail's share of the power
    is below 1e-5 here, and statsmodels' two-sided search fails at the small levels of Holm.

    Args:
        sd: standard deviation over seeds.
        n: seeds.
        alpha: level of the test.
        sides: 2, or 1 for a one-sided claim.
        power: chance to see it.
    """
    return _needed(sd, n, alpha / sides, power)


def detectable_margin(sd: float, n: int, alpha: float, power: float = 0.8) -> float:
    """Smallest margin within which TOST shows equivalence with chance `power`, if the effect is 0.

    Both one-sided tests must pass, so each may fail half as often (Bonferroni): power (1+power)/2.
    At n = 10, alpha = .05 it is 1.0 sd; at n = 5, 1.6 sd.
    """
    return _needed(sd, n, alpha, (1 + power) / 2)


def _checked_pairs(for_it: int, against: int) -> int:
    if min(for_it, against) < 0:
        raise ValueError(f"expected two counts of pairs, got {for_it} and {against}")
    return for_it + against


def mcnemar_p(for_it: int, against: int) -> float:
    """Exact McNemar test: of n = b + c discordant pairs, b ~ Binomial(n, 1/2) for equal arms.

    p = min(1, 2 P(X >= max(b, c))), two-sided, counted in whole numbers; 1 for n = 0.

    Args:
        for_it: b, pairs in which the treatment alone succeeded.
        against: c, pairs in which the control alone did.
    """
    n = _checked_pairs(for_it, against)
    tail: int = sum(math.comb(n, k) for k in range(max(for_it, against), n + 1))
    return min(1.0, float(2 * tail / 2**n))


def discordant_share(for_it: int, against: int, alpha: float) -> tuple[float, float, float]:
    """The treatment's share of the discordant pairs less 1/2, with its interval.

    Clopper and Pearson (1934), alpha/2 in either tail: low is the alpha/2 quantile of Beta(b, c+1)
    less 1/2; high is that of the other arm's share, with its sign turned. The interval misses 0
    exactly where `mcnemar_p` is below alpha.

    Args:
        for_it, against: as in `mcnemar_p`.
        alpha: 1 - coverage, in (0, 1).

    Returns:
        (share, low, high), each less 1/2; (0, -1/2, 1/2) without discordant pairs.
    """
    n = _checked_pairs(for_it, against)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number in (0, 1), got {alpha}")
    # (b - c) / 2n, and one function for both ends, so that swapped arms mirror to the last bit.
    share = (for_it - against) / (2 * n) if n else 0.0
    low, high = _lower_end(for_it, against, alpha), -_lower_end(against, for_it, alpha)
    if mcnemar_p(for_it, against) >= alpha:  # at equality an end is 0, but for its rounding
        low, high = min(low, 0.0), max(high, 0.0)
    return share, low, high


def _lower_end(for_it: int, against: int, alpha: float) -> float:
    """The share, less 1/2, at which as many pairs or more `for_it` have the chance alpha/2."""
    return float(stats.beta.ppf(alpha / 2, for_it, against + 1)) - 0.5 if for_it else -0.5


def detectable_share(pairs: int, alpha: float, power: float = 0.8) -> float:
    """Smallest share above 1/2, less 1/2, that the exact McNemar test rejects with chance `power`.

    Given the number n of discordant pairs: with k the fewest that reject, 2 P(X >= k | 1/2) <
    alpha, the share q solves P(X >= k | q) = power, so that q is the `power` quantile of
    Beta(k, n - k + 1). Infinite where not even n of n reject.
    """
    rejecting = (k for k in range(pairs // 2 + 1, pairs + 1) if mcnemar_p(k, pairs - k) < alpha)
    fewest = next(rejecting, None)
    if fewest is None:
        return math.inf
    return float(stats.beta.ppf(power, fewest, pairs - fewest + 1)) - 0.5


def binomial_standard_error(share: float, draws: int) -> float:
    """sqrt(p (1-p) / draws): what an accuracy from `draws` samples is off by within one seed.

    This is the evaluation's sampling error, not the spread over seeds: report the two apart.
    """
    if not 0 <= share <= 1 or draws < 1:
        raise ValueError(f"expected a share in [0, 1] of 1 draw or more, got {share} of {draws}")
    return math.sqrt(share * (1 - share) / draws)


def share_interval(share: float, draws: int, level: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share p of n independent draws.

    With z = z_{(1+level)/2} it is (p + z^2/2n -+ z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Args:
        share: of the draws, in [0, 1]; draws that count half are allowed.
        draws: how many, 1 or more.
        level: coverage, in (0, 1).
    """
    if not 0 <= share <= 1 or draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"expected a share in [0, 1] of 1 draw or more at a level in (0, 1), got {share} of "
            f"{draws} at {level}"
        )
    low, high = proportion_confint(share * draws, draws, alpha=1 - level, method="wilson")
    return float(low), float(high)
