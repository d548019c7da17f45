"""Figures for the notebooks: colour-blind safe, lines named where they end, units on every axis.

Every function returns a matplotlib Figure built from tidy frames of analysis.load; `save` writes
it as PNG and SVG, byte for byte the same on every run.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

FIGURES = Path(__file__).resolve().parent / "figures"
# Okabe and Ito's palette without yellow, which is too pale for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), "-.", "-", "-", "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8a8a8a"
WIDTH, HANDLE = 150, 8  # letters in a row of names above the panels, and in a line's picture there

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.06,
        # Element names in an SVG come from this salt and not from chance.
        "svg.hashsalt": "rl",
    }
)


@dataclass(frozen=True)
class Saved:
    """A figure on disk. As a cell's last value, it shows itself in the notebook."""

    png: Path

    def _repr_png_(self) -> bytes:
        return self.png.read_bytes()

    def __repr__(self) -> str:
        return f"{self.png.parent.name}/{self.png.name}"


def save(figure: Figure, number: int, name: str) -> Saved:
    """Write exp_NN/name.png and .svg under analysis/figures, or under RL_FIGURES where set."""
    folder = Path(os.environ.get("RL_FIGURES", FIGURES)) / f"exp_{number:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
    return Saved(folder / f"{name}.png")


def _band(axes: Axes, rows: pd.DataFrame, i: int) -> None:
    """Mean and band of the i-th line of a panel; dashes show a line that lies on another."""
    rows = rows.sort_values("step")
    axes.fill_between(rows["step"], rows["low"], rows["high"], color=PALETTE[i], alpha=0.2, lw=0)
    axes.plot(rows["step"], rows["mean"], color=PALETTE[i], ls=DASHES[i], lw=1.8)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write each line's name beside its end (text, x, y, colour), moved apart where they collide.

    Call it last: it fixes the range of the axes, in whose height the distances are.
    """
    axes.set_ylim(axes.get_ylim())
    heights = [
        axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1]
        for _, x, y, _ in ends
    ]
    order = sorted(range(len(ends)), key=heights.__getitem__)
    placed = dict(zip(order, spread([heights[i] for i in order], 0.08), strict=True))
    for i, (text, x, y, colour) in enumerate(ends):
        axes.annotate(
            text,
            xy=(x, y),
            xycoords="data",
            xytext=(1.02, placed[i]),
            textcoords="axes fraction",
            color=colour,
            va="center",
            annotation_clip=False,
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Ascending positions moved as little as a sweep allows, so that neighbours are `gap` apart.

    Those in each other's way are set around their common middle.
    """
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _top(groups[-2], gap) + gap > _bottom(groups[-1], gap):
            last = groups.pop()
            groups[-1] = groups[-1] + last
    return [_bottom(group, gap) + i * gap for group in groups for i in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)


