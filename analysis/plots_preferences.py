"""Figures of policies that learn from preferences: reward against KL, contrasts, decoders.

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
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from analysis.plots import DASHES, GREY, MARKERS, PALETTE, name_above
from analysis.plots_arms import Scales
from analysis.plots_worlds import label, line_names, panel_grid

KLS = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LIMIT = "exact frontier"


def _handles(names: Sequence[str]) -> list[Line2D]:
    return [
        Line2D([], [], color=PALETTE[i], marker=MARKERS[i], ls=DASHES[i], ms=4.5, label=name)
        for i, name in enumerate(names)
    ]


def _root(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.clip(x, 0.0, None))


def root_axis(axes: Axes, most: float) -> None:
    """A horizontal axis of KLs from 0 to `most` nats, even in their root: small ones are many, and
    the frontier is nearly straight there."""
    axes.set_xscale("function", functions=(_root, np.square))
    axes.set_xlim(0, most)
    axes.xaxis.set_major_locator(FixedLocator([kl for kl in KLS if kl <= most]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def frontiers(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    y: str,
    *,
    limits: Mapping[str, pd.DataFrame] | None = None,
    columns: int = 2,
    reference: float | None = 0.0,
) -> Figure:
    """A quantity against the KL from the reference: a line a method, a point a level of its sweep.

    Points are means over seeds, with 95% intervals of both. The limit is a grey line with its band.

    Args:
        panels: title -> method -> analysis.preferences.sweep.
        y: label of the vertical axes.
        limits: title -> analysis.preferences.frontier.
        columns: panels side by side.
        reference: height of a dotted line, where the reference is; None draws none.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.7 + 3.1 * lines), layout="constrained")
    names = line_names(panels)
    every = [rows for methods in panels.values() for rows in methods.values()]
    most = 1.06 * max(float(rows["mean"].max()) for rows in every)
    for axes, (title, methods) in zip(
        panel_grid(figure, len(panels), columns), panels.items(), strict=True
    ):
        if reference is not None:
            axes.axhline(reference, color=GREY, lw=1.0, ls=":")
        if limits is not None:
            limit = limits[title]
            band: dict[str, Any] = {"color": GREY, "alpha": 0.25, "lw": 0, "zorder": 1}
            axes.fill_between(limit["level"], limit["low"], limit["high"], **band)
            axes.plot(limit["level"], limit["mean"], color=GREY, lw=2.6, zorder=1.5)
        for name, rows in methods.items():
            i = names.index(name)
            axes.plot(rows["mean"], rows["mean_y"], color=PALETTE[i], ls=DASHES[i], lw=1.2)
            axes.errorbar(
                rows["mean"], rows["mean_y"], xerr=_arms(rows, ""), yerr=_arms(rows, "_y"),
                fmt=MARKERS[i], color=PALETTE[i], ms=4, elinewidth=0.6, alpha=0.9,
            )  # fmt: skip
        axes.set_title(title)
        root_axis(axes, most)
    handles = _handles(names)
    if limits is not None:
        handles.append(Line2D([], [], color=GREY, lw=2.6, label=LIMIT))
    name_above(figure, handles)
    label(figure, "KL(policy || reference) (nats a response, even in its root)", y)
    return figure


def _arms(rows: pd.DataFrame, end: str) -> NDArray[np.float64]:
    """Lengths of the two arms of an interval; none where there is none."""
    mean, low, high = (rows[column + end] for column in ("mean", "low", "high"))
    known = np.stack([mean - low.fillna(mean), high.fillna(mean) - mean])
    return np.abs(known.astype(np.float64))


def forest(
    panels: Mapping[str, pd.DataFrame],
    groups: Mapping[str, Sequence[str]],
    x: Mapping[str, str],
) -> Figure:
    """Differences with 95% intervals over seeds, a row each, in groups with a heading and a colour.

    Args:
        panels: title -> `bands` with columns arm, mean, low, high (analysis.preferences.contrasts).
        groups: heading -> its rows, from top to bottom, "heading: row" in the column arm; a row may
            be absent from a panel.
        x: label of each panel's horizontal axis.
    """
    count = sum(1 + len(group) for group in groups.values())
    figure = Figure(figsize=(10, 0.8 + 0.24 * count), layout="constrained")
    rows = [(i, row) for i, group in enumerate(groups.values()) for row in (None, *group)]
    headings = list(groups)
    grid = list(figure.subplots(1, len(panels), sharey=True, squeeze=False).flat)
    for axes, (title, bands) in zip(grid, panels.items(), strict=True):
        axes.axvline(0, color=GREY, lw=1.0, ls=":")
        for place, (i, row) in enumerate(rows):
            own = bands.loc[bands["arm"] == f"{headings[i]}: {row}", ["mean", "low", "high"]]
            for mean, low, high in own.to_numpy(dtype=np.float64).tolist():
                ends = [mean, mean] if math.isnan(low) else [low, high]
                axes.plot(ends, [place, place], "-", color=PALETTE[i], lw=2.2, alpha=0.6)
                axes.plot([mean], [place], MARKERS[i], color=PALETTE[i], ms=5)
        axes.set(title=title, xlabel=x[title], ylim=(len(rows) - 0.5, -0.7))
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=6 if len(panels) < 3 else 3)
    grid[0].set_yticks(range(len(rows)), [row or headings[i] for i, row in rows])
    for (i, row), text in zip(rows, grid[0].get_yticklabels(), strict=True):
        if row is None:
            text.set(weight="bold", color=PALETTE[i])
    return figure


def decoder_paths(
    panels: Mapping[str, Mapping[str, pd.DataFrame]], scales: Mapping[str, Scales]
) -> Figure:
    """Two quantities against each other over training, each panel with axes of its own.

    A line is an arm's mean over seeds by step, a small mark where a seed ends, a large one where
    their mean does. Arms of one method have one colour.

    Args:
        panels: title -> method -> rows with columns arm, seed, step, x, y
            (analysis.preferences.decoder_paths).
        scales: title -> its axes.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    names = line_names(panels)
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for guide in scales[title].guides:
            axes.axhline(guide, color=GREY, lw=1.0, ls=":")
        for name, arms in lines.items():
            i = names.index(name)
            for _, rows in arms.groupby("arm", sort=False):
                mean = rows.groupby("step")[["x", "y"]].mean()
                ends = rows.sort_values("step").groupby("seed").tail(1)
                mark: dict[str, Any] = {"marker": MARKERS[i], "color": PALETTE[i], "ls": ""}
                axes.plot(mean["x"], mean["y"], color=PALETTE[i], ls=DASHES[i], lw=1.2)
                axes.plot(ends["x"], ends["y"], **mark, ms=4, alpha=0.5, mew=0)
                axes.plot([ends["x"].mean()], [ends["y"].mean()], **mark, ms=8, mec="white")
        axes.set(title=title, xlabel=scales[title].x, ylabel=scales[title].y)
    name_above(figure, _handles(names))
    return figure
