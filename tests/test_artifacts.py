"""Runs on disk: nothing undocumented goes in, nothing complete is lost, and promotion is strict."""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rl import files
from rl.artifacts import RunWriter, read_lines, run_directory, run_status
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence, promote, read_evidence, read_runs
from rl.files import read_json, write_json

PLAN = {
    "experiment": "03-small",
    "number": 3,
    "profile": "laptop",
    "label": "laptop",
    "overrides": {},
    "arms": {"group_std": {"steps": 1}, "none": {"steps": 1}},
    "seeds": [0, 1],
    "claims_sha256": "c0ffee",
    "budget_minutes": None,
}
# Values whose bits a careless round trip would change.
VALUES = [1 / 3, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0]
VERDICTS = {"verdicts": [{"id": "a", "verdict": "inconclusive"}]}


def manifest(arm: str, seed: int, **changes: Any) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "profile": "laptop", "clean_tree": True, **changes}


def write_run(root: Path, arm: str, seed: int, *, finish: bool = True, **changes: Any) -> Path:
    """One short run with a value of each form."""
    directory = run_directory(root, arm, seed)
    with RunWriter(directory, manifest(arm, seed, **changes)) as writer:
        for step, value in enumerate(VALUES):
            writer.log(step, {"eval/accuracy": value + seed})
            writer.log(step, {"eval/accuracy_by_difficulty": {2: value, 3.5: -value}})
        writer.sample({"step": 0, "problem_id": 4, "text": "2→4 \n"})
        if finish:
            writer.finish({"seconds": 1.5, "tokens": 7})
    return directory


def write_all(root: Path, **changes: Any) -> Path:
    """A complete experiment of two arms and two seeds."""
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "plan.json", {**PLAN, **changes.pop("plan", {})})
    for arm in PLAN["arms"]:
        for seed in PLAN["seeds"]:
            write_run(root, arm, seed, **changes)
    return root


def bits(values: "pd.Series[float]") -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


def assert_same(one: Evidence, other: Evidence) -> None:
    """Equal to the bit, -0.0 and NaN included."""
    assert one.plan == other.plan
    assert one.manifests == other.manifests
    assert one.samples == other.samples
    pd.testing.assert_frame_equal(one.metrics, other.metrics, check_exact=True)
    for column in ("level", "value"):
        assert bits(one.metrics[column]) == bits(other.metrics[column])


def test_a_run_reads_back(tmp_path: Path) -> None:
    evidence = read_runs(write_all(tmp_path))
    assert list(evidence.metrics.columns) == COLUMNS
    assert len(evidence.metrics) == 4 * len(VALUES) * 3
    rows = evidence.metrics.query("arm == 'none' and seed == 1")
    plain = rows[rows["metric"] == "eval/accuracy"]
    assert plain["level"].isna().all()
    assert plain["step"].tolist() == [0, 1, 2, 3, 4]
    assert bits(plain["value"]) == bits(pd.Series([value + 1 for value in VALUES]))
    levels = rows[rows["metric"] == "eval/accuracy_by_difficulty"]
    assert levels["level"].tolist() == [2.0, 3.5] * len(VALUES)
    assert bits(levels["value"]) == bits(pd.Series([x for v in VALUES for x in (v, -v)]))
    sample = {"step": 0, "problem_id": 4, "text": "2→4 \n"}
    assert evidence.samples[-1] == {"arm": "none", "seed": 1, **sample}
    ended = {"status": "complete", "resumed": [], "seconds": 1.5, "tokens": 7}
    last = evidence.manifests[-1]
    assert last == {**manifest("none", 1), **ended, "logs": last["logs"]}
    assert evidence.missing() == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"eval/acuracy": 0.5}, "metric 'eval/acuracy' is not documented in rl/metrics.py"),
        ({"eval/accuracy": {2: 0.5}}, "metric 'eval/accuracy': levels in the log and in"),
        ({"eval/accuracy_by_difficulty": 0.5}, "levels in the log and in rl/metrics.py disagree"),
        ({"eval/accuracy": 0.5, "x": 1.0}, "metric 'x' is not documented"),
    ],
)
def test_an_undocumented_metric_is_refused(tmp_path: Path, values: Any, told: str) -> None:
    with RunWriter(tmp_path / "run", manifest("none", 0)) as writer:
        with pytest.raises(UserError, match=told):
            writer.log(0, values)
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


def test_incomplete_runs_give_no_metrics(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", PLAN)
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "group_std", 1, finish=False)
    evidence = read_runs(tmp_path)
    assert evidence.complete() == {("none", 0)}
    assert evidence.missing() == [("group_std", 0), ("group_std", 1), ("none", 1)]
    assert set(zip(evidence.metrics["arm"], evidence.metrics["seed"], strict=True)) == {("none", 0)}
    assert [sample["arm"] for sample in evidence.samples] == ["none"]