def _grid(panels: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels that share both axes; places without a panel stay empty."""
    lines = math.ceil(panels / columns)
    figure = Figure(figsize=(width, height * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    flat = list(grid.flat)
    for axes in flat[panels:]:
        axes.remove()
    for axes in flat[:panels]:
        axes.tick_params(labelbottom=True)
    return figure, flat[:panels]


def learning_curves(
    bands: pd.DataFrame,
    arms: Sequence[str],
    reference: str,
    y: str,
    *,
    columns: int = 4,
    x: str = "optimiser step",
) -> Figure:
    """One panel an arm, the reference arm in grey behind it; mean and 95% band over seeds."""
    figure, panels = _grid(len(arms), columns, 10, 2.1)
    grey = bands[bands["arm"] == reference].sort_values("step")
    for axes, arm in zip(panels, arms, strict=True):
        if arm != reference:
            axes.plot(grey["step"], grey["mean"], color=GREY, lw=1.4)
        _band(axes, bands[bands["arm"] == arm], 0)
        axes.set_title(arm, color=PALETTE[0])
    figure.suptitle(
        f"blue: the arm of the title, with its 95% band over seeds    grey: {reference}"
    )
    figure.supxlabel(x)
    figure.supylabel(y)
    return figure


def level_panels(bands: pd.DataFrame, arms: Sequence[str], level: str, y: str) -> Figure:
    """One panel a level, one line an arm; mean and 95% band over seeds."""
    levels = sorted(bands["level"].unique())
    columns = min(4, len(levels))
    figure, panels = _grid(len(levels), columns, 10, 2.3 if len(levels) > columns else 3.2)
    for axes, value in zip(panels, levels, strict=True):
        for i, arm in enumerate(arms):
            _band(axes, bands[(bands["arm"] == arm) & (bands["level"] == value)], i)
        axes.set_title(f"{value:g} {level}")
    handles = [
        Line2D([], [], color=PALETTE[i], ls=DASHES[i], label=arm) for i, arm in enumerate(arms)
    ]
    name_above(figure, handles)
    figure.supxlabel("optimiser step")
    figure.supylabel(y)
    return figure


def metric_panels(
    panels: Mapping[str, pd.DataFrame],
    arms: Sequence[str],
    y: Mapping[str, str],
    *,
    x: str = "optimiser step",
    columns: int = 2,
) -> Figure:
    """One panel a metric, each with its own axis, one line an arm; mean and 95% band over seeds.

    Args:
        panels: title -> bands over steps.
        arms: a line each, the same in every panel.
        y: label of each panel's vertical axis.
        x: label of the horizontal ones.
        columns: panels side by side.
    """
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10, 3.0 * lines), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, (title, bands) in zip(grid, panels.items(), strict=False):
        for i, arm in enumerate(arms):
            _band(axes, bands[bands["arm"] == arm], i)
        axes.set(title=title, xlabel=x, ylabel=y[title])
    handles = [
        Line2D([], [], color=PALETTE[i], ls=DASHES[i], label=arm) for i, arm in enumerate(arms)
    ]
    name_above(figure, handles)
    return figure


def name_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Names in their colours above the panels, where panels repeat the same lines."""
    letters = [len(str(handle.get_label())) + HANDLE for handle in handles]
    in_a_row = len(letters) if sum(letters) <= WIDTH else max(1, WIDTH // max(letters))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=in_a_row,
        frameon=False,
        labelcolor="linecolor",
    )


def curves(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    y: Mapping[str, str],
    guides: Mapping[str, Sequence[float]],
    *,
    x: str = "optimiser step",
    log: bool = False,
) -> Figure:
    """Panels side by side, lines named where they end; mean and 95% band over seeds.

    Args:
        panels: title -> line's name -> its bands over steps. A line alone goes by the title.
        y: label of each panel's vertical axis.
        guides: for each panel, values with a meaning of their own, as dotted lines.
        x: label of the horizontal axes.
        log: logarithmic vertical axes.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for guide in guides.get(title, ()):
            axes.axhline(guide, color=GREY, lw=1.0, ls=":")
        ends = []
        for i, (name, rows) in enumerate(lines.items()):
            _band(axes, rows, i)
            last = rows.sort_values("step").iloc[-1]
            ends.append((name, float(last["step"]), float(last["mean"]), PALETTE[i]))
        axes.set(title=title, xlabel=x, ylabel=y[title])
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        if len(ends) > 1:
            _name_ends(axes, ends)
    return figure


def weight_curves(
    panels: Mapping[str, Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]], y: str
) -> Figure:
    """Exact weight against p as lines, measured weights as points with 95% intervals over seeds.

    A black dash is the exact weight averaged over a difficulty's own problems: their p spread
    around the mean at which they are drawn, so that it may lie off the line.

    Args:
        panels: title -> line's name -> (curve, points) of analysis.load.weights.
        y: label of the vertical axis.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        for i, (curve, points) in enumerate(lines.values()):
            axes.plot(curve["p"], curve["weight"], color=PALETTE[i], lw=1.5)
            axes.plot(points["p"], points["exact"], "_", color="black", ms=9, mew=1.2, zorder=3)
            points_at(axes, points["p"], points, i)
        axes.set(title=title, xlabel="success rate p of the prompt (share)", xlim=(0, 1))
        axes.tick_params(labelleft=True)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    handles = [
        Line2D([], [], color=PALETTE[i], marker=MARKERS[i], ms=4.5, label=name)
        for i, name in enumerate(names)
    ]
    dash = Line2D([], [], color="black", marker="_", ms=9, ls="", label="exact, own problems")
    name_above(figure, [*handles, dash])
    figure.supylabel(y)
    return figure


def points_at(axes: Axes, x: "pd.Series[float]", rows: pd.DataFrame, i: int) -> None:
    known = rows[["low", "high"]].fillna({"low": rows["mean"], "high": rows["mean"]})
    errors = np.abs(np.stack([rows["mean"] - known["low"], known["high"] - rows["mean"]]))
    axes.errorbar(
        x, rows["mean"], yerr=errors, fmt=MARKERS[i], color=PALETTE[i], ms=4.5, lw=1, capsize=2
    )


def level_differences(panels: Mapping[str, pd.DataFrame], level: str, y: str) -> Figure:
    """Paired differences by level as points with 95% intervals over seeds, one panel a title."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (title, rows) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        axes.axhline(0, color=GREY, lw=1.0, ls=":")
        points_at(axes, rows["level"], rows, 1)
        axes.set(title=title, xlabel=level)
        axes.set_xticks(sorted(rows["level"]))
        axes.tick_params(labelleft=True)
    figure.supylabel(y)
    return figure


def arm_dots(panels: Mapping[str, pd.DataFrame], arms: Sequence[str], seeds: str) -> Figure:
    """One row an arm: every seed as a dot, their median as a bar; one panel a quantity, log axis.

    Args:
        panels: label of the horizontal axis -> rows with columns arm, value.
        arms: from top to bottom.
        seeds: what a dot is, for the title.
    """
    figure = Figure(figsize=(10, 0.9 + 0.28 * len(arms)), layout="constrained")
    for axes, (label, rows) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        for place, arm in enumerate(arms):
            values = rows.loc[rows["arm"] == arm, "value"]
            axes.plot(values, [place] * len(values), "o", color=PALETTE[0], ms=4, alpha=0.5, mew=0)
            axes.plot([values.median()], [place], "|", color="black", ms=13, mew=1.6)
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_yticks(range(len(arms)), arms)
        axes.set_ylim(len(arms) - 0.5, -0.5)
    figure.suptitle(seeds)
    return figure
