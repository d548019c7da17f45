"""Figures and frames of policies that learn from preferences, with numbers by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots_preferences, preferences
from analysis.plots_arms import Scales
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence
from tests.analysis.pictures import check_readable

NAN = math.nan
T = math.tan(0.475 * math.pi)  # t_{.975, 1}
Rows = list[tuple[Any, ...]]


def evidence(rows: Rows) -> Evidence:
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    arms = {arm: {"steps": 10} for arm in dict.fromkeys(frame["arm"])}
    seeds = sorted(frame["seed"].unique().tolist())
    return Evidence({"arms": arms, "seeds": seeds, "profile": "laptop"}, [], frame, [])


# --- frames ---------------------------------------------------------------------------------------

# arm -> seed -> beta -> (KL, what its reward is above the reference's).
ENDS = {
    "a": {0: {1.0: (0.25, 0.5), 0.5: (1.0, 1.0)}, 1: {1.0: (0.81, 0.7), 0.5: (2.25, 1.4)}},
    "a_better": {0: {1.0: (0.04, 0.1), 0.5: (0.16, 0.2)}, 1: {1.0: (0.09, 0.1), 0.5: (1, 0.2)}},
}


def most(kl: float, seed: int) -> float:
    """A made-up frontier, straight in the root of the KL, above the reference's reward."""
    return (1.0 + seed) * math.sqrt(kl)


def swept() -> Rows:
    """Step 0 is the reference itself; step 5 as in ENDS. The reference has 3 and 4 by seed."""
    rows: Rows = []
    for arm, seeds in ENDS.items():
        for seed, levels in seeds.items():
            start = 3.0 + seed
            for step in (0, 5):
                rows.append((arm, seed, step, preferences.START, NAN, start))
                for level, (kl, gain) in levels.items():
                    at, above = (kl, gain) if step else (0.0, 0.0)
                    rows += [
                        (arm, seed, step, preferences.KL, level, at),
                        (arm, seed, step, preferences.REWARD, level, start + above),
                        (arm, seed, step, preferences.REGRET, level, most(at, seed) - above),
                    ]
    return rows


def test_a_sweep_is_of_the_end_and_less_its_reference() -> None:
    """Gains .5 and .7 of the first level; standard error of the mean .1."""
    got = preferences.sweep(evidence(swept()), "a")
    assert got["level"].tolist() == [0.5, 1.0]
    assert got["mean"].tolist() == pytest.approx([1.625, 0.53])
    assert got["mean_y"].tolist() == pytest.approx([1.2, 0.6])
    assert got.loc[1, "high_y"] == pytest.approx(0.6 + T * 0.1)
    assert got.loc[1, "low"] == pytest.approx(0.53 - T * 0.28)
    whole = preferences.sweep(evidence(swept()), "a", start=None)
    assert whole["mean_y"].tolist() == pytest.approx([4.7, 4.1])


def test_sweeps_by_cell() -> None:
    got = preferences.sweeps(evidence(swept()), {"a": "A"}, {"": "base", "_better": "better"})
    assert list(got) == ["base", "better"]
    assert got["better"]["A"]["mean"].tolist() == pytest.approx([0.58, 0.065])


def test_a_frontier_is_reward_and_regret() -> None:
    """On roots of KLs both seeds are straight lines, 1 and 2 a root nat; the shorter ends at 1."""
    found = evidence(swept())
    got = preferences.frontier(found, ["a"], points=5)
    assert got["level"].tolist() == pytest.approx([0, 1 / 16, 1 / 4, 9 / 16, 1])
    assert got["mean"].tolist() == pytest.approx([0, 0.375, 0.75, 1.125, 1.5])
    assert got["high"].tolist() == pytest.approx((1.5 + T * 0.5) * np.linspace(0, 1, 5))


def test_a_frontier_is_of_one_reference() -> None:
    rows = [(arm, *rest, x + (arm == "a_better")) for arm, *rest, x in swept()]
    with pytest.raises(UserError, match="a, a_better: not of one reference"):
        preferences.frontier(evidence(rows), ["a", "a_better"])


def test_contrasts_are_by_seed() -> None:
    found = evidence(swept())
    weights = {"b": {"a_better": 1.0, "a": -1.0}, "a": {"a": 2.0}}
    got = preferences.contrasts(found, preferences.KL, weights, level=0.5)
    assert got["arm"].tolist() == ["b", "a"]
    assert got["mean"].tolist() == pytest.approx([-1.045, 3.25])
    # .16 - 1 = -.84 and 1 - 2.25 = -1.25: half their distance is the standard error.
    assert got["high"].tolist()[0] == pytest.approx(-1.045 + T * 0.205)
    with pytest.raises(UserError, match="preferences/kl: not logged at the level 7 by each of a"):
        preferences.contrasts(found, preferences.KL, {"a": {"a": 1.0}}, level=7)


