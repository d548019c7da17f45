"""A miniature experiment through the runner: twice, on one and two processes, with accidents."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import threading
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from rl.artifacts import read_lines, run_status
from rl.config import config_digest, load_experiment
from rl.errors import UserError
from rl.evidence import read_runs
from rl.files import read_json
from rl.runner import progress, run_experiment, schedule
from rl.runner.base_models import base_digest, base_directory, make_base_model
from tests.places import Place, capture, git, kill_the_run_of, on_a_terminal
from tests.tiny import write_experiment


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """plain and std on both seeds, one process, through the command line on a terminal. One of
    the four was cut off before. The base model is there already: the smoke test has it made."""
    root = tmp_path_factory.mktemp("first")
    directory = write_experiment(root)
    (root / ".gitignore").write_text("runs/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "one experiment")
    cut = root / "runs" / "90-mini" / "laptop" / "std" / "seed-1"
    cut.mkdir(parents=True)
    (cut / "manifest.json").write_text('{"arm": "std", "seed": 1, "status": "running"}')
    (cut / "metrics.jsonl").write_text('{"step": 0, "values": {"train/reward": 77.0}}\n{"st')
    cache = root / "runs" / "base-models"
    cache.mkdir()
    make_base_model(
        cache, load_experiment(directory, "laptop").decoder("plain").base_model(), lambda *_: None
    )
    status, said = on_a_terminal(root, "90", "--arms", "plain,std", "--jobs", "1")
    return Place(root, said, status == 0)


@pytest.fixture(scope="module")
def second(first: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """All arms on seed 0, two processes, anew in a copy: `boom` fails, `victim` is killed."""
    root = tmp_path_factory.mktemp("second")
    shutil.copytree(first.root, root, dirs_exist_ok=True, copy_function=shutil.copy2)
    here = Place(root, "", False)
    killed: list[int] = []
    killer = threading.Thread(target=kill_the_run_of, args=("victim", here.label, killed))
    with pytest.MonkeyPatch.context() as patch, capture() as said:
        patch.setattr(progress, "PLAIN_EVERY_S", 0.0)
        for name in schedule.THREAD_VARIABLES:
            patch.setenv(name, "1")
        patch.chdir(root)
        killer.start()
        result = run_experiment(
            here.experiment(), runs=Path("runs"), arms=None, seeds=[0], jobs=2, fresh=True
        )
    killer.join()
    assert len(killed) == 1
    return Place(root, "".join(said), result)


def runs_of(place: Place, *seeds: int) -> list[Path]:
    return [place.label / arm / f"seed-{seed}" for arm in ("plain", "std") for seed in seeds]


def untouched(root: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}


def refuse(*_: object) -> None:
    """In the place of a worker."""
    raise AssertionError("a process was started")


def test_every_run_asked_for_is_complete(first: Place) -> None:
    assert first.result
    assert {run_status(run) for run in runs_of(first, 0, 1)} == {"complete"}
    assert run_status(first.label / "victim" / "seed-0") == "absent"
    evidence = read_runs(first.label)
    assert evidence.missing() == [(a, s) for a in ("victim", "boom") for s in (0, 1)]
    assert set(evidence.metrics["step"]) == {0, 1, 2}
    rewards = evidence.metrics[evidence.metrics["metric"] == "train/reward"]["value"]
    assert 0 < rewards.mean() < 1  # something was learned from


def test_a_run_that_was_cut_off_is_done_again(first: Place) -> None:
    run = first.label / "std" / "seed-1"
    steps = read_lines(run / "metrics.jsonl")
    assert steps[0]["values"].get("train/reward") != 77.0
    assert len(steps) == 2 * 2 + 1  # an evaluation and an update a step, and the last evaluation


def test_manifest_says_what_ran_on_what(first: Place) -> None:
    experiment = first.experiment()
    for run in runs_of(first, 0, 1):
        manifest = read_json(run / "manifest.json")
        config = experiment.decoder(manifest["arm"])
        assert manifest["experiment"] == "90-mini"
        assert manifest["profile"] == "laptop"
        assert [manifest["arm"], f"seed-{manifest['seed']}"] == [run.parent.name, run.name]
        assert manifest["commit"] == git(first.root, "rev-parse", "HEAD")
        assert manifest["clean_tree"] is True
        assert manifest["config"] == config.model_dump(mode="json")
        assert manifest["config_sha256"] == config_digest(config)
        assert manifest["claims_sha256"] == experiment.claims_sha256
        assert manifest["claims"] == experiment.claims.digests()
        assert manifest["base_model"] == base_digest(config.base_model())
        weights = (
            first.runs / "base-models" / base_digest(config.base_model()) / "model.safetensors"
        )
        assert manifest["base_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert manifest["versions"]["torch"] == version("torch")
        assert manifest["versions"]["python"].startswith("3.11.")
        assert manifest["machine"]["cores"] == os.cpu_count()
        assert manifest["machine"]["cpu"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["started"])
        assert manifest["seconds"] > 0
        assert manifest["tokens"] > 2 * 64
        rate = manifest["tokens"] / manifest["seconds"]
        assert manifest["tokens_per_s"] == pytest.approx(rate)


def test_nothing_written_names_the_host_or_a_path(first: Place) -> None:
    for name in ("manifest.json", "metrics.jsonl", "samples.jsonl"):
        for run in runs_of(first, 0, 1):
            text = (run / name).read_text()
            assert '"/' not in text
            for secret in (str(first.root), str(Path.home()), socket.gethostname()):
                assert secret not in text, f"{run.name}/{name} names {secret}"
    assert '"/' not in (first.label / "plan.json").read_text()


def test_plan_holds_every_arm_and_seed(first: Place) -> None:
    plan = read_json(first.label / "plan.json")
    experiment = first.experiment()
    assert plan == {
        "experiment": "90-mini",
        "number": 90,
        "profile": "laptop",
        "label": "laptop",
        "overrides": {},
        "arms": {name: arm.model_dump(mode="json") for name, arm in experiment.arms.items()},
        "seeds": [0, 1],
        "arm_seeds": {},
        "claims_sha256": experiment.claims_sha256,
        "budget_minutes": 2.0,
    }


def test_second_call_does_nothing(
    first: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "LocalWorker", refuse)
    before = {run: untouched(run) for run in runs_of(first, 0, 1)}
    assert run_experiment(
        first.experiment(),
        runs=first.runs,
        arms=["plain", "std"],
        seeds=None,
        jobs=2,
        fresh=False,
    )
    assert {run: untouched(run) for run in runs_of(first, 0, 1)} == before
    assert "4 runs asked for, 4 complete already" in capsys.readouterr().out


def test_complete_runs_of_other_settings_are_refused_and_nothing_is_touched(
    first: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run in the way is not among those asked for: the plan covers it."""
    monkeypatch.setattr(schedule, "LocalWorker", refuse)
    changed = write_experiment(tmp_path, {"optim.lr": 0.02})
    before = untouched(first.runs)
    for arms in (None, ["std"], ["victim"]):
        with pytest.raises(UserError) as caught:
            run_experiment(
                load_experiment(changed, "laptop"),
                runs=first.runs,
                arms=arms,
                seeds=None,
                jobs=1,
                fresh=False,
            )
        assert "a complete run of other settings is here; FRESH=1 sets" in str(caught.value)
    assert untouched(first.runs) == before


