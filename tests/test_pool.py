"""Jobs over workers that are lost, or cannot be had."""

from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from rl.config import RunSpec, load_experiment
from rl.errors import UserError
from rl.runner.pool import work_through
from rl.runner.progress import Progress
from rl.runner.worker import Job
from tests.tiny import write_experiment


class Hand:
    """Answers each job with the next of `answers`, and notes what becomes of it."""

    def __init__(self, answers: list[tuple[Any, ...]]) -> None:
        self.connection, self._told = Pipe(duplex=False)
        self._answers = answers
        self.given: list[str] = []
        self.end = ""

    def give(self, job: Job) -> None:
        self.given.append(job.name)
        if self._answers:
            self._told.send(self._answers.pop(0))

    def hear(self) -> tuple[Any, ...]:
        return tuple(self.connection.recv())

    def dismiss(self) -> None:
        self.end = "dismissed"

    def kill(self) -> None:
        self.end = "killed"


@pytest.fixture
def work(tmp_path: Path) -> tuple[list[Job], Progress]:
    experiment = load_experiment(write_experiment(tmp_path), "laptop")
    config = experiment.arms["plain"]
    jobs = [Job(RunSpec("plain", seed, config), tmp_path, tmp_path, {}, 0.0) for seed in range(4)]
    return jobs, Progress(experiment, done=0, total=len(jobs))


def names(failed: list[tuple[Job, str]]) -> list[tuple[int, str]]:
    return [(job.spec.seed, why) for job, why in failed]


DONE = ("done",)
FAILED = ("failed", "why")


def test_a_failed_job_takes_its_worker_with_it(work: tuple[list[Job], Progress]) -> None:
    jobs, progress = work
    hands = [Hand([DONE, FAILED]), Hand([DONE, DONE])]
    hired = iter(hands)
    with progress:
        failed = work_through(jobs, jobs=1, progress=progress, hire=lambda: next(hired))
    assert names(failed) == [(1, "why")]
    assert [hand.given for hand in hands] == [
        ["plain seed 0", "plain seed 1"],
        ["plain seed 2", "plain seed 3"],
    ]
    assert [hand.end for hand in hands] == ["dismissed", "dismissed"]


def test_without_a_worker_nothing_begins(work: tuple[list[Job], Progress]) -> None:
    jobs, progress = work

    def hire() -> Hand:
        raise UserError("no cluster")

    with progress, pytest.raises(UserError, match="no cluster"):
        work_through(jobs, jobs=2, progress=progress, hire=hire)


def test_without_a_further_worker_what_failed_is_still_told(
    work: tuple[list[Job], Progress],
) -> None:
    """The second is still at work when the first fails and no other can be had."""
    jobs, progress = work
    hands = [Hand([FAILED]), Hand([])]
    left = list(hands)

    def hire() -> Hand:
        if not left:
            raise UserError("the cluster was lost")
        return left.pop(0)

    with progress:
        failed = work_through(jobs, jobs=2, progress=progress, hire=hire)
    assert names(failed) == [(0, "why"), (2, "the cluster was lost")]
    assert [hand.end for hand in hands] == ["dismissed", "killed"]
