"""One number per arm and seed: windows, levels, means and slopes, and what is missing."""

import math
from typing import Any

import pandas as pd
import pytest

from analysis.measures import event_times, in_window, measure_values, never_inside
from rl.config import LogRank, Measure
from rl.evidence import COLUMNS, Evidence

BY_LEVEL = "eval/accuracy_by_difficulty"


def evidence(rows: list[tuple[Any, ...]], seeds: tuple[int, ...] = (3, 5)) -> Evidence:
    """Rows (seed, step, metric, level, value) of one arm `a`, whose planned runs are complete."""
    frame = pd.DataFrame([("a", *row) for row in rows], columns=COLUMNS)
    frame = frame.astype({"level": "float64", "value": "float64"})
    done = [{"arm": "a", "seed": seed, "status": "complete"} for seed in seeds]
    return Evidence(
        {"arms": {"a": {"steps": 15}}, "seeds": list(seeds), "profile": "laptop"}, done, frame, []
    )


# Accuracy 1, 2, 4, 8 at steps 0, 5, 10, 15 for seed 3, and twice that for seed 5.
PLAIN = evidence(
    [
        (seed, 5 * i, "eval/accuracy", math.nan, scale * 2.0**i)
        for seed, scale in ((3, 1), (5, 2))
        for i in range(4)
    ]
)
# value = 10 level + step at levels 2, 3, 7; weight/p = level / 10 there.
LEVELS = evidence(
    [
        row
        for step in (0, 4)
        for level in (2.0, 3.0, 7.0)
        for row in (
            (3, step, BY_LEVEL, level, 10 * level + step),
            (3, step, "weight/p", level, level / 10),
        )
    ],
    seeds=(3,),
)


def values(found: Evidence, **measure: Any) -> list[float]:
    return [float(x) for x in measure_values(found, Measure.model_validate(measure), "a")]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("first", [1, 2]),
        ("last", [8, 16]),
        ("all", [3.75, 7.5]),
        # Shares of 15 steps.
        ((1 / 3, 2 / 3), [3, 6]),
        ((0.2, 1 / 3), [2, 4]),
        ((0.0, 0.0), [1, 2]),
        ((0.7, 1.0), [8, 16]),
        ((0.0, 1.0), [3.75, 7.5]),
    ],
)
def test_windows_are_inclusive(steps: Any, expected: list[float]) -> None:
    assert values(PLAIN, metric="eval/accuracy", steps=steps) == expected


def test_a_step_on_the_border_of_a_window_is_in() -> None:
    """In floating point 0.29 * 100 is less than 29 and 0.07 * 100 more than 7."""
    steps = pd.Series(range(101))
    for step in range(101):
        share = float(f"{step // 100}.{step % 100:02d}")
        assert steps[in_window(steps, 100, (share, share))].tolist() == [step]


def test_values_are_by_planned_seed() -> None:
    series = measure_values(PLAIN, Measure(metric="eval/accuracy", steps="last"), "a")
    assert series.to_dict() == {3: 8.0, 5: 16.0}
    assert series.index.name == "seed"


def test_slope_over_steps() -> None:
    """Steps -7.5, -2.5, 2.5, 7.5 about their mean: (7.5 * 7 + 2.5 * 2) / 125 = 0.46."""
    got = values(PLAIN, metric="eval/accuracy", steps="all", reduce="slope_step")
    assert got == pytest.approx([0.46, 0.92])


def test_levels_are_chosen() -> None:
    assert values(LEVELS, metric=BY_LEVEL, steps="first", levels=(2.0, 7.0)) == [45.0]
    assert values(LEVELS, metric=BY_LEVEL, steps="last") == [44.0]


def test_slope_over_levels() -> None:
    assert values(LEVELS, metric=BY_LEVEL, steps="all", reduce="slope_level") == pytest.approx([10])


def test_slope_over_a_metric() -> None:
    got = values(LEVELS, metric=BY_LEVEL, steps="first", reduce="slope_metric", slope_on="weight/p")
    assert got == pytest.approx([100.0])


def test_slope_over_a_metric_that_lacks_a_partner() -> None:
    table = LEVELS.metrics
    cut = table[~((table["metric"] == "weight/p") & (table["level"] == 3.0))]
    found = Evidence(LEVELS.plan, LEVELS.manifests, cut, [])
    assert math.isnan(
        values(found, metric=BY_LEVEL, steps="first", reduce="slope_metric", slope_on="weight/p")[0]
    )


