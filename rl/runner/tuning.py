"""The grids that arms were tuned over, run again."""

import csv
from pathlib import Path

from rl.artifacts import read_lines, run_directory
from rl.config import find_experiment, load_tuning
from rl.runner.schedule import run_experiment


def tune(number: int, *, profile: str, runs: Path, jobs: int) -> bool:
    """Run every point of experiment `number`'s grids on the pilot seeds, and write a table of what
    came of them, `tuning.csv` beside the runs; True if every run ended well.

    What is done already is not done again.
    """
    written, points, experiment = load_tuning(find_experiment(number), profile)
    if not run_experiment(experiment, runs=runs, arms=None, seeds=None, jobs=jobs, fresh=False):
        return False
    root = runs / experiment.name / experiment.label
    table = root / "tuning.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "setting", "value", "seed", *written.metrics])
        for point in points:
            for seed in written.seeds:
                log = read_lines(run_directory(root, point.name, seed) / "metrics.jsonl")
                steps = experiment.arms[point.name].steps
                last = {
                    k: v for line in log if line["step"] == steps for k, v in line["values"].items()
                }
                found = [round(last[name], 4) for name in written.metrics]
                writer.writerow([point.arm, point.setting, point.value, seed, *found])
    print(f"{table}: {len(points)} points on {len(written.seeds)} seeds")
    return True
