"""A run killed at any moment and started again logs what it would have logged, byte for byte."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import SAME, RunWriter, read_lines, run_status
from rl.files import read_json, write_json
from tests import killed
from tests.places import ROOT

LOGS = ("metrics.jsonl", "samples.jsonl")
STEPS = list(range(1, 6))
# Steps that are done again after a kill at each moment: all since the last checkpoint.
AGAIN = {
    "sampling": STEPS[2:],
    "stepping": STEPS[2:],
    "writing-a-line": STEPS[4:],
    "writing-a-checkpoint": STEPS[2:],
    "between-two-checkpoints": STEPS[3:],
    "before-the-first-checkpoint": STEPS,
    "at-the-end": [],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbs."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert killed.train(directory, killed.FACTS) == STEPS
    return directory


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run cut off at each moment."""
    root = tmp_path_factory.mktemp("cut")
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed", str(root)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n")[:-1] == [f"{moment} -9" for moment in killed.MOMENTS]
    return root


@pytest.mark.parametrize("moment", killed.MOMENTS)
def test_a_killed_run_goes_on_to_the_same_bytes(moment: str, cut: Path, whole: Path) -> None:
    directory = cut / moment
    assert run_status(directory) == "running"
    assert killed.train(directory, {**killed.FACTS, "started": "later"}) == AGAIN[moment]
    for name in LOGS:
        assert (directory / name).read_bytes() == (whole / name).read_bytes()
    assert len((whole / LOGS[0]).read_bytes().splitlines()) == 5 + 4
    manifest, undisturbed = (read_json(d / "manifest.json") for d in (directory, whole))
    assert manifest["tokens"] == undisturbed["tokens"] > 0
    resumed = [] if moment == "before-the-first-checkpoint" else ["later"]
    assert (manifest["status"], manifest["resumed"]) == ("complete", resumed)
    assert {path.name for path in directory.iterdir()} == {"manifest.json", *LOGS}


def stopped(directory: Path, facts: dict[str, Any] = killed.FACTS) -> Path:
    """A run that stopped a line after its only checkpoint."""
    with RunWriter(directory, facts, checkpoint_seconds=0) as log:
        log.log(0, {"eval/accuracy": 0.5})
        log.keep(1, lambda folder: write_json(folder / "weights.json", 1))
        log.log(1, {"eval/accuracy": 0.75})
    return directory


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "run")
    with RunWriter(directory, {**killed.FACTS, "started": "later"}) as log:
        assert log.checkpoint is not None
        assert read_json(log.checkpoint / "weights.json") == 1
        assert log.seconds > 0
        log.log(1, {"eval/accuracy": 0.25})
    accuracies = [line["values"]["eval/accuracy"] for line in read_lines(directory / LOGS[0])]
    assert accuracies == [0.5, 0.25]
    manifest = read_json(directory / "manifest.json")
    assert (manifest["started"], manifest["resumed"]) == ("now", ["later"])


def test_a_stopped_run_goes_on_with_the_same_data_and_weights_alone(tmp_path: Path) -> None:
    """Files that a variable names are told apart by these hashes only; a toy world has neither."""
    facts = {
        key: value for key, value in killed.FACTS.items() if key not in ("base_sha256", "data")
    }
    known: dict[str, Any] = {
        "base_sha256": "ba5e",
        "data": {"train": "a.jsonl sha256 1", "heldout": "b.jsonl"},
    }
    others: list[dict[str, Any]] = [
        {"base_sha256": "f00d"},
        {"data": {**known["data"], "train": "a.jsonl sha256 2"}},
    ]
    for number, (then, now, goes_on) in enumerate(
        [(facts, facts, True), ({**facts, **known}, {**facts, **known}, True)]
        + [({**facts, **known}, {**facts, **known, **other}, False) for other in others]
        + [(facts, {**facts, **known}, False)]
    ):
        directory = stopped(tmp_path / str(number), then)
        with RunWriter(directory, now) as log:
            assert (log.checkpoint is not None) is goes_on
        kept = read_json(directory / "manifest.json")
        assert {key: kept.get(key) for key in known} == {key: now.get(key) for key in known}


@pytest.mark.parametrize("fact", SAME)
def test_a_run_of_other_code_or_settings_starts_again(fact: str, tmp_path: Path) -> None:
    """Also one on another machine: its numbers would be of neither."""
    directory = stopped(tmp_path / "run")
    with RunWriter(directory, {**killed.FACTS, fact: "another"}) as log:
        assert log.checkpoint is None
    assert read_lines(directory / LOGS[0]) == []
    assert not (directory / "checkpoints").exists()
    manifest = read_json(directory / "manifest.json")
    assert (manifest[fact], manifest["resumed"]) == ("another", [])


@pytest.mark.parametrize("damage", [lambda log: log.write_bytes(b"{"), Path.unlink])
def test_a_log_that_lost_lines_of_its_checkpoint_starts_again(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    directory = stopped(tmp_path / "run")
    damage(directory / LOGS[0])
    with RunWriter(directory, killed.FACTS) as log:
        assert log.checkpoint is None
    assert read_lines(directory / LOGS[0]) == []
