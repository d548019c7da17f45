"""Promotion: only a whole, clean experiment becomes evidence, and it does to the bit."""

import itertools
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rl import promotion
from rl.artifacts import RunWriter, run_directory
from rl.errors import UserError
from rl.evidence import aside_of, evidence_faults, read_evidence, read_runs
from rl.files import read_json, write_json
from rl.promotion import promote
from tests.small_runs import CONFIG, DIGESTS, PLAN, VERDICTS, assert_same, manifest, write_all


def test_promoted_evidence_equals_the_runs_bitwise(tmp_path: Path) -> None:
    root = write_all(tmp_path / "runs")
    promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
    assert_same(read_evidence(tmp_path / "artifacts"), read_runs(root))
    assert read_json(tmp_path / "artifacts/verdicts.json") == VERDICTS
    names = sorted(path.name for path in (tmp_path / "artifacts").iterdir())
    assert names == ["metrics.parquet", "runs.json", "samples.jsonl", "verdicts.json"]


def test_nan_is_kept_as_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", {**PLAN, "arms": {"none": {}}, "seeds": [0]})
    with RunWriter(run_directory(tmp_path, "none", 0), manifest("none", 0)) as writer:
        writer.log(0, {"train/loss": math.nan})
        writer.finish({})
    promote(tmp_path, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
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


def change_manifest(root: Path, arm: str, seed: int, **changes: Any) -> None:
    path = run_directory(root, arm, seed) / "manifest.json"
    write_json(path, {**read_json(path), **changes})


def spoil_a_log(root: Path) -> None:
    (run_directory(root, "none", 0) / "samples.jsonl").write_text("{}\n")


def spoil_versions(root: Path) -> None:
    versions = {"python": "3.11.7", "torch": "2.13.1", "numpy": "2.4"}
    change_manifest(root, "none", 1, versions=versions)


def spoil_base(root: Path) -> None:
    change_manifest(root, "none", 1, base_sha256="f00d")


def spoil_settings(root: Path) -> None:
    change_manifest(root, "none", 1, config_sha256="5ca1e")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_a_log, r"1 run\(s\) damaged: none seed 0: .*samples.jsonl: expected 1 lines"),
        (
            spoil_versions,
            r"different packages \(torch 2\.13\.0 and 2\.13\.1, numpy None and 2\.4\); set",
        ),
        (
            spoil_base,
            r"different weights \(group_std seed 0: sha256 ba5e, none seed 1: sha256 f00d\); set",
        ),
        (
            spoil_settings,
            "none seed 1 ran with settings of sha256 5ca1e, but plan.json has sha256 0ff for",
        ),
        (spoil_missing, r"incomplete, 1 of the planned runs are missing \(group_std seed 1\)"),
        (spoil_unfinished, r"incomplete, 1 of the planned runs are missing \(group_std seed 1\)"),
        (spoil_tree, r"1 run\(s\) started with uncommitted changes"),
        (spoil_overrides, "made with SET or ROLLOUT; only a run as configured is evidence"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_promotion_refuses(tmp_path: Path, spoil: Any, told: str, force: bool) -> None:
    root = write_all(tmp_path / "runs")
    spoil(root)
    with pytest.raises(UserError, match=told):
        promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force)
    assert not (tmp_path / "artifacts").exists()


# As a run of published problems has them; a toy world's manifest has no `data`.
SETS = {part: {"dataset": "a/b", "revision": "7" * 40, "split": part} for part in ("train", "test")}
TOLD = {"train": "b_train.jsonl sha256 1", "test": "b_test.jsonl sha256 2"}


def say_data(
    root: Path, seed: int, arm: str = "none", *, sets: Any = SETS, told: Any = TOLD
) -> None:
    """Its train and held-out sets, and where they came from."""
    task = {**CONFIG["task"], "train": sets["train"], "heldout": sets["test"]}
    data = {"train": told["train"], "heldout": told["test"]}
    change_manifest(root, arm, seed, config={**CONFIG, "task": task}, data=data)


def test_one_set_of_problems_is_the_same_in_all_runs(tmp_path: Path) -> None:
    root = write_all(tmp_path / "runs")
    say_data(root, 0)
    say_data(root, 1)
    promote(root, tmp_path / "same", VERDICTS, DIGESTS, force=False)
    say_data(root, 1, told={**TOLD, "test": "b_test.jsonl sha256 3"})
    with pytest.raises(UserError) as caught:
        promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
    assert str(caught.value) == (
        f"{root}: runs of one data set read different data (none seed 0: b_test.jsonl sha256 2, "
        "none seed 1: b_test.jsonl sha256 3); set these runs aside with FRESH=1 and run again"
    )
    assert not (tmp_path / "artifacts").exists()
    # The held-out set of one arm may be what another trains on: it is one data set then too.
    say_data(root, 1, sets={**SETS, "train": SETS["test"]}, told={**TOLD, "train": "c sha256 4"})
    with pytest.raises(UserError, match=r"none seed 0: b_test\.jsonl sha256 2, none seed 1: c sha"):
        promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)


