"""One committed run, run again under the present code: are the numbers the committed ones?"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.artifacts import run_directory
from rl.config import Experiment, by_path
from rl.config.schema import closest
from rl.errors import UserError
from rl.evidence import Evidence, read_runs
from rl.runner.comparison import compare
from rl.runner.schedule import run_experiment

LABEL = "verify"


def verify_run(
    experiment: Experiment, committed: Evidence, *, runs: Path, arm: str, seed: str
) -> bool:
    """Run one arm and seed anew in a folder of its own, compare, and print what was found.

    Args:
        experiment: as configured now, in the profile of the evidence.
        committed: its evidence, without faults.
        runs: the runs folder, whose base models are used.
        arm, seed: which; the plan's first where empty.

    Raises:
        UserError: no such run, or its settings are not the committed ones.
    """
    then = _committed_run(committed, arm, seed)
    _check_settings(experiment, then)
    name = f"{then['arm']} seed {then['seed']}"
    print(f"{experiment.name}: {name} of commit {str(then['commit'])[:7]}, run again", flush=True)
    there = replace(experiment, label=LABEL)
    root = runs / there.name / LABEL
    done = run_experiment(
        there, runs=runs, arms=[then["arm"]], seeds=[then["seed"]], jobs=1, fresh=True
    )
    for old in root.parent.glob(f"{LABEL}.old-*"):  # what an earlier call left: no evidence
        shutil.rmtree(old)
    if not done:
        return False
    fresh = read_runs(root)
    found = compare(committed, fresh, then["arm"], then["seed"])
    print("\n".join(found.lines))
    where = run_directory(root, then["arm"], then["seed"])
    print(f"{name}: {'agrees' if found.agrees else f'DISAGREES; its logs are in {where}'}")
    return found.agrees


def _committed_run(committed: Evidence, arm: str, seed: str) -> dict[str, Any]:
    arms = list(committed.plan["arms"])
    chosen = arm or arms[0]
    if chosen not in arms:
        raise UserError(f"ARM: no arm {arm!r} in the evidence; {closest(arm, arms)}")
    seeds = committed.seeds_of(chosen)
    if seed and seed not in map(str, seeds):
        raise UserError(f"SEED: no seed {seed!r} in the evidence; expected one of {seeds}")
    number = int(seed) if seed else seeds[0]
    for manifest in committed.manifests:
        if (manifest["arm"], manifest["seed"]) == (chosen, number):
            return manifest
    raise UserError(f"{chosen} seed {number}: planned, but not in the evidence; promote again")


def _check_settings(experiment: Experiment, then: Mapping[str, Any]) -> None:
    arm = then["arm"]
    now = experiment.arms[arm].model_dump(mode="json") if arm in experiment.arms else {}
    one, two = by_path(then["config"]), by_path(now)
    # A key that came later has no committed value; the numbers themselves tell if it matters.
    keys = [key for key in one if one[key] != two.get(key)]
    if keys:
        listed = "".join(f"\n  {k}: committed {one.get(k)!r}, now {two.get(k)!r}" for k in keys)
        raise UserError(
            f"{experiment.directory}: {arm} is not configured as its evidence was; restore the "
            f"settings, or run and promote again:{listed}"
        )
