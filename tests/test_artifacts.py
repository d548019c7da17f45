"""Runs on disk: nothing undocumented goes in, nothing complete is lost."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rl import files
from rl.artifacts import RunWriter, read_lines, run_status
from rl.errors import UserError
from rl.files import read_json, write_json
from tests.small_runs import VALUES, manifest, write_run


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"eval/acuracy": 0.5}, "metric 'eval/acuracy' is not documented in rl/metrics/"),
        ({"eval/accuracy": {2: 0.5}}, "metric 'eval/accuracy': levels in the log and in"),
        ({"eval/accuracy_by_difficulty": 0.5}, "levels in the log and in rl/metrics/ disagree"),
        ({"eval/accuracy": 0.5, "x": 1.0}, "metric 'x' is not documented"),
    ],
)
def test_an_undocumented_metric_is_refused(tmp_path: Path, values: Any, told: str) -> None:
    with RunWriter(tmp_path / "run", manifest("none", 0)) as writer:
        with pytest.raises(UserError, match=told):
            writer.log(0, values)
        assert (tmp_path / "run/metrics.jsonl").read_text() == ""


def test_a_fact_of_a_whole_run_stands_in_its_manifest_and_not_in_its_log(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", manifest("none", 0)) as writer:
        writer.fact("run/state_bytes", 48)
        with pytest.raises(UserError, match="'run/bytes' is not documented"):
            writer.fact("run/bytes", 48)
        with pytest.raises(UserError, match="'run/seconds' is a fact"):
            writer.log(0, {"run/seconds": 1.0})
        writer.finish({})
    assert read_json(tmp_path / "run/manifest.json")["state_bytes"] == 48
    assert (tmp_path / "run/metrics.jsonl").read_text() == ""


def test_a_complete_run_is_never_overwritten(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "none", 0)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(UserError, match="holds a complete run; evidence is never overwritten"):
        RunWriter(directory, manifest("none", 0))
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_run_that_was_cut_off_starts_again(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "none", 0, finish=False)
    assert run_status(directory) == "running"
    write_run(tmp_path, "none", 0)
    assert run_status(directory) == "complete"
    assert len(read_lines(directory / "metrics.jsonl")) == 2 * len(VALUES)


def test_a_manifest_holds_hash_and_length_of_its_logs(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "none", 0)
    logs = read_json(directory / "manifest.json")["logs"]
    assert {name: log["lines"] for name, log in logs.items()} == {
        "metrics.jsonl": 2 * len(VALUES),
        "samples.jsonl": 1,
    }
    for name, log in logs.items():
        assert log["sha256"] == hashlib.sha256((directory / name).read_bytes()).hexdigest()


def test_an_exception_leaves_the_run_incomplete(tmp_path: Path) -> None:
    def crash() -> None:
        with RunWriter(tmp_path / "run", manifest("none", 0)) as writer:
            writer.log(0, {"eval/accuracy": 0.5})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert run_status(tmp_path / "run") == "running"
    assert read_lines(tmp_path / "run/metrics.jsonl") == [
        {"step": 0, "values": {"eval/accuracy": 0.5}}
    ]


def test_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", manifest("none", 0)) as writer:
        writer.log(3, {"eval/accuracy": 0.25})
        writer.sample({"step": 3})
        assert read_lines(tmp_path / "run/metrics.jsonl")[0]["step"] == 3
        assert read_lines(tmp_path / "run/samples.jsonl")[0]["step"] == 3


def test_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    assert read_lines(path) == [{"step": 0}, {"step": 1}]
    path.write_text("")
    assert read_lines(path) == []
    assert read_lines(tmp_path / "absent.jsonl") == []


@pytest.mark.parametrize("damage", [b'{"step', b"", b"\x00\x00", b"\xff{}"])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 0}\n' + damage + b'\n{"step": 2}\n')
    with pytest.raises(UserError) as caught:
        read_lines(path)
    assert str(caught.value) == f"{path}: line 2 is damaged; run again"


def test_json_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_json(path, {"a": 1})

    def lights_out(_: int) -> None:
        raise OSError("lights out")

    monkeypatch.setattr(files.os, "fsync", lights_out)
    with pytest.raises(UserError, match=r"plan.json.tmp: cannot be written \(lights out\)"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    monkeypatch.undo()
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("damage", [b"", b'{"a": ', b"\xff"])
def test_damaged_json_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"plan\.json: damaged .*restore it or run again"):
        read_json(path)


def test_a_line_of_json_is_one_line(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "none", 0)
    lines = (directory / "samples.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["2→4 \n"]
