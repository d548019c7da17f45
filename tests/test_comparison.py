"""How near is near: borders of the comparison of two runs, with numbers by hand."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from rl.evidence import COLUMNS, Evidence
from rl.runner.comparison import Comparison, compare

HERE = {"machine": {"cpu": "one", "cores": 2}, "versions": {"torch": "2"}, "base_sha256": "ba5e"}
THERE = {**HERE, "machine": {"cpu": "two", "cores": 2}}
SAMPLE = {"arm": "a", "seed": 0, "text": "2"}


def evidence(
    rows: Sequence[tuple[int, int, str, float, float]], facts: Mapping[str, Any], text: str = "2"
) -> Evidence:
    """Runs of arm a; rows are seed, step, metric, level, value."""
    frame = pd.DataFrame([("a", *row) for row in rows], columns=COLUMNS)
    seeds = sorted({row[0] for row in rows})
    manifests = [{"arm": "a", "seed": seed, **facts} for seed in seeds]
    return Evidence({}, manifests, frame, [{**SAMPLE, "text": text}])


def losses(*values: float, seed: int = 0) -> list[tuple[int, int, str, float, float]]:
    return [(seed, step, "train/loss", math.nan, x) for step, x in enumerate(values)]


def compared(
    old: Sequence[float], new: Sequence[float], facts: Mapping[str, Any] = HERE
) -> Comparison:
    return compare(evidence(losses(*old), HERE), evidence(losses(*new), facts), "a", 0)


@pytest.mark.parametrize(
    ("new", "agrees"),
    [
        ((1.0, 0.0), True),
        ((1.0, -0.0), False),
        ((math.nextafter(1.0, 2.0), 0.0), False),
        ((1.0,), False),
        ((1.0, 0.0, 0.0), False),
        ((1.0, math.nan), False),
        ((1.0, math.inf), False),
    ],
)
def test_the_same_machine_gives_the_same_bits(new: tuple[float, ...], agrees: bool) -> None:
    found = compared((1.0, 0.0), new)
    assert found.agrees is agrees
    assert found.lines[-1].startswith("same machine and packages: every value must")


def test_nan_is_nan() -> None:
    assert compared((1.0, math.nan), (1.0, -math.nan)).agrees
    assert not compared((1.0, math.nan), (1.0,)).agrees


def test_how_far_and_from_when() -> None:
    """Relative distances: 2/10 at step 1, 1/4 at step 2."""
    (line, *_) = compared((1.0, 8.0, 4.0), (1.0, 10.0, 3.0)).lines
    assert line == (
        "metrics: 2 of 3 values differ, first at step 1; worst: train/loss at step 2: 4 then, "
        "3 now (relative 0.25)"
    )
    (line, *_) = compared((1.0,), (1.0, 2.0)).lines
    assert line == (
        "metrics: 1 of 2 values differ, first at step 1; 1 of them are on one side only"
    )


# Means over steps of three seeds 1, 2, 3: SD 1, so that seed 0 may be off by 5.
SPREAD = [*losses(0.0, 2.0), *losses(1.0, 3.0, seed=1), *losses(2.0, 4.0, seed=2)]
# Without spread a thousandth counts: 1 of 1000.
FLAT = [*losses(500.0, 1500.0), *losses(500.0, 1500.0, seed=1)]


@pytest.mark.parametrize(
    ("old", "new", "agrees"),
    [
        (SPREAD, (0.0, 11.9), True),
        (SPREAD, (0.0, 12.1), False),
        (SPREAD, (-5.9, -2.0), True),
        (SPREAD, (-6.1, -2.0), False),
        (FLAT, (500.0, 1501.9), True),
        (FLAT, (500.0, 1502.1), False),
        (FLAT, (500.0, math.nan), False),
        (FLAT, (1000.0, math.nan), False),
        (FLAT, (1000.0,), False),
    ],
)
def test_elsewhere_means_are_near(old: Any, new: tuple[float, ...], agrees: bool) -> None:
    found = compare(evidence(old, HERE), evidence(losses(*new), THERE), "a", 0)
    assert found.agrees is agrees
    assert found.lines[0] == "other than committed: machine.cpu: one then, two now"
    if agrees:
        assert found.lines[-1].startswith("means over steps: 1 of 1 metrics within 5 SD over seeds")
    elif new != (1000.0,):
        assert found.lines[-1].startswith("  train/loss: mean ")


def test_metrics_with_levels_count_by_their_mean_over_levels() -> None:
    """A study logs no other. One seed: no SD, and 2 -> 2.001 is within a thousandth."""
    old = [(0, 0, "weight/p", 0.1, 1.0), (0, 0, "weight/p", 0.2, 3.0)]
    for value, agrees in ((3.0039, True), (3.0041, False)):
        new = [old[0], (0, 0, "weight/p", 0.2, value)]
        found = compare(evidence(old, HERE), evidence(new, THERE), "a", 0)
        assert found.agrees is agrees
        assert "worst: weight/p level 0.2 at step 0: 3 then" in found.lines[1]
    assert compare(evidence(old, HERE), evidence(list(reversed(old)), HERE), "a", 0).agrees


def test_a_metric_of_later_code_is_told() -> None:
    new = [*losses(1.0), (0, 0, "train/lr", math.nan, 2.0)]
    found = compare(evidence(losses(1.0), HERE), evidence(new, HERE), "a", 0)
    assert found.agrees
    assert "not compared, as they were not logged then: train/lr" in found.lines
    assert not compare(evidence(new, HERE), evidence(losses(1.0), HERE), "a", 0).agrees
    assert not compare(evidence(new, HERE), evidence(losses(1.0), THERE), "a", 0).agrees


def test_samples_count_where_bits_do() -> None:
    for facts, agrees in ((HERE, False), (THERE, True)):
        new = evidence(losses(1.0), facts, text="3")
        found = compare(evidence(losses(1.0), HERE), new, "a", 0)
        assert found.agrees is agrees
        assert "samples: 0 of 1 the same" in found.lines
    none = Evidence({}, new.manifests, new.metrics, [])
    for one, two in ((none, new), (new, none)):
        found = compare(one, two, "a", 0)
        assert not found.agrees
        assert "samples: 0 of 1 the same" in found.lines


def test_other_weights_and_packages_are_told() -> None:
    facts = {**HERE, "versions": {"torch": "3", "numpy": "2"}, "base_sha256": "f00d"}
    assert compared((1.0,), (1.0,), facts).lines[:3] == [
        "other than committed: versions.torch: 2 then, 3 now",
        "other than committed: versions.numpy: None then, 2 now",
        "the base model's weights are other than committed",
    ]


@pytest.mark.parametrize(("new", "agrees"), [(1e-9, True), (9e-4, True), (2e-3, False)])
def test_elsewhere_the_gap_of_rounding_is_the_machines_own(new: float, agrees: bool) -> None:
    def gaps(value: float) -> list[tuple[int, int, str, float, float]]:
        return [(0, step, "train/logp_gap_mean", math.nan, value) for step in range(2)]

    found = compare(evidence(gaps(1e-7), HERE), evidence(gaps(new), THERE), "a", 0)
    assert found.agrees is agrees
