"""Log-rank, variance ratio, McNemar and enumeration: verdicts beside their borders, by hand."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from analysis.verdicts import Verdict, judge
from rl.evidence import Evidence

CURVE = {"metric": "eval/accuracy", "steps": "all"}
LOG_RANK = {
    "kind": "log_rank",
    "treatment": "t",
    "control": "c",
    "measure": CURVE,
    "reaches": 0.9,
    "event": "at_least",
    "direction": "greater",
    "min_effect": 1.0,
}
# The curves of test_survival: + is a run that ends without the event.
TREATED, CONTROL = ("2", "3", "3", "5+"), ("3", "4+", "5", "6")


def curve(arm: str, seed: int, end: str, *, low: float = 0.5, high: float = 0.9) -> list[Any]:
    """Rows of a run whose accuracy is `high` first at step `end`; "5+": it ends at 5 without."""
    last = int(end.rstrip("+"))
    values = [low] * last + [low if end.endswith("+") else high]
    return [(arm, seed, i, "eval/accuracy", math.nan, v) for i, v in enumerate(values)]


def raced(
    kit: Any,
    treated: Sequence[str],
    control: Sequence[str],
    more: Sequence[Any] = (),
    **stated: Any,
) -> Verdict:
    """The verdict on one race, with more rows of other metrics."""
    claims = kit.claims({**LOG_RANK, **stated})
    ends = {"t": treated, "c": control}
    rows = [r for arm in ends for seed, end in enumerate(ends[arm]) for r in curve(arm, seed, end)]
    found = kit.evidence([*rows, *more], max(len(treated), len(control)), claims.digests())
    verdict: Verdict = judge(found, claims)[0]
    return verdict


# --- log-rank -------------------------------------------------------------------------------------


def test_numbers_of_a_log_rank_claim(kit: Any) -> None:
    """O - E = 37/42 and V = 1697/1764, as worked in test_survival."""
    got = raced(kit, TREATED, CONTROL, min_effect=3.0)
    error = 42 / math.sqrt(1697)
    assert got.effect == pytest.approx(37 * 42 / 1697)
    assert got.low == pytest.approx(37 * 42 / 1697 - 1.959964 * error, abs=1e-5)
    assert got.high == pytest.approx(37 * 42 / 1697 + 1.959964 * error, abs=1e-5)
    assert got.p == got.p_holm == pytest.approx(math.erfc(37 / math.sqrt(2 * 1697)))
    assert got.threshold == pytest.approx(math.log(3))
    assert got.detectable == pytest.approx(2.801585 * error, rel=1e-6)
    assert (got.n, got.seed_sd, got.kind, got.level) == (4, None, "log_rank", 0.95)
    assert (got.verdict, got.underpowered) == ("inconclusive", True)


# Five against five, all treated first: E = 1/2 + 4/9 + 3/8 + 2/7 + 1/6 and V = 1/4 + 20/81 + 15/64
# + 10/49 + 5/36, so that b = 3.00502 -+ 1.89093: a hazard ratio of 20.19 in [3.05, 133.8].
FIRST, LAST = ("1", "2", "3", "4", "5"), ("6", "7", "8", "9", "10")


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (1.0, "reproduced"),
        (20.1, "reproduced"),
        (20.3, "inconclusive"),
        (133.0, "inconclusive"),
        (134.5, "contradicted"),
    ],
)
def test_log_rank(kit: Any, least: float, expected: str) -> None:
    assert raced(kit, FIRST, LAST, min_effect=least).verdict == expected
    assert raced(kit, LAST, FIRST, min_effect=least, direction="less").verdict == expected


def test_the_other_direction_is_contradicted(kit: Any) -> None:
    assert raced(kit, LAST, FIRST).verdict == "contradicted"
    assert raced(kit, FIRST, LAST, direction="less").verdict == "contradicted"


def test_a_run_that_starts_there_or_comes_back_counts_once(kit: Any) -> None:
    """The first logged step decides; what comes later is no matter."""
    later = [("t", 0, 1, "eval/accuracy", math.nan, 0.1), ("t", 0, 7, "eval/accuracy", 0, 0.95)]
    a, b = raced(kit, ("0", "3"), ("2", "4")), raced(kit, ("0", "3"), ("2", "4"), later)
    assert (a.effect, a.p) == (b.effect, b.p)


def test_at_most_is_at_least_of_the_negative(kit: Any) -> None:
    """A loss that comes down: with the sign of measure and border turned, the same."""
    claims = kit.claims(
        {
            **LOG_RANK,
            "reaches": -0.9,
            "event": "at_most",
            "measure": {"metric": "train/loss", "steps": "all"},
        }
    )
    rows = [
        (arm, seed, step, "train/loss", math.nan, -value)
        for arm, ends in (("t", TREATED), ("c", CONTROL))
        for seed, end in enumerate(ends)
        for _, _, step, _, _, value in curve(arm, seed, end)
    ]
    got = judge(kit.evidence(rows, 4, claims.digests()), claims)[0]
    assert got.effect == raced(kit, TREATED, CONTROL).effect


def test_time_in_another_unit(kit: Any) -> None:
    """Per step the control is followed by fewer tokens, so that it comes first in that unit."""
    clock = [
        (arm, seed, step, "train/response_tokens", math.nan, float(pace * step))
        for arm, pace, ends in (("t", 10, FIRST), ("c", 1, LAST))
        for seed, end in enumerate(ends)
        for step in range(int(end) + 1)
    ]
    by_step, by_token = (
        raced(kit, FIRST, LAST, clock, time_metric=name) for name in (None, "train/response_tokens")
    )
    # Treated 10, 20, ..., 50, controls 6, ..., 10: but for the tie at 10 it is turned about.
    assert by_step.effect == pytest.approx(3.00502, abs=1e-5)
    assert by_token.effect is not None
    assert by_token.effect < -1
    short = raced(kit, FIRST, LAST, clock[:-1], time_metric="train/response_tokens")
    assert short.verdict == "incomplete"
    assert short.reason == (
        "eval/accuracy or train/response_tokens is not there as asked for, seed 4"
    )


def test_one_level_is_followed(kit: Any) -> None:
    by_level = "eval/accuracy_by_difficulty"
    measure = {"metric": by_level, "steps": "all", "levels": [7]}
    claims = kit.claims({**LOG_RANK, "measure": measure})
    rows = [
        (arm, seed, step, by_level, level, value if level == 7 else 1.0)
        for arm, ends in (("t", TREATED), ("c", CONTROL))
        for seed, end in enumerate(ends)
        for _, _, step, _, _, value in curve(arm, seed, end)
        for level in (2.0, 7.0)
    ]
    got = judge(kit.evidence(rows, 4, claims.digests()), claims)[0]
    assert got.effect == raced(kit, TREATED, CONTROL).effect


def test_no_event_says_nothing(kit: Any) -> None:
    got = raced(kit, ("5+", "5+"), ("5+", "5+"))
    assert (got.verdict, got.effect, got.p, got.n) == ("inconclusive", 0.0, 1.0, 2)
    assert got.low is got.high is got.detectable is None


def test_arms_with_other_seeds(kit: Any) -> None:
    """The arms are not paired: a plan may give each its own seeds, and all of them count."""
    claims = kit.claims(LOG_RANK)
    rows = [r for i, end in enumerate(TREATED) for r in curve("t", i, end)]
    rows += [r for i, end in enumerate(CONTROL) for r in curve("c", 10 + i, end)]
    found = kit.evidence(rows, 4, claims.digests())
    plan = {**found.plan, "arm_seeds": {"t": [0, 1, 2, 3], "c": [10, 11, 12, 13]}}
    done = [{**m, "seed": m["seed"] + 10 * (m["arm"] == "c")} for m in found.manifests]
    apart = judge(Evidence(plan, done, found.metrics, []), claims)[0]
    assert (apart.effect, apart.n) == (raced(kit, TREATED, CONTROL).effect, 4)
    assert (
        "no complete run of c seed 13"
        in judge(Evidence(plan, done[:-1], found.metrics, []), claims)[0].reason
    )


ENDS = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=3, max_size=3).map(
    lambda runs: [f"{step}{'+' * ended}" for step, ended in runs]
)


@settings(max_examples=10)
@given(ENDS, ENDS, st.sampled_from([1.0, 1.5]))
def test_swapping_the_arms_of_a_race(
    kit: Any, one: list[str], two: list[str], least: float
) -> None:
    a = raced(kit, one, two, min_effect=least)
    b = raced(kit, two, one, min_effect=least, direction="less")
    assert a.verdict == b.verdict
    assert (a.effect, a.p) == pytest.approx((-(b.effect or 0.0), b.p), abs=1e-12)


# --- variance ratio -------------------------------------------------------------------------------


def ratio(direction: str, m: float, **more: Any) -> dict[str, Any]:
    one = {"kind": "variance_ratio", "treatment": "t", "control": "c"}
    return {**one, "direction": direction, "min_effect": m, **more}


# log ratios c + .1 (-2 .. 2): the 95% interval is c -+ .1963, as in test_verdicts.
RATIOS = [
    (math.exp(0.1), 0.20, "reproduced"),
    (math.exp(0.1), 0.19, "inconclusive"),
    (math.exp(1.0), 0.81, "inconclusive"),
    (math.exp(1.0), 0.79, "contradicted"),
    (1.0, 0.20, "reproduced"),
    (1.0, -0.19, "inconclusive"),
    (1.0, -0.20, "contradicted"),
]


@pytest.mark.parametrize(("m", "c", "expected"), RATIOS)
def test_variance_ratio(kit: Any, m: float, c: float, expected: str) -> None:
    control = [1.0, 10.0, 0.1, 7.0, 3.0]
    for said, sign in (("greater", 1), ("less", -1)):
        ratios = [math.exp(d) for d in kit.spread(sign * c, 0.1)]
        pair = {"t": [r * x for r, x in zip(ratios, control, strict=True)], "c": control}
        assert kit.one(ratio(said, m), pair).verdict == expected
        alone = {"t": [2 * r for r in ratios]}
        assert kit.one(ratio(said, m, control=2.0), alone).verdict == expected


def test_numbers_of_a_variance_ratio(kit: Any) -> None:
    """Logarithms 1 to 5: the numbers of test_verdicts' difference, on that scale."""
    values = {"t": [math.exp(i) * 3 for i in range(1, 6)], "c": [3.0] * 5}
    got = kit.one(ratio("greater", math.exp(2)), values)
    assert got.effect == pytest.approx(3.0)
    assert (got.low, got.high) == pytest.approx((1.0367568, 4.9632432), abs=1e-6)
    assert got.p == pytest.approx(0.0132356, abs=1e-6)
    assert got.threshold == pytest.approx(2.0)
    assert got.seed_sd == pytest.approx(math.sqrt(2.5))
    assert got.detectable == pytest.approx(1.682 * math.sqrt(2.5), abs=1e-3)
    assert (got.n, got.verdict) == (5, "reproduced")


