"""A complete run whose log was changed makes room for a new one and is kept."""

from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import RunWriter, run_directory
from rl.config import Experiment, config_digest, load_experiment
from rl.runner import run_experiment, schedule
from rl.runner.base_models import base_directory
from tests.tiny import write_experiment


def write_complete(root: Path, experiment: Experiment) -> None:
    """Every planned run that is not there, made up."""
    for spec in experiment.select(None, None):
        directory = run_directory(root, spec.arm, spec.seed)
        if directory.exists():
            continue
        facts = {"arm": spec.arm, "seed": spec.seed, "config_sha256": config_digest(spec.config)}
        with RunWriter(directory, facts) as log:
            log.log(0, {"eval/accuracy": 0.5})
            log.sample({"step": 0})
            log.finish({})


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_damaged_runs_that_are_asked_for_are_set_aside_and_run_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = load_experiment(write_experiment(tmp_path), "laptop")
    root = tmp_path / "runs" / experiment.name / "laptop"
    write_complete(root, experiment)
    given: list[str] = []

    def record(todo: list[Any], **_: Any) -> list[Any]:
        given.extend(job.name for job in todo)
        return []

    cache = tmp_path / "runs" / "base-models"
    base_directory(cache, experiment.decoder("plain").base_model()).mkdir(parents=True)
    monkeypatch.setattr(schedule, "work_through", record)

    def run(*arms: str) -> str:
        given.clear()
        assert run_experiment(
            experiment, runs=tmp_path / "runs", arms=[*arms], seeds=None, jobs=1, fresh=False
        )
        return capsys.readouterr().out

    assert "set aside" not in run("plain", "std")
    assert given == []
    damaged = root / "std" / "seed-1"
    for number in (1, 2):
        with (damaged / "metrics.jsonl").open("a") as file:
            file.write("{}\n")
        before = content(damaged)
        assert "set aside" not in run("plain")
        assert content(damaged) == before
        said = run("plain", "std")
        assert f"set aside, to be run anew: std seed 1: {damaged}/metrics.jsonl: expected" in said
        assert "4 runs asked for, 3 complete already" in said
        assert given == ["std seed 1"]
        assert content(damaged.with_name(f"seed-1.old-{number}")) == before
        write_complete(root, experiment)
    (damaged / "manifest.json").write_text("{")
    assert f"{damaged}/manifest.json: damaged" in run("std")
    assert given == ["std seed 1"]
