"""What settings were chosen by can be run again: every point of every grid, on pilot seeds."""

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl.artifacts import RunWriter, run_directory
from rl.cli import main
from rl.config import Experiment, RunConfig, load_experiment, load_tuning
from rl.errors import UserError
from rl.runner import tuning
from tests.tiny import write_experiment

ROOT = Path(__file__).resolve().parent.parent
GRIDS: dict[str, Any] = {
    "seeds": [100, 101],
    "metrics": ["eval/accuracy", "eval/response_tokens"],
    "grids": {"plain": {"optim.lr": [0.1, 0.2]}, "std": {"rollout.prompts": [1, 3]}},
}


def written(root: Path, changes: dict[str, Any] | None = None) -> Path:
    directory = write_experiment(root)
    text = yaml.safe_dump({**GRIDS, **(changes or {})})
    (directory / "tuning.yaml").write_text(text, encoding="utf-8")
    return directory


def test_points_are_arms_with_one_setting_changed(tmp_path: Path) -> None:
    _, points, grid = load_tuning(written(tmp_path), "laptop")
    assert [(p.name, p.arm, p.setting, p.value) for p in points] == [
        ("plain_at_0", "plain", "optim.lr", 0.1),
        ("plain_at_1", "plain", "optim.lr", 0.2),
        ("std_at_0", "std", "rollout.prompts", 1),
        ("std_at_1", "std", "rollout.prompts", 3),
    ]
    assert {(spec.arm, spec.seed) for spec in grid.select(None, None)} == {
        (point.name, seed) for point in points for seed in (100, 101)
    }
    changed = grid.arms["std_at_1"]
    assert isinstance(changed, RunConfig)
    assert (changed.rollout.prompts, changed.advantage.scale) == (3, "group_std")
    assert grid.label == "laptop+tuning"


def test_the_table_says_what_came_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(grid: Experiment, *, runs: Path, **_: Any) -> bool:
        for spec in grid.select(None, None):
            directory = run_directory(runs / grid.name / grid.label, spec.arm, spec.seed)
            with RunWriter(directory, {"arm": spec.arm, "seed": spec.seed}) as log:
                value = list(grid.arms).index(spec.arm) + spec.seed / 1000
                log.log(0, {"eval/accuracy": 9.0})
                log.log(2, {"eval/accuracy": value})
                log.log(2, {"eval/response_tokens": 3.14159})
        return True

    monkeypatch.setattr(tuning, "run_experiment", run)
    assert main(["tune", "90"]) == 0
    table = Path("runs/90-mini/laptop+tuning/tuning.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "arm,setting,value,seed,eval/accuracy,eval/response_tokens"
    assert table[1] == "plain,optim.lr,0.1,100,0.1,3.1416"
    assert table[-1] == "std,rollout.prompts,3,101,3.101,3.1416"
    assert len(table) == 9


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": [0, 100]}, "seeds from 100 up"),
        ({"metrics": ["eval/acuracy"]}, "eval/accuracy"),
        ({"grids": {"plain": {"optim.lr": [0.1], "steps": [1]}}}, "one setting"),
        ({"grids": {**GRIDS["grids"], "std": {"steps": [1]}}}, "as many values for every arm"),
        ({"grids": {"plane": {"steps": [1]}}}, "no arm"),
        ({"grids": {"plain": {"step": [1]}}}, "no setting"),
    ],
)
def test_faults_are_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_tuning(written(tmp_path, changes), "laptop")


TUNED = sorted(path.parent for path in (ROOT / "experiments").glob("*/tuning.csv"))


@pytest.mark.parametrize("directory", TUNED, ids=lambda path: path.name)
def test_arms_hold_what_their_grids_chose(directory: Path) -> None:
    """The value with the highest mean of the first metric, by the committed outcome; seeds of grids
    are none of the plan's."""
    tuned, points, _ = load_tuning(directory, "laptop")
    planned = load_experiment(directory, "laptop")
    assert not {spec.seed for spec in planned.select(None, None)} & set(tuned.seeds)
    with (directory / "tuning.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(points) * len(tuned.seeds)
    for arm in tuned.grids:
        of_arm = [point for point in points if point.arm == arm]
        means = {}
        for point in of_arm:
            found = [
                float(row[tuned.metrics[0]])
                for row in rows
                if (row["arm"], row["value"]) == (arm, str(point.value))
            ]
            assert len(found) == len(tuned.seeds)
            means[point.value] = sum(found) / len(found)
        node: Any = planned.arms[arm].model_dump(mode="json")
        for part in of_arm[0].setting.split("."):
            node = node[part]
        assert node == max(means, key=lambda value: means[value]), arm


def test_experiment_10_was_tuned() -> None:
    assert "10-dpo-vs-ppo" in [path.name for path in TUNED]