def test_numbers_do_not_depend_on_the_number_of_processes(first: Place, second: Place) -> None:
    for one, two in zip(runs_of(first, 0), runs_of(second, 0), strict=True):
        for name in ("metrics.jsonl", "samples.jsonl"):
            assert (one / name).read_bytes() == (two / name).read_bytes()
            assert (one / name).stat().st_size > 100
    plain, std = (read_lines(run / "metrics.jsonl") for run in runs_of(second, 0))
    assert plain[0] == std[0]  # the same base model, prompts and sampling seeds
    assert plain[-1] != std[-1]


def test_fresh_sets_the_old_runs_aside_whole(first: Place, second: Place) -> None:
    aside = second.label.with_name("laptop.old-1")
    kept = {p.relative_to(aside): content for p, (_, content) in untouched(aside).items()}
    old = {p.relative_to(first.label): c for p, (_, c) in untouched(first.label).items()}
    assert kept == old
    assert run_status(aside / "plain" / "seed-1") == "complete"
    assert run_status(second.label / "plain" / "seed-1") == "absent"


def test_failed_runs_are_told_with_their_logs_end_and_harm_no_other(second: Place) -> None:
    assert not second.result
    assert {run_status(run) for run in runs_of(second, 0)} == {"complete"}
    for arm in ("boom", "victim"):
        assert run_status(second.label / arm / "seed-0") == "running"
        assert re.search(rf"^{arm} seed 0: FAILED at step \d+", second.said, re.MULTILINE)
    report = second.said[second.said.index("\nfailed: ") :]
    boom, victim = sorted(report.split("\nfailed: ")[1:])
    told = "FloatingPointError: gradient norm is nan; lower optim.lr or clip gradients\n"
    assert boom.startswith(f"boom seed 0: {told}")
    assert boom.count(told) == 2  # and in its log
    assert len(boom.splitlines()) <= 1 + schedule.LOG_TAIL
    assert victim.startswith(f"victim seed 0: its process ended with exit code {-signal.SIGKILL}\n")
    assert (second.label / "logs" / "boom-seed-0.txt").read_text().count("Traceback") >= 1


