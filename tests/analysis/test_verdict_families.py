"""Several claims together (Holm), what is incomplete, what is post hoc, and properties."""

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from analysis.rules import RULES
from analysis.verdicts import judge
from rl.config import Claims
from rl.evidence import COLUMNS, Evidence

BY_LEVEL = {"metric": "eval/accuracy_by_difficulty", "steps": "last"}

GREATER = {
    "kind": "difference",
    "treatment": "t",
    "control": "c",
    "direction": "greater",
    "min_effect": 0.0,
}

# --- several claims -------------------------------------------------------------------------------

THREE = (
    {**GREATER, "treatment": "a"},
    {**GREATER, "treatment": "b"},
    {**GREATER, "treatment": "d"},
    {"kind": "exact", "treatment": "c", "control": 0.0, "factor": 1.0, "tolerance": 0.0},
)


@pytest.fixture(scope="session")
def three(kit: Any) -> Any:
    return kit.claims(*THREE)


def test_holm_sets_the_levels(kit: Any, three: Claims) -> None:
    """p of mean / standard error = 3, 2.9, 2.6 with 9 degrees: .01496, .01760, .02874. Against
    .05/3, .05/2, .05/1 all pass; a level is 1 - that. The exact claim takes no part."""
    base = [-1.0, 1.0] * 5  # sd sqrt(10/9), standard error 1/3
    values = {"c": [0.0] * 10}
    for arm, t in (("a", 3.0), ("b", 2.6), ("d", 2.9)):
        values[arm] = [x + t / 3 for x in base]
    got = judge(kit.accuracy(values, three), three)
    assert [v.level for v in got[:3]] == pytest.approx([1 - 0.05 / 3, 0.95, 0.975])
    assert [v.p for v in got[:3]] == pytest.approx([0.014956, 0.028736, 0.017603], abs=1e-5)
    assert [v.p_holm for v in got[:3]] == pytest.approx([0.044869, 0.044869, 0.044869], abs=1e-5)
    assert [v.verdict for v in got] == ["reproduced"] * 4


def test_holm_stops_at_the_first_failure(kit: Any, three: Claims) -> None:
    """p = .01992 (t = 2.83) is above .05/3, so that nothing passes: not even the others alone."""
    base = [-1.0, 1.0] * 5
    values = {"c": [0.0] * 10}
    for arm, t in (("a", 2.83), ("b", 2.6), ("d", 2.5)):
        values[arm] = [x + t / 3 for x in base]
    got = judge(kit.accuracy(values, three), three)
    assert [v.level for v in got[:3]] == pytest.approx([1 - 0.05 / 3] * 3)
    assert [v.verdict for v in got[:3]] == ["inconclusive"] * 3
    alone = kit.claims(kit.difference("greater", 0.0, treatment="b"))
    assert judge(kit.accuracy(values, alone), alone)[0].verdict == "reproduced"


def test_an_incomplete_claim_counts_in_holm(kit: Any) -> None:
    """Two claims, one without its runs: the other is held to .05/2 all the same."""
    stated = kit.claims(GREATER, {**GREATER, "treatment": "gone"})
    got = judge(kit.accuracy(kit.against_zero(kit.spread(1.0, 0.1)), stated), stated)
    assert got[0].level == pytest.approx(0.975)
    assert got[1].verdict == "incomplete"


# --- incomplete -----------------------------------------------------------------------------------

EACH = (
    GREATER,
    {"kind": "equivalence", "treatment": "t", "control": "c", "margin": 1.0},
    {
        "kind": "trend",
        "arm": "t",
        "direction": "greater",
        "min_effect": 0.0,
        "measure": {"metric": "eval/accuracy", "steps": "all", "reduce": "slope_step"},
    },
    {
        "kind": "interaction",
        "treatment": "t",
        "control": "c",
        "low": [2],
        "high": [8],
        "direction": "greater",
        "min_effect": 0.0,
        "measure": BY_LEVEL,
    },
    {
        "kind": "contrast",
        "weights": {"t": 1.0, "c": -1.0},
        "direction": "greater",
        "min_effect": 0.0,
    },
    {"kind": "contrast_equivalence", "weights": {"t": 1.0, "c": -1.0}, "margin": 1.0},
    {"kind": "exact", "treatment": "t", "control": "c", "factor": 1.0, "tolerance": 1.0},
    {
        **GREATER,
        "kind": "log_rank",
        "measure": {"metric": "eval/accuracy", "steps": "all"},
        "reaches": 2.0,
        "event": "at_least",
        "min_effect": 1.0,
    },
    {**GREATER, "kind": "variance_ratio", "min_effect": 1.0},
    {**GREATER, "kind": "mcnemar", "reaches": 2.0},
    {
        "kind": "enumeration",
        "treatment": "t",
        "control": "c",
        "measure": {"metric": "weight/curve", "steps": "last"},
        "tolerance": 1.0,
    },
)


