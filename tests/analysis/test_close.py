"""Figures and frames of policies that stay close, with numbers by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from analysis import close, load, plots_close
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence
from tests.analysis.pictures import check_readable

NAN = math.nan
ROOT_3 = math.sqrt(3)


def evidence(rows: list[tuple[Any, ...]]) -> Evidence:
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    arms = {arm: {"steps": 10} for arm in dict.fromkeys(frame["arm"])}
    seeds = sorted(frame["seed"].unique().tolist())
    manifests = [{"arm": a, "seed": s, "status": "complete"} for a in arms for s in seeds]
    return Evidence({"arms": arms, "seeds": seeds, "profile": "laptop"}, manifests, frame, [])


def bands(column: str, places: list[float], means: list[float]) -> pd.DataFrame:
    mean = np.array(means)
    return pd.DataFrame({column: places, "mean": mean, "low": mean - 0.1, "high": mean + 0.1})


# --- frames ---------------------------------------------------------------------------------------


def test_lines_cross_straight_on_logarithmic_axes() -> None:
    """1 / x and x^2, known at .1 and 10, cross at 1; between straight axes it would be near .1."""
    one = bands("level", [0.1, 10], [10, 0.1])
    other = bands("level", [10, 0.1], [100, 0.01])
    assert close.crossing(one, other) == pytest.approx(1.0)
    assert close.crossing(other, one) == pytest.approx(1.0)
    assert math.isnan(close.crossing(one, one.assign(mean=2 * one["mean"])))


FIELD: list[tuple[Any, ...]] = [
    ("k2", seed, 0, metric, point, value + 0.01 * (2 * seed - 1))
    for seed in (0, 1)
    for metric, values in (
        ("p0", [0.2, 0.5]),
        ("p1", [0.3, 0.1]),
        ("f0", [0.04, 0.0]),
        ("f1", [-0.01, 0.0]),
    )
    for point, value in enumerate(values)
]


def test_a_field_is_a_row_a_point() -> None:
    found = close.field(evidence(FIELD), "k2", ("p0", "p1"), ("f0", "f1"))
    assert list(found) == ["p_0", "p_1", "flow_0", "flow_1"]
    assert found.to_numpy().tolist() == [
        pytest.approx([0.2, 0.3, 0.04, -0.01]),
        pytest.approx([0.5, 0.1, 0, 0], abs=1e-12),
    ]
    short = [row for row in FIELD if row[3:5] != ("f1", 1)]
    with pytest.raises(UserError, match="k2: p0, p1, f0, f1 are not logged at the same points"):
        close.field(evidence(short), "k2", ("p0", "p1"), ("f0", "f1"))


def test_pairs_are_where_both_are_logged() -> None:
    rows = [("a", 3, step, "x", NAN, float(step)) for step in (0, 1, 2)]
    rows += [("a", 3, step, "y", NAN, 10.0 * step) for step in (0, 2, 4)]
    rows += [("b", 3, 0, "x", NAN, 1.0), ("b", 3, 1, "y", NAN, 1.0)]
    got = close.pairs(evidence(rows), "x", "y", ["a"])["a"]
    assert got.to_dict("list") == {"seed": [3, 3], "step": [0, 2], "x": [0, 2], "y": [0, 20]}
    with pytest.raises(UserError, match="x and y are never logged at one step in b"):
        close.pairs(evidence(rows), "x", "y", ["a", "b"])


def test_what_arms_logged_last_by_their_setting() -> None:
    rows = [
        (f"a{uses}", seed, step, "m", NAN, 100.0 * uses + 10 * step + seed)
        for uses in (1, 16)
        for seed in (0, 2)
        for step in (0, 5)
    ]
    got = close.by_setting(evidence(rows), "m", {16: "a16", 1: "a1"})
    assert got[["setting", "arm", "mean"]].to_numpy().tolist() == [
        [16, "a16", 1651],
        [1, "a1", 151],
    ]


def test_lines_by_block_and_by_logarithm() -> None:
    rows = [("a", s, i, "m", NAN, x) for s in (0, 1) for i, x in enumerate((1.0, 3.0, 8.0, 8.0))]
    found = evidence([*rows, ("a", 0, 0, "n", NAN, 1.0), ("a", 1, 0, "n", NAN, 100.0)])
    names = {"a": "first", "b": "absent"}
    (name,) = close.lines(found, "m", names, block=2)
    assert name == "first"
    got = close.lines(found, "m", names, block=2)["first"]
    assert got[["step", "mean"]].to_numpy().tolist() == [[0.5, 2], [2.5, 8]]
    assert close.lines(found, "n", names)["first"]["mean"].tolist() == [50.5]
    band = close.lines(found, "n", names, log=True)["first"].iloc[0]
    assert band["mean"] == pytest.approx(10)
    # Half the width of the logarithms' interval: tan(.475 pi) standard errors of log(100) / 2.
    width = math.tan(0.475 * math.pi) * math.log(100) / 2
    assert math.log(band["high"] / 10) == pytest.approx(width)
    assert math.log(10 / band["low"]) == pytest.approx(width)


def test_pairs_by_block() -> None:
    rows = [("a", 0, i, m, NAN, k * i) for i in range(4) for m, k in (("x", 1.0), ("y", 10.0))]
    got = close.pairs(evidence(rows), "x", "y", ["a"], block=2)["a"]
    assert got[["step", "x", "y"]].to_numpy().tolist() == [[0.5, 0.5, 5], [2.5, 2.5, 25]]


def test_arms_by_their_names() -> None:
    table = pd.DataFrame({"arm": ["a", "b", "c"], "mean": [1, 2, 3]})
    got = close.named(table, {"c": "third", "a": "first"})
    assert got.to_numpy().tolist() == [["first", 1], ["third", 3]]


def test_the_band_of_a_claim_at_matched_values() -> None:
    found = load.evidence(6)
    assert close.matched(6, found, "arithmetic_higher_16") == (0.5, 0.75)
    assert close.matched(6, found, "reuse_clipped_16") == (0.2, 0.6)
    with pytest.raises(UserError, match="no claim about reuse_gspo_1 is measured where"):
        close.matched(6, found, "reuse_gspo_1")


# --- figures --------------------------------------------------------------------------------------


def test_a_cloud_has_what_is_above_0() -> None:
    points = pd.DataFrame({"x": [-1.0, 0.1, 2.0, 3.0], "y": [1.0, 2.0, -1.0, 4.0]})
    line = bands("level", [1, 0.1], [2, 1])
    (axes,) = plots_close.cloud({"seen": points}, {"known": line}, "x", "y", guides=[1]).axes
    guide, dots, known = axes.lines
    assert list(guide.get_ydata()) == [1, 1]
    assert dots.get_xydata().tolist() == [[0.1, 2], [3, 4]]
    assert known.get_xydata().tolist() == [[0.1, 1], [1, 2]]


def arrows(flow: list[list[float]], p: list[list[float]]) -> Any:
    rows = pd.DataFrame(np.hstack([p, flow]), columns=["p_0", "p_1", "flow_0", "flow_1"])
    (axes,) = plots_close.flow_fields({"": rows}, (0.2, 0.3, 0.5), ("a", "b", "c")).axes
    (quiver,) = [part for part in axes.collections if isinstance(part, Quiver)]
    return axes, quiver


def test_arrows_start_where_the_policy_is_and_point_where_it_goes() -> None:
    """The corners are (0, 0), (1, 0), (1/2, root 3/2). From the middle of the first two towards the
    second, and a quarter as strong towards the third, which is half as long; none at the third."""
    axes, quiver = arrows(
        [[-0.4, 0.4], [-0.05, -0.05], [0.0, 0.0]], [[0.5, 0.5], [0.25, 0.25], [0, 0]]
    )
    assert quiver.XY.tolist() == [pytest.approx([0.5, 0]), pytest.approx([0.5, ROOT_3 / 4])]
    assert quiver.U.tolist() == pytest.approx([ROOT_3 / 4, 0])  # as far as the nearest point
    strength = (0.05 * ROOT_3) / 0.4
    assert quiver.V.tolist() == pytest.approx([0, ROOT_3 / 4 * math.sqrt(strength)], abs=1e-12)
    still, ring = axes.lines[1:3]
    assert still.get_xydata()[0].tolist() == pytest.approx([0.5, ROOT_3 / 2])
    assert ring.get_xydata()[0].tolist() == pytest.approx([0.55, 0.25 * ROOT_3])


def test_fields_share_one_scale() -> None:
    weak, strong = (
        pd.DataFrame(
            {"p_0": [0.2, 0.6], "p_1": [0.2, 0.2], "flow_0": [0.01 * k] * 2, "flow_1": 0.0}
        )
        for k in (1, 4)
    )
    figure = plots_close.flow_fields({"w": weak, "s": strong}, (0.2, 0.3, 0.5), ("a", "b", "c"))
    sizes = [
        np.hypot(part.U, part.V)
        for axes in figure.axes
        for part in axes.collections
        if isinstance(part, Quiver)
    ]
    assert (sizes[1] / sizes[0]).tolist() == pytest.approx([2, 2])


def test_paths_are_means_by_step_and_end_in_their_seeds() -> None:
    rows = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "step": [0, 9, 9, 0], "x": [0, 4, 6, 2], "y": [8, 2, 4, 6]}
    )
    (axes,) = plots_close.reward_paths({"": {"a": rows}}, "x", "y", band=(3, 5)).axes
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert drawn[0] == [[1, 7], [5, 3]]
    assert sorted(drawn[1]) == [[4, 2], [6, 4]]
    assert drawn[2:] == [[[1, 7]], [[5, 3]]]


def test_lines_by_reuse_keep_their_order_and_their_guide() -> None:
    lines = {
        "a": bands("setting", [16, 1, 4], [3, 1, 2]),
        "b": bands("setting", [1, 16], [5, 6]),
    }
    (axes,) = plots_close.reuse({"": lines}, "x", "y", guides=[4.0]).axes
    guide, one = axes.lines[:2]
    assert list(guide.get_ydata()) == [4.0, 4.0]
    assert one.get_ydata().tolist() == [1, 2, 3]
    assert one.get_xdata().tolist() == pytest.approx([x / math.sqrt(1.04) for x in (1, 4, 16)])
    assert axes.get_xticks().tolist() == [1, 4, 16]


FAN = pd.DataFrame(
    [(step, q, q + step + 0.1) for step in (0, 1) for q in (0.01, 0.05, 0.5, 0.95, 0.99)],
    columns=["step", "level", "mean"],
)


def test_a_fan_has_its_pairs_and_its_median() -> None:
    (axes,) = plots_close.ratio_fans({"": FAN}, "x", "y", bounds={"": [0.8, 1.2]}).axes
    ends = [part.get_paths()[0].get_extents() for part in axes.collections]
    assert [(box.y0, box.y1) for box in ends] == [
        pytest.approx((0.11, 2.09)),
        pytest.approx((0.15, 2.05)),
    ]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0.6], [1, 1.6]]
    assert [list(line.get_ydata()) for line in axes.lines[1:]] == [[0.8, 0.8], [1.2, 1.2]]


LOSSES = ["unclipped", "clipped", "higher", "dual", "gspo", "cispo", "truncated"]
GRID = pd.DataFrame(
    [(i / 8, j / 8, 0.01 * i, -0.01 * j) for i in range(1, 7) for j in range(1, 8 - i)],
    columns=["p_0", "p_1", "flow_0", "flow_1"],
)
WALK = pd.DataFrame({"seed": 0, "step": [0, 1], "x": [0.1, 0.9], "y": [2.0, 1.0]})
USES = bands("setting", [1.0, 4.0, 16.0], [1.0, 1.2, 0.4])
KLS = bands("level", [0.005, 0.05, 0.5, 2, 5], [20.0, 6.3, 2.0, 1.0, 0.6])
PICTURES: dict[str, Callable[[], Figure]] = {
    "cloud": lambda: plots_close.cloud(
        {"a decoder": WALK.assign(y=[0.01, 400.0])},
        {"exactly": KLS},
        "KL(pi || pi_ref) (nats a response)",
        "standard deviation of k3 / that of k1",
        guides=[1.0],
    ),
    "flow_fields": lambda: plots_close.flow_fields(
        {f"k{i} by token": GRID for i in range(6)}, (0.2, 0.3, 0.5), ("first", "second", "third")
    ),
    "reward_paths": lambda: plots_close.reward_paths(
        {f"used {i} times": dict.fromkeys(LOSSES, WALK) for i in (1, 4, 16)},
        "reward, share of the best possible",
        "entropy (nats a response)",
        band=(0.2, 0.6),
    ),
    "reuse": lambda: plots_close.reuse(
        {"reward": dict.fromkeys(LOSSES, USES), "KL": dict.fromkeys(LOSSES, USES)},
        "updates a batch",
        "reward after training, share of the best possible",
        guides=[1.0],
    ),
    "ratio_fans": lambda: plots_close.ratio_fans(
        dict.fromkeys(LOSSES, FAN), "step", "ratio of a token", bounds={"clipped": [0.8, 1.2]}
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_can_be_read(name: str) -> None:
    check_readable(PICTURES[name]())


def test_an_eighth_line_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 7 lines of one figure, got 8"):
        plots_close.reuse({"": dict.fromkeys([*LOSSES, "more"], USES)}, "x", "y")