def test_base_model_is_shared_and_not_made_again(first: Place, second: Place) -> None:
    config = first.experiment().decoder("plain").base_model()
    for place in (first, second):
        assert [p.name for p in (place.runs / "base-models").iterdir()] == [base_digest(config)]
    one, two = (untouched(base_directory(p.runs / "base-models", config)) for p in (first, second))
    assert list(one.values()) == list(two.values())  # the copy kept its times: not made again
    assert "base model" not in first.said + second.said


def test_a_base_model_that_fails_costs_its_own_runs_alone(first: Place, tmp_path: Path) -> None:
    directory = write_experiment(tmp_path)
    config = yaml.safe_load((directory / "config.yaml").read_text())
    config["arms"]["other"] = {"base.optim.lr": 1e30}
    config["varies"] = [*config["varies"], "base.optim.lr"]
    (directory / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    shutil.copytree(first.runs / "base-models", tmp_path / "runs/base-models")
    here = Place(tmp_path, "", False)
    with capture() as said:
        done = run_experiment(
            here.experiment(),
            runs=tmp_path / "runs",
            arms=["plain", "other"],
            seeds=None,
            jobs=1,
            fresh=False,
        )
    assert not done
    assert [run_status(run) for run in runs_of(here, 0, 1)[:2]] == ["complete", "complete"]
    assert not (here.label / "other").exists()
    (report,) = "".join(said).split("\nfailed: ")[1:]
    assert report.startswith("base model: FloatingPointError: gradient norm is nan")
    assert report.endswith("\nnot begun, for want of their base model: 2 runs\n")


def test_what_a_person_sees(first: Place, second: Place) -> None:
    """Bars on the terminal, plain lines in the pipe; tests of the progress have the details."""
    bars = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", first.said)
    assert bars != first.said
    assert "8 runs of 4 arms planned, 4 runs asked for, 0 complete already" in bars
    assert re.search(r"runs +\S+ +4/4", bars)
    assert "FAILED" not in bars
    assert "\x1b" not in second.said
    lines = second.said.splitlines()
    assert any(re.match(r"\[0/4 runs\] .*seed 0 step 1/\d+ reward \d\.\d{3}", x) for x in lines)
    ends = [x for x in lines if re.match(r"\[\d/4 runs\] (plain|std) seed 0: 2 steps, reward ", x)]
    assert [x[:10] for x in ends] == ["[1/4 runs]", "[2/4 runs]"]


def test_manifest_of_a_killed_run_is_whole(second: Place) -> None:
    manifest = json.loads((second.label / "victim" / "seed-0" / "manifest.json").read_text())
    assert manifest["status"] == "running"
    assert "seconds" not in manifest
    evidence = read_runs(second.label)
    assert ("victim", 0) in evidence.missing()
    assert set(evidence.metrics["arm"]) == {"plain", "std"}


def test_samples_tell_their_run(first: Place) -> None:
    for run in runs_of(first, 0):
        samples = read_lines(run / "samples.jsonl")
        assert [(s["step"], s["difficulty"]) for s in samples] == [(0, 2), (0, 3), (2, 2), (2, 3)]
        assert {(s["arm"], s["seed"]) for s in samples} == {(run.parent.name, 0)}
        for sample in samples:
            assert set(sample) >= {"problem_id", "prompt", "answer", "text", "finish_reason"}
