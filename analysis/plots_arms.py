"""Figures that set arms beside each other: bars with intervals, levels, a run beside its source.

As in analysis.plots, every function returns a matplotlib Figure built from tidy frames.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.plots import DASHES, GREY, MARKERS, PALETTE, name_above
from analysis.plots_worlds import label, line_names, panel_grid

SHORT = 1.5  # decades


@dataclass(frozen=True)
class Scales:
    """The axes of a panel: their labels, which are logarithmic ("", "x", "y" or "xy"), and values
    of y and of x with a meaning of their own, which get dotted lines, those of x their number (NaN,
    none)."""

    x: str
    y: str
    log: str = ""
    guides: Sequence[float] = ()
    marks: Sequence[float] = ()


def arm_bars(
    panels: Mapping[str, pd.DataFrame],
    arms: Sequence[str],
    x: str,
    *,
    log: bool = False,
    guides: Sequence[float] = (),
    exact: Mapping[str, pd.DataFrame] | None = None,
) -> Figure:
    """Means with 95% intervals over seeds, one row an arm and one panel a title.

    Args:
        panels: title -> `bands`: columns arm, mean, low, high. An arm may be absent from a panel.
        arms: from top to bottom.
        x: label of the shared axis.
        log: logarithmic axis.
        guides: values with a meaning of their own, as dotted lines.
        exact: for the same titles, what is known without sampling, as black dashes.
    """
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.7 + lines * (0.6 + 0.26 * len(arms))), layout="constrained")
    for axes, (title, rows) in zip(
        panel_grid(figure, len(panels), columns, left=False), panels.items(), strict=True
    ):
        for guide in guides:
            axes.axvline(guide, color=GREY, lw=1.0, ls=":")
        for place, arm in enumerate(arms):
            own = rows.loc[rows["arm"] == arm, ["mean", "low", "high"]].to_numpy(dtype=np.float64)
            for mean, low, high in own.tolist():
                ends = [mean, mean] if math.isnan(low) else [low, high]
                axes.plot(ends, [place, place], "-", color=PALETTE[0], lw=2.2, alpha=0.6)
                axes.plot([mean], [place], MARKERS[0], color=PALETTE[0], ms=5)
            if exact is not None:
                known = exact[title].loc[exact[title]["arm"] == arm, "mean"]
                axes.plot(known, [place] * len(known), "|", color="black", ms=13, mew=1.4)
        axes.set(title=title, ylim=(len(arms) - 0.5, -0.5))
        axes.set_yticks(range(len(arms)), arms)
        axes.margins(x=0.08)
        if log:
            _log_axis(axes)
        else:
            axes.locator_params(axis="x", nbins=5)
    label(figure, x)
    return figure


def _log_axis(axes: Axes) -> None:
    """A logarithmic horizontal axis whose ticks are 1, 10, 100, or 1, 2, 5, 10 on a short one."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    short = math.log10(high / low) < SHORT
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def shared_lines(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    column: Literal["step", "level"],
    x: str,
    y: str,
    *,
    guides: Sequence[float] = (),
) -> Figure:
    """Lines over steps or levels in panels that share their axes; mean and 95% band over seeds.

    Args:
        panels: title -> line's name -> `bands`. A name has one colour in all panels.
        column: what the horizontal axis is; levels are few and get markers.
        x, y: labels of the axes.
        guides: values with a meaning of their own, as dotted lines.
    """
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.6 + (3.0 if lines == 1 else 2.4) * lines), layout="constrained")
    names = line_names(panels)
    marks = MARKERS if column == "level" else [""] * len(MARKERS)
    for axes, (title, named) in zip(
        panel_grid(figure, len(panels), columns), panels.items(), strict=True
    ):
        for guide in guides:
            axes.axhline(guide, color=GREY, lw=1.0, ls=":")
        for name, rows in named.items():
            i, own = names.index(name), rows.sort_values(column)
            colour = PALETTE[i]
            axes.fill_between(own[column], own["low"], own["high"], color=colour, alpha=0.2, lw=0)
            axes.plot(own[column], own["mean"], color=colour, ls=DASHES[i], marker=marks[i], ms=4)
        axes.set_title(title)
    name_above(
        figure,
        [
            Line2D([], [], color=PALETTE[i], marker=marks[i], ls=DASHES[i], ms=4, label=name)
            for i, name in enumerate(names)
        ],
    )
    label(figure, x, y)
    return figure


