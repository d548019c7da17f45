"""Figures of the small worlds: where a policy goes, its moves on a map, how long seeds take.

As in analysis.plots, every function returns a matplotlib Figure built from tidy frames.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from numpy.typing import NDArray

from analysis.plots import DASHES, GREY, PALETTE, name_above

# Moves of the grid world in the order of its actions: left, right, up, down (rows go down).
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
REACH = 0.44  # length of a certain move's arrow, in cells
# Colour and meaning of the cells that pay.
PAYS = {
    "B": ("#f2d7b6", "broom, -1"),
    "T": ("#e3a39b", "bathtub, -10"),
    "M": ("#a9d5a5", "meat, +100 and the end"),
}
END = "M"


def paths(panels: Mapping[str, pd.DataFrame], x: str, y: str) -> Figure:
    """Where a policy goes in the square of two probabilities, a line a seed.

    The square is the product of two simplices, one a state; its corners are the policies without
    chance. A ring is where a seed starts, a dot where it ends.

    Args:
        panels: title -> rows with columns seed, step, x, y.
        x, y: labels of the axes.
    """
    figure = Figure(figsize=(10, 1.1 + 8.4 / len(panels)), layout="constrained")
    for axes, (title, rows) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        for _, line in rows.sort_values("step").groupby("seed"):
            axes.plot(line["x"], line["y"], color=PALETTE[0], lw=0.8, alpha=0.6)
            axes.plot(line["x"].iloc[-1], line["y"].iloc[-1], "o", color=PALETTE[1], ms=4)
            axes.plot(line["x"].iloc[0], line["y"].iloc[0], "o", mfc="white", mec="black", ms=5)
        axes.set(title=title, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    marks = (
        Line2D([], [], color=PALETTE[0], lw=0.8, label="a seed"),
        Line2D([], [], marker="o", mfc="white", mec="black", ls="", ms=5, label="its start"),
        Line2D([], [], marker="o", color=PALETTE[1], ls="", ms=4, label="its end"),
    )
    figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False)
    label(figure, x, y)
    return figure


def panel_grid(figure: Figure, panels: int, columns: int, *, left: bool = True) -> list[Axes]:
    """Empty panels that share both axes, each with its numbers; `columns` of them side by side.

    `left`: numbers or names on the left of every panel, not of the first column only.
    """
    lines = math.ceil(panels / columns)
    grid = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.remove()
    for i, axes in enumerate(grid[:panels]):
        axes.tick_params(labelleft=left or i % columns == 0, labelbottom=True)
    return grid[:panels]


def line_names(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The lines of all panels, each once: its place is its colour.

    Raises:
        ValueError: more than there are colours that can be told apart.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if len(names) > len(PALETTE):
        raise ValueError(
            f"expected at most {len(PALETTE)} lines of one figure, got {len(names)}: "
            f"{', '.join(names)}; draw a panel an arm or put the arms on an axis (arm_bars)"
        )
    return names


def label(figure: Figure, x: str, y: str = "") -> None:
    """Name the axes that all panels share, in the size of a panel's own."""
    figure.supxlabel(x, fontsize="medium")
    if y:
        figure.supylabel(y, fontsize="medium")


def policy_maps(panels: Mapping[str, tuple[Sequence[str], pd.DataFrame]]) -> Figure:
    """The policy of a grid world as arrows over its map, as long as the moves are likely.

    Args:
        panels: title -> (rows of the map, policy with columns state, action, p). States count cells
            row by row; the end has no arrows.
    """
    figure = Figure(figsize=(10, 1.0 + 9.0 / len(panels)), layout="constrained")
    for axes, (title, (layout, policy)) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        _draw_map(axes, layout)
        for tail, head, chance in arrows(layout, policy):
            axes.add_patch(
                FancyArrowPatch(
                    tail,
                    head,
                    arrowstyle="-|>",
                    mutation_scale=2 + 6 * chance,
                    shrinkA=0,
                    shrinkB=0,
                    color=PALETTE[0],
                    lw=0.3 + 1.4 * chance,
                )
            )
        axes.set_title(title)
    handles = [Rectangle((0, 0), 1, 1, fc=c, ec=GREY, label=text) for c, text in PAYS.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(PAYS), frameon=False)
    return figure


Point = tuple[float, float]


def arrows(layout: Sequence[str], policy: pd.DataFrame) -> list[tuple[Point, Point, float]]:
    """Tail, head and chance of every move, in cells to the right and down from the first cell.

    Args:
        layout, policy: as `policy_maps` takes them.
    """
    width = len(layout[0])
    out = []
    for state, action, p in policy[["state", "action", "p"]].itertuples(index=False):
        down, right = divmod(int(state), width)
        if layout[down][right] == END:
            continue
        dx, dy = MOVES[int(action)]
        head = (right + dx * REACH * float(p), down + dy * REACH * float(p))
        out.append(((float(right), float(down)), head, float(p)))
    return out


def _draw_map(axes: Axes, layout: Sequence[str]) -> None:
    for down, line in enumerate(layout):
        for right, cell in enumerate(line):
            colour = PAYS[cell][0] if cell in PAYS else "#ffffff"
            place = (right - 0.5, down - 0.5)
            axes.add_patch(Rectangle(place, 1, 1, fc=colour, ec=GREY, lw=0.8))
            if cell == "S":
                axes.text(right - 0.46, down - 0.3, "start", fontsize=7, color="#555555")
    axes.set(xlim=(-0.55, len(layout[0]) - 0.45), ylim=(len(layout) - 0.45, -0.55), aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def time_to(panels: Mapping[str, Mapping[str, pd.DataFrame]], x: str, y: str) -> Figure:
    """Share of seeds that have not got there yet, after Kaplan and Meier (1958); a line an arm.

    A cross is a seed that had not got there when its run ended.

    Args:
        panels: title -> arm -> frame with columns time and censored, one row a seed.
        x, y: labels of the axes.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    names = line_names(panels)
    for axes, (title, lines) in zip(
        panel_grid(figure, len(panels), len(panels)), panels.items(), strict=True
    ):
        for name, seeds in lines.items():
            i = names.index(name)
            times, left = survival(seeds)
            axes.step(times, left, where="post", color=PALETTE[i], ls=DASHES[i], lw=1.8)
            cut = seeds.loc[seeds["censored"], "time"]
            heights = [left[np.searchsorted(times, time, side="right") - 1] for time in cut]
            axes.plot(cut, heights, "x", color=PALETTE[i], ms=6, mew=1.5)
        axes.set(title=title, ylim=(-0.03, 1.03))
    handles = [
        Line2D([], [], color=PALETTE[i], ls=DASHES[i], label=name) for i, name in enumerate(names)
    ]
    name_above(figure, handles)
    label(figure, x, y)
    return figure


def survival(seeds: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """S(t) = product over event times t_i <= t of (1 - d_i / n_i) (Kaplan and Meier 1958).

    n_i seeds had neither ended nor got there before t_i; one whose run ends at t_i still counts.

    Args:
        seeds: columns time and censored, one row a seed.

    Returns:
        Times, 0 first, and the share left from each of them on, until the next.
    """
    times, shares = [0.0], [1.0]
    for time in sorted(seeds["time"].unique()):
        at_risk = int((seeds["time"] >= time).sum())
        events = int(((seeds["time"] == time) & ~seeds["censored"]).sum())
        times.append(float(time))
        shares.append(shares[-1] * (1 - events / at_risk))
    return np.array(times), np.array(shares)
