"""Figures of reward models: accuracy by the number of labels, reliability, arms and folds in rows.

As in analysis.plots, every function returns a matplotlib Figure built from tidy frames.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from analysis import load, stats
from analysis.plots import DASHES, GREY, MARKERS, PALETTE, name_above
from analysis.plots_worlds import line_names
from analysis.reward_models import Effect, pooled

CHANCE = 0.5
SHADE, CLAIMED = "#eeeeee", "#d5e8d4"


@dataclass(frozen=True)
class Reference:
    """A slope for each doubling of the labels, drawn through the middle of one panel's line.

    Attributes:
        slope: of the vertical axis, a doubling.
        line: whose mean over the sizes it goes through.
        name: what it is called.
    """

    slope: float
    line: str
    name: str


@dataclass(frozen=True)
class Rows:
    """A panel of rows: the seeds' values by the row's name.

    Attributes:
        x: label of the panel's axis.
        seeds: name -> values; a row that is absent stays empty.
        claimed: name -> from and to of what is claimed of the mean, shaded; infinite for no bound.
        guides: values with a meaning of their own, as dotted lines.
    """

    x: str
    seeds: Mapping[str, Sequence[float]]
    claimed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    guides: Sequence[float] = ()


def effect_rows(x: str, effects: Mapping[str, Effect]) -> Rows:
    """Claims as rows: the effect of each, and where claims.yaml says that it lies."""
    return Rows(
        x,
        {name: effect.seeds.tolist() for name, effect in effects.items()},
        {name: (effect.low, effect.high) for name, effect in effects.items()},
        guides=[0],
    )


def by_labels(
    panels: Mapping[str, tuple[str, Mapping[str, pd.DataFrame]]],
    y: str,
    *,
    near_chance: float,
    references: Mapping[str, Reference] | None = None,
) -> Figure:
    """A share by the number of labels, on a logarithmic axis: means over seeds with 95% intervals.

    A pale dot is a seed. The dotted line is chance, the grey band what counts as near it.

    Args:
        panels: title -> (label of the horizontal axis, name -> rows with columns n, seed, value). A
            name has one colour in all panels; lines stand a little apart where they share an n.
        y: label of the vertical axis.
        near_chance: half the band's height.
        references: title -> a slope to compare with.
    """
    figure = Figure(figsize=(10, 4.0), layout="constrained")
    lines = {title: named for title, (_, named) in panels.items()}
    names = line_names(lines)
    handles = [
        Line2D([], [], color=PALETTE[i], marker=MARKERS[i], ls=DASHES[i], ms=4.5, label=name)
        for i, name in enumerate(names)
    ]
    for axes, (title, (x, named)) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        axes.axhspan(CHANCE - near_chance, CHANCE + near_chance, color=SHADE, lw=0, zorder=0)
        axes.axhline(CHANCE, color=GREY, lw=1.0, ls=":")
        for name, rows in named.items():
            place = names.index(name)
            _sizes(axes, rows, place, 1.05 ** (place - (len(names) - 1) / 2))
        reference = (references or {}).get(title)
        if reference is not None:
            handles.append(_slope(axes, named[reference.line], reference))
        settings = sorted({float(n) for rows in named.values() for n in rows["n"]})
        axes.set(title=title, xlabel=x, xscale="log")
        axes.xaxis.set_major_locator(FixedLocator(settings))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.tick_params(labelleft=True)
    figure.axes[0].set_ylabel(y)
    name_above(figure, handles)
    return figure


def _sizes(axes: Axes, rows: pd.DataFrame, i: int, aside: float) -> None:
    """One line: its seeds, their means by n, and the intervals of the means."""
    axes.plot(rows["n"] * aside, rows["value"], ".", color=PALETTE[i], ms=4, alpha=0.35, mew=0)
    means = rows.groupby("n")["value"].mean()
    at = means.index.to_numpy(dtype=np.float64) * aside
    axes.plot(at, means, color=PALETTE[i], ls=DASHES[i], marker=MARKERS[i], ms=5, lw=1.4)
    for x, (_, own) in zip(at, rows.groupby("n")["value"], strict=True):
        axes.plot([x, x], _interval(own), color=PALETTE[i], lw=1.6)


def _interval(values: "Sequence[float] | pd.Series[float]") -> tuple[float, float]:
    """95% t interval of the mean over seeds; a point where there is one seed."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return float(sample[0]), float(sample[0])
    return stats.interval(sample, load.BAND)


def _slope(axes: Axes, rows: pd.DataFrame, reference: Reference) -> Line2D:
    """The reference over the line's sizes, through its mean at the middle of their logarithms."""
    means = rows.groupby("n")["value"].mean()
    doublings = np.log2(means.index.to_numpy(dtype=np.float64))
    height = means.mean() + reference.slope * (doublings - doublings.mean())
    (line,) = axes.plot(means.index, height, color="black", lw=1.2, ls=(0, (1, 1)))
    line.set_label(reference.name)
    return line


