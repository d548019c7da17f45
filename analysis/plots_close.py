"""Figures of policies that stay close: gradient fields, paths, reuse of samples, spreads of ratios.

As in analysis.plots, every function returns a matplotlib Figure built from tidy frames.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from analysis.plots import DASHES, GREY, MARKERS, PALETTE, name_above, points_at
from analysis.plots_worlds import label, line_names, panel_grid

ROOT_3 = math.sqrt(3)


def _handles(names: Sequence[str]) -> list[Line2D]:
    return [
        Line2D([], [], color=PALETTE[i], marker=MARKERS[i], ls=DASHES[i], ms=4.5, label=name)
        for i, name in enumerate(names)
    ]


def flow_fields(
    panels: Mapping[str, pd.DataFrame],
    reference: tuple[float, float, float],
    corners: tuple[str, str, str],
    *,
    columns: int = 4,
) -> Figure:
    """Where a gradient takes the probabilities of three actions, an arrow a point of the triangle.

    An arrow is as long as the square root of the flow, on one scale for all panels, so that weak
    ones are seen; a point without flow is a dot. A ring is the reference.

    Args:
        panels: title -> rows with columns p_0, p_1, flow_0, flow_1.
        reference: the policy that is to be stayed close to.
        corners: names of the three actions.
        columns: panels side by side.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.4 + 2.9 * lines * 3 / columns), layout="constrained")
    arrows = {title: _arrows(rows) for title, rows in panels.items()}
    longest = max(float(np.linalg.norm(flow, axis=1).max()) for _, flow in arrows.values())
    for axes, (title, (at, flow)) in zip(
        panel_grid(figure, len(panels), columns), arrows.items(), strict=True
    ):
        size = np.linalg.norm(flow, axis=1, keepdims=True)
        moves = (size > 1e-9 * longest)[:, 0]
        step = flow[moves] / np.sqrt(size[moves] * longest) * _spacing(at)
        _triangle(axes, corners)
        axes.quiver(
            *at[moves].T, *step.T, angles="xy", scale_units="xy", scale=1, color=PALETTE[0],
            width=0.006, headwidth=4, headlength=4.5, headaxislength=4,
        )  # fmt: skip
        axes.plot(*at[~moves].T, ".", color=PALETTE[0], ms=3)
        ring = _on_triangle(np.array([reference]))
        axes.plot(*ring.T, "o", mfc="none", mec=PALETTE[1], ms=9, mew=1.8)
        axes.set_title(title)
    return figure


def _on_triangle(p_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 2) of an equilateral triangle whose corners are (0, 0), (1, 0), (1/2, root 3/2);
    as a linear map it takes flows to flows."""
    return np.stack([p_N3[:, 1] + p_N3[:, 2] / 2, p_N3[:, 2] * ROOT_3 / 2], axis=1)


def _arrows(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the arrows start and what they show, by the two thirds that are logged."""
    p = rows[["p_0", "p_1"]].to_numpy(dtype=np.float64)
    flow = rows[["flow_0", "flow_1"]].to_numpy(dtype=np.float64)
    third, gone = 1 - p.sum(axis=1, keepdims=True), -flow.sum(axis=1, keepdims=True)
    return _on_triangle(np.hstack([p, third])), _on_triangle(np.hstack([flow, gone]))


def _spacing(at: NDArray[np.float64]) -> float:
    """The least distance between two points."""
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    return float(apart[apart > 0].min()) if len(at) > 1 else 0.1


