"""Each verdict of each kind, beside the border where it changes, with numbers by hand.

The sample c + s (-2, -1, 0, 1, 2) has the mean c and the standard error s sqrt(1/2), so that its
95% interval is c -+ 1.963243 s and its 90% interval c -+ 1.507443 s.
"""

import math
from typing import Any

import pytest

from analysis.verdicts import judge

BY_LEVEL = {"metric": "eval/accuracy_by_difficulty", "steps": "last"}


DIFFERENCES = [
    # The lower bound is .2 - .1963 or .19 - .1963.
    ("greater", 0.1, 0.20, 0.1, "reproduced"),
    ("greater", 0.1, 0.19, 0.1, "inconclusive"),
    # Sure to be above 0, but less than what matters; the upper bound is .81 or .79 + .1963.
    ("greater", 1.0, 0.81, 0.1, "inconclusive"),
    ("greater", 1.0, 0.79, 0.1, "contradicted"),
    ("greater", 0.0, 0.20, 0.1, "reproduced"),
    ("greater", 0.0, 0.19, 0.1, "inconclusive"),
    ("greater", 0.0, -0.19, 0.1, "inconclusive"),
    ("greater", 0.0, -0.20, 0.1, "contradicted"),
    # One-sided: bounds at .1507. First what contradicts "greater", then what reproduces it.
    ("not_greater", 1.0, 0.84, 0.1, "reproduced"),
    ("not_greater", 1.0, 0.86, 0.1, "inconclusive"),
    ("not_greater", 1.0, 1.01, 0.1, "contradicted"),
    ("not_greater", 0.1, 0.16, 0.1, "contradicted"),
    ("not_greater", 0.1, 0.14, 0.1, "inconclusive"),
    ("not_greater", 0.1, -0.04, 0.1, "inconclusive"),
    ("not_greater", 0.1, -0.06, 0.1, "reproduced"),
]


@pytest.mark.parametrize(("direction", "m", "c", "s", "expected"), DIFFERENCES)
def test_difference(kit: Any, direction: str, m: float, c: float, s: float, expected: str) -> None:
    less = {"greater": "less", "not_greater": "not_less"}[direction]
    for said, sign in ((direction, 1), (less, -1)):
        values = kit.against_zero(kit.spread(sign * c, s))
        assert kit.one(kit.difference(said, m), values).verdict == expected


def test_numbers_of_a_difference(kit: Any) -> None:
    """The paired differences are 1 to 5; p is that of t = 3 / sqrt(1/2) with 4 degrees."""
    values = {"t": [11, 22, 33, 44, 55], "c": [10, 20, 30, 40, 50]}
    got = kit.one(kit.difference("greater", 2.0), values)
    assert (got.effect, got.n, got.kind, got.threshold) == (3.0, 5, "difference", 2.0)
    assert (got.low, got.high) == pytest.approx((1.0367568, 4.9632432), abs=1e-6)
    assert got.level == pytest.approx(0.95)
    assert got.p == got.p_holm == pytest.approx(0.0132356, abs=1e-6)
    assert got.seed_sd == pytest.approx(math.sqrt(2.5))
    # Power 80% of a two-sided 5% test needs 1.682 sd at n = 5.
    assert got.detectable == pytest.approx(1.682 * math.sqrt(2.5), abs=1e-3)
    assert got.underpowered
    assert not kit.one(kit.difference("greater", 2.7), values).underpowered
    assert not kit.one(kit.difference("greater", 0.0), values).underpowered


def test_difference_from_a_number(kit: Any) -> None:
    for control, expected in ((0.80, "reproduced"), (0.81, "inconclusive"), (1.20, "contradicted")):
        got = kit.one(kit.difference("greater", 0.0, control=control), {"t": kit.spread(1.0, 0.1)})
        assert (got.verdict, got.effect) == (expected, pytest.approx(1 - control))


def test_numbers_of_a_one_sided_difference(kit: Any) -> None:
    """-d = -3 -+ 1.507443; H0 says the mean of d is at most -4: t = 1 / sqrt(1/2), upper tail."""
    got = kit.one(kit.difference("not_less", 4.0), kit.against_zero([-1, -2, -3, -4, -5]))
    assert (got.low, got.high) == pytest.approx((-4.5074437, -1.4925563), abs=1e-6)
    assert got.level == pytest.approx(0.9)
    assert got.p == pytest.approx(0.1151, abs=1e-4)
    assert got.detectable == pytest.approx(1.3594 * math.sqrt(2.5), abs=1e-3)


EQUIVALENCES = [
    (0.84, "reproduced"),  # 90%: below .9907
    (0.86, "inconclusive"),
    (1.19, "inconclusive"),  # 95%: above .9937
    (1.20, "contradicted"),
    (0.00, "reproduced"),
]


