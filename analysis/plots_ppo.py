"""Figures of PPO's parts: curves with their seeds, effects by part, gain and signal by length.

As in analysis.plots, every function returns a matplotlib Figure built from tidy frames.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from analysis.load import bands
from analysis.plots import DASHES, GREY, MARKERS, PALETTE, name_above, points_at
from analysis.plots_arms import Scales, scale
from analysis.plots_worlds import line_names

SEED, BAR = 0.35, 0.13  # how opaque a seed's line is; half the room between a row's dots and bar


def seed_curves(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    scales: Mapping[str, Scales],
    *,
    columns: int = 3,
    shared: bool = False,
) -> Figure:
    """Means over seeds as thick lines, every seed as a thin one.

    Args:
        panels: title -> line's name -> rows with columns seed, step, value. A name has one colour
            in all panels.
        scales: title -> its axes.
        columns: panels side by side.
        shared: one vertical range for all panels.
    """
    names = line_names(panels)
    figure, grid = _grid(len(panels), columns, shared=shared)
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        for name, rows in lines.items():
            i = names.index(name)
            for _, own in rows.sort_values("step").groupby("seed"):
                axes.plot(own["step"], own["value"], color=PALETTE[i], lw=0.7, alpha=SEED)
        for name, rows in lines.items():
            i, mean = names.index(name), rows.groupby("step")["value"].mean()
            axes.plot(mean.index, mean, color=PALETTE[i], ls=DASHES[i], lw=2.0)
        scale(axes, scales[title])
        axes.set_title(title)
    name_above(figure, _handles(names, marked=False))
    return figure


def even_levels(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    scales: Mapping[str, Scales],
    *,
    columns: int = 4,
) -> Figure:
    """Lines over levels that stand evenly, whatever lies between them; 95% intervals over seeds.

    Args:
        panels: title -> line's name -> `bands` by level. A name has one colour in all panels.
        scales: title -> its axes, the horizontal one as it is.
        columns: panels side by side.
    """
    names = line_names(panels)
    figure, grid = _grid(len(panels), columns, shared=False)
    for axes, (title, lines) in zip(grid, panels.items(), strict=True):
        levels = sorted({float(at) for rows in lines.values() for at in rows["level"]})
        for name, rows in lines.items():
            i, own = names.index(name), rows.sort_values("level")
            at = pd.Series([levels.index(level) for level in own["level"]], dtype="float64")
            at += 0.05 * (i - (len(names) - 1) / 2)
            axes.plot(at, own["mean"], color=PALETTE[i], ls=DASHES[i], lw=1.2)
            points_at(axes, at, own.reset_index(drop=True), i)
        scale(axes, scales[title])
        if "y" in scales[title].log:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.set_xticks(range(len(levels)), [f"{level:g}".lstrip("0") or "0" for level in levels])
        axes.set_title(title)
    name_above(figure, _handles(names, marked=True))
    return figure


def gain_beside_signal(
    gain: Mapping[str, pd.DataFrame],
    signal: Mapping[str, pd.DataFrame],
    x: str,
    y: tuple[str, str],
) -> Figure:
    """Gains by length with 95% intervals over seeds; beside them what is known, as lines.

    Args:
        gain: name -> `bands` by level, a length; names stand a little apart.
        signal: name -> frame with columns level and mean; markers where there is a gain.
        x: label of both horizontal axes, which are logarithmic.
        y: labels of the two vertical axes.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    lengths = sorted({float(at) for rows in gain.values() for at in rows["level"]})
    left.axhline(0, color=GREY, lw=1.0, ls=":")
    for i, (name, rows) in enumerate(gain.items()):
        own = rows.sort_values("level")
        at = own["level"] * 1.06 ** (i - (len(gain) - 1) / 2)
        left.plot(at, own["mean"], color=PALETTE[i], ls=DASHES[i], lw=1.0)
        points_at(left, at, own, i)
        left.plot([], [], color=PALETTE[i], marker=MARKERS[i], ls=DASHES[i], ms=4.5, label=name)
    for i, (name, rows) in enumerate(signal.items(), start=len(gain)):
        own = rows.sort_values("level")
        kept = own[own["level"].isin(lengths)]
        style = {"color": PALETTE[i], "ls": DASHES[i]}
        right.plot(own["level"], own["mean"], lw=1.6, **style)
        right.plot(kept["level"], kept["mean"], MARKERS[i], color=PALETTE[i], ms=5)
        right.plot([], [], marker=MARKERS[i], ms=5, label=name, **style)
    for axes, label in ((left, y[0]), (right, y[1])):
        axes.set(xlabel=x, ylabel=label, xscale="log")
        axes.xaxis.set_major_locator(FixedLocator(lengths))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(frameon=False, labelcolor="linecolor")
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    return figure


def run_dots(
    panels: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    *,
    columns: int = 4,
    guides: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """One row a name: every seed as a small dot, their mean with its 95% interval below it.

    Args:
        panels: label of the horizontal axis -> rows with columns arm, seed, step, level, value. A
            name may be absent from a panel.
        names: from top to bottom.
        columns: panels side by side; each has an axis of its own.
        guides: for each panel, values with a meaning of their own, as dotted lines.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.5 + lines * (0.6 + 0.33 * len(names))), layout="constrained")
    grid = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, (label, rows) in zip(grid, panels.items(), strict=False):
        for guide in (guides or {}).get(label, ()):
            axes.axvline(guide, color=GREY, lw=1.0, ls=":")
        for place, name in enumerate(names):
            own = rows.loc[rows["arm"] == name]
            over = np.full(len(own), place - BAR)
            axes.plot(own["value"], over, "o", color=GREY, ms=3, alpha=0.6, mew=0)
            band = bands(own)
            for mean, low, high in band[["mean", "low", "high"]].to_numpy():
                ends = [mean, mean] if math.isnan(low) else [low, high]
                axes.plot(ends, [place + BAR] * 2, "-", color=PALETTE[0], lw=2.2, alpha=0.6)
                axes.plot([mean], [place + BAR], MARKERS[0], color=PALETTE[0], ms=5)
        axes.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), names)
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=4)
    dot = Line2D([], [], color=GREY, marker="o", ls="", ms=3, label="a seed")
    mean = Line2D([], [], color=PALETTE[0], marker=MARKERS[0], ms=5, label="mean, 95% interval")
    figure.legend(handles=[dot, mean], loc="outside upper center", ncols=2, frameon=False)
    return figure


def _grid(panels: int, columns: int, *, shared: bool) -> tuple[Figure, list[Axes]]:
    """A figure with an axes a panel, each with its numbers."""
    columns = min(columns, panels)
    lines = math.ceil(panels / columns)
    figure = Figure(figsize=(10, 0.6 + (3.2 if lines == 1 else 2.6) * lines), layout="constrained")
    grid = list(figure.subplots(lines, columns, sharey=shared, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.remove()
    for axes in grid[:panels]:
        axes.tick_params(labelleft=True)
    return figure, grid[:panels]


def _handles(names: Sequence[str], *, marked: bool) -> list[Line2D]:
    marks = MARKERS if marked else [""] * len(MARKERS)
    return [
        Line2D([], [], color=PALETTE[i], marker=marks[i], ls=DASHES[i], ms=4.5, lw=1.8, label=name)
        for i, name in enumerate(names)
    ]
