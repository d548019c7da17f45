"""Arms x seeds over worker processes: what is done is skipped, what fails is told."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rl.artifacts import run_directory, run_fault, run_status
from rl.config import (
    DecoderRunConfig,
    Experiment,
    PreferencesConfig,
    ProgramConfig,
    PublishedPairsConfig,
    RewardModelConfig,
    RunSpec,
    SampledPairsConfig,
    config_digest,
)
from rl.errors import UserError
from rl.files import CHECKPOINT_SECONDS, lock, named, read_json, write_json
from rl.runner.base_models import base_directory
from rl.runner.launch import Launch
from rl.runner.pool import work_through
from rl.runner.progress import Progress
from rl.runner.provenance import source_state
from rl.runner.ranked import RankedWorker
from rl.runner.worker import Job
from rl.runner.workers import LocalWorker, Worker

LOG_TAIL = 15  # lines of a failed run's log that are shown
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_experiment(
    experiment: Experiment,
    *,
    runs: Path,
    arms: list[str] | None,
    seeds: list[int] | None,
    jobs: int,
    fresh: bool,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    hire: Callable[[], Worker] | None = None,
    launch: Launch | None = None,
) -> bool:
    """Run what is asked for and not yet done; True if every run ended well.

    A run that was killed goes on from its last checkpoint, to the numbers it would have had.
    `hire` gets those who do the runs, processes of this machine if it is None; base models are
    always made here. With `launch` several ranks do each run, and runs are done one at a time.

    Raises:
        UserError: bad selection, runs of other settings are in the way, another process is at work
            on the same runs, or ranks for a program that has no work for them.
    """
    if jobs < 1:
        raise UserError(f"JOBS: expected 1 or more processes, got {jobs}")
    specs = experiment.select(arms, seeds)
    root = runs / experiment.name / experiment.label
    if launch is not None:
        _check_shared(specs, launch)
        jobs, hire = 1, partial(RankedWorker, launch, root / "logs")
    directories = [run_directory(root, spec.arm, spec.seed) for spec in specs]
    if fresh or any(run_status(directory) != "complete" for directory in directories):
        _check_data(specs)  # before anything is written
    busy = f"{root}: another process runs this experiment; wait for it or stop it first"
    held = lock(root, busy=busy)
    if fresh and (root / "plan.json").exists():
        print(f"{root}: the older runs are kept in {_set_aside(root)}")
        os.close(held)
        held = lock(root, busy=busy)
    try:
        cache = runs / "base-models"
        return _run(experiment, specs, root, cache, jobs, checkpoint_seconds, hire or LocalWorker)
    finally:
        os.close(held)


def _run(
    experiment: Experiment,
    specs: list[RunSpec],
    root: Path,
    cache: Path,
    jobs: int,
    checkpoint_seconds: float,
    hire: Callable[[], Worker],
) -> bool:
    # Of all that is planned: the plan speaks for every run that lies under it.
    done = {(s.arm, s.seed) for s in experiment.select(None, None) if _done(root, s)}
    for spec in specs:
        _set_aside_damaged(root, spec)
    _write_plan(root, experiment)
    todo = [spec for spec in specs if (spec.arm, spec.seed) not in done]
    with named(cache):
        cache.mkdir(parents=True, exist_ok=True)
    facts = {
        "experiment": experiment.name,
        "profile": experiment.profile,
        "claims_sha256": experiment.claims_sha256,
        "claims": experiment.claims.digests(),
        **source_state(),
    }
    for name in THREAD_VARIABLES:  # read by native libraries when a worker starts:
        os.environ[name] = "1"  # the numbers must not depend on how many run
    progress = Progress(experiment, done=len(specs) - len(todo), total=len(specs))
    with progress:
        bases = [
            Job(RunSpec("", 0, config), root, cache, facts, checkpoint_seconds)
            for config in _missing_bases(todo, cache)
        ]
        failed = work_through(bases, jobs=1, progress=progress, hire=LocalWorker)
        queue = [Job(spec, root, cache, facts, checkpoint_seconds) for spec in todo]
        ready = [job for job in queue if not _missing_bases([job.spec], cache)]
        failed += work_through(ready, jobs=jobs, progress=progress, hire=hire)
    for job, why in failed:
        print(f"\nfailed: {job.name}: {why}")
        if job.log_file.exists():
            tail = job.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join(f"  {line}" for line in tail[-LOG_TAIL:]))
    if waiting := len(queue) - len(ready):
        print(f"\nnot begun, for want of their base model: {waiting} runs")
    return not (failed or waiting)


def _check_shared(specs: list[RunSpec], launch: Launch) -> None:
    """Several ranks have something to share, and nobody waits for runs side by side."""
    alone = {spec.arm: spec.config.program for spec in specs if not spec.config.shared}
    if alone and launch.world > 1:
        arm, program = next(iter(alone.items()))
        raise UserError(
            f"GPUS: arm {arm} is of program {program}, which has no work for {launch.world} ranks; "
            "leave out GPUS and HOSTFILE, or choose other arms with ARMS"
        )
    print(f"every run is done by {launch.world} ranks, one run at a time")


def _check_data(specs: list[RunSpec]) -> None:
    """Every held-out set that the runs will ask for has problems, and what judges their responses
    can run here, before anything is trained."""
    from rl.rewards.sandbox import find_way
    from rl.tasks import TASKS  # seconds of imports, which a call with nothing to do saves

    checked: set[str] = set()
    for arm, config in {spec.arm: spec.config for spec in specs}.items():
        if isinstance(config, RewardModelConfig) and config.data.name == "published":
            if (asked := config.data.model_dump_json()) not in checked:
                checked.add(asked)
                _check_published(arm, config.data)
            continue
        if isinstance(config, DecoderRunConfig) and config.published() is not None:
            asked = config.model_dump_json(include={"task", "base", "rollout"})
            if asked not in checked:
                checked.add(asked)
                _check_published_task(arm, config)
            continue
        made = config.base_model()
        if made is None:
            continue
        task = TASKS[made.task.name](modulus=made.task.modulus, digits=made.task.digits)
        if isinstance(config, DecoderRunConfig):
            task.heldout_problems(config.eval.problems_per_difficulty, config.eval.seed)
            if config.reward.programs == "python":
                find_way()
        for data in _sampled_pairs(config):
            task.heldout_problems(data.heldout.problems_per_difficulty, data.heldout.seed)


def _sampled_pairs(config: ProgramConfig) -> Iterator[SampledPairsConfig]:
    """The pairs of responses that a run has its base model write."""
    if isinstance(config, RewardModelConfig) and config.data.name == "sampled":
        yield config.data
    if isinstance(config, DecoderRunConfig) and config.reward.learned is not None:
        yield config.reward.learned.data
    if isinstance(config, PreferencesConfig) and config.preferences is not None:
        yield config.preferences.data


def _check_published(arm: str, data: PublishedPairsConfig) -> None:
    """The data set can be had here; from the hub it comes now, and the runs find it fetched."""
    from rl.data import load_preferences  # seconds of imports, as above

    try:
        load_preferences(
            data.dataset,
            schema=data.layout,
            subset=data.subset,
            split=data.split,
            revision=data.revision,
        )
    except UserError as error:
        raise UserError(f"arm {arm}: {error}; or choose other arms with ARMS") from None


def _check_published_task(arm: str, config: DecoderRunConfig) -> None:
    """The checkpoint and its problems can be had here; from the hub they come now."""
    from rl.trainers.published import prepare  # seconds of imports, as above

    try:
        prepare(config)
    except UserError as error:
        raise UserError(f"arm {arm}: {error}") from None


def _write_plan(root: Path, experiment: Experiment) -> None:
    plan = {
        "experiment": experiment.name,
        "number": experiment.number,
        "profile": experiment.profile,
        "label": experiment.label,
        "overrides": experiment.overrides,
        "arms": {name: config.model_dump(mode="json") for name, config in experiment.arms.items()},
        "seeds": list(experiment.seeds),
        "arm_seeds": {arm: list(seeds) for arm, seeds in experiment.arm_seeds.items()},
        "claims_sha256": experiment.claims_sha256,
        "budget_minutes": experiment.budget_minutes,
    }
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "plan.json", plan)


def _done(root: Path, spec: RunSpec) -> bool:
    directory = run_directory(root, spec.arm, spec.seed)
    if run_status(directory) != "complete":
        return False
    if read_json(directory / "manifest.json")["config_sha256"] != config_digest(spec.config):
        raise UserError(
            f"{directory}: a complete run of other settings is here; FRESH=1 sets the old runs "
            f"aside and starts anew"
        )
    return not run_fault(directory)


def _set_aside(root: Path) -> Path:
    """Old runs are kept, under the first free number."""
    number = 1
    while (aside := root.with_name(f"{root.name}.old-{number}")).exists():
        number += 1
    root.rename(aside)
    return aside


def _set_aside_damaged(root: Path, spec: RunSpec) -> None:
    """A run that ended and is no more what it was makes room, in `seed-N.old-1`, and is told."""
    directory = run_directory(root, spec.arm, spec.seed)
    if fault := run_fault(directory):
        print(f"set aside, to be run anew: {spec.arm} seed {spec.seed}: {fault}")
        _set_aside(directory)


def _missing_bases(todo: list[RunSpec], cache: Path) -> list[ProgramConfig]:
    """One of the runs that start from each base model that is not there."""
    wanted = {
        base_directory(cache, made): spec.config
        for spec in todo
        if (made := spec.config.base_model()) is not None
    }
    return [config for directory, config in wanted.items() if not directory.exists()]