@pytest.mark.parametrize(("c", "expected"), EQUIVALENCES)
@pytest.mark.parametrize("sign", [1, -1])
def test_equivalence(kit: Any, c: float, expected: str, sign: int) -> None:
    said = {"kind": "equivalence", "treatment": "t", "control": "c", "margin": 1.0}
    assert kit.one(said, kit.against_zero(kit.spread(sign * c, 0.1))).verdict == expected
    number = {**said, "control": 7.0}
    assert kit.one(number, {"t": kit.spread(7 + sign * c, 0.1)}).verdict == expected


def test_numbers_of_an_equivalence(kit: Any) -> None:
    said = {"kind": "equivalence", "treatment": "t", "control": 0.0, "margin": 4.0}
    got = kit.one(said, {"t": [1, 2, 3, 4, 5]})
    assert (got.low, got.high) == pytest.approx((1.4925563, 4.5074437), abs=1e-6)
    assert got.level == pytest.approx(0.9)
    assert got.p == pytest.approx(0.1151, abs=1e-4)  # the nearer margin: t = -1 / sqrt(1/2)
    assert got.detectable == pytest.approx(1.610 * math.sqrt(2.5), abs=2e-3)


TRENDS = [
    ("greater", 0.0, 0.20, "reproduced"),
    ("greater", 0.0, 0.19, "inconclusive"),
    ("greater", 1.0, 0.79, "contradicted"),
    ("less", 0.1, -0.20, "reproduced"),
    ("less", 0.1, -0.19, "inconclusive"),
    ("less", 0.1, 0.20, "contradicted"),
]


@pytest.mark.parametrize(("direction", "m", "c", "expected"), TRENDS)
def test_trend(kit: Any, direction: str, m: float, c: float, expected: str) -> None:
    measure = {"metric": "eval/accuracy", "steps": "all", "reduce": "slope_step"}
    said = {"kind": "trend", "arm": "t", "direction": direction, "min_effect": m}
    stated = kit.claims({**said, "measure": measure})
    rows = [
        ("t", seed, step, "eval/accuracy", math.nan, 3 + slope * step)
        for seed, slope in enumerate(kit.spread(c, 0.1))
        for step in range(4)
    ]
    got = judge(kit.evidence(rows, 5, stated.digests()), stated)[0]
    assert got.verdict == expected
    assert got.effect == pytest.approx(c)


# Of arms t, c and u: t - 3 c + 2 u, where c and u are 1 and 2 and weights of t are all that varies.
OVER_ARMS = [
    ({"kind": "contrast", "direction": "greater", "min_effect": 0.1}, 0.20, "reproduced"),
    ({"kind": "contrast", "direction": "greater", "min_effect": 0.1}, 0.19, "inconclusive"),
    ({"kind": "contrast", "direction": "less", "min_effect": 0.1}, -0.20, "reproduced"),
    ({"kind": "contrast", "direction": "less", "min_effect": 0.1}, 0.20, "contradicted"),
    ({"kind": "contrast_equivalence", "margin": 0.2}, 0.0, "reproduced"),
    ({"kind": "contrast_equivalence", "margin": 0.2}, 0.1, "inconclusive"),
    ({"kind": "contrast_equivalence", "margin": 0.2}, -1.0, "contradicted"),
]


@pytest.mark.parametrize(("said", "c", "expected"), OVER_ARMS)
def test_contrast(kit: Any, said: dict[str, Any], c: float, expected: str) -> None:
    measure = {"metric": "eval/accuracy", "steps": "last"}
    stated = kit.claims({**said, "measure": measure, "weights": {"t": 1.0, "c": -3.0, "u": 2.0}})
    rows = [
        (arm, seed, 0, "eval/accuracy", math.nan, value)
        for seed, d in enumerate(kit.spread(c, 0.1))
        for arm, value in (("t", d - 1.0), ("c", 1.0), ("u", 2.0))
    ]
    got = judge(kit.evidence(rows, 5, stated.digests()), stated)[0]
    assert got.verdict == expected
    assert got.effect == pytest.approx(c)


INTERACTIONS = [
    ("greater", 0.1, 0.20, "reproduced"),
    ("greater", 0.1, 0.19, "inconclusive"),
    ("greater", 1.0, 0.79, "contradicted"),
    ("less", 0.1, -0.20, "reproduced"),
    ("less", 0.1, -0.19, "inconclusive"),
    ("less", 0.1, 0.20, "contradicted"),
]


