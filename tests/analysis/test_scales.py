"""Panels with axes of their own, with numbers by hand."""

import math

import numpy as np
import pandas as pd

from analysis import plots_arms
from analysis.plots_arms import Scales
from tests.analysis.pictures import check_readable


def bands(column: str, places: list[float], means: list[float]) -> pd.DataFrame:
    mean = np.array(means)
    return pd.DataFrame({column: places, "mean": mean, "low": mean - 0.1, "high": mean + 0.1})


def test_exact_lines_are_bare_where_samples_are_rings() -> None:
    lines = {"k1": bands("level", [1, 0.1], [1, 10]), "k2": bands("level", [0.1, 1], [3, 2])}
    scales = {
        "bias": Scales("KL", "share", guides=[0.0]),
        "spread": Scales("KL", "share", log="xy", marks=[0.63, math.nan]),
    }
    sampled = {"bias": {"k2": bands("level", [0.1, 1], [4, 5])}}
    panels = {"bias": lines, "spread": lines}
    bias, spread = plots_arms.own_scales(panels, "level", scales, sampled=sampled).axes
    one, two, rings, guide = bias.lines
    assert [line.get_marker() for line in (one, two, rings)] == ["", "", "s"]
    assert one.get_xydata().tolist() == [[0.1, 10], [1, 1]]
    assert rings.get_xydata().tolist() == [[0.1, 4], [1, 5]]
    assert rings.get_markerfacecolor() == "none"
    assert two.get_zorder() > one.get_zorder()  # dashed, and so over a whole one
    assert list(guide.get_ydata()) == [0, 0]
    assert [line.get_marker() for line in spread.lines[:2]] == ["o", "s"]
    assert list(spread.lines[2].get_xdata()) == [0.63, 0.63]
    assert [text.get_text() for text in spread.texts] == ["0.630"]
    assert (bias.get_xscale(), spread.get_xscale(), spread.get_yscale()) == ("linear", "log", "log")


def test_a_band_that_reaches_0_is_left_out_of_a_logarithmic_axis() -> None:
    rows = bands("step", [0, 1, 2], [1.0, 1.0, 0.05])
    drawn = []
    for log in ("", "y"):
        (axes,) = plots_arms.own_scales({"": {"a": rows}}, "step", {"": Scales("", "", log)}).axes
        drawn.append([path.get_extents().x1 for path in axes.collections[0].get_paths()])
    assert drawn == [[2], [1]]


def test_whole_levels_have_whole_ticks() -> None:
    rows = bands("level", [1, 3, 2], [1, 1, 1])
    (axes,) = plots_arms.own_scales({"": {"a": rows}}, "level", {"": Scales("", "")}).axes
    assert axes.get_xticks().tolist() == [1, 2, 3]


def test_long_names_are_readable() -> None:
    names = [f"weighted k{i} by token in the loss" for i in range(7)]
    lines = dict.fromkeys(names, bands("level", [0.005, 0.05, 0.5, 2, 5], [20, 6.3, 2, 1, 0.6]))
    distance = "KL(pi || pi_ref) (nats a response)"
    scales = {
        "bias": Scales(distance, "bias / KL", log="x"),
        "spread": Scales(distance, "standard deviation / KL", log="xy", marks=[0.63]),
        "noise": Scales(distance, "noise", guides=[1.0]),
    }
    check_readable(plots_arms.own_scales(dict.fromkeys(scales, lines), "level", scales, columns=2))
