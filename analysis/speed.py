"""The table and the plot of `make bench`: python -m analysis.speed show FILE | renew.

Ratios are taken within each round, of CPU seconds, and their median is shown.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from analysis.load import ROOT
from analysis.speed_figures import OURS, Ask, curves, flame, plot, times
from analysis.table import renewed
from rl.errors import exit_status
from rl.files import read_json

BENCH = ROOT / "analysis" / "bench"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
NAMES = {"trl": "TRL", "ours": "this project", "transformers": "transformers", "vllm": "vLLM (CPU)"}


def ratio(
    data: dict[str, Any], size: str, other: Ask, ours: Ask, part: str, clock: str = "cpu"
) -> list[float]:
    """How many times as fast as the other side, a number a round."""
    pairs = zip(
        times(data, size, other, part, clock), times(data, size, ours, part, clock), strict=False
    )
    return [theirs / own for theirs, own in pairs]


def tokens(part: str) -> int:
    """Of a fixed step: 256 responses of 64 tokens sampled, with prompts of 12 trained on."""
    return 256 * {"sample": 64, "train": 76}[part]


def share_of_peak(data: dict[str, Any], size: str, ask: Ask, part: str) -> float:
    """Arithmetic done a second, as a share of a large product's in the same run."""
    rate = tokens(part) / median(times(data, size, ask, part))
    return float(rate * data["flops"][size][part] / (1e9 * median(data["peak_gflops"])))


def table(data: dict[str, Any]) -> str:
    """Markdown: what was compared, its kind, each size's number, the targets."""
    sizes = list(data["flops"])
    lines = [
        f"| Kind | What | {' | '.join(sizes)} | Target (must / aim) |",
        f"| --- | --- |{' --- |' * len(sizes)} --- |",
    ]

    def row(kind: str, what: str, value: Callable[[str], str], target: str = "") -> None:
        values = [value(size) for size in sizes]
        if any(values):
            lines.append(f"| {kind} | {what} | {' | '.join(values)} | {target} |")

    def versus(other: Ask, ours: Ask, part: str) -> Callable[[str], str]:
        def value(size: str) -> str:
            cpu = ratio(data, size, other, ours, part)
            if not cpu:
                return ""
            wall = ratio(data, size, other, ours, part, "wall")
            return (
                f"{median(cpu):.2f} x ({min(cpu):.2f} to {max(cpu):.2f}; wall {median(wall):.2f})"
            )

        return value

    def rate(ask: Ask, part: str) -> Callable[[str], str]:
        def value(size: str) -> str:
            if not times(data, size, ask, part):
                return ""
            found = tokens(part) / median(times(data, size, ask, part))
            return f"{found:,.0f} ({share_of_peak(data, size, ask, part):.0%} of peak)"

        return value

    trl: Ask = ("trl", "fixed", False)
    loop: Ask = ("transformers", "fixed", False)
    vllm: Ask = ("vllm", "fixed", False)
    shared: Ask = ("ours", "fixed", True)
    same, less = "same work", "less work, same gradient"
    row(same, "GRPO step against TRL", versus(trl, OURS, "step"), "1.2 / 1.4")
    row(same, "... its sampling", versus(trl, OURS, "sample"))
    row(same, "... its update", versus(trl, OURS, "train"))
    row(same, "GRPO step against a plain transformers loop", versus(loop, OURS, "step"))
    row(same, "sampling against vLLM (CPU)", versus(vllm, OURS, "sample"))
    row(less, "GRPO step, prompts read once a group, against TRL", versus(trl, shared, "step"))
    row(
        less,
        "GRPO step of 8 to 64 tokens, half of the groups without advantage, against TRL",
        versus(("trl", "uneven", False), ("ours", "uneven", True), "step"),
        "2.5 / 3.5",
    )
    row("rate", "sampling, tokens/s", rate(OURS, "sample"), "35% of peak at 2.6M")
    row("rate", "update, tokens/s", rate(OURS, "train"), "65% of peak at 2.6M")
    row("rate", "TRL's sampling, tokens/s", rate(trl, "sample"))
    row("rate", "TRL's update, tokens/s", rate(trl, "train"))
    row("rate", "vLLM's sampling, tokens/s", rate(vllm, "sample"))
    row("rate", "sampling at 64, 256, 1,024 rows, tokens/s", _flat(data), "within 15%")
    row(
        "check",
        "gradient of the uneven step against all rows padded, relative",
        lambda size: f"{data['gradient_error'][size]:.0e}",
        "1e-6",
    )
    return "\n".join([*lines, "", *facts(data)])


def _flat(data: dict[str, Any]) -> Callable[[str], str]:
    def value(size: str) -> str:
        rates = [median(found) for found in data["flat"][size].values()]
        spread = (max(rates) - min(rates)) / max(rates)
        return f"{', '.join(f'{rate:,.0f}' for rate in rates)} (spread {spread:.0%})"

    return value