def own_scales(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    column: Literal["step", "level"],
    scales: Mapping[str, Scales],
    *,
    columns: int = 4,
    sampled: Mapping[str, Mapping[str, pd.DataFrame]] | None = None,
) -> Figure:
    """Lines over steps or levels, each panel with axes of its own; mean and 95% band over seeds.

    A dashed line is drawn over a whole one, so that both are seen where they are the same. On a
    logarithmic axis a band that reaches down to 0 is not drawn.

    Args:
        panels: title -> line's name -> `bands`. A name has one colour in all panels.
        column: what the horizontal axes are; levels are few and get markers.
        scales: title -> its axes.
        columns: panels side by side.
        sampled: for some titles, `bands` of what samples say, as rings; the lines are then bare.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 0.6 + (3.2 if lines == 1 else 2.6) * lines), layout="constrained")
    names = line_names(panels)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    marked = column == "level"
    for axes, (title, named) in zip(grid, panels.items(), strict=False):
        drawn = (sampled or {}).get(title, {})
        for name, rows in named.items():
            i, own = names.index(name), rows.sort_values(column)
            colour, over = PALETTE[i], 2.1 if DASHES[i] != "-" else 2.0
            low = own["low"].where(own["low"] > 0) if "y" in scales[title].log else own["low"]
            axes.fill_between(own[column], low, own["high"], color=colour, alpha=0.2, lw=0)
            mark = MARKERS[i] if marked and not drawn else ""
            axes.plot(
                own[column], own["mean"], color=colour, ls=DASHES[i], marker=mark, ms=4, zorder=over
            )
            if name in drawn:
                dots = drawn[name].sort_values(column)
                axes.plot(dots[column], dots["mean"], MARKERS[i], mfc="none", mec=colour, ms=5)
        scale(axes, scales[title])
        places = sorted({float(at) for rows in named.values() for at in rows[column]})
        if marked and "x" not in scales[title].log and all(at.is_integer() for at in places):
            axes.set_xticks(places)
        axes.set_title(title)
    marks = MARKERS if marked else [""] * len(MARKERS)
    name_above(
        figure,
        [
            Line2D([], [], color=PALETTE[i], marker=marks[i], ls=DASHES[i], ms=4, label=name)
            for i, name in enumerate(names)
        ],
    )
    return figure


def scale(axes: Axes, scales: Scales) -> None:
    """Labels, logarithmic axes with plain numbers, and dotted lines."""
    axes.set(xlabel=scales.x, ylabel=scales.y)
    if "x" in scales.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    if "y" in scales.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    for guide in scales.guides:
        axes.axhline(guide, color=GREY, lw=1.0, ls=":")
    for mark in filter(math.isfinite, scales.marks):
        axes.axvline(mark, color=GREY, lw=1.0, ls=":")
        axes.annotate(
            f"{mark:.3f}",
            xy=(mark, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color="#505050",
        )


def printed_curves(
    panels: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], x: str, y: str
) -> Figure:
    """One run a panel as a line, and the numbers that its source prints as rings.

    Args:
        panels: title -> (run, printed), each with columns step, value.
        x, y: labels of the axes.
    """
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, (title, (run, printed)) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        axes.plot(run["step"], run["value"], color=PALETTE[0], lw=1.4)
        axes.plot(
            printed["step"], printed["value"], "o", mfc="none", mec=PALETTE[1], ms=10, mew=1.8
        )
        axes.set_title(title)
    handles = [
        Line2D([], [], color=PALETTE[0], label="this run"),
        Line2D([], [], marker="o", mfc="none", mec=PALETTE[1], ls="", ms=9, label="as printed"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    label(figure, x, y)
    return figure


def one_against_other(panels: Mapping[str, Mapping[str, pd.DataFrame]], x: str, y: str) -> Figure:
    """Two quantities against each other over training: a line an arm, of means over seeds.

    A dot is an evaluation, a large one the last, with 95% intervals over seeds of both. On the
    dotted diagonal both are equal.

    Args:
        panels: title -> arm -> frame with columns step, mean, low, high of x and, as mean_y, low_y
            and high_y, of y.
        x, y: labels of the axes.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    names = line_names(panels)
    for axes, (title, lines) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        axes.axline((0, 0), slope=1, color=GREY, lw=1.0, ls=":")
        for name, rows in lines.items():
            colour, own = PALETTE[names.index(name)], rows.sort_values("step")
            axes.plot(own["mean"], own["mean_y"], ".-", color=colour, lw=1.2, ms=4)
            end = own.iloc[-1]
            mark = MARKERS[names.index(name)]
            axes.plot(end["mean"], end["mean_y"], mark, color=colour, ms=8, mec="white")
            axes.plot([end["low"], end["high"]], [end["mean_y"]] * 2, color=colour, lw=1)
            axes.plot([end["mean"]] * 2, [end["low_y"], end["high_y"]], color=colour, lw=1)
        axes.set_title(title)
    handles = [
        Line2D([], [], color=PALETTE[i], marker=MARKERS[i], ms=6, label=name)
        for i, name in enumerate(names)
    ]
    name_above(figure, handles)
    label(figure, x, y)
    return figure
