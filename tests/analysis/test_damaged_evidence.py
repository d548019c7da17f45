"""Damaged evidence: each command names it, and no verdict on it is anything but incomplete."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import load
from analysis.claims import main
from analysis.verdicts import judge
from rl.config import load_experiment
from rl.errors import UserError
from rl.evidence import aside_of, read_evidence, seal
from rl.files import read_json, write_json

ARTIFACTS = Path("experiments/03-std-scaling/artifacts")


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy without runs' logs, with verdicts and tables as the evidence gives them."""
    root = tmp_path / "repository"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("RL_EVIDENCE", str(root / "experiments"))
    assert main(["readme"]) == 0
    assert main(["readme", "--check"]) == 0
    return root


def edit_metrics() -> None:
    table = pd.read_parquet(ARTIFACTS / "metrics.parquet")
    table.loc[table["arm"] == "none", "value"] *= -3
    table.to_parquet(ARTIFACTS / "metrics.parquet", index=False)


def drop_a_column() -> None:
    table = pd.read_parquet(ARTIFACTS / "metrics.parquet").drop(columns="level")
    table.to_parquet(ARTIFACTS / "metrics.parquet", index=False)


def edit_a_manifest() -> None:
    runs = read_json(ARTIFACTS / "runs.json")
    runs["runs"][0]["seed"] = 99
    write_json(ARTIFACTS / "runs.json", runs)


SPOILS: list[tuple[str, Callable[[], object]]] = [
    ("metrics.parquet: expected sha256", edit_metrics),
    ("metrics.parquet: expected sha256", drop_a_column),
    (
        "metrics.parquet: expected sha256",
        lambda: (ARTIFACTS / "metrics.parquet").write_bytes(b"PAR1PAR1"),
    ),
    ("samples.jsonl: expected sha256", lambda: (ARTIFACTS / "samples.jsonl").write_text("{}\n")),
    ("samples.jsonl: missing", lambda: (ARTIFACTS / "samples.jsonl").unlink()),
    ("runs.json: expected sha256", edit_a_manifest),
    ("runs.json: damaged", lambda: (ARTIFACTS / "runs.json").write_text("{")),
    ("runs.json: missing", lambda: (ARTIFACTS / "runs.json").unlink()),
    ("artifacts: missing, a promotion was cut off", lambda: ARTIFACTS.rename(aside_of(ARTIFACTS))),
]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("told", "spoil"), SPOILS)
def test_no_verdict_on_spoilt_evidence(
    told: str, spoil: Callable[[], object], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    found = read_evidence(ARTIFACTS)
    verdicts = judge(found, load_experiment(ARTIFACTS.parent, "laptop").claims)
    assert {v.verdict for v in verdicts} == {"incomplete"}
    assert all(told in v.reason for v in verdicts)
    for read in (load.evidence, load.verdicts):
        with pytest.raises(UserError, match=told):
            read(3)

    capsys.readouterr()
    before = Path("README.md").read_text()
    assert main(["readme", "--check"]) == 2
    assert Path("README.md").read_text() == before
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err

    assert main(["readme"]) == 2
    assert told in capsys.readouterr().err
    shown = Path("README.md").read_text()
    assert shown.count("**incomplete**") == 1  # the primary claim
    assert "| 3 | 0 | 0 | 0 | 3 |" in shown
    page = (ARTIFACTS.parent / "README.md").read_text()
    assert page.count("| **incomplete**; incomplete: ") == 3
    assert told in page
    assert "**reproduced**" not in page + shown


@pytest.mark.usefixtures("root")
def test_show_takes_no_committed_verdict_from_spoilt_evidence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit_metrics()
    capsys.readouterr()
    assert main(["show", "3"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("learns"))
    assert line.split()[1:3] == ["reproduced", "incomplete"]
    assert f"\ncommitted evidence: {ARTIFACTS}/metrics.parquet: expected sha256" in out


@pytest.mark.usefixtures("root")
def test_a_verdict_file_of_another_hash_is_told_and_can_be_made_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As after a crash between verdicts.json and its hash in runs.json."""
    file = ARTIFACTS / "verdicts.json"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(UserError, match=r"verdicts\.json: expected sha256"):
        load.verdicts(3)
    assert main(["show", "3"]) == 0
    assert "committed evidence: " in capsys.readouterr().out
    for check in (["--check"], []):
        assert main(["readme", *check]) == 2
        assert "delete it and run `python -m analysis.claims readme`" in capsys.readouterr().err
    file.unlink()
    assert main(["readme"]) == 0
    assert read_evidence(ARTIFACTS).faults == {}
    assert len(load.verdicts(3)) == 3


@pytest.mark.usefixtures("root")
def test_a_crash_while_verdicts_are_renewed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ARTIFACTS.parent / "claims.yaml"
    claims.write_text(claims.read_text().replace("Training raises", "Training always raises"))
    (ARTIFACTS / "verdicts.json").unlink()

    def lights_out(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.claims.seal", lights_out)
    with pytest.raises(KeyboardInterrupt):
        main(["readme"])
    assert list(read_evidence(ARTIFACTS).faults) == ["verdicts.json"]
    assert main(["readme", "--check"]) == 2


@pytest.mark.usefixtures("root")
def test_a_seed_without_its_manifest_makes_its_claims_incomplete() -> None:
    runs = read_json(ARTIFACTS / "runs.json")
    runs["runs"] = [m for m in runs["runs"] if (m["arm"], m["seed"]) != ("none_x10", 2)]
    write_json(ARTIFACTS / "runs.json", runs)
    seal(ARTIFACTS)
    verdicts = judge(read_evidence(ARTIFACTS), load_experiment(ARTIFACTS.parent, "laptop").claims)
    assert [v.verdict == "incomplete" for v in verdicts] == [False, False, True]
    assert verdicts[2].reason == "no complete run of none_x10 seed 2"


@pytest.mark.usefixtures("root")
def test_seal_is_for_evidence_without_hashes_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seal", "3"]) == 2
    assert "has its hashes" in capsys.readouterr().err
    runs = read_json(ARTIFACTS / "runs.json")
    sealed = runs.pop("sha256")
    write_json(ARTIFACTS / "runs.json", runs)
    assert main(["readme", "--check"]) == 2
    assert main(["seal", "3"]) == 0
    assert read_json(ARTIFACTS / "runs.json") == {"sha256": sealed, **runs}
    assert main(["readme", "--check"]) == 0
