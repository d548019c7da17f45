"""Statistics against closed forms: Student's distribution is elementary for 1, 2 and 4 degrees."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats

from analysis import stats

LINE = np.array([1.0, 2.0, 3.0, 4.0, 5.0])  # mean 3, sd sqrt(2.5), standard error sqrt(0.5)


def student_4(t: float) -> float:
    """Distribution function of Student's t with 4 degrees of freedom."""
    u = t * t / 4
    return 0.5 + 0.375 * t / math.sqrt(1 + u) * (1 - t * t / (12 * (1 + u)))


def test_interval_of_five() -> None:
    """t_{.975,4} = 2.776445, t_{.95,4} = 2.131847."""
    assert stats.interval(LINE, 0.95) == pytest.approx((1.0367568, 4.9632432), abs=1e-6)
    assert stats.interval(LINE, 0.90) == pytest.approx((1.4925563, 4.5074437), abs=1e-6)


def test_interval_of_two_is_cauchy() -> None:
    """One degree of freedom: the quantile is tan(pi (q - 1/2)); mean 1, standard error 1."""
    half = math.tan(math.pi * 0.475)
    assert stats.interval(np.array([0.0, 2.0]), 0.95) == pytest.approx((1 - half, 1 + half))


def test_p_values() -> None:
    t = 3 / math.sqrt(0.5)
    assert stats.p_value(LINE) == pytest.approx(2 * (1 - student_4(t)))
    assert stats.p_value(LINE) == pytest.approx(0.0132356, abs=1e-6)
    assert stats.p_value(LINE, 0.0, "greater") == pytest.approx(1 - student_4(t))
    assert stats.p_value(LINE, 0.0, "less") == pytest.approx(student_4(t))
    assert stats.p_value(LINE, 5.0, "less") == pytest.approx(student_4(-2 / math.sqrt(0.5)))
    # Two degrees of freedom: F(t) = 1/2 + t / (2 sqrt(2 + t^2)), t = 2 sqrt(3).
    assert stats.p_value(LINE[:3]) == pytest.approx(1 - math.sqrt(12 / 14))


def test_paired_test_against_scipy() -> None:
    one, two = np.array([0.61, 0.58, 0.7, 0.66]), np.array([0.52, 0.55, 0.6, 0.63])
    assert stats.p_value(one - two) == pytest.approx(float(scipy_stats.ttest_rel(one, two).pvalue))


def test_equivalence_is_the_worse_of_two_one_sided_tests() -> None:
    centred = LINE - 2.5  # mean 0.5, standard error sqrt(0.5): nearer to the upper margin
    assert stats.equivalence_p(centred, 2.0) == pytest.approx(student_4(-1.5 / math.sqrt(0.5)))
    assert stats.equivalence_p(-centred, 2.0) == stats.equivalence_p(centred, 2.0)


@pytest.mark.parametrize("value", [0.1, -0.3, 1e-300])
def test_equal_seeds_are_exact(value: float) -> None:
    """Ten times 0.1 has a float mean of 0.09999999999999999: rounding must not become spread."""
    values = np.full(10, value)
    assert stats.mean(values) == value
    assert stats.seed_sd(values) == 0.0
    assert stats.interval(values, 0.95) == (value, value)
    assert stats.p_value(values) == 0.0
    assert stats.p_value(values, value) == 1.0
    assert stats.p_value(values, value, "less") == 1.0
    assert stats.p_value(values, value + 1, "less") == 0.0
    assert stats.p_value(values, value + 1, "greater") == 1.0
    assert stats.equivalence_p(values, abs(value) * 2) == 0.0
    assert stats.equivalence_p(values, abs(value)) == 1.0
    assert stats.detectable_effect(0.0, 10, 0.05, 2) == 0.0
    assert stats.detectable_margin(0.0, 10, 0.05) == 0.0


def test_one_seed_says_nothing_of_spread() -> None:
    one = np.array([0.4])
    assert math.isnan(stats.seed_sd(one))
    assert stats.interval(one, 0.95) == (-math.inf, math.inf)
    assert stats.p_value(one) == stats.equivalence_p(one, 9.0) == 1.0
    assert stats.detectable_effect(math.nan, 1, 0.05, 2) == math.inf


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        stats.interval(np.array(values), 0.95)