def test_methods_by_cell() -> None:
    got = preferences.cell_bands(
        evidence(swept()), preferences.KL, {"a": "A"}, {"": "base", "_better": "better"}, level=1.0
    )
    assert {title: rows["arm"].tolist() for title, rows in got.items()} == {
        "base": ["A"],
        "better": ["A"],
    }
    assert got["base"]["mean"].tolist() == pytest.approx([0.53])
    assert got["better"]["mean"].tolist() == pytest.approx([0.065])


def test_levels_less_their_start() -> None:
    found = evidence(swept())
    got = preferences.by_level(found, preferences.REWARD, {"a": "A"}, start=preferences.START)
    assert got["A"]["level"].tolist() == [0.5, 1.0]
    assert got["A"]["mean"].tolist() == pytest.approx([1.2, 0.6])
    got = preferences.by_level(found, preferences.REWARD, {"a": "A"})
    assert got["A"]["mean"].tolist() == pytest.approx([4.7, 4.1])


def test_the_formula_of_best_of_n() -> None:
    got = preferences.best_of_n_formula([4, 1, 2])
    assert got["level"].tolist() == [1, 2, 4]
    assert got["mean"].tolist() == pytest.approx([0, 0.1931472, 0.6362944], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("dpo", "DPO"),
        ("dpo_far", "DPO"),
        ("dpo_mean_far", "DPO, mean over tokens"),
        ("best_of_n_16", "best of N"),
        ("ppo_gold", "PPO, gold reward"),
        ("dpomean", "dpomean"),
    ],
)
def test_an_arm_s_method(name: str, method: str) -> None:
    assert preferences.method_of(name) == method


DECODED: Rows = [
    (arm, seed, step, metric, NAN, k * step + seed)
    for arm in ("text_dpo", "text_dpo_far", "text_ppo", "table_dpo")
    for seed in (0, 1)
    for step in (0, 4)
    for metric, k in (("eval/base_kl", 1.0), ("eval/gold", 10.0))
    if (arm, metric) != ("text_ppo", "eval/gold")
]


def test_decoders_are_the_arms_of_texts() -> None:
    found = evidence(DECODED)
    names = preferences.decoders(found, "eval/base_kl")
    assert names == {"text_dpo": "dpo", "text_dpo_far": "dpo_far", "text_ppo": "ppo"}
    assert preferences.decoders(found, "eval/proxy") == {}
    paths = preferences.decoder_paths(found, "eval/base_kl", "eval/gold", names)
    assert list(paths) == ["DPO"]  # an arm that does not log both has no path
    assert list(paths["DPO"]["arm"].unique()) == ["dpo", "dpo_far"]
    own = paths["DPO"][paths["DPO"]["arm"] == "dpo_far"]
    assert own[["seed", "step", "x", "y"]].to_numpy().tolist() == [
        [0, 0, 0, 0],
        [0, 4, 4, 40],
        [1, 0, 1, 1],
        [1, 4, 5, 41],
    ]
    rewards = preferences.reward_paths(found, "eval/base_kl", names, {}, ["dpo_far", "ppo"])
    assert {title: list(paths) for title, paths in rewards.items()} == {
        "gold": ["DPO"],
        "proxy": [],
    }
    assert rewards["gold"]["DPO"]["arm"].unique().tolist() == ["dpo_far"]
    last = preferences.last_named(found, "eval/gold", names)
    assert last[["arm", "mean"]].to_numpy().tolist() == [["dpo", 40.5], ["dpo_far", 40.5]]


# --- figures --------------------------------------------------------------------------------------


def sweep_of(kls: list[float], gains: list[float]) -> pd.DataFrame:
    kl, gain = np.array(kls), np.array(gains)
    return pd.DataFrame(
        {
            "level": np.arange(len(kls)),
            "mean": kl,
            "low": 0.9 * kl,
            "high": 1.1 * kl,
            "mean_y": gain,
            "low_y": gain - 0.2,
            "high_y": gain + 0.1,
        }
    )


LINE = pd.DataFrame({"level": [0, 1, 4], "mean": [0, 1, 2], "low": [0, 1, 2], "high": [0, 1, 2]})


def test_a_frontier_has_its_points_and_its_limit() -> None:
    rows = sweep_of([0.5, 3.0], [0.3, 1.2])
    (axes,) = plots_preferences.frontiers({"": {"A": rows}}, "y", limits={"": LINE}).axes
    reference, limit, line, points, *_ = axes.lines
    assert list(reference.get_ydata()) == [0, 0]
    assert limit.get_xydata().tolist() == [[0, 0], [1, 1], [4, 2]]
    assert line.get_xydata().tolist() == points.get_xydata().tolist() == [[0.5, 0.3], [3, 1.2]]
    across, up = (bars.get_segments() for bars in axes.collections[1:])
    assert across[0].tolist() == [pytest.approx([0.45, 0.3]), pytest.approx([0.55, 0.3])]
    assert up[1].tolist() == [pytest.approx([3, 1.0]), pytest.approx([3, 1.3])]
    # 0 to 3.18 nats: one nat is at 1 / sqrt(3.18) of the axis.
    left, right = axes.get_xlim()
    assert (left, right) == (0, pytest.approx(3.18))
    at = axes.transAxes.inverted().transform(axes.transData.transform((1.0, 0.0)))
    assert at[0] == pytest.approx(1 / math.sqrt(3.18))
    assert axes.get_xticks().tolist() == [0, 0.1, 0.5, 1, 2]


