"""`rl run` with bad options: one message, status 2, nothing run. And every experiment's smoke."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import claims
from rl.cli import main
from rl.config import ProgramConfig, load_experiment
from rl.rollout import vllm_engine
from tests.tiny import write_experiment

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted(path.name for path in (ROOT / "experiments").glob("[0-9][0-9]-*"))
# Smoke runs of the same programs and world as those of 03, left to the slow tests.
AS_ANOTHER = {"04-length-normalization"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one experiment, where the command is given."""
    write_experiment(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("42", "error: expected one experiment 42 under experiments/, known: 90-mini"),
        ("ninety", "error: experiment: expected a whole number, got 'ninety'"),
        (
            "90 --profile smoky",
            "error: PROFILE: 90-mini has no profile 'smoky'; did you mean 'smoke",
        ),
        (
            "90 --profile paper",
            "error: PROFILE: 90-mini has no profile 'paper'; known: laptop, smok",
        ),
        ("90 --arms plan", "error: ARMS: no arm 'plan'; did you mean 'plain'?"),
        (
            "90 --arms plain,nothing",
            "error: ARMS: no arm 'nothing'; known: boom, plain, std, victim",
        ),
        ("90 --seeds 7", "error: SEEDS: seed 7 is not planned; planned: (0, 1)"),
        ("90 --seeds 0,one", "error: SEEDS: expected a whole number, got 'one'"),
        ("90 --seeds 0.5", "error: SEEDS: expected a whole number, got '0.5'"),
        ("90 --jobs 0", "error: JOBS: expected 1 or more processes, got 0"),
        ("90 --jobs -2", "error: JOBS: expected 1 or more processes, got -2"),
        ("90 --jobs x", "error: JOBS: expected a whole number, got 'x'"),
        ("90 --rollout vlm", "error: ROLLOUT: expected one of local, vllm, vllm_worker, got 'vlm'"),
        ("90 --set steps", "error: SET: expected path=value, such as optim.lr=1e-4, got 'steps'"),
        ("90 --set =3", "error: SET: expected path=value, such as optim.lr=1e-4, got '=3'"),
        (
            "90 --set optim.lrr=1",
            "error: SET: no setting 'optim.lrr': 'lrr' is unknown under optim",
        ),
        ("90 --set steps=many", "1 fault(s)\n  steps: input should be a valid integer, got 'many'"),
        ("90 --set steps='3", "error: SET: No closing quotation"),
        (
            "90 --set task.modulus=2 task.digits=[2]",
            "error: task: the data set of held-out prompts with 2 digits modulo 2 is empty; drop",
        ),
    ],
)
def test_bad_option_is_one_message(
    options: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number, *rest = options.split(" ", 2)  # what follows --set is one value
    assert main(["run", number, *rest]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    assert not (place / "runs").exists()


@pytest.mark.parametrize("arguments", [[], ["run"], ["walk"], ["run", "90", "--sedes", "1"]])
def test_unknown_command_or_option_shows_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: rl")
    assert "error: " in err


def command(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rl.cli", "run", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_missing_vllm_is_told_before_anything_runs(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "find_spec", lambda _: None)
    assert main(["run", "90", "--rollout", "vllm"]) == 2
    assert "run `make setup-vllm`" in capsys.readouterr().err
    assert not (place / "runs").exists()


def test_status_and_streams_of_the_process(place: Path) -> None:
    done = command(place, "90", "--arms", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: ARMS: no arm 'nothing'; known: boom, plain, std, victim\n"


@pytest.mark.smoke
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in AS_ANOTHER else n for n in EXPERIMENTS],
)
def test_smoke_profile_ends_with_verdicts(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One arm of each program and world, trained for real; what is left out is incomplete."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    experiment = load_experiment(ROOT / "experiments" / name, "smoke")
    first = {_world(config): arm for arm, config in reversed(experiment.arms.items())}
    seeds = {experiment.seeds_of(arm)[0] for arm in first.values()}
    specs = experiment.select(list(first.values()), sorted(seeds))
    options = ["--profile", "smoke", "--arms", ",".join(first.values())]
    options += ["--seeds", ",".join(map(str, sorted(seeds)))]
    done = command(tmp_path, name[:2], *options, "--jobs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for spec in specs:
        assert f"{spec.arm} seed {spec.seed}: " in done.stdout

    monkeypatch.chdir(tmp_path)
    assert claims.main(["show", name[:2], "--profile", "smoke"]) == 0
    shown = capsys.readouterr().out
    planned = sum(len(experiment.seeds_of(arm)) for arm in experiment.arms)
    assert f"{name}, smoke: {len(specs)} of {planned} runs" in shown
    assert "incomplete" in shown
    for claim in experiment.claims.claims:
        assert claim.text.split()[0] in shown


def _world(config: ProgramConfig) -> tuple[str, str]:
    """What distinguishes an arm's code from another's: its program, and its world's name."""
    world = getattr(config, "task", None) or getattr(config, "world", None)
    return config.program, getattr(world, "name", "")
