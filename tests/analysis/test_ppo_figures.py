"""Figures and frames of PPO's parts, with numbers by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots_ppo, ppo
from analysis.plots_arms import Scales
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence
from tests.analysis.pictures import check_readable

NAN = math.nan
HALF = (0.5, 1.0)


def evidence(rows: list[tuple[Any, ...]]) -> Evidence:
    """Of runs of 10 steps whose seeds took 2 and 3 seconds, twice that with the arm b."""
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    arms = {arm: {"steps": 10} for arm in dict.fromkeys(frame["arm"])}
    seeds = sorted(frame["seed"].unique().tolist())
    manifests = [
        {"arm": a, "seed": s, "status": "complete", "seconds": (2 + s) * (2 if a == "b" else 1)}
        for a in arms
        for s in seeds
    ]
    return Evidence({"arms": arms, "seeds": seeds, "profile": "laptop"}, manifests, frame, [])


RUNS = evidence(
    [
        (arm, seed, step, "eval/accuracy", NAN, base + 0.1 * seed + 0.01 * step)
        for arm, base in (("a", 0.0), ("b", 0.3))
        for seed in (0, 1)
        for step in (0, 5, 10)
    ]
)


def bands(levels: list[float], means: list[float]) -> pd.DataFrame:
    mean = np.array(means)
    return pd.DataFrame({"level": levels, "mean": mean, "low": mean - 0.1, "high": mean + 0.1})


def runs(means: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(a, seed, 0, NAN, x) for a, own in means.items() for seed, x in enumerate(own)]
    return pd.DataFrame(rows, columns=ppo.COLUMNS)


# --- frames ---------------------------------------------------------------------------------------


def test_values_are_one_a_run_and_carry_their_names() -> None:
    got = ppo.values(RUNS, "eval/accuracy", {"b": "second", "a": "first"}, HALF)
    assert got["arm"].tolist() == ["second", "second", "first", "first"]
    assert got["value"].tolist() == pytest.approx([0.375, 0.475, 0.075, 0.175])
    got = ppo.values(RUNS, "eval/accuracy", {"a": "first"}, "first")
    assert got["value"].tolist() == pytest.approx([0.0, 0.1])
    with pytest.raises(UserError, match="no complete run of a has eval/gold at last"):
        ppo.values(RUNS, "eval/gold", {"a": "first"}, "last")


def test_effects_and_ratios_are_paired() -> None:
    got = ppo.effects(RUNS, "eval/accuracy", {"b": "second"}, "a", HALF)
    assert got["value"].tolist() == pytest.approx([0.3, 0.3])
    assert ppo.ratios(RUNS, "run/seconds", {"b": "second"}, "a", "last")["value"].tolist() == [2, 2]
    apart = evidence([("a", 0, 0, "m", NAN, 1.0), ("b", 0, 0, "m", NAN, 2.0)])
    apart.metrics["metric"] = "eval/gold"
    lonely = pd.concat([apart.metrics, apart.metrics[:1].assign(seed=1, value=9.0)])
    found = Evidence({**apart.plan, "seeds": [0, 1]}, RUNS.manifests, lonely, [])
    got = ppo.effects(found, "eval/gold", {"b": "second"}, "a", "last")
    assert got[["seed", "value"]].to_numpy().tolist() == [[0, 1.0]]


def test_a_summary_keeps_the_order() -> None:
    got = ppo.summary(runs({"z": [1.0, 3.0], "a": [5.0]}))
    assert got.index.tolist() == ["z", "a"]
    assert got["mean"].tolist() == [2, 5]
    assert got["n"].tolist() == [2, 1]
    # Standard error 1, one degree of freedom: tan(.475 pi).
    assert got["high"].tolist() == pytest.approx([2 + math.tan(0.475 * math.pi), NAN], nan_ok=True)


def test_gains_by_length() -> None:
    got = ppo.gains(RUNS, "eval/accuracy", {8: ("a", "b"), 32: ("b", "a")}, HALF)
    assert got["level"].tolist() == [8, 32]
    assert got["mean"].tolist() == pytest.approx([-0.3, 0.3])


def test_the_signal_decays_by_lambda_a_token() -> None:
    """.5 of one; .5^2 = .25 and (.5 + .25) / 2 of two; .5^3 and 7/24 of three."""
    got = ppo.decay(0.5, [1, 2, 3])
    assert got["first"]["mean"].tolist() == [0.5, 0.25, 0.125]
    assert got["mean"]["mean"].tolist() == pytest.approx([0.5, 0.375, 7 / 24])
    assert got["mean"]["level"].tolist() == [1, 2, 3]
    assert ppo.decay(1.0, [128])["mean"]["mean"].tolist() == [1]
    assert ppo.powers(0.5, [0, 3])[["level", "mean"]].to_numpy().tolist() == [[0, 1], [3, 0.125]]


def test_places_from_the_end() -> None:
    assert ppo.from_end(bands([1, 6], [3, 4]), 6)["level"].tolist() == [5, 0]


# --- figures --------------------------------------------------------------------------------------


WALK = pd.DataFrame({"seed": [0, 0, 1, 1], "step": [3, 0, 0, 3], "value": [0.9, 0.2, 0.4, 0.5]})


def test_seeds_are_thin_and_their_mean_is_thick() -> None:
    (axes,) = plots_ppo.seed_curves({"t": {"a": WALK}}, {"t": Scales("x", "y")}).axes
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert drawn[:2] == [[[0, 0.2], [3, 0.9]], [[0, 0.4], [3, 0.5]]]
    assert drawn[2] == [[0, pytest.approx(0.3)], [3, pytest.approx(0.7)]]
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths[0] == widths[1] < widths[2]


def test_levels_stand_evenly() -> None:
    lines = {"a": bands([1, 0, 0.95], [3, 1, 2]), "b": bands([0.95, 1], [5, 6])}
    (axes,) = plots_ppo.even_levels({"t": lines}, {"t": Scales("lambda", "y")}).axes
    one, other = (line.get_xydata() for line in axes.lines if line.get_linestyle() != "None")
    assert one.tolist() == [pytest.approx(at) for at in ([-0.025, 1], [0.975, 2], [1.975, 3])]
    assert other.tolist() == [pytest.approx([1.025, 5]), pytest.approx([2.025, 6])]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", ".95", "1"]


def test_gains_stand_beside_what_is_left_of_the_signal() -> None:
    gain = {"a": bands([128, 8], [0.1, 0.0])}
    signal = {"first": bands([1, 8, 128], [0.9, 0.6, 0.1])}
    left, right = plots_ppo.gain_beside_signal(gain, signal, "T", ("gain", "left")).axes
    assert left.lines[1].get_xydata().tolist() == [[8, 0], [128, pytest.approx(0.1)]]
    line, dots = right.lines[:2]
    assert line.get_xydata().tolist() == [[1, 0.9], [8, 0.6], [128, 0.1]]
    assert dots.get_xydata().tolist() == [[8, 0.6], [128, 0.1]]
    assert left.get_xticks().tolist() == right.get_xticks().tolist() == [8, 128]


def test_a_row_has_its_seeds_and_its_mean() -> None:
    rows = runs({"a": [1.0, 3.0], "b": [7.0]})
    (axes,) = plots_ppo.run_dots({"x": rows}, ["b", "a"], guides={"x": [0]}).axes
    guide, alone, no_width, one, seeds, width, mean = axes.lines
    assert list(guide.get_xdata()) == [0, 0]
    assert list(alone.get_xdata()) == list(one.get_xdata()) == [7]
    assert list(no_width.get_xdata()) == [7, 7]
    assert list(seeds.get_xdata()) == [1, 3]
    assert list(mean.get_xdata()) == [2]
    assert width.get_xdata()[1] == pytest.approx(2 + math.tan(0.475 * math.pi))
    assert seeds.get_ydata()[0] < 1 < mean.get_ydata()[0]  # rows count downwards
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "a"]


CRITICS = ["exact value", "off by .1", "off by .3", "mean of the prompt", "always .5", "always 0"]
TRACES = bands([0, 0.5, 0.8, 0.9, 0.95, 0.99, 1], [1.1, 0.6, 0.3, 0.2, 0.15, 0.12, 0.11])
PARTS = ["critic a head on the policy", "4, whitened each", "no clip of the value"]
PICTURES: dict[str, Callable[[], Figure]] = {
    "seed_curves": lambda: plots_ppo.seed_curves(
        {f"copying {T} digits": {"lambda .95": WALK, "lambda 1": WALK} for T in range(5)},
        dict.fromkeys(
            [f"copying {T} digits" for T in range(5)],
            Scales("PPO step", "held-out accuracy (share right)"),
        ),
        shared=True,
    ),
    "even_levels": lambda: plots_ppo.even_levels(
        {f"between tokens, {i}": dict.fromkeys(CRITICS, TRACES) for i in range(8)},
        {
            f"between tokens, {i}": Scales("lambda", "cosine with the gradient", log="y" * (i % 2))
            for i in range(8)
        },
    ),
    "gain_beside_signal": lambda: plots_ppo.gain_beside_signal(
        {"copying": bands([8, 32, 128], [0, 0.1, 0.2]), "running sums": bands([8, 32], [0.1, 0])},
        {"first digit": bands([1, 8, 32, 128], [0.95, 0.66, 0.19, 0.0014])},
        "digits T",
        ("accuracy, lambda 1 - lambda .95", "share of the last token's signal, lambda .95"),
    ),
    "run_dots": lambda: plots_ppo.run_dots(
        {
            label: runs({name: [-0.012, 0.034, 0.001] for name in PARTS})
            for label in ("difference in accuracy", "in entropy (nats a token)", "in KL", "clipped")
        },
        PARTS,
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_can_be_read(name: str) -> None:
    check_readable(PICTURES[name]())


def test_an_eighth_line_is_refused() -> None:
    lines = dict.fromkeys([*CRITICS, "one", "more"], TRACES)
    with pytest.raises(ValueError, match="at most 7 lines of one figure, got 8"):
        plots_ppo.even_levels({"": lines}, {"": Scales("x", "y")})