def test_no_run_at_all_still_has_the_columns(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", PLAN)
    empty = read_runs(tmp_path).metrics
    write_run(tmp_path, "none", 0)
    assert empty.empty
    assert empty.dtypes.to_dict() == read_runs(tmp_path).metrics.dtypes.to_dict()


@pytest.mark.parametrize("reader", [read_runs, read_evidence])
def test_an_empty_place_is_named(tmp_path: Path, reader: Any) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        reader(tmp_path)


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


def test_promoted_evidence_equals_the_runs_bitwise(tmp_path: Path) -> None:
    root = write_all(tmp_path / "runs")
    promote(root, tmp_path / "artifacts", VERDICTS, force=False)
    assert_same(read_evidence(tmp_path / "artifacts"), read_runs(root))
    assert read_json(tmp_path / "artifacts/verdicts.json") == VERDICTS
    names = sorted(path.name for path in (tmp_path / "artifacts").iterdir())
    assert names == ["metrics.parquet", "runs.json", "samples.jsonl", "verdicts.json"]


def test_nan_is_kept_as_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", {**PLAN, "arms": {"none": {}}, "seeds": [0]})
    with RunWriter(run_directory(tmp_path, "none", 0), manifest("none", 0)) as writer:
        writer.log(0, {"train/loss": math.nan})
        writer.finish({})
    promote(tmp_path, tmp_path / "artifacts", VERDICTS, force=False)
    assert math.isnan(read_evidence(tmp_path / "artifacts").metrics["value"].item())


def spoil_missing(root: Path) -> None:
    (run_directory(root, "group_std", 1) / "manifest.json").unlink()


def spoil_unfinished(root: Path) -> None:
    path = run_directory(root, "group_std", 1) / "manifest.json"
    write_json(path, {**read_json(path), "status": "failed"})


def spoil_tree(root: Path) -> None:
    path = run_directory(root, "none", 0) / "manifest.json"
    write_json(path, {**read_json(path), "clean_tree": False})


def spoil_overrides(root: Path) -> None:
    write_json(root / "plan.json", {**PLAN, "overrides": {"optim.lr": 1e-4}})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_missing, r"incomplete, 1 of the planned runs are missing \(group_std seed 1\)"),
        (spoil_unfinished, r"incomplete, 1 of the planned runs are missing \(group_std seed 1\)"),
        (spoil_tree, r"1 run\(s\) started with uncommitted changes"),
        (spoil_overrides, "made with SET overrides; only a run as configured is evidence"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_promotion_refuses(tmp_path: Path, spoil: Any, told: str, force: bool) -> None:
    root = write_all(tmp_path / "runs")
    spoil(root)
    with pytest.raises(UserError, match=told):
        promote(root, tmp_path / "artifacts", VERDICTS, force)
    assert not (tmp_path / "artifacts").exists()


def test_evidence_is_replaced_by_force_only(tmp_path: Path) -> None:
    target = tmp_path / "artifacts"
    promote(write_all(tmp_path / "runs"), target, VERDICTS, force=False)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    second = write_all(tmp_path / "more", plan={"claims_sha256": "decaf"})
    with pytest.raises(UserError, match="evidence is there already; FORCE=1 replaces it"):
        promote(second, target, VERDICTS, force=False)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    promote(second, target, {"verdicts": []}, force=True)
    assert_same(read_evidence(target), read_runs(second))
    assert read_json(target / "verdicts.json") == {"verdicts": []}


def test_many_missing_runs_are_counted_and_a_few_listed(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", {**PLAN, "seeds": list(range(10))})
    with pytest.raises(UserError) as caught:
        promote(tmp_path, tmp_path / "artifacts", VERDICTS, force=False)
    assert "20 of the planned runs are missing (group_std seed 0, group_std" in str(caught.value)
    assert "group_std seed 4, ...); run the experiment to its end first" in str(caught.value)


def test_a_line_of_json_is_one_line(tmp_path: Path) -> None:
    directory = write_run(tmp_path, "none", 0)
    lines = (directory / "samples.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["2→4 \n"]


def test_a_missing_or_damaged_table_is_named(tmp_path: Path) -> None:
    promote(write_all(tmp_path / "runs"), tmp_path / "artifacts", VERDICTS, force=False)
    table = tmp_path / "artifacts" / "metrics.parquet"
    for damage in (lambda: table.write_bytes(b"PAR1"), table.unlink):
        damage()
        with pytest.raises(UserError, match=r"metrics\.parquet: missing or damaged"):
            read_evidence(tmp_path / "artifacts")