@pytest.mark.parametrize("bad", [0.0, -0.25])
@pytest.mark.parametrize("arm", ["t", "c"])
def test_a_ratio_of_what_is_not_positive_is_incomplete(kit: Any, bad: float, arm: str) -> None:
    values = {"t": [1.0, 2.0, 3.0], "c": [1.0, 2.0, 3.0]}
    values[arm] = [1.0, bad, 3.0]
    got = kit.one(ratio("greater", 1.0), values)
    assert got.verdict == "incomplete"
    assert got.reason == (
        f"eval/accuracy is {bad:.3g} in {arm} seed 1; a ratio needs values above 0"
    )
    assert got.effect is got.p is None


LOGS = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


@settings(max_examples=10)
@given(LOGS, st.floats(0.01, 100), st.sampled_from(["greater", "less"]))
def test_swapping_the_arms_inverts_the_ratio(
    kit: Any, logs: list[float], unit: float, direction: str
) -> None:
    """And the unit of the measure is no matter."""
    t, c = [math.exp(x) for x in logs], [1.0 + i for i in range(len(logs))]
    a = kit.one(ratio(direction, 1.0), {"t": t, "c": c})
    other = {"greater": "less", "less": "greater"}[direction]
    swapped = {"t": [x * unit for x in c], "c": [x * unit for x in t]}
    b = kit.one(ratio(other, 1.0), swapped)
    assert b.effect == pytest.approx(-a.effect, abs=1e-9)
    assert b.low == pytest.approx(-a.high, abs=1e-6)
    assert b.p == pytest.approx(a.p, abs=1e-6)


