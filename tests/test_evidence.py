"""What is read from runs/ and artifacts/: all that was written, or the fault by name."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rl.artifacts import RunWriter, run_directory
from rl.errors import UserError
from rl.evidence import COLUMNS, read_evidence, read_runs
from rl.files import read_json, write_json
from tests.small_runs import PLAN, VALUES, bits, manifest, write_all, write_run


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
    ended = {"status": "complete", "resumed": [], "ranks": [1], "seconds": 1.5, "tokens": 7}
    last = evidence.manifests[-1]
    assert last == {**manifest("none", 1), **ended, "logs": last["logs"]}
    assert evidence.missing() == []


def test_an_arm_may_plan_seeds_of_its_own(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", {**PLAN, "arm_seeds": {"none": [7]}})
    for arm, seed in (("group_std", 0), ("group_std", 1), ("none", 7), ("none", 1)):
        write_run(tmp_path, arm, seed)
    evidence = read_runs(tmp_path)
    assert evidence.planned() == [("group_std", 0), ("group_std", 1), ("none", 7)]
    assert evidence.missing() == []
    assert set(evidence.metrics.query("arm == 'none'")["seed"]) == {7}
    write_json(tmp_path / "plan.json", {**PLAN, "arm_seeds": {"none": [7, 8]}})
    assert read_runs(tmp_path).missing() == [("none", 8)]


def test_incomplete_runs_give_no_metrics(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", PLAN)
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "group_std", 1, finish=False)
    evidence = read_runs(tmp_path)
    assert evidence.complete() == {("none", 0)}
    assert evidence.missing() == [("group_std", 0), ("group_std", 1), ("none", 1)]
    assert set(zip(evidence.metrics["arm"], evidence.metrics["seed"], strict=True)) == {("none", 0)}
    assert [sample["arm"] for sample in evidence.samples] == ["none"]


def edit(directory: Path) -> None:
    path = directory / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.3333333333333333", "0.3333333333333334", 1))


def cut(directory: Path) -> None:
    path = directory / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def cut_in_a_line(directory: Path) -> None:
    (directory / "metrics.jsonl").write_bytes((directory / "metrics.jsonl").read_bytes()[:-4])


def edit_a_sample(directory: Path) -> None:
    path = directory / "samples.jsonl"
    path.write_text(path.read_text().replace('"problem_id": 4', '"problem_id": 5'))


def delete(directory: Path) -> None:
    (directory / "samples.jsonl").unlink()


def garble(directory: Path) -> None:
    (directory / "manifest.json").write_text('{"status": "comp')


def garble_in_json(directory: Path) -> None:
    (directory / "manifest.json").write_text("[]")


DAMAGES = [
    (edit, "metrics.jsonl: expected 10 lines with sha256 [0-9a-f]{12} as at .* got 10 lines with"),
    (cut, "metrics.jsonl: expected 10 lines with sha256 [0-9a-f]{12} as at .* got 9 lines with"),
    (cut_in_a_line, "metrics.jsonl: expected 10 lines with .* got 9 lines with sha256"),
    (edit_a_sample, "samples.jsonl: expected 1 lines with sha256 .* got 1 lines with sha256"),
    (delete, "samples.jsonl: missing"),
    (garble, "manifest.json: damaged"),
    (garble_in_json, "manifest.json: damaged"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_damaged_run_is_named_and_counts_as_missing(
    tmp_path: Path, damage: Any, told: str
) -> None:
    whole = read_runs(write_all(tmp_path))
    directory = run_directory(tmp_path, "none", 0)
    damage(directory)
    evidence = read_runs(tmp_path)
    assert evidence.missing() == [("none", 0)]
    (text,) = evidence.damaged.values()
    assert re.fullmatch(f"{directory}/{told}.*; run the experiment again: it sets this.*", text)
    rest = whole.metrics.query("arm != 'none' or seed != 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(evidence.metrics, rest, check_exact=True)
    assert len(evidence.samples) == 3
    with pytest.raises(UserError, match="holds a complete run"):
        RunWriter(directory, manifest("none", 0))


def forget_hashes(directory: Path) -> None:
    """As a run that ended before manifests held them."""
    data = read_json(directory / "manifest.json")
    del data["logs"]
    write_json(directory / "manifest.json", data)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut_in_a_line, "metrics.jsonl: missing or cut, in a complete run"),
        (delete, "samples.jsonl: missing"),
        (lambda d: (d / "samples.jsonl").write_text("{\n"), "samples.jsonl: line 1 is damaged"),
    ],
)
def test_a_run_without_hashes_must_have_whole_lines(tmp_path: Path, damage: Any, told: str) -> None:
    write_all(tmp_path)
    directory = run_directory(tmp_path, "none", 0)
    forget_hashes(directory)
    assert read_runs(tmp_path).missing() == []
    damage(directory)
    evidence = read_runs(tmp_path)
    assert evidence.missing() == [("none", 0)]
    assert told in evidence.damaged["none", 0]


def test_a_run_that_never_ended_is_not_damaged(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", PLAN)
    cut_in_a_line(write_run(tmp_path, "none", 0, finish=False))
    assert read_runs(tmp_path).damaged == {}


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
