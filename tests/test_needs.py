"""What profiles need: the sums over their runs, the table in README.md, and budgets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rl.cli import main
from rl.config import find_experiment, load_experiment, profiles_of
from rl.config.published import DIFFICULTIES
from rl.data.problems import LEVELS, MOST_CALCULATIONS
from rl.needs import FP32, Device
from rl.runner import needs
from rl.runner.needs import needs_of, sizes_of
from rl.runner.work import Work, work_of
from tests.tiny import run_config

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted((ROOT / "experiments").glob("[0-9][0-9]-*"))
LARGER = [(d, p) for d in EXPERIMENTS for p in profiles_of(d) if p in needs.PROFILES]


def test_the_readme_has_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["needs"]) == 0
    printed = capsys.readouterr().out
    found = (ROOT / "README.md").read_text(encoding="utf-8")
    assert printed in found, "paste what `make needs` prints into README.md"
    assert printed.count("\n") == len(LARGER) + 2


@pytest.mark.parametrize(("directory", "profile"), LARGER)
def test_a_profile_stays_within_its_budget_on_the_largest_gpu(
    directory: Path, profile: str
) -> None:
    experiment = load_experiment(directory, profile)
    need = needs_of(experiment)
    hours = need.hours[needs.DEVICES[-1].name]
    assert experiment.budget_minutes is not None
    assert hours is not None
    assert 0 < 60 * hours <= experiment.budget_minutes
    assert need.runs + need.others == len(experiment.select(None, None))


@pytest.mark.parametrize("directory", EXPERIMENTS[1:], ids=lambda directory: directory.name[:2])
def test_the_laptop_s_runs_took_what_the_same_sums_say(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order of magnitude, as README.md says it: on a core of the machine that the evidence is
    of, with the peak and the shares of it that the table of speed there has, and guesses at its
    memory's bandwidth and at what a call costs."""
    core = Device("core", 8e9, {FP32: 79e9}, 10e9, 0.55, 0.27, 0.6, 3e-6)
    monkeypatch.setattr(needs, "DEVICES", (core,))
    hours = needs_of(load_experiment(directory, "laptop")).hours["core"]
    runs = json.loads((directory / "artifacts/runs.json").read_text(encoding="utf-8"))["runs"]
    took = sum(run["seconds"] for run in runs if run.get("base_model")) / 3600
    assert hours is not None
    assert took / 8 < hours < 3.2 * took
    if directory.name.startswith("03"):
        assert (round(60 * hours), round(60 * took)) == (94, 83)


def test_work_is_the_sum_of_its_parts() -> None:
    config = run_config()
    batch = config.rollout.prompts * config.rollout.group_size
    rows = config.steps * batch
    evaluations = -(-config.steps // config.eval.every) + 1
    held_out = config.eval.problems_per_difficulty * len(config.generated.task.digits)
    work = work_of(config)
    assert work.sampled[0] == (rows, batch)
    assert work.sampled[1][0] == evaluations * held_out * config.eval.samples
    assert work.passes == 3 * rows
    penalised = run_config({"reward.kl": 0.1})
    assert work_of(penalised).passes == 4 * rows
    assert (work.frozen, work_of(penalised).frozen) == (0, 1)


def test_more_gpus_take_less_time_and_hold_less() -> None:
    directory = find_experiment(4, ROOT / "experiments")
    experiment = load_experiment(directory, "paper")
    one, eight = needs_of(experiment), needs_of(experiment, gpus=8)
    assert one.parameters == eight.parameters == 1_543_714_304
    assert eight.gpu_bytes < one.gpu_bytes
    a100 = "A100 80GB"
    assert one.hours["RTX 4090"] is None
    assert one.hours[a100] is not None
    assert eight.hours[a100] is not None
    assert one.hours[a100] / 10 < eight.hours[a100] < one.hours[a100] / 4


def test_parts_of_work_add_up() -> None:
    one, two = Work(((4.0, 2),), 5.0, trained=2), Work(((6.0, 3),), 7.0, frozen=1)
    assert one + two == Work(((4.0, 2), (6.0, 3)), 12.0, trained=2, frozen=1)
    assert replace(one, frozen=3) + two == Work(((4.0, 2), (6.0, 3)), 12.0, 2, 4)


def test_a_run_without_a_decoder_is_counted_apart() -> None:
    experiment = load_experiment(find_experiment(1, ROOT / "experiments"), "laptop")
    need = needs_of(experiment)
    assert need.runs + need.others == len(experiment.select(None, None))
    assert need.others > 0
    assert all(sizes_of(c) is None for c in experiment.arms.values()) == (need.runs == 0)


def test_difficulties_of_published_problems_are_stated_alike() -> None:
    assert DIFFICULTIES["gsm8k"] == range(1, MOST_CALCULATIONS + 1)
    assert DIFFICULTIES["math"] == LEVELS
