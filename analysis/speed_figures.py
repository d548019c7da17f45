"""The pictures of `make bench`: seconds of a step, learning curves by precision, a profile."""

from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Ask = tuple[str, str, bool]  # side, work, prompts read once for a group
OURS: Ask = ("ours", "fixed", False)


def times(data: dict[str, Any], size: str, ask: Ask, part: str, clock: str = "cpu") -> list[float]:
    """Seconds of a part of the step, a number a round; empty where that side did not run."""
    side, work, share = ask
    wanted = {"size": size, "side": side, "work": work, "share_prompts": share}
    return [
        step["parts"][part][clock]
        for step in data["steps"]
        if all(step[key] == value for key, value in wanted.items()) and part in step["parts"]
    ]


def plot(data: dict[str, Any], path: Path) -> None:
    """CPU seconds of a step on each side, its sampling and its update, by work and size."""
    sizes = list(data["flops"])
    asks: list[tuple[str, Ask]] = [
        ("TRL, fixed", ("trl", "fixed", False)),
        ("transformers, fixed", ("transformers", "fixed", False)),
        ("ours, fixed", OURS),
        ("ours, fixed,\nprompts once", ("ours", "fixed", True)),
        ("TRL, uneven", ("trl", "uneven", False)),
        ("ours, uneven", ("ours", "uneven", True)),
    ]
    figure, axes = plt.subplots(1, len(sizes), figsize=(4.6 * len(sizes), 3.6), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        left = [0.0] * len(asks)
        for part, color in (("sample", "#4c78a8"), ("train", "#f58518")):
            width = [median(times(data, size, ask, part)) for _, ask in asks]
            name = {"sample": "sampling", "train": "update"}[part]
            axis.barh([name for name, _ in asks], width, left=left, color=color, label=name)
            left = [a + b for a, b in zip(left, width, strict=True)]
        for place, total in enumerate(left):
            axis.text(total, place, f" {total:.2f}", va="center", fontsize=8)
        axis.set_xlim(0, 1.15 * max(left))
        axis.invert_yaxis()
        axis.set_xlabel("CPU seconds a step")
        axis.set_title(f"{size} parameters", fontsize=10)
        axis.tick_params(labelsize=8)
    axes[0][0].legend(fontsize=8, loc="lower right")
    _write(figure, path)


def curves(data: dict[str, Any], path: Path) -> None:
    """Held-out accuracy by step, a line a seed, a panel a setting beside fp32 in grey."""
    figure, axes = plt.subplots(1, len(data), figsize=(3.6 * len(data), 3.2), sharey=True)
    for axis, (name, seeds) in zip(axes, data.items(), strict=True):
        for panel, color in (("fp32", "0.75"), (name, "#d62728")):
            for run in data[panel].values():
                axis.plot(*zip(*run["accuracy"], strict=True), color=color, linewidth=1.2)
        seconds = median(run["seconds"] for run in seeds.values())
        beside = "" if name == "fp32" else " (grey: fp32)"
        axis.set_title(f"{name}{beside}: {seconds:.0f} s a run", fontsize=10)
        axis.set_xlabel("step")
    axes[0].set_ylabel("held-out accuracy")
    _write(figure, path)


def flame(data: dict[str, Any], path: Path) -> None:
    """The profiled step from the whole (top) to single operations, widths by CPU seconds."""
    tree = data["profile"]["tree"]
    figure, axis = plt.subplots(figsize=(11, 5))
    deepest = _bars(axis, tree, 0.0, 0, tree["seconds"])
    axis.set_xlim(0, tree["seconds"])
    axis.set_ylim(deepest + 1, 0)
    axis.set_yticks([])
    axis.set_xlabel("CPU seconds of one step under the profiler")
    axis.set_title(
        f"{data['profile']['size']} parameters, 256 responses of 8 to 64 tokens, half of the "
        "groups without advantage",
        fontsize=10,
    )
    _write(figure, path)


def _bars(axis: Axes, node: dict[str, Any], left: float, depth: int, whole: float) -> int:
    """Draw a node and what it called; returns the deepest row used."""
    name = node["name"].removeprefix("aten::").split(": ")[-1]
    color = plt.get_cmap("YlOrRd")(0.15 + 0.6 * (sum(map(ord, name)) % 17) / 16)
    axis.barh(depth + 0.5, node["seconds"], left=left, height=0.95, color=color, edgecolor="white")
    letters = int(150 * node["seconds"] / whole)  # as many as the bar is wide
    if letters > 2:
        axis.text(left, depth + 0.5, f" {name[:letters]}", va="center", fontsize=6)
    deepest = depth
    for child in node["children"]:
        deepest = max(deepest, _bars(axis, child, left, depth + 1, whole))
        left += child["seconds"]
    return deepest


def _write(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)