def facts(data: dict[str, Any]) -> list[str]:
    """Lines below the table."""
    machine, versions = data["machine"], data["versions"]
    rounds = max(step["round"] for step in data["steps"])
    peak = median(data["peak_gflops"])
    parts = [
        f"Measured {data['date']} on one core of {machine['cores']} ({machine['cpu']}), median of "
        f"{rounds} rounds that take turns, in CPU seconds; ranges over the rounds. Peak: a product "
        f"of 2048 x 2048 in fp32, {peak:.0f} GFLOP/s in the same run; in bf16 "
        f"{data['bf16_peak_gflops']:.1f}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    ]
    memory = max(mib for name, mib in data["memory_mib"].items() if name.endswith("ours"))
    starts = ", ".join(
        f"{NAMES[side]} {median(found):.1f}" for side, found in data["startup_cpu"].items()
    )
    parts.append(
        f"Start-up, CPU seconds from nothing to the first step: {starts} (target: under 6). A run "
        f"of one tiny step in a warm worker: {1000 * data['toy_seed_s']:.0f} ms (target: under "
        f"50). Most memory: {memory:.0f} MiB (target: under 1,500)."
    )
    if "jobs" in data:
        seconds = {int(jobs): found for jobs, found in data["jobs"]["seconds"].items()}
        parts.append(
            f"{data['jobs']['runs']} laptop runs of experiment 03: {seconds[1]:.0f} s with JOBS=1, "
            f"{seconds[2]:.0f} s with JOBS=2, {seconds[1] / seconds[2]:.2f} times (target: 1.8)."
        )
    return [line for part in parts for line in (part, "")][:-1]


DIFFERENCES = """What each side does that the other does not:
  this project reports each token's log-prob as it samples and the gap to the trainer's; it writes
    the clip fraction and the gradient's norm. In uneven steps it drops finished rows, sorts rows
    into micro-batches by length and leaves out groups without advantage; where prompts are read
    once a group it does not compute the 15 other copies.
  TRL decodes the responses to text, computes the entropy of every token and its metrics, and pads
    every row to the longest.
  The transformers loop does neither; it pads as TRL does.
  vLLM reports each token's log-prob; it schedules requests and manages pages of its cache."""


def precision_text(data: dict[str, Any]) -> str:
    """One sentence: seconds and last accuracies of each setting, mean over seeds."""
    parts = []
    for name, seeds in data.items():
        last = [run["accuracy"][-1][1] for run in seeds.values()]
        seconds = [run["seconds"] for run in seeds.values()]
        parts.append(
            f"{name} {sum(last) / len(last):.3f} ({min(last):.3f} to {max(last):.3f}) in "
            f"{median(seconds):.0f} s"
        )
    return f"Last held-out accuracy of a small run, mean over seeds: {'; '.join(parts)}."


def engine_text(data: dict[str, Any]) -> str:
    """One sentence: CPU time of a toy's update under DeepSpeed and under AdamW alone."""
    parts = []
    for name, sides in data["toys"].items():
        ours, alone = (1e6 * median(sides[side]) for side in ("engine", "adamw"))
        parts.append(f"{name} {ours:,.0f} against {alone:,.0f} microseconds")
    return (
        f"One update of a toy under DeepSpeed against AdamW alone, CPU time: {'; '.join(parts)} "
        f"({data['date']}, {data['machine']['cpu']})."
    )


def profile_table(data: dict[str, Any]) -> str:
    """Markdown: the operations that took most of the profiled step, in themselves."""
    whole = data["profile"]["tree"]["seconds"]
    lines = ["| Operation | CPU seconds in itself | Share | Calls |", "| --- | --- | --- | --- |"]
    for operation in data["profile"]["operations"][:12]:
        name, seconds = operation["name"], operation["seconds"]
        share = f"{seconds / whole:.0%}"
        lines.append(f"| `{name}` | {seconds:.2f} | {share} | {operation['calls']:,} |")
    return "\n".join(lines)


def renew() -> int:
    """Write the plot beside the committed measurements, and the table into the README."""
    data = read_json(BENCH / "bench.json")
    plot(data, BENCH / "bench.png")
    below: list[str] = []
    if (BENCH / "precision.json").exists():
        precision = read_json(BENCH / "precision.json")
        curves(precision, BENCH / "precision.png")
        below = ["", precision_text(precision)]
    if (BENCH / "engine.json").exists():
        below += ["", engine_text(read_json(BENCH / "engine.json"))]
    flame(data, BENCH / "profile.png")
    text = f"# One step under the profiler\n\n{profile_table(data)}\n"
    (BENCH / "profile.md").write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    shown = "\n".join([table(data), *below])
    page = renewed(readme.read_text(encoding="utf-8"), shown, readme.name, begin=BEGIN, end=END)
    readme.write_text(page, encoding="utf-8")
    print(f"{shown}\n\n{DIFFERENCES}")
    return 0


def main() -> int:
    """Show measurements, or renew what is committed."""
    parser = argparse.ArgumentParser(prog="analysis.speed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show").add_argument("file", type=Path)
    commands.add_parser("renew")
    options = parser.parse_args()

    def show() -> int:
        print(f"{table(read_json(options.file))}\n\n{DIFFERENCES}")
        return 0

    return exit_status(renew if options.command == "renew" else show)


if __name__ == "__main__":
    sys.exit(main())
