"""What a person sees of runs under way, on a terminal and elsewhere."""

import os
import pty
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rl.config import Experiment, load_experiment
from rl.runner import progress
from rl.runner.progress import Progress
from tests.tiny import write_experiment


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return load_experiment(write_experiment(tmp_path), "laptop")


def test_plain_lines_tell_arm_seed_step_reward_and_time_left(
    experiment: Experiment, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 runs asked for, 1 done before: two are left, each of 100 steps."""
    with Progress(experiment, done=1, total=3) as shown:
        shown.start("base model", 50)
        shown.step("base model", 1, 2.25)
        clock.now += 40
        shown.finish("base model", ok=True)
        shown.start("plain seed 0", 100)
        shown.start("std seed 0", 100)
        clock.now += 60
        shown.step("plain seed 0", 50, 0.125)  # half a run of two in 60 s: 180 s are left
        clock.now += 1
        shown.step("std seed 0", 1, 0.5)  # too soon after the last line
        clock.now += 19
        shown.step("std seed 0", 50, 0.75)
        clock.now += 20
        shown.finish("plain seed 0", ok=True)
        shown.finish("std seed 0", ok=False)
    both = "[1/3 runs] plain seed 0 step 50/100 reward 0.125; std seed 0 step"
    assert capsys.readouterr().out.splitlines() == [
        "90-mini [laptop]: 8 runs of 4 arms planned, 3 runs asked for, 1 complete already",
        "[1/3 runs] base model step 1/50 loss 2.250",
        "[1/3 runs] base model: 1 steps, loss 2.250",
        f"{both} 0/100; about 3 min 00 s left",
        f"{both} 50/100 reward 0.750; about 1 min 20 s left",
        "[2/3 runs] plain seed 0: 50 steps, reward 0.125, about 0 min 33 s left",
        "std seed 0: FAILED at step 50, reward 0.750",
    ]


@pytest.mark.usefixtures("clock")
def test_nothing_to_do_is_one_line(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(experiment, done=2, total=2):
        pass
    assert capsys.readouterr().out == (
        "90-mini [laptop]: 8 runs of 4 arms planned, 2 runs asked for, 2 complete already\n"
    )


def read_all(terminal: int) -> str:
    """What was written to a terminal whose other end is closed; one read gives 4 KiB at most."""
    said = b""
    with suppress(OSError):  # the end of what there is
        while part := os.read(terminal, 65536):
            said += part
    return said.decode()


def test_bars_on_a_terminal(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with Progress(experiment, done=0, total=2) as shown:
            shown.start("plain seed 0", 8)
            shown.step("plain seed 0", 4, 0.375)
            assert shown._bars is not None
            shown._bars.refresh()
            shown.finish("plain seed 0", ok=True)
            shown.start("boom seed 0", 8)
            shown.finish("boom seed 0", ok=False)
    said = read_all(ours)
    os.close(ours)
    assert "\x1b[" in said
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert re.search(r"plain seed 0 +\S+( \S+)? +4/8 +0:00:00 reward 0\.375", text)
    assert re.search(r"runs +\S+( \S+)? +0/2 +0:00:00 about 0 min 00 s left", text)
    assert re.search(r"runs +\S+( \S+)? +1/2", text)
    assert "boom seed 0: FAILED at step 0" in text