@pytest.fixture(scope="session")
def each(kit: Any) -> Any:
    return kit.claims(*EACH)


@pytest.fixture
def whole(kit: Any, each: Claims) -> Any:
    """Everything that EACH asks for, three seeds."""
    rows = []
    for arm in ("t", "c"):
        for seed in range(3):
            for step in (0, 9):
                value = 1 + seed + step * (arm == "t")
                rows.append((arm, seed, step, "eval/accuracy", math.nan, float(value)))
                rows += [(arm, seed, step, BY_LEVEL["metric"], x, x * value) for x in (2.0, 8.0)]
                rows.append((arm, seed, step, "weight/curve", 0.5, 0.25))
    return kit.evidence(rows, 3, each.digests())


def test_every_kind_is_decided_when_complete(whole: Evidence, each: Claims) -> None:
    got = judge(whole, each)
    assert [v.kind for v in got] == list(RULES)
    assert all(v.verdict != "incomplete" and not v.reason for v in got)


def lacking_run(found: Evidence) -> Evidence:
    manifests = [m for m in found.manifests if (m["arm"], m["seed"]) != ("t", 1)]
    return Evidence(found.plan, manifests, found.metrics, [])


def unfinished_run(found: Evidence) -> Evidence:
    manifests = [{**m, "status": "running"} if m["seed"] == 1 else m for m in found.manifests]
    return Evidence(found.plan, manifests, found.metrics, [])


def lacking_metric(found: Evidence) -> Evidence:
    table = found.metrics
    return Evidence(found.plan, found.manifests, table[table["seed"] != 1], [])


def not_a_number(found: Evidence) -> Evidence:
    table = found.metrics.copy()
    table.loc[table["seed"] == 1, "value"] = math.nan
    return Evidence(found.plan, found.manifests, table, [])


def lacking_arm(found: Evidence) -> Evidence:
    plan = {**found.plan, "arms": {"c": {"steps": 9}}}
    return Evidence(plan, [m for m in found.manifests if m["arm"] == "c"], found.metrics, [])


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lacking_run, "no complete run of t seed 1"),
        (unfinished_run, "no complete run of"),
        (lacking_metric, "is not there as asked for, seed 1"),
        (not_a_number, "is not there as asked for, seed 1"),
        (lacking_arm, "profile laptop does not run t"),
    ],
)
def test_incomplete(whole: Evidence, each: Claims, cut: Any, reason: str) -> None:
    for verdict in judge(cut(whole), each):
        assert verdict.verdict == "incomplete"
        assert reason in verdict.reason
        assert verdict.effect is verdict.low is verdict.p is verdict.detectable is None


def test_a_missing_level_is_incomplete_for_its_claim_alone(whole: Evidence, each: Claims) -> None:
    table = whole.metrics[whole.metrics["level"] != 8.0]
    got = judge(Evidence(whole.plan, whole.manifests, table, []), each)
    assert [v.verdict == "incomplete" for v in got] == [v.kind == "interaction" for v in got]


# --- post hoc -------------------------------------------------------------------------------------


def test_unchanged_claims_are_not_post_hoc(whole: Evidence, each: Claims) -> None:
    assert not any(v.post_hoc for v in judge(whole, each))


def test_a_changed_claim_is_post_hoc(whole: Evidence, each: Claims) -> None:
    data = each.model_dump()
    data["claims"][0]["min_effect"] = 0.2
    got = judge(whole, Claims.model_validate(data, strict=False))
    assert [v.post_hoc for v in got] == [True, *([False] * (len(EACH) - 1))]


def test_another_alpha_changes_every_claim(whole: Evidence, each: Claims) -> None:
    data = {**each.model_dump(), "alpha": 0.1}
    assert all(v.post_hoc for v in judge(whole, Claims.model_validate(data, strict=False)))


