"""Promotion: only a whole, clean experiment becomes evidence, and it does to the bit."""

import math
from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import RunWriter, run_directory
from rl.errors import UserError
from rl.evidence import read_evidence, read_runs
from rl.files import read_json, write_json
from rl.promotion import promote
from tests.small_runs import PLAN, VERDICTS, assert_same, manifest, write_all


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
