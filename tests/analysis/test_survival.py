"""The log-rank test against tables worked by hand, an independent implementation, and its laws."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats

from analysis.survival import LogRank, log_rank

Runs = list[tuple[float, bool]]
RUNS = st.lists(st.tuples(st.integers(1, 6).map(float), st.booleans()), min_size=1, max_size=8)


def of(treated: Runs, control: Runs) -> LogRank:
    """Of (time, did the event come?) a run."""
    both = treated + control
    return log_rank(
        time_R=np.array([t for t, _ in both]),
        event_R=np.array([came for _, came in both]),
        treated_R=np.array([True] * len(treated) + [False] * len(control)),
    )


def test_ties_and_censoring_by_hand() -> None:
    """Treated 2, 3, 3, 5+; control 3, 4+, 5, 6; + is censored.

    t  n  n_1  d  d_1  E        V
    2  8  4    1  1    1/2      1/2 1/2          = 1/4
    3  7  3    3  2    3 3/7    3 3/7 4/7 (4/6)  = 24/49
    5  3  1    1  0    1/3      1/3 2/3          = 2/9     the run censored at 5 is at risk
    6  1  0    1  0    0        0
    O - E = 3 - 89/42 = 37/42, V = 1697/1764 with 1764 = 42^2.
    """
    treated = [(2.0, True), (3.0, True), (3.0, True), (5.0, False)]
    control = [(3.0, True), (4.0, False), (5.0, True), (6.0, True)]
    got = of(treated, control)
    assert got.excess == pytest.approx(37 / 42)
    assert got.variance == pytest.approx(1697 / 1764)
    assert got.log_hazard_ratio == pytest.approx(37 * 42 / 1697)
    z = 37 / math.sqrt(1697)
    assert got.p == pytest.approx(math.erfc(z / math.sqrt(2)))
    half = 1.959963985 * 42 / math.sqrt(1697)
    centre = 37 * 42 / 1697
    assert got.interval(0.05) == pytest.approx((centre - half, centre + half))
    # 80% power of a two-sided 5% test lies 1.959964 + .841621 errors away.
    assert got.detectable(0.05) == pytest.approx(2.801585 * 42 / math.sqrt(1697), rel=1e-6)


def test_one_against_one() -> None:
    """At the first event E = 1/2 and V = 1/4; at the second nobody else is at risk."""
    assert of([(1.0, True)], [(2.0, True)]) == LogRank(0.5, 0.25)
    assert of([(2.0, True)], [(1.0, True)]) == LogRank(-0.5, 0.25)
    assert of([(1.0, True)], [(2.0, False)]) == LogRank(0.5, 0.25)
    assert of([(1.0, True)], [(2.0, True)]).log_hazard_ratio == 2.0


def test_five_seeds_that_all_come_first_are_judged_too_mildly() -> None:
    """The docstring's warning: of the 252 ways to deal ten ranks, 2 are as far apart."""
    first = [(float(t), True) for t in range(1, 6)]
    last = [(float(t), True) for t in range(6, 11)]
    assert of(first, last).p == pytest.approx(0.0018, abs=5e-5)
    assert 2 / math.comb(10, 5) == pytest.approx(0.0079, abs=5e-5)


@pytest.mark.parametrize(
    ("treated", "control"),
    [
        ([(3.0, False), (4.0, False)], [(3.0, False)]),  # no event
        ([(3.0, True), (3.0, True)], [(3.0, True)]),  # all at once
        ([(3.0, True), (4.0, True)], [(1.0, False)]),  # nobody left to compare with
        ([(3.0, True)] * 3, [(3.0, True)] * 7),  # 3 - 10 * 0.3 is not 0 in floating point
        ([(3.0, True)] * 3, [(3.0, True)] * 8),
    ],
)
def test_nothing_is_known(treated: Runs, control: Runs) -> None:
    got = of(treated, control)
    assert got == LogRank(0.0, 0.0)
    assert (got.log_hazard_ratio, got.p) == (0.0, 1.0)
    assert got.interval(0.05) == (-math.inf, math.inf)
    assert got.detectable(0.05) == math.inf


@given(RUNS, RUNS)
def test_against_scipy(treated: Runs, control: Runs) -> None:
    got = of(treated, control)
    if not got.variance:
        return
    samples = [
        scipy_stats.CensoredData(
            uncensored=[t for t, came in runs if came],
            right=[t for t, came in runs if not came],
        )
        for runs in (treated, control)
    ]
    expected = scipy_stats.logrank(*samples)
    assert abs(got.excess) / math.sqrt(got.variance) == pytest.approx(
        abs(float(expected.statistic)), abs=1e-9
    )
    assert got.p == pytest.approx(float(expected.pvalue), abs=1e-9)


@given(RUNS, RUNS)
def test_swapping_the_arms_turns_the_sign(treated: Runs, control: Runs) -> None:
    a, b = of(treated, control), of(control, treated)
    assert (b.excess, b.variance) == pytest.approx((-a.excess, a.variance), abs=1e-12)
    assert b.p == pytest.approx(a.p)


@given(RUNS, RUNS, st.sampled_from([math.exp, lambda t: 3 * t - 100, math.sqrt]))
def test_only_the_order_of_times_matters(treated: Runs, control: Runs, clock: Any) -> None:
    def moved(runs: Runs) -> Runs:
        return [(clock(t), came) for t, came in runs]

    assert of(moved(treated), moved(control)) == of(treated, control)


@given(RUNS, RUNS, st.sampled_from([0.2, 0.05, 0.01]))
def test_interval_and_test_agree(treated: Runs, control: Runs, alpha: float) -> None:
    got = of(treated, control)
    low, high = got.interval(alpha)
    if not math.isclose(got.p, alpha, rel_tol=1e-9):
        assert (low > 0 or high < 0) == (got.p < alpha)
    assert low <= got.log_hazard_ratio <= high


def test_it_estimates_a_small_hazard_ratio() -> None:
    """Exponential times with hazards 1.3 and 1, many runs: log 1.3 within 3 standard errors."""
    rng = np.random.default_rng(0)
    time_R = np.concatenate([rng.exponential(1 / 1.3, 4000), rng.exponential(1.0, 4000)])
    got = log_rank(
        time_R=np.minimum(time_R, 1.5),
        event_R=time_R < 1.5,
        treated_R=np.arange(8000) < 4000,
    )
    assert abs(got.log_hazard_ratio - math.log(1.3)) < 3 / math.sqrt(got.variance)
    assert got.interval(0.05)[0] > 0


def test_bad_input_is_told() -> None:
    three, two = np.ones(3), np.ones(2, dtype=bool)
    with pytest.raises(ValueError, match="one time, event and arm a run, got shapes"):
        log_rank(time_R=three, event_R=two, treated_R=two)
    with pytest.raises(ValueError, match="expected finite times"):
        log_rank(time_R=np.array([1.0, math.nan]), event_R=two, treated_R=two)
