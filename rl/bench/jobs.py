"""Two processes against one on the same runs of experiment 03."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rl.config import find_experiment, load_experiment
from rl.errors import UserError
from rl.runner import run_experiment
from rl.runner.base_models import base_directory

ARMS, SEEDS = ["none", "group_std"], [0, 1]
CACHE = Path("runs") / "base-models"


def jobs_ratio() -> dict[str, Any]:
    """Seconds by the clock of the laptop's runs of two arms and two seeds, at JOBS=1 and 2.

    The base model is taken from runs/, and trained before the clock starts where it is missing;
    starting the processes counts.
    """
    seconds = {}
    for jobs in (1, 2):
        with TemporaryDirectory(dir=_runs()) as folder:
            runs = Path(folder)
            (runs / "base-models").symlink_to(CACHE.resolve())
            experiment = load_experiment(find_experiment(3), "laptop", {})
            start = time.perf_counter()
            done = run_experiment(
                experiment, runs=runs, arms=ARMS, seeds=SEEDS, jobs=jobs, fresh=False
            )
            seconds[jobs] = time.perf_counter() - start
            if not done:
                raise UserError("bench: a run of experiment 03 failed; its log is shown above")
    return {"runs": len(ARMS) * len(SEEDS), "seconds": seconds}


def _runs() -> Path:
    """runs/, with the base model of experiment 03 in it."""
    from rl.runner.base_models import make_base_model

    CACHE.mkdir(parents=True, exist_ok=True)
    experiment = load_experiment(find_experiment(3), "laptop", {})
    config = experiment.arms[ARMS[0]]
    if not base_directory(CACHE, config).exists():
        os.environ["OMP_NUM_THREADS"] = "1"
        make_base_model(CACHE, config, lambda *_: None)
    return CACHE.parent