def test_other_sets_of_problems_may_differ(tmp_path: Path) -> None:
    root = write_all(tmp_path / "runs")
    say_data(root, 0)
    other = {"dataset": "a/b", "revision": "8" * 40, "split": "test"}
    say_data(root, 1, sets={**SETS, "test": other}, told={**TOLD, "test": "else sha256 3"})
    promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
    assert read_evidence(tmp_path / "artifacts").faults == {}


def test_base_models_of_other_settings_may_differ(tmp_path: Path) -> None:
    """And runs that do not say their weights are as before there was anything to say."""
    root = write_all(tmp_path / "runs")
    for number, (section, key) in enumerate(
        [("task", "name"), ("task", "modulus"), ("base", "seed"), ("engine", "precision")]
    ):
        config = {**CONFIG, section: {**CONFIG[section], key: "other"}}
        change_manifest(root, "none", 1, base_sha256=f"f00d{number}", config=config)
        target = tmp_path / f"artifacts-{number}"
        promote(root, target, VERDICTS, DIGESTS, force=False)
        assert read_evidence(target).faults == {}
    config = {**CONFIG, "task": {**CONFIG["task"], "digits": [3]}}  # no matter to the base model
    change_manifest(root, "none", 1, config=config)
    with pytest.raises(UserError, match="different weights"):
        promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
    path = run_directory(root, "none", 1) / "manifest.json"
    write_json(path, {k: v for k, v in read_json(path).items() if k != "base_sha256"})
    promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)


def test_runs_of_several_commits_belong_together(tmp_path: Path) -> None:
    root = write_all(tmp_path / "runs")
    change_manifest(root, "none", 1, commit="1" * 40)
    promote(root, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
    commits = {m["commit"] for m in read_evidence(tmp_path / "artifacts").manifests}
    assert commits == {"0" * 40, "1" * 40}


class LightsOut(BaseException):
    """Nothing catches it, as nothing runs after a power cut."""


STOPS = [
    *((Path, "rename", call) for call in range(2)),
    *((shutil, "rmtree", call) for call in range(3)),
    (pd.DataFrame, "to_parquet", 0),
    *((promotion, "write_json", call) for call in range(2)),
    *((os, "fsync", call) for call in range(7)),
    (promotion, "seal", 0),
]


@pytest.mark.parametrize(("owner", "name", "call"), STOPS)
@pytest.mark.parametrize("after", [False, True])
def test_cut_off_anywhere_the_old_evidence_is_whole(
    tmp_path: Path, owner: Any, name: str, call: int, after: bool
) -> None:
    target = tmp_path / "artifacts"
    first, second = (write_all(tmp_path / x, plan={"claims_sha256": x}) for x in ("1", "2"))
    promote(first, target, VERDICTS, DIGESTS, force=False)
    real, calls = getattr(owner, name), itertools.count()

    def stop(*arguments: Any, **more: Any) -> Any:
        last = next(calls) == call
        if last and not after:
            raise LightsOut
        done = real(*arguments, **more)
        if last:
            raise LightsOut
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(LightsOut):
            promote(second, target, VERDICTS, DIGESTS, force=True)
    home = target if target.exists() else aside_of(target)
    assert evidence_faults(home) == {}
    found = read_evidence(home)
    assert_same(found, read_runs(second if found.plan["claims_sha256"] == "2" else first))
    if home != target:
        assert "a promotion was cut off" in read_evidence(target).spoilt
    promote(second, target, VERDICTS, DIGESTS, force=True)
    assert_same(read_evidence(target), read_runs(second))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "artifacts"]


def test_evidence_is_replaced_by_force_only(tmp_path: Path) -> None:
    target = tmp_path / "artifacts"
    promote(write_all(tmp_path / "runs"), target, VERDICTS, DIGESTS, force=False)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    second = write_all(tmp_path / "more", plan={"claims_sha256": "decaf"})
    with pytest.raises(UserError, match="evidence is there already; FORCE=1 replaces it"):
        promote(second, target, VERDICTS, DIGESTS, force=False)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    promote(second, target, {"verdicts": []}, DIGESTS, force=True)
    assert_same(read_evidence(target), read_runs(second))
    assert read_json(target / "verdicts.json") == {"verdicts": []}


def test_many_missing_runs_are_counted_and_a_few_listed(tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", {**PLAN, "seeds": list(range(10))})
    with pytest.raises(UserError) as caught:
        promote(tmp_path, tmp_path / "artifacts", VERDICTS, DIGESTS, force=False)
    assert "20 of the planned runs are missing (group_std seed 0, group_std" in str(caught.value)
    assert "group_std seed 4, ...); run the experiment to its end first" in str(caught.value)
