"""Two processes against one on the same runs of experiment 03."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rl.config import find_experiment, load_experiment
from rl.errors import UserError
from rl.runner import run_experiment
from rl.runner.base_models import make_base_model

ARMS, SEEDS = ["none", "group_std"], [0, 1]
CACHE = Path("runs") / "base-models"


def jobs_ratio() -> dict[str, Any]:
    """Seconds by the clock of the laptop's runs of two arms and two seeds, at JOBS=1 and 2.

    The base model is taken from runs/, and trained before the clock starts where it is missing;
    starting the processes counts.
    """
    experiment = load_experiment(find_experiment(3), "laptop", {})
    CACHE.mkdir(parents=True, exist_ok=True)
    make_base_model(CACHE, experiment.decoder(ARMS[0]).generated, lambda *_: None)
    seconds = {}
    for jobs in (1, 2):
        with TemporaryDirectory(dir=CACHE.parent) as folder:
            runs = Path(folder)
            (runs / "base-models").symlink_to(CACHE.resolve())
            start = time.perf_counter()
            done = run_experiment(
                experiment, runs=runs, arms=ARMS, seeds=SEEDS, jobs=jobs, fresh=False
            )
            seconds[jobs] = time.perf_counter() - start
            if not done:
                raise UserError("bench: a run of experiment 03 failed; its log is shown above")
    return {"runs": len(ARMS) * len(SEEDS), "seconds": seconds}