def _triangle(axes: Axes, corners: tuple[str, str, str]) -> None:
    axes.plot([0, 1, 0.5, 0], [0, 0, ROOT_3 / 2, 0], color="black", lw=0.8)
    places = (
        (0, -0.02, "left", "top"),
        (1, -0.02, "right", "top"),
        (0.5, 0.88, "center", "bottom"),
    )
    for name, (x, y, side, over) in zip(corners, places, strict=True):
        axes.text(x, y, name, ha=side, va=over)
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.12, 1.0), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def reward_paths(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    x: str,
    y: str,
    *,
    band: tuple[float, float] | None = None,
) -> Figure:
    """Two quantities against each other over training: a line an arm, of means over seeds by step.

    A ring is the start, a small dot where a seed ends, a large one their mean.

    Args:
        panels: title -> arm -> rows with columns seed, step, x, y (analysis.close.pairs).
        x, y: labels of the axes.
        band: from and to on x, shaded: where the arms are compared.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    names = line_names(panels)
    for axes, (title, lines) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        if band is not None:
            axes.axvspan(*band, color="#eeeeee", lw=0, zorder=0)
        for name, rows in lines.items():
            i = names.index(name)
            mean = rows.groupby("step")[["x", "y"]].mean()
            ends = rows.sort_values("step").groupby("seed").tail(1)
            axes.plot(mean["x"], mean["y"], color=PALETTE[i], ls=DASHES[i], lw=1.4)
            axes.plot(ends["x"], ends["y"], ".", color=PALETTE[i], ms=4, alpha=0.5, mew=0)
            start, end = mean.iloc[0], mean.iloc[-1]
            axes.plot(start["x"], start["y"], "o", mfc="white", mec="black", ms=5)
            mark: dict[str, Any] = {"color": PALETTE[i], "ms": 8, "mec": "white"}
            axes.plot(end["x"], end["y"], MARKERS[i], **mark)
        axes.set_title(title)
    name_above(figure, _handles(names))
    label(figure, x, y)
    return figure


def reuse(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    x: str,
    y: str,
    *,
    guides: Sequence[float] = (),
) -> Figure:
    """A quantity by how often a batch is used: a line an arm, means with 95% intervals over seeds.

    Args:
        panels: title -> line's name -> `bands` with a column setting (analysis.close.by_setting),
            above 0; the axis is logarithmic, and lines stand a little apart on it.
        x, y: labels of the axes.
        guides: values with a meaning of their own, as dotted lines.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    names = line_names(panels)
    every = [rows["setting"] for lines in panels.values() for rows in lines.values()]
    settings = sorted({float(setting) for column in every for setting in column})
    for axes, (title, lines) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        for guide in guides:
            axes.axhline(guide, color=GREY, lw=1.0, ls=":")
        for name, rows in lines.items():
            i, own = names.index(name), rows.sort_values("setting")
            at = own["setting"] * 1.04 ** (i - (len(names) - 1) / 2)
            axes.plot(at, own["mean"], color=PALETTE[i], ls=DASHES[i], lw=1.2)
            points_at(axes, at, own, i)
        axes.set(title=title, xscale="log")
        axes.xaxis.set_major_locator(FixedLocator(settings))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
    name_above(figure, _handles(names))
    label(figure, x, y)
    return figure


def ratio_fans(
    panels: Mapping[str, pd.DataFrame],
    x: str,
    y: str,
    *,
    bounds: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Quantiles over steps, the outer ones paler, the median as a line; logarithmic height.

    Args:
        panels: title -> `bands` by step and level, levels being quantiles q that come in pairs
            q, 1 - q, and .5; means over seeds are drawn.
        x, y: labels of the axes.
        bounds: title -> values as dotted lines, as those of a clip.
    """
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.5 + (3.0 if lines == 1 else 2.3) * lines), layout="constrained")
    for axes, (title, rows) in zip(
        panel_grid(figure, len(panels), columns), panels.items(), strict=True
    ):
        wide = rows.pivot_table(index="step", columns="level", values="mean")
        levels = sorted(float(q) for q in wide.columns)
        low = [q for q in levels if q < 0.5]
        for depth, (q, other) in enumerate(zip(low, reversed(levels), strict=False)):
            fan: dict[str, Any] = {"color": PALETTE[0], "alpha": 0.18 + 0.17 * depth, "lw": 0}
            axes.fill_between(wide.index, wide[q], wide[other], **fan)
        if 0.5 in levels:
            axes.plot(wide.index, wide[0.5], color=PALETTE[0], lw=1.6)
        for bound in (bounds or {}).get(title, ()):
            axes.axhline(bound, color=PALETTE[1], lw=1.0, ls=":")
        axes.set(title=title, yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    label(figure, x, y)
    return figure


def cloud(
    points: Mapping[str, pd.DataFrame],
    lines: Mapping[str, pd.DataFrame],
    x: str,
    y: str,
    *,
    guides: Sequence[float] = (),
) -> Figure:
    """Measurements as dots, one each, and what is known of the same two quantities as lines.

    Both axes are logarithmic: what is not above 0 on both is left out.

    Args:
        points: name -> rows with columns x, y (analysis.close.pairs).
        lines: name -> `bands` by level.
        x, y: labels of the axes.
        guides: values of y with a meaning of their own, as dotted lines.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    handles = []
    for guide in guides:
        axes.axhline(guide, color=GREY, lw=1.0, ls=":")
    for i, (name, rows) in enumerate(points.items()):
        seen = rows[(rows["x"] > 0) & (rows["y"] > 0)]
        dot: dict[str, Any] = {"marker": MARKERS[i], "color": PALETTE[i], "ls": "", "mew": 0}
        # As a picture inside the SVG, where thousands of shapes would be slow.
        axes.plot(seen["x"], seen["y"], **dot, ms=3, alpha=0.35, rasterized=True)
        handles.append(Line2D([], [], **dot, ms=5, label=name))
    for i, (name, rows) in enumerate(lines.items(), start=len(points)):
        own = rows.sort_values("level")
        style: dict[str, Any] = {"color": PALETTE[i], "marker": MARKERS[i], "ms": 4.5, "lw": 1.8}
        axes.fill_between(own["level"], own["low"], own["high"], color=PALETTE[i], alpha=0.2, lw=0)
        axes.plot(own["level"], own["mean"], **style)
        handles.append(Line2D([], [], **style, label=name))
    axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    name_above(figure, handles)
    return figure
