"""What a person sees while runs go on: bars on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bars,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from rl.config import Experiment

PLAIN_EVERY_S = 20.0


class Progress:
    """Runs done of all, with the time left, and each live run's step and last value."""

    def __init__(self, experiment: Experiment, *, done: int, total: int) -> None:
        """`done` runs of `total` were complete before."""
        self._console = Console(file=sys.stdout)
        self._title = experiment.name
        self._arms = experiment.arms
        self._done, self._total, self._before = done, total, done
        self._start = time.monotonic()
        self._last_plain = 0.0
        self._steps: dict[str, tuple[int, int, float | None]] = {}
        self._rows: dict[str, TaskID] = {}
        self._bars: Bars | None = None
        planned = len(experiment.select(None, None))
        self._say(
            f"{self._title} [{experiment.label}]: {planned} runs of {len(experiment.arms)} arms "
            f"planned, {total} runs asked for, {done} complete already"
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal and self._done < self._total:
            self._bars = Bars(
                TextColumn("{task.description:<32}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._bars.start()
            self._all = self._bars.add_task(
                "runs", total=self._total, completed=self._done, note=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, name: str, steps: int) -> None:
        """A run begins."""
        self._steps[name] = (0, steps, None)
        if self._bars is not None:
            self._rows[name] = self._bars.add_task(name, total=steps, note="")

    def step(self, name: str, done: int, value: float) -> None:
        """A run reports: steps done, and its last reward, or what its program shows instead."""
        self._steps[name] = (done, self._steps[name][1], value)
        if self._bars is not None:
            self._bars.update(self._rows[name], completed=done, note=self._value(name, value))
            self._bars.update(self._all, note=self._eta())
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self._say(self._plain())

    def finish(self, name: str, *, ok: bool) -> None:
        """A run ended."""
        done, _, value = self._steps.pop(name)
        last = "" if value is None else f", {self._value(name, value)}"
        if name == "base model":
            self._start = time.monotonic()  # the time left is of the runs
        else:
            self._done += ok
        if self._bars is not None:
            self._bars.remove_task(self._rows.pop(name))
            self._bars.update(self._all, completed=self._done, note=self._eta())
        if not ok:
            self._say(f"{name}: FAILED at step {done}{last}")
        elif self._bars is None:
            self._say(
                f"[{self._done}/{self._total} runs] {name}: {done} steps{last}{self._eta(', ')}"
            )

    def _plain(self) -> str:
        live = "; ".join(
            f"{name} step {done}/{steps}{'' if value is None else f' {self._value(name, value)}'}"
            for name, (done, steps, value) in self._steps.items()
        )
        return f"[{self._done}/{self._total} runs] {live}{self._eta('; ')}"

    def _eta(self, before: str = "") -> str:
        """Time left, from the steps done since this call began."""
        fractions = sum(
            done / steps for name, (done, steps, _) in self._steps.items() if name != "base model"
        )
        progressed = self._done - self._before + fractions
        if progressed < 0.5:  # the start of the first runs says little
            return ""
        left = (self._total - self._before - progressed) * (time.monotonic() - self._start)
        minutes, seconds = divmod(round(left / progressed), 60)
        return f"{before}about {minutes} min {seconds:02d} s left"

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _value(self, name: str, value: float) -> str:
        arm = name.rpartition(" seed ")[0]  # none of a base model
        return f"{self._arms[arm].shown if arm else 'loss'} {value:.3f}"
