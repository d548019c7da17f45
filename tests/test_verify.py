"""`rl verify` and `python -m analysis.verify` on an experiment that was trained and promoted."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis.claims import main as claims
from analysis.verify import main as check
from rl.artifacts import run_directory
from rl.cli import main
from rl.config import load_experiment
from rl.evidence import seal
from rl.files import read_json, write_json
from rl.runner import again, run_experiment
from tests.places import git
from tests.tiny import write_experiment

DIRECTORY = Path("experiments/90-mini")
ARTIFACTS = DIRECTORY / "artifacts"
RUNS = Path("runs/90-mini")


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms and two seeds, trained from a clean tree and promoted."""
    root = tmp_path_factory.mktemp("promoted")
    config = write_experiment(root) / "config.yaml"
    data = yaml.safe_load(config.read_text())
    data["arms"] = {arm: data["arms"][arm] for arm in ("plain", "std")}
    config.write_text(yaml.safe_dump(data, sort_keys=False))
    (root / ".gitignore").write_text("runs/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "one experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        experiment = load_experiment(DIRECTORY, "laptop")
        assert run_experiment(
            experiment, runs=Path("runs"), arms=None, seeds=None, jobs=1, fresh=False
        )
        assert claims(["promote", "90"]) == 0
    return root


@pytest.fixture
def place(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy, where the commands are given."""
    root = Path(shutil.copytree(promoted, tmp_path / "place"))
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def rerun(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In the place of training: the first run's bytes, which training gives again (below)."""
    given: list[str] = []

    def copy(there: Any, *, runs: Path, arms: list[str], seeds: list[int], **_: Any) -> bool:
        given.extend(f"{arm} seed {seed}" for arm in arms for seed in seeds)
        root = runs / there.name / there.label
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        shutil.copy(place / RUNS / "laptop" / "plan.json", root)
        source = run_directory(place / RUNS / "laptop", arms[0], seeds[0])
        shutil.copytree(source, run_directory(root, arms[0], seeds[0]))
        return True

    monkeypatch.setattr(again, "run_experiment", copy)
    return given


def edit_metric(arm: str, seed: int, metric: str, step: int, change: float) -> None:
    """Forge a committed number, hashes and all."""
    table = pd.read_parquet(ARTIFACTS / "metrics.parquet")
    chosen = (table["arm"] == arm) & (table["seed"] == seed)
    chosen &= (table["metric"] == metric) & (table["step"] == step)
    assert chosen.sum() == 1
    table.loc[chosen, "value"] += change
    table.to_parquet(ARTIFACTS / "metrics.parquet", compression="zstd", index=False)
    seal(ARTIFACTS)


def edit_manifests(**changes: Any) -> None:
    runs = read_json(ARTIFACTS / "runs.json")
    for manifest in runs["runs"]:
        manifest |= changes
    write_json(ARTIFACTS / "runs.json", runs)
    seal(ARTIFACTS)


def test_the_same_code_gives_the_same_bits(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained for real, twice: the second call starts anew and leaves nothing of the first."""
    values = len(pd.read_parquet(ARTIFACTS / "metrics.parquet"))
    commit = git(place, "rev-parse", "HEAD")[:7]
    for options, name in (([], "plain seed 0"), (["--arm", "std", "--seed", "1"], "std seed 1")):
        assert main(["verify", "90", *options]) == 0
        out = capsys.readouterr().out
        assert f"90-mini: {name} of commit {commit}, run again" in out
        assert f"\nmetrics: {values // 4} values, all bitwise equal\n" in out
        assert "\nsamples: 4 of 4 the same\n" in out
        assert "\nsame machine and packages: every value must be bitwise equal\n" in out
        assert out.endswith(f"\n{name}: agrees\n")
    assert sorted(path.name for path in RUNS.iterdir()) == ["laptop", "verify"]
    assert [path.parent.name for path in RUNS.glob("verify/*/seed-*")] == ["std"]


@pytest.mark.usefixtures("place")
def test_what_is_committed_agrees_with_itself_and_the_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check(["90"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{ARTIFACTS}: 4 files as promoted, by their hashes",
        f"{ARTIFACTS}/verdicts.json: 1 verdicts as the evidence gives them",
        f"{RUNS}/laptop: verdict-equal for the whole experiment, 1 claims",
    ]


def test_a_tampered_file_is_named_and_nothing_is_run(
    rerun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (ARTIFACTS / "samples.jsonl").write_text("{}\n")
    for command in (lambda: check(["90"]), lambda: main(["verify", "90"])):
        assert command() == 1
        assert f"{ARTIFACTS}/samples.jsonl: expected sha256" in capsys.readouterr().out
    assert rerun == []


def test_a_forged_number_is_found(rerun: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    edit_metric("plain", 0, "train/loss", 1, 0.5)
    assert check(["90"]) == 0  # no claim is made on it
    capsys.readouterr()
    assert main(["verify", "90"]) == 1
    out = capsys.readouterr().out
    assert "metrics: 1 of " in out
    assert "values differ, first at step 1; worst: train/loss at step 1: " in out
    assert out.endswith(f"plain seed 0: DISAGREES; its logs are in {RUNS}/verify/plain/seed-0\n")
    assert main(["verify", "90", "--arm", "plain", "--seed", "1"]) == 0
    assert rerun == ["plain seed 0", "plain seed 1"]


@pytest.mark.usefixtures("rerun")
def test_a_forged_sample_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (ARTIFACTS / "samples.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "text": "other"})
    (ARTIFACTS / "samples.jsonl").write_text("\n".join([*lines, ""]))
    seal(ARTIFACTS)
    assert main(["verify", "90"]) == 1
    assert "samples: 3 of 4 the same" in capsys.readouterr().out


@pytest.mark.usefixtures("rerun")
def test_elsewhere_numbers_need_only_be_near(capsys: pytest.CaptureFixture[str]) -> None:
    machine = {**read_json(ARTIFACTS / "runs.json")["runs"][0]["machine"], "cpu": "another"}
    edit_manifests(machine=machine)
    assert main(["verify", "90"]) == 0
    out = capsys.readouterr().out
    assert "other than committed: machine.cpu: another then, " in out
    assert "all bitwise equal" in out
    edit_metric("plain", 0, "train/lr", 1, 1e-9)
    assert main(["verify", "90"]) == 0
    assert "metrics: 1 of " in capsys.readouterr().out
    edit_metric("plain", 0, "train/lr", 1, 1.0)
    edit_metric("plain", 1, "train/lr", 1, 1.0)  # else the spread over seeds would excuse it
    assert main(["verify", "90"]) == 1
    assert "\n  train/lr: mean 0.51 then, 0.01 now, allowed " in capsys.readouterr().out


def test_changed_settings_are_bad_input(
    rerun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = yaml.safe_load((DIRECTORY / "config.yaml").read_text())
    data["run"]["eval"]["seed"] = 8
    data["run"]["steps"] = 3
    (DIRECTORY / "config.yaml").write_text(yaml.safe_dump(data))
    assert main(["verify", "90"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {DIRECTORY}: plain is not configured as its evidence was;")
    assert err.splitlines()[1:] == [
        "  steps: committed 2, now 3",
        "  eval.seed: committed 7, now 8",
    ]
    assert rerun == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["91"], "expected one experiment 91"),
        (["90", "--arm", "plane"], "ARM: no arm 'plane' in the evidence; did you mean 'plain'?"),
        (["90", "--seed", "7"], "SEED: no seed '7' in the evidence; expected one of [0, 1]"),
    ],
)
def test_an_unknown_run_is_bad_input(
    arguments: list[str], told: str, rerun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert rerun == []


@pytest.mark.usefixtures("place")
def test_without_evidence_there_is_nothing_to_verify(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(ARTIFACTS)
    for command in (lambda: check(["90"]), lambda: main(["verify", "90"])):
        assert command() == 2
        assert "no committed evidence" in capsys.readouterr().err
    assert check(["91"]) == 2


@pytest.mark.usefixtures("place")
def test_committed_verdicts_that_the_evidence_does_not_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = read_json(ARTIFACTS / "verdicts.json")
    verdicts["verdicts"][0]["n"] = 3
    write_json(ARTIFACTS / "verdicts.json", verdicts)
    seal(ARTIFACTS)
    assert check(["90"]) == 1
    assert "claim std-differs: n is 3, but" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_runs_with_settings_that_came_later_are_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the evidence states must be the same in them, and no more."""
    path = RUNS / "laptop" / "plan.json"
    plan = read_json(path)

    def said(**changes: object) -> str:
        arms = {arm: {**settings, **changes} for arm, settings in plan["arms"].items()}
        write_json(path, {**plan, "arms": arms})
        assert check(["90"]) == 0
        return capsys.readouterr().out

    loss = plan["arms"]["plain"]["loss"]
    later = said(loss={**loss, "later": {"on": True}}, new=[1])
    assert (
        "\nnot compared, as the evidence is older than these settings: loss.later.on, new\n"
        in later
    )
    assert "verdict-equal for the whole experiment, 1 claims" in later
    fewer = {name: value for name, value in loss.items() if name != "name"}
    for changed in ({**loss, "name": "other"}, fewer):
        other = said(loss=changed)
        assert "runs of other settings than committed" in other
        assert "verdict-equal" not in other


@pytest.mark.usefixtures("place")
def test_runs_that_cannot_be_compared_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(RUNS / "laptop" / "std" / "seed-1")
    assert check(["90"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{RUNS}/laptop: not a complete run, 1 runs are missing; `make exp-90`")
    plan = read_json(RUNS / "laptop" / "plan.json")
    write_json(RUNS / "laptop" / "plan.json", {**plan, "seeds": [0]})
    assert check(["90"]) == 0
    assert "runs of other settings than committed" in capsys.readouterr().out
    shutil.rmtree(RUNS / "laptop")
    assert check(["90"]) == 0
    assert "no runs of your own; `make exp-90` makes one" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_runs_with_another_verdict_disagree(capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracies of nearly 1 above those of the other arm: greater, on both seeds."""
    committed = read_json(ARTIFACTS / "verdicts.json")["verdicts"][0]["verdict"]
    assert committed != "reproduced"
    for seed, accuracy in ((0, 0.98), (1, 0.99)):
        for arm, value in (("plain", accuracy - 0.9), ("std", accuracy)):
            directory = run_directory(RUNS / "laptop", arm, seed)
            log = {"step": 9, "values": {"eval/accuracy": value}}
            with (directory / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(log) + "\n")
            manifest = read_json(directory / "manifest.json")
            del manifest["logs"]  # as of a run from before there were hashes
            write_json(directory / "manifest.json", manifest)
    assert check(["90"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"claim std-differs: committed {committed}, in {RUNS}/laptop reproduced"
