"""Arms x seeds over worker processes: what is done is skipped, what fails is told."""

import os
from collections import deque
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rl.artifacts import read_json, run_directory, run_status, write_json
from rl.config import Experiment, RunSpec, config_digest
from rl.errors import UserError
from rl.runner.base_models import base_directory
from rl.runner.progress import Progress
from rl.runner.provenance import source_state
from rl.runner.worker import Job, work

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
) -> bool:
    """Run what is asked for and not yet done; True if every run ended well.

    Raises:
        UserError: bad selection, or runs of other settings are in the way.
    """
    if jobs < 1:
        raise UserError(f"JOBS: expected 1 or more processes, got {jobs}")
    specs = experiment.select(arms, seeds)
    root = runs / experiment.name / experiment.label
    directories = [run_directory(root, spec.arm, spec.seed) for spec in specs]
    if fresh or any(run_status(directory) != "complete" for directory in directories):
        _check_data(specs)
    if fresh:
        _set_aside(root)
    # Of all that is planned: the plan speaks for every run that lies under it.
    done = {(s.arm, s.seed) for s in experiment.select(None, None) if _done(root, s)}
    _write_plan(root, experiment)
    todo = [spec for spec in specs if (spec.arm, spec.seed) not in done]
    cache = runs / "base-models"
    cache.mkdir(parents=True, exist_ok=True)
    facts = {
        "experiment": experiment.name,
        "profile": experiment.profile,
        "claims_sha256": experiment.claims_sha256,
        "claims": experiment.claims.digests(),
        **source_state(),
    }
    progress = Progress(experiment, done=len(specs) - len(todo), total=len(specs))
    with progress:
        bases = _missing_bases(todo, root, cache, facts)
        failed = _work_through(bases, jobs=1, progress=progress)
        if not failed:
            queue = [Job(spec, root, cache, facts) for spec in todo]
            failed = _work_through(queue, jobs=jobs, progress=progress)
    for job, why in failed:
        print(f"\nfailed: {job.name}: {why}")
        if job.log_file.exists():
            tail = job.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join(f"  {line}" for line in tail[-LOG_TAIL:]))
    return not failed


def _check_data(specs: list[RunSpec]) -> None:
    """Every held-out set that the runs will ask for has problems, before anything is trained."""
    from rl.tasks import ChainSum  # seconds of imports, which a call with nothing to do saves

    for config in {spec.arm: spec.config for spec in specs}.values():
        task = ChainSum(modulus=config.task.modulus, digits=config.task.digits)
        task.heldout_problems(config.eval.problems_per_difficulty, config.eval.seed)


def _write_plan(root: Path, experiment: Experiment) -> None:
    plan = {
        "experiment": experiment.name,
        "number": experiment.number,
        "profile": experiment.profile,
        "label": experiment.label,
        "overrides": experiment.overrides,
        "arms": {name: config.model_dump(mode="json") for name, config in experiment.arms.items()},
        "seeds": list(experiment.seeds),
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
    return True


def _set_aside(root: Path) -> None:
    """Old runs are kept, under the first free number."""
    if not root.exists():
        return
    number = 1
    while (aside := root.with_name(f"{root.name}.old-{number}")).exists():
        number += 1
    root.rename(aside)


def _missing_bases(
    todo: list[RunSpec], root: Path, cache: Path, facts: dict[str, Any]
) -> list[Job]:
    missing = {base_directory(cache, spec.config): spec.config for spec in todo}
    return [
        Job(RunSpec("", 0, config), root, cache, facts)
        for directory, config in missing.items()
        if not directory.exists()
    ]


class _Worker:
    """A process and the job it has in hand."""

    def __init__(self, job: Job, progress: Progress) -> None:
        context = get_context("spawn")
        self.connection, there = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(there,), daemon=True)
        self.process.start()
        there.close()
        self._progress = progress
        self.give(job)

    def give(self, job: Job) -> None:
        """Hand over the next job."""
        self.job = job
        self._progress.start(job.name, job.steps)
        self.connection.send(job)

    def hear(self) -> tuple[str, str]:
        """The next message: `step`, `done`, or `died` with the reason."""
        try:
            kind, *rest = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return "died", f"its process ended with exit code {self.process.exitcode}"
        if kind == "step":
            self._progress.step(self.job.name, *rest)
        return kind, ""

    def dismiss(self) -> None:
        """No more jobs."""
        if self.process.is_alive():
            self.connection.send(None)
            self.process.join()
        self.connection.close()


def _work_through(todo: list[Job], *, jobs: int, progress: Progress) -> list[tuple[Job, str]]:
    """Every job on `jobs` processes; returns those that failed, which harm no other.

    A process has one thread, however many run: the numbers must not depend on JOBS.
    """
    queue = deque(todo)
    failed: list[tuple[Job, str]] = []
    for name in THREAD_VARIABLES:  # read by native libraries when a worker starts
        os.environ[name] = "1"
    workers = [_Worker(queue.popleft(), progress) for _ in range(min(jobs, len(queue)))]
    while workers:
        ready = wait([worker.connection for worker in workers])
        for worker in [worker for worker in workers if worker.connection in ready]:
            kind, why = worker.hear()
            if kind == "step":
                continue
            progress.finish(worker.job.name, ok=kind == "done")
            if kind == "done" and queue:
                worker.give(queue.popleft())
                continue
            worker.dismiss()
            workers.remove(worker)
            if kind == "died":
                failed.append((worker.job, why))
                if queue:
                    workers.append(_Worker(queue.popleft(), progress))
    return failed