def test_one_seed_has_no_interval() -> None:
    rows = sweep_of([0.5], [0.3]).assign(low=NAN, high=NAN, low_y=NAN, high_y=NAN)
    (axes,) = plots_preferences.frontiers({"": {"A": rows}}, "y", reference=None).axes
    (across,), (up,) = (bars.get_segments() for bars in axes.collections)
    assert across.tolist() == up.tolist() == [[0.5, 0.3], [0.5, 0.3]]


FOREST = pd.DataFrame(
    {
        "arm": ["g: a", "g: b", "h: a"],
        "mean": [1.0, 2.0, -1.0],
        "low": [0.5, NAN, -2.0],
        "high": [1.5, NAN, 0.0],
    }
)
GROUPS = {"g": ["a", "b"], "h": ["a"]}


def test_a_forest_has_headings_and_rows() -> None:
    part = FOREST[FOREST["arm"] != "g: a"]
    figure = plots_preferences.forest({"one": FOREST, "two": part}, GROUPS, {"one": "x", "two": ""})
    one, two = figure.axes
    assert [text.get_text() for text in one.get_yticklabels()] == ["g", "a", "b", "h", "a"]
    bold = [text.get_weight() == "bold" for text in one.get_yticklabels()]
    assert bold == [True, False, False, True, False]
    drawn = [line.get_xydata().tolist() for line in one.lines[1:]]
    assert drawn == [
        [[0.5, 1], [1.5, 1]],
        [[1, 1]],
        [[2, 2], [2, 2]],
        [[2, 2]],
        [[-2, 4], [0, 4]],
        [[-1, 4]],
    ]
    assert len(two.lines) == 5  # the zero, and two rows of the three


WALKS = pd.DataFrame(
    {
        "arm": ["a"] * 4 + ["b"] * 2,
        "seed": [0, 0, 1, 1, 0, 0],
        "step": [0, 4, 0, 4, 0, 4],
        "x": [0.0, 1.0, 0.0, 3.0, 0.0, 5.0],
        "y": [0.0, 1.0, 0.5, 2.0, 0.0, 4.0],
    }
)


def test_paths_of_one_method_share_a_colour() -> None:
    (axes,) = plots_preferences.decoder_paths({"": {"A": WALKS}}, {"": Scales("x", "y")}).axes
    path, ends, end, other, _, last = axes.lines
    assert path.get_xydata().tolist() == [[0, 0.25], [2, 1.5]]
    assert ends.get_xydata().tolist() == [[1, 1], [3, 2]]
    assert end.get_xydata().tolist() == [[2, 1.5]]
    assert other.get_xydata().tolist() == [[0, 0], [5, 4]]
    assert last.get_xydata().tolist() == [[5, 4]]
    assert {line.get_color() for line in axes.lines} == {path.get_color()}


MANY = list(preferences.METHODS.values())[2:8]
CHANGES = [f"a quarter of the labels turned {i}" for i in range(7)]
PICTURES: dict[str, Callable[[], Figure]] = {
    "frontiers": lambda: plots_preferences.frontiers(
        {
            f"a quarter of the texts, better reference {i}": dict.fromkeys(
                MANY, sweep_of([0, 0.1, 1, 7], [0, 0.2, 0.6, 1])
            )
            for i in range(4)
        },
        "gold reward less the reference's (SD of gold)",
        limits={f"a quarter of the texts, better reference {i}": LINE for i in range(4)},
    ),
    "forest": lambda: plots_preferences.forest(
        dict.fromkeys(
            ("area", "regret"),
            pd.DataFrame(
                {
                    "arm": [f"What it does to {g}: {row}" for g in range(4) for row in CHANGES],
                    "mean": 0.25,
                    "low": -0.5,
                    "high": 1.0,
                }
            ),
        ),
        {f"What it does to {g}": CHANGES for g in range(4)},
        {"area": "share of the frontier's area", "regret": "regret at 0.5 nats (SD of gold)"},
    ),
    "decoder_paths": lambda: plots_preferences.decoder_paths(
        {title: dict.fromkeys(MANY, WALKS) for title in ("gold", "proxy")},
        dict.fromkeys(
            ("gold", "proxy"),
            Scales("KL(policy || base) (nats a response)", "gold reward", guides=[1.0]),
        ),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_can_be_read(name: str) -> None:
    check_readable(PICTURES[name]())