@pytest.mark.parametrize(("direction", "m", "c", "expected"), INTERACTIONS)
def test_interaction(kit: Any, direction: str, m: float, c: float, expected: str) -> None:
    """The treatment gains 5 everywhere and d more at levels 7 and 8; a gain that all levels share
    is no interaction, and level 5 is in neither set."""
    said = {"kind": "interaction", "treatment": "t", "control": "c", "low": [2, 3], "high": [7, 8]}
    stated = kit.claims({**said, "direction": direction, "min_effect": m, "measure": BY_LEVEL})
    rows = []
    for seed, d in enumerate(kit.spread(c, 0.1)):
        for level in (2.0, 3.0, 5.0, 7.0, 8.0):
            gain = 5 + (d if level > 5 else 0) + (100 if level == 5 else 0)
            rows.append(("c", seed, 9, BY_LEVEL["metric"], level, level))
            rows.append(("t", seed, 9, BY_LEVEL["metric"], level, level + gain))
    got = judge(kit.evidence(rows, 5, stated.digests()), stated)[0]
    assert got.verdict == expected
    assert got.effect == pytest.approx(c)


EXACTS = [
    ("c", 10.0, [20.0, 40.0], [2.0, 4.0], "reproduced"),
    ("c", 10.0, [20.0, 40.03], [2.0, 4.0], "reproduced"),  # off by .03 of 40.03
    ("c", 10.0, [20.0, 40.05], [2.0, 4.0], "contradicted"),  # one seed is enough
    ("c", 10.0, [20.0, 39.95], [2.0, 4.0], "contradicted"),
    ("c", 10.0, [-20.0, 40.0], [2.0, 4.0], "contradicted"),
    ("c", 1.0, [0.0, 0.0], [0.0, 0.0], "reproduced"),
    (7.0, 1.0, [7.0, 7.0], [], "reproduced"),
    (7.0, 1.0, [7.0, 7.1], [], "contradicted"),
]


@pytest.mark.parametrize(("control", "factor", "t", "c", "expected"), EXACTS)
def test_exact(
    kit: Any, control: str | float, factor: float, t: list[float], c: list[float], expected: str
) -> None:
    said = {"kind": "exact", "treatment": "t", "control": control, "factor": factor}
    values = {"t": t, "c": c} if c else {"t": t}
    got = kit.one({**said, "tolerance": 1e-3}, values)
    assert got.verdict == expected
    assert got.p is got.p_holm is got.level is got.detectable is None


def test_exact_reports_the_worst_seed(kit: Any) -> None:
    said = {"kind": "exact", "treatment": "t", "control": 10.0, "factor": 1.0, "tolerance": 0.1}
    got = kit.one(said, {"t": [10.0, 8.0, 10.5]})
    assert got.effect == pytest.approx(-0.2)
    assert (got.low, got.high) == pytest.approx((-0.2, 0.5 / 10.5))


@pytest.mark.parametrize(
    ("direction", "m", "d", "expected"),
    [
        ("greater", 0.1, 0.1, "reproduced"),
        ("greater", 0.1, 0.0, "contradicted"),
        ("greater", 0.0, 0.0, "inconclusive"),
        ("not_greater", 0.1, 0.0, "reproduced"),
        ("less", 0.1, 0.1, "contradicted"),
    ],
)
def test_equal_seeds(kit: Any, direction: str, m: float, d: float, expected: str) -> None:
    got = kit.one(kit.difference(direction, m), kit.against_zero([d] * 10))
    assert got.verdict == expected
    assert (got.effect, got.low, got.high, got.seed_sd) == (d, d, d, 0.0)


def test_one_seed_is_inconclusive_and_has_no_interval(kit: Any) -> None:
    got = kit.one(kit.difference("greater", 0.1), {"t": [5.0], "c": [1.0]})
    assert (got.verdict, got.effect, got.n) == ("inconclusive", 4.0, 1)
    assert got.low is got.high is got.seed_sd is got.detectable is None


def test_arms_are_compared_where_another_metric_lies_in_a_band(kit: Any) -> None:
    """At a reward of .4 to .6, whenever that is: 5 + seed against 1. Over all steps it is less."""
    where = {"metric": "train/reward", "from": 0.4, "to": 0.6}
    measure = {"metric": "eval/accuracy", "steps": "all", "where": where}
    claims = kit.claims({**kit.difference("greater", 1.0), "measure": measure})
    rows = [
        row
        for arm, at in (("t", 7), ("c", 2))
        for seed in range(5)
        for step in range(9)
        for row in (
            (arm, seed, step, "train/reward", math.nan, 0.5 if step == at else 0.1 * (step > at)),
            (arm, seed, step, "eval/accuracy", math.nan, 5.0 + seed if step == 7 else 1.0),
        )
    ]
    got = judge(kit.evidence(rows, 5, claims.digests()), claims)[0]
    assert (got.verdict, got.effect, got.n) == ("reproduced", 6.0, 5)
    never = [(a, s, i, m, x, 0.3 if (a, s, v) == ("t", 4, 0.5) else v) for a, s, i, m, x, v in rows]
    got = judge(kit.evidence(never, 5, claims.digests()), claims)[0]
    assert got.verdict == "incomplete"
    assert got.reason == "train/reward never lies in [0.4, 0.6], t seed 4"