# --- McNemar --------------------------------------------------------------------------------------


def mcnemar(direction: str, m: float) -> dict[str, Any]:
    one = {"kind": "mcnemar", "treatment": "t", "control": "c", "reaches": 0.5}
    return {**one, "direction": direction, "min_effect": m}


def seeds(t_alone: int, c_alone: int, both: int = 1, neither: int = 1) -> dict[str, list[float]]:
    """Exactly `reaches` is a success."""
    yes, no = 0.5, 0.49
    t = [yes] * t_alone + [no] * c_alone + [yes] * both + [no] * neither
    c = [no] * t_alone + [yes] * c_alone + [yes] * both + [no] * neither
    return {"t": t, "c": c}


MCNEMARS = [
    (6, 0, 0.0, "reproduced"),  # p = 2/64
    (6, 0, 0.49, "reproduced"),
    (5, 0, 0.0, "inconclusive"),  # p = 2/32
    (9, 1, 0.40, "reproduced"),  # p = 22/1024, share .9
    (9, 1, 0.41, "inconclusive"),
    # The upper end of 1 of 9 is .4825 (binomial table), of 2 of 9 .6001.
    (1, 8, 0.0, "contradicted"),
    (2, 7, 0.0, "inconclusive"),
    (2, 7, 0.11, "contradicted"),
    (2, 7, 0.09, "inconclusive"),
    (0, 0, 0.2, "inconclusive"),
]