def reliability_panels(panels: Mapping[str, pd.DataFrame], x: str, y: str, share: str) -> Figure:
    """Observed against predicted preferences, and below the share of pairs with each prediction.

    A pale dot is a seed's bin, a full one that of all seeds together, as large as its pairs are
    many. On the dotted diagonal predictions are right.

    Args:
        panels: title -> rows of analysis.reward_models.reliability.
        x, y: labels of the upper panels' axes; x is that of the lower ones too.
        share: label of the lower panels' vertical axis.
    """
    figure = Figure(figsize=(10, 5.0), layout="constrained")
    grid = figure.subplots(
        2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1)
    )
    width = min(np.diff(np.unique(pd.concat(panels.values())["level"])), default=0.1)
    for (upper, lower), (title, bins) in zip(grid.T, panels.items(), strict=True):
        upper.axline((CHANCE, CHANCE), slope=1, color="black", lw=1.0, ls=":")
        whole = pooled(bins)
        for i, (rows, alpha) in enumerate(((bins, 0.3), (whole, 1.0))):
            size = 4 + 200 * rows["share"]
            upper.scatter(
                rows["predicted"], rows["observed"], size, PALETTE[i], alpha=alpha, lw=0, zorder=3
            )
        lower.bar(
            whole["level"], whole["share"], width, align="edge", color=PALETTE[1], alpha=0.6, lw=0
        )
        upper.set(title=title, xlim=(0.49, 1.01), ylim=(-0.03, 1.03))
        upper.tick_params(labelbottom=True, labelleft=True)
        lower.tick_params(labelleft=True)
    grid[0, 0].set_ylabel(y)
    grid[1, 0].set_ylabel(share)
    figure.supxlabel(x, fontsize="medium")
    return figure


def seed_rows(panels: Sequence[Rows], names: Sequence[str]) -> Figure:
    """Rows of seeds as pale dots, their mean with its 95% interval; a panel a quantity.

    Args:
        panels: each with an axis of its own.
        names: the rows from top to bottom.
    """
    figure = Figure(figsize=(10, 1.2 + 0.32 * len(names)), layout="constrained")
    for axes, panel in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        for guide in panel.guides:
            axes.axvline(guide, color=GREY, lw=1.0, ls=":")
        for place, name in enumerate(names):
            values = panel.seeds.get(name, ())
            if len(values):
                _row(axes, values, place)
        ends = [end for bounds in panel.claimed.values() for end in bounds if math.isfinite(end)]
        axes.plot(ends, [0] * len(ends), alpha=0)  # so that the bounds are in the picture
        axes.margins(x=0.06)
        low, high = axes.get_xlim()
        for name, bounds in panel.claimed.items():
            span = [min(max(end, low), high) for end in bounds]
            at = names.index(name)
            axes.fill_betweenx([at - 0.4, at + 0.4], *span, color=CLAIMED, lw=0, zorder=0.5)
        axes.set(xlabel=panel.x, xlim=(low, high), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), names)
        axes.locator_params(axis="x", nbins=7)
    marks: list[Line2D | Patch] = [
        Line2D([], [], color=PALETTE[0], marker=".", ls="", alpha=0.5, label="a seed"),
        Line2D([], [], color=PALETTE[1], marker="o", ms=4.5, label="mean, 95% interval"),
    ]
    if any(panel.claimed for panel in panels):
        marks.append(Patch(color=CLAIMED, label="where the claim says that the mean lies"))
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), frameon=False)
    return figure


def _row(axes: Axes, values: Sequence[float], place: float) -> None:
    dots = np.full(len(values), place + 0.18)
    axes.plot(values, dots, ".", color=PALETTE[0], ms=5, alpha=0.5, mew=0)
    axes.plot(_interval(values), [place - 0.1] * 2, color=PALETTE[1], lw=2.0)
    axes.plot([np.mean(values)], [place - 0.1], "o", color=PALETTE[1], ms=5)


def fold_rows(table: pd.DataFrame, names: tuple[str, str, str], x: tuple[str, str]) -> Figure:
    """Accuracy on each fold with its interval beside trivial rules, and what it has over them.

    Args:
        table: analysis.reward_models.folds; the last row is of all folds.
        names: what the model and the rules of the longer and of the shorter response are called.
        x: labels of the two axes.
    """
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(table)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = np.arange(len(table))
    left.axvline(CHANCE, color=GREY, lw=1.0, ls=":")
    right.axvline(0, color=GREY, lw=1.0, ls=":")
    for axes in (left, right):
        axes.axhline(len(table) - 1.5, color=GREY, lw=0.8)
    left.hlines(places, table["low"], table["high"], color=PALETTE[0], lw=1.8)
    drawn = zip(("accuracy", "longer", "shorter"), names, strict=True)
    handles = []
    for i, (column, name) in enumerate(drawn):
        face = PALETTE[i] if i == 0 else "none"
        (line,) = left.plot(
            table[column], places, MARKERS[i], color=PALETTE[i], mfc=face, ms=6, mew=1.4
        )
        line.set_label(name)
        handles.append(line)
    right.hlines(places, 0, table["over_rules"], color=PALETTE[0], lw=1.8)
    right.plot(table["over_rules"], places, MARKERS[0], color=PALETTE[0], ms=6)
    titles = [
        f"fold {fold}, {pairs:,.0f} pairs" if fold != "pooled" else f"all, {pairs:,.0f} pairs"
        for fold, pairs in zip(table["fold"], table["pairs"], strict=True)
    ]
    left.set_yticks(places, titles)
    left.set(xlabel=x[0], ylim=(len(table) - 0.5, -0.5))
    right.set(xlabel=x[1])
    name_above(figure, handles)
    return figure