def test_level_is_checked() -> None:
    with pytest.raises(ValueError, match=r"level: expected a number in \(0, 1\), got 95"):
        stats.interval(LINE, 95)


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 against .05/4, .05/3, .05/2: the third fails, and stops it."""
    adjusted, levels = stats.holm([0.01, 0.04, 0.03, 0.005], 0.05)
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])


def test_holm_all_pass_and_ties() -> None:
    assert stats.holm([0.001, 0.002], 0.05)[1] == pytest.approx([0.025, 0.05])
    assert stats.holm([0.03, 0.03], 0.05)[1] == pytest.approx([0.025, 0.025])
    assert stats.holm([0.02, 0.02], 0.05)[1] == pytest.approx([0.025, 0.025])
    assert stats.holm([], 0.05) == ([], [])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.1]))
def test_holm_levels_say_what_holm_rejects(p_values: list[float], alpha: float) -> None:
    adjusted, levels = stats.holm(p_values, alpha)
    for p, p_holm, level in zip(p_values, adjusted, levels, strict=True):
        if not math.isclose(p, level, rel_tol=1e-9):  # at equality rounding decides
            assert (p <= level) == (p_holm <= alpha)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8, 0.001])
@pytest.mark.parametrize("sides", [1, 2])
def test_detectable_effect_has_the_power(n: int, alpha: float, sides: int) -> None:
    """The noncentral t distribution gives the chance to reject at that effect: 80%."""
    effect = stats.detectable_effect(2.0, n, alpha, 2 if sides == 2 else 1)
    critical = scipy_stats.t.isf(alpha / sides, n - 1)
    power = scipy_stats.nct.sf(critical, n - 1, effect / 2.0 * math.sqrt(n))
    assert power == pytest.approx(0.8, abs=1e-3)


def test_detectable_margin_of_five_and_ten_seeds() -> None:
    assert stats.detectable_margin(1.0, 5, 0.05) == pytest.approx(1.610, abs=1e-3)
    assert stats.detectable_margin(1.0, 10, 0.05) == pytest.approx(1.005, abs=1e-3)
    assert stats.detectable_margin(3.0, 10, 0.05) == pytest.approx(3.015, abs=3e-3)


def test_binomial_standard_error() -> None:
    assert stats.binomial_standard_error(0.2, 400) == pytest.approx(0.02)
    assert stats.binomial_standard_error(1.0, 5) == 0.0
    with pytest.raises(ValueError, match="expected a share"):
        stats.binomial_standard_error(1.2, 5)


# --- McNemar --------------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    """Of n fair coins, the tail of the larger count, twice: 2/32, 2 (10 + 1)/1024, at most 1."""
    assert stats.mcnemar_p(5, 0) == stats.mcnemar_p(0, 5) == 2 / 32
    assert stats.mcnemar_p(9, 1) == 22 / 1024
    assert stats.mcnemar_p(3, 3) == stats.mcnemar_p(1, 0) == stats.mcnemar_p(0, 0) == 1.0


def test_discordant_share_by_hand() -> None:
    """6 of 6: P(all | q) = q^6 is .025 at the lower end. 1 of 2: P(none | q) = (1 - q)^2 is .975 at
    the lower end, and the upper end lies as far above 1/2."""
    assert stats.discordant_share(6, 0, 0.05) == pytest.approx((0.5, 0.025 ** (1 / 6) - 0.5, 0.5))
    assert stats.discordant_share(0, 6, 0.05) == pytest.approx((-0.5, -0.5, 0.5 - 0.025 ** (1 / 6)))
    end = 0.5 - (1 - math.sqrt(0.975))
    assert stats.discordant_share(1, 1, 0.05) == pytest.approx((0.0, -end, end))
    assert stats.discordant_share(3, 1, 0.05)[0] == 0.25
    assert stats.discordant_share(0, 0, 0.05) == (0.0, -0.5, 0.5)


COUNTS = st.integers(0, 40)


@given(COUNTS, COUNTS, st.sampled_from([0.05, 0.05 / 7, 0.001, 2**-4, 2**-5, 22 / 1024, 0.5]))
def test_interval_and_mcnemar_agree(b: int, c: int, alpha: float) -> None:
    """Powers of 2 are levels that p values hit: then an end is 0, and nothing is rejected."""
    share, low, high = stats.discordant_share(b, c, alpha)
    assert low <= share <= high
    assert (low > 0) == (stats.mcnemar_p(b, c) < alpha and b > c)
    assert (high < 0) == (stats.mcnemar_p(b, c) < alpha and b < c)
    assert stats.discordant_share(c, b, alpha) == pytest.approx((-share, -high, -low), abs=1e-12)


def test_a_level_equal_to_p_does_not_reject() -> None:
    """The quantile at 64 to 15 is .5000000000000016."""
    for b, c in ((64, 15), (6, 0), (9, 1)):
        assert stats.discordant_share(b, c, stats.mcnemar_p(b, c))[1] <= 0
        assert stats.discordant_share(c, b, stats.mcnemar_p(b, c))[2] >= 0
        assert stats.discordant_share(b, c, stats.mcnemar_p(b, c) * (1 + 1e-9))[1] > 0


@given(COUNTS, COUNTS)
def test_mcnemar_against_scipy(b: int, c: int) -> None:
    if b + c:
        test = scipy_stats.binomtest(b, b + c)
        assert stats.mcnemar_p(b, c) == pytest.approx(float(test.pvalue))
        ends = test.proportion_ci(0.95, "exact")
        expected = (ends.low - 0.5, ends.high - 0.5)
        assert stats.discordant_share(b, c, 0.05)[1:] == pytest.approx(expected, abs=1e-6)


def test_detectable_share() -> None:
    """6 pairs reject only as 6 to 0: q^6 = .8. Of 10, 9 to 1 rejects and 8 to 2 (.109) does not."""
    assert stats.detectable_share(6, 0.05) == pytest.approx(0.8 ** (1 / 6) - 0.5)
    q = stats.detectable_share(10, 0.05) + 0.5
    assert q**10 + 10 * q**9 * (1 - q) == pytest.approx(0.8)
    assert stats.detectable_share(5, 0.05) == stats.detectable_share(0, 0.05) == math.inf


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="expected two counts of pairs, got -1 and 3"):
        stats.mcnemar_p(-1, 3)
    with pytest.raises(ValueError, match=r"alpha: expected a number in \(0, 1\), got 5"):
        stats.discordant_share(1, 1, 5)