@pytest.mark.parametrize(("b", "c", "m", "expected"), MCNEMARS)
def test_mcnemar(kit: Any, b: int, c: int, m: float, expected: str) -> None:
    assert kit.one(mcnemar("greater", m), seeds(b, c)).verdict == expected
    assert kit.one(mcnemar("less", m), seeds(c, b)).verdict == expected


def test_numbers_of_a_mcnemar_claim(kit: Any) -> None:
    got = kit.one(mcnemar("greater", 0.1), seeds(6, 0, both=3, neither=2))
    assert (got.n, got.effect, got.p, got.high, got.seed_sd) == (11, 0.5, 2 / 64, 0.5, None)
    assert got.low == pytest.approx(0.025 ** (1 / 6) - 0.5)
    assert got.detectable == pytest.approx(0.8 ** (1 / 6) - 0.5)
    assert (got.threshold, got.level, got.underpowered) == (0.1, 0.95, True)


def test_no_discordant_seed(kit: Any) -> None:
    got = kit.one(mcnemar("greater", 0.1), seeds(0, 0))
    assert (got.effect, got.p, got.low, got.high) == (0.0, 1.0, -0.5, 0.5)
    assert got.detectable is None


@settings(max_examples=10)
@given(st.integers(0, 7), st.integers(0, 7), st.sampled_from([0.0, 0.1, 0.4]))
def test_swapping_the_arms_of_mcnemar(kit: Any, b: int, c: int, m: float) -> None:
    one = kit.one(mcnemar("greater", m), seeds(b, c))
    two = kit.one(mcnemar("less", m), seeds(c, b))
    assert (one.verdict, one.p, one.effect) == (two.verdict, two.p, -two.effect)
    assert one.low == pytest.approx(-two.high)


def test_a_seed_without_a_value_is_no_failure(kit: Any) -> None:
    values = seeds(6, 0)
    values["c"][2] = math.nan
    got = kit.one(mcnemar("greater", 0.1), values)
    assert (got.verdict, got.reason) == (
        "incomplete",
        "eval/accuracy is not there as asked for, seed 2",
    )


# --- enumeration ----------------------------------------------------------------------------------


def enumerated(
    kit: Any, t: list[float], c: list[float] | float, tolerance: float = 0.25
) -> Verdict:
    """Quarters and halves, which floating point holds exactly."""
    claims = kit.claims(
        {
            "kind": "enumeration",
            "treatment": "t",
            "control": c if isinstance(c, float) else "c",
            "tolerance": tolerance,
            "measure": {"metric": "weight/curve", "steps": "first", "levels": [0.5]},
        }
    )
    arms = {"t": t, "c": c} if isinstance(c, list) else {"t": t}
    rows = [
        (arm, seed, 0, "weight/curve", 0.5, value)
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    verdict: Verdict = judge(kit.evidence(rows, len(t), claims.digests()), claims)[0]
    return verdict


@pytest.mark.parametrize(
    ("t", "c", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], "reproduced"),
        ([1.0, 200.25], [1.0, 200.0], "reproduced"),  # the tolerance is absolute
        ([1.0, 200.5], [1.0, 200.0], "contradicted"),
        ([1.0, 199.5], [1.0, 200.0], "contradicted"),
        ([0.5, 0.75], 0.5, "reproduced"),
        ([0.5, 1.0], 0.5, "contradicted"),  # one seed is enough
    ],
)
def test_enumeration(kit: Any, t: list[float], c: list[float] | float, expected: str) -> None:
    got = enumerated(kit, t, c)
    assert got.verdict == expected
    assert got.p is got.p_holm is got.level is got.detectable is None


def test_enumeration_reports_the_worst_seed(kit: Any) -> None:
    got = enumerated(kit, [0.5, 0.0, 0.75], 0.5)
    assert (got.effect, got.low, got.high, got.n) == (-0.5, -0.5, 0.25, 3)
    assert got.threshold == 0.25


def test_enumerations_take_no_part_in_holm(kit: Any) -> None:
    measure = {"metric": "weight/curve", "steps": "first"}
    stated = kit.claims(
        mcnemar("greater", 0.0),
        {
            "kind": "enumeration",
            "treatment": "t",
            "control": 1.0,
            "measure": measure,
            "tolerance": 0.0,
        },
    )
    found = kit.accuracy(seeds(6, 0), stated)
    rows = [("t", seed, 0, "weight/curve", 0.5, 1.0) for seed in range(8)]
    table = kit.evidence(rows, 8, {}).metrics
    both = Evidence(found.plan, found.manifests, pd.concat([found.metrics, table]), [])
    got = judge(both, stated)
    assert [v.level for v in got] == [0.95, None]
    assert [v.verdict for v in got] == ["reproduced", "reproduced"]
