"""Committed files have hashes: what is not as promoted is named, and nothing is taken of it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from rl.errors import UserError
from rl.evidence import (
    FILES,
    NO_PLAN,
    aside_of,
    evidence_faults,
    has_evidence,
    read_evidence,
    seal,
)
from rl.files import read_json, write_json
from rl.promotion import promote
from tests.small_runs import DIGESTS, VERDICTS, write_all

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("promoted")
    promote(write_all(root / "runs"), root / "artifacts", VERDICTS, DIGESTS, force=False)
    return root / "artifacts"


@pytest.fixture
def directory(promoted: Path, tmp_path: Path) -> Path:
    """A private copy of promoted evidence."""
    return Path(shutil.copytree(promoted, tmp_path / "artifacts"))


def edit_metrics(directory: Path) -> None:
    table = pd.read_parquet(directory / "metrics.parquet")
    table.loc[0, "value"] += 1e-9
    table.to_parquet(directory / "metrics.parquet", compression="zstd", index=False)


def edit_text(name: str, old: str, new: str) -> Spoil:
    def spoil(directory: Path) -> None:
        path = directory / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return spoil


SPOILS: list[tuple[str, Spoil, str]] = [
    ("metrics.parquet", edit_metrics, "expected sha256 .* as promoted, got sha256"),
    ("metrics.parquet", lambda d: (d / "metrics.parquet").write_bytes(b"PAR1"), "expected sha256"),
    ("metrics.parquet", lambda d: (d / "metrics.parquet").unlink(), "missing"),
    ("samples.jsonl", edit_text("samples.jsonl", "2", "3"), "expected sha256 .* got sha256"),
    ("samples.jsonl", lambda d: (d / "samples.jsonl").unlink(), "missing"),
    ("runs.json", edit_text("runs.json", '"tokens": 7', '"tokens": 8'), "expected sha256 .* got"),
    ("runs.json", edit_text("runs.json", "c0ffee", "decaf"), "expected sha256 .* got sha256"),
    ("runs.json", edit_text("runs.json", '"sha256"', '"md5"'), "damaged, or without hashes"),
    ("runs.json", lambda d: (d / "runs.json").write_text('{"plan'), "damaged, or without hashes"),
    ("runs.json", lambda d: (d / "runs.json").write_text("[]"), "damaged, or without hashes"),
    ("runs.json", lambda d: (d / "runs.json").unlink(), "missing"),
    ("verdicts.json", edit_text("verdicts.json", "incon", ""), "expected sha256 .* got sha256"),
    ("verdicts.json", lambda d: (d / "verdicts.json").unlink(), "missing"),
]


@pytest.mark.parametrize(("name", "spoil", "told"), SPOILS)
def test_what_is_not_as_promoted_is_named(
    directory: Path, name: str, spoil: Spoil, told: str
) -> None:
    spoil(directory)
    found = read_evidence(directory)
    assert list(found.faults) == [name]
    assert re.match(f"{directory / name}: {told}", found.faults[name])
    assert f"`git checkout -- {directory / name}`" in found.faults[name]
    assert found.spoilt == ("" if name == "verdicts.json" else found.faults[name])
    assert found.metrics.empty == (name in ("metrics.parquet", "runs.json"))
    assert (found.samples == []) == (name in ("samples.jsonl", "runs.json"))
    assert (found.plan == NO_PLAN) == (found.manifests == []) == (name == "runs.json")


def test_what_is_as_promoted_has_no_faults(directory: Path) -> None:
    assert read_evidence(directory).faults == {}
    # Another layout of the same manifests is the same.
    runs = read_json(directory / "runs.json")
    (directory / "runs.json").write_text(json.dumps(runs, sort_keys=True))
    assert read_evidence(directory).faults == {}
    assert sorted(runs["sha256"]) == sorted(FILES)


def test_every_fault_is_told(directory: Path) -> None:
    (directory / "samples.jsonl").unlink()
    edit_metrics(directory)
    found = read_evidence(directory)
    assert list(found.faults) == ["metrics.parquet", "samples.jsonl"]
    assert found.spoilt == ", and ".join(found.faults.values())


def test_a_seed_that_is_missing_among_the_manifests_is_missing(directory: Path) -> None:
    runs = read_json(directory / "runs.json")
    runs["runs"] = [m for m in runs["runs"] if (m["arm"], m["seed"]) != ("none", 1)]
    write_json(directory / "runs.json", runs)
    seal(directory)
    found = read_evidence(directory)
    assert found.faults == {}
    assert found.missing() == [("none", 1)]


def test_sealing_again_changes_nothing_and_keeps_the_content(directory: Path) -> None:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    seal(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_evidence_that_a_promotion_left_aside_is_named(directory: Path) -> None:
    assert has_evidence(directory)
    directory.rename(aside_of(directory))
    assert has_evidence(directory)
    told = read_evidence(directory).spoilt
    assert f"`mv {aside_of(directory)} {directory}` undoes it" in told
    shutil.rmtree(aside_of(directory))
    assert not has_evidence(directory)
    for read in (read_evidence, evidence_faults):
        with pytest.raises(UserError, match="no committed evidence"):
            read(directory)


@pytest.mark.parametrize("name", FILES)
def test_any_file_alone_is_evidence(directory: Path, name: str) -> None:
    for other in FILES:
        if other != name:
            (directory / other).unlink()
    assert has_evidence(directory)
    assert len(read_evidence(directory).faults) >= 3