@pytest.mark.parametrize(
    "measure",
    [
        {"metric": "train/loss", "steps": "all"},
        {"metric": "eval/accuracy", "steps": (0.35, 0.65)},
        {"metric": "eval/accuracy", "steps": "last", "reduce": "slope_step"},
    ],
)
def test_absent_is_nan(measure: dict[str, Any]) -> None:
    assert all(math.isnan(x) for x in values(PLAIN, **measure))


def test_an_absent_level_is_nan() -> None:
    assert math.isnan(values(LEVELS, metric=BY_LEVEL, steps="all", levels=(2.0, 4.0))[0])


# Accuracy as above with the reward of these four steps; and accuracy alone at step 12.
IN_STEP = {3: [0.0, 0.2, 0.4, 0.6], 5: [0.0, 0.4, 0.8, 0.4]}
RISING = evidence(
    [
        *PLAIN.metrics.drop(columns="arm").itertuples(index=False, name=None),
        *((seed, 12, "eval/accuracy", math.nan, 100.0) for seed in IN_STEP),
        *(
            (seed, 5 * i, "train/reward", math.nan, value)
            for seed, reward in IN_STEP.items()
            for i, value in enumerate(reward)
        ),
    ]
)


def band(low: float, high: float, metric: str = "train/reward") -> dict[str, Any]:
    return {"metric": metric, "from": low, "to": high}


@pytest.mark.parametrize(
    ("low", "high", "more", "expected"),
    [
        (0.2, 0.4, {}, [3, 10]),  # steps 5 and 10; steps 5 and 15
        (0.3, 0.5, {}, [4, 10]),
        (0.2, 0.4, {"steps": "last"}, [4, 16]),  # the last in the band, not the last logged
        (0.2, 0.4, {"steps": "first"}, [2, 4]),
        (0.2, 0.4, {"steps": (0.5, 1)}, [4, 16]),
        (0.2, 0.4, {"reduce": "slope_step"}, [0.4, 1.2]),
        (0.5, 0.7, {}, [8, math.nan]),  # seed 5 never comes there
        (0.2, 0.4, {"reduce": "slope_metric", "slope_on": "train/reward"}, [10, math.nan]),
    ],
)
def test_steps_at_which_another_metric_lies_in_a_band(
    low: float, high: float, more: dict[str, Any], expected: list[float]
) -> None:
    where = band(low, high)
    got = values(RISING, **{"metric": "eval/accuracy", "steps": "all", "where": where, **more})
    assert got == pytest.approx(expected, nan_ok=True)


def test_a_band_keeps_all_levels_of_its_steps() -> None:
    rows = LEVELS.metrics.drop(columns="arm").itertuples(index=False, name=None)
    reward = [(3, step, "train/reward", math.nan, step / 4) for step in (0, 4)]
    found = evidence([*rows, *reward], seeds=(3,))
    for where, expected in ((band(0, 0.5), 40.0), (band(0.5, 1), 44.0), (band(0, 1), 42.0)):
        assert values(found, metric=BY_LEVEL, steps="all", where=where) == [expected]