@pytest.mark.parametrize("status", ["complete", "running"])
def test_one_run_that_did_not_know_the_claim_is_enough(
    whole: Evidence, each: Claims, status: str
) -> None:
    known = {k: v for k, v in each.digests().items() if k != "claim-4"}
    whole.manifests[2] = {**whole.manifests[2], "claims": known, "status": status}
    marks = [v.post_hoc for v in judge(whole, each)]
    assert marks == [i == 4 and status == "complete" for i in range(len(EACH))]


# --- properties -----------------------------------------------------------------------------------

# Sixty-fourths add and subtract without rounding, so that what must be equal is exactly so.
PAIRS = st.lists(st.tuples(st.integers(-64, 64), st.integers(-64, 64)), min_size=2, max_size=8).map(
    lambda pairs: ([a / 64 for a, _ in pairs], [b / 64 for _, b in pairs])
)
MARGINS = st.integers(1, 64).map(lambda m: m / 64)
DIRECTIONS = st.sampled_from(["greater", "less", "not_greater", "not_less"])
OPPOSITE = {"greater": "less", "less": "greater", "not_greater": "not_less"}
OPPOSITE["not_less"] = "not_greater"


@given(PAIRS, MARGINS, DIRECTIONS, st.integers(-9, 9))
def test_shifting_both_arms_changes_nothing(
    kit: Any, pair: tuple[list[float], list[float]], m: float, direction: str, shift: int
) -> None:
    stated = kit.difference(direction, m)
    t, c = pair
    moved = {"t": [x + shift for x in t], "c": [x + shift for x in c]}
    assert kit.one(stated, moved) == kit.one(stated, {"t": t, "c": c})


@given(PAIRS, MARGINS, DIRECTIONS)
def test_swapping_the_arms_turns_the_sign(
    kit: Any, pair: tuple[list[float], list[float]], m: float, direction: str
) -> None:
    t, c = pair
    a = kit.one(kit.difference(direction, m), {"t": t, "c": c})
    b = kit.one(kit.difference(OPPOSITE[direction], m), {"t": c, "c": t})
    assert a.effect is not None
    assert b.effect == -a.effect
    assert a.low is not None
    assert b.high == pytest.approx(-a.low)
    assert a.verdict == b.verdict
    assert a.seed_sd == pytest.approx(b.seed_sd)
    assert a.p == pytest.approx(b.p)


@given(PAIRS, MARGINS, DIRECTIONS, st.randoms(use_true_random=False))
def test_the_order_of_seeds_is_no_matter(
    kit: Any, pair: tuple[list[float], list[float]], m: float, direction: str, random: Any
) -> None:
    stated = kit.difference(direction, m)
    order = list(range(len(pair[0])))
    random.shuffle(order)
    a = kit.one(stated, {"t": pair[0], "c": pair[1]})
    b = kit.one(stated, {"t": [pair[0][i] for i in order], "c": [pair[1][i] for i in order]})
    assert (a.verdict, a.effect) == (b.verdict, b.effect)
    assert (a.low, a.high, a.p) == pytest.approx((b.low, b.high, b.p))


@given(PAIRS, MARGINS, DIRECTIONS, st.floats(-9, 9))
def test_other_arms_and_metrics_change_nothing(
    kit: Any, pair: tuple[list[float], list[float]], m: float, direction: str, other: float
) -> None:
    stated = kit.claims(kit.difference(direction, m))
    found = kit.accuracy({"t": pair[0], "c": pair[1]}, stated)
    rows = [("other", 0, 9, "eval/accuracy", math.nan, other)]
    rows.append(("t", 0, 99, "train/loss", math.nan, other))
    more = pd.concat([found.metrics, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)
    shuffled = more.sample(frac=1, random_state=1)
    with_more = Evidence(found.plan, found.manifests, shuffled, [])
    a, b = judge(found, stated)[0], judge(with_more, stated)[0]
    assert (a.verdict, a.effect) == (b.verdict, b.effect)
    assert (a.low, a.high, a.p) == pytest.approx((b.low, b.high, b.p))


def test_exact_claims_stay_out_of_holm(kit: Any) -> None:
    stated = kit.claims({**GREATER, "treatment": "a"}, THREE[3])
    got = judge(kit.accuracy({"a": kit.spread(1, 0.1), "c": [0.0] * 5}, stated), stated)
    assert got[0].level == pytest.approx(0.95)
    assert got[1].verdict == "reproduced"