def test_a_band_that_cannot_be_told_is_nan_and_one_never_met_is_named() -> None:
    measure = Measure(metric="eval/accuracy", steps="all", where=band(0.5, 0.7))
    assert never_inside(RISING, measure, "a") == [5]
    assert never_inside(RISING, measure.model_copy(update={"where": None}), "a") == []
    table = RISING.metrics.copy()
    lost = (table["metric"] == "train/reward") & (table["seed"] == 5) & (table["step"] == 0)
    table.loc[lost, "value"] = math.nan
    found = Evidence(RISING.plan, RISING.manifests, table, [])
    got = values(found, metric="eval/accuracy", steps="all", where=band(0.2, 0.4))
    assert got == pytest.approx([3, math.nan], nan_ok=True)
    assert never_inside(found, measure, "a") == []  # there is no saying
    elsewhere = band(0, 1, "train/entropy")  # not logged at all
    assert all(
        math.isnan(x) for x in values(RISING, metric="eval/accuracy", steps="all", where=elsewhere)
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_told(bad: float) -> None:
    rows = [(3, 0, "eval/accuracy", math.nan, 1.0), (3, 1, "eval/accuracy", math.nan, bad)]
    found = evidence(rows, seeds=(3,))
    assert math.isnan(values(found, metric="eval/accuracy", steps="all")[0])
    assert values(found, metric="eval/accuracy", steps="first") == [1.0]


def test_an_unfinished_run_is_nan() -> None:
    running = [{**m, "status": "running"} if m["seed"] == 5 else m for m in PLAIN.manifests]
    found = Evidence(PLAIN.plan, running, PLAIN.metrics, [])
    got = values(found, metric="eval/accuracy", steps="last")
    assert got[0] == 8.0
    assert math.isnan(got[1])


# --- time to an event -----------------------------------------------------------------------------


def race(**changes: Any) -> LogRank:
    """To an accuracy of 4 or more."""
    stated: dict[str, Any] = {
        "id": "race",
        "role": "primary",
        "text": "first",
        "source": "a paper",
        "measure": Measure(metric="eval/accuracy", steps="all"),
        "kind": "log_rank",
        "treatment": "a",
        "control": "b",
        "reaches": 4.0,
        "event": "at_least",
        "direction": "greater",
        "min_effect": 1.0,
    }
    return LogRank(**(stated | changes))


def times(found: Evidence, **changes: Any) -> list[tuple[float, float]]:
    table = event_times(found, race(**changes), "a")
    assert list(table.columns) == ["time", "event"]
    return list(table.itertuples(index=False, name=None))


def test_the_first_logged_step_there() -> None:
    """1, 2, 4, 8 at steps 0, 5, 10, 15, and twice that for the second seed."""
    assert times(PLAIN) == [(10.0, 1.0), (5.0, 1.0)]
    assert times(PLAIN, reaches=16.0) == [(15.0, 0.0), (15.0, 1.0)]
    assert times(PLAIN, event="at_most", reaches=1.0) == [(0.0, 1.0), (15.0, 0.0)]
    shuffled = PLAIN.metrics.sample(frac=1, random_state=1)
    assert times(Evidence(PLAIN.plan, PLAIN.manifests, shuffled, [])) == [(10.0, 1.0), (5.0, 1.0)]


def test_the_clock_is_read_at_that_step() -> None:
    clock = [(seed, 5 * i, "train/lr", math.nan, seed + i / 4) for seed in (3, 5) for i in range(4)]
    rows = [(3, 5 * i, "eval/accuracy", math.nan, 2.0**i) for i in range(4)]
    found = evidence([*rows, *clock])
    (first, second) = times(found, time_metric="train/lr")
    assert first == (3.5, 1.0)
    assert all(math.isnan(x) for x in second)  # no accuracy of seed 5 at all
    assert times(found, time_metric="train/lr", reaches=9.0)[0] == (3.75, 0.0)
    late = evidence([*rows, *(row for row in clock if row[1] != 10)])
    assert math.isnan(times(late, time_metric="train/lr")[0][0])
    assert times(late, time_metric="train/lr", reaches=2.0)[0] == (3.25, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_time_where_a_value_is_no_number(bad: float) -> None:
    rows = [(3, 0, "eval/accuracy", math.nan, 9.0), (3, 1, "eval/accuracy", math.nan, bad)]
    assert math.isnan(times(evidence(rows, seeds=(3,)))[0][1])


def test_seeds_of_an_arm_of_its_own() -> None:
    """And a run that is not complete has no time."""
    plan = {**PLAIN.plan, "seeds": [3], "arm_seeds": {"a": [3, 5, 7]}}
    got = times(Evidence(plan, PLAIN.manifests, PLAIN.metrics, []))
    assert got[:2] == [(10.0, 1.0), (5.0, 1.0)]
    assert math.isnan(got[2][0])
    running = [{**m, "status": "running"} for m in PLAIN.manifests]
    assert math.isnan(times(Evidence(PLAIN.plan, running, PLAIN.metrics, []))[0][0])


def test_a_fact_of_a_run_is_read_from_its_manifest() -> None:
    found = evidence([(3, 0, "eval/accuracy", math.nan, 1.0)])
    for run, seconds in zip(found.manifests, (7.0, 9.5), strict=True):
        run["seconds"] = seconds
    assert values(found, metric="run/seconds", steps="last") == [7.0, 9.5]
    assert values(found, metric="run/seconds", steps="first") == [7.0, 9.5]
    del found.manifests[1]["seconds"]
    assert values(found, metric="run/seconds", steps="last") == pytest.approx(
        [7.0, math.nan], nan_ok=True
    )
