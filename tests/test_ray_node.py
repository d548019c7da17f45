"""What a Ray actor's node tells, without Ray: the end of a job, whatever ends it."""

import math
import resource
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from rl.config import ProgramConfig, RunSpec, program_config
from rl.runner.provenance import versions
from rl.runner.ray_node import Runner
from rl.runner.worker import Job

ACTIONS = {
    "program": "unseen_action",
    "steps": 1,
    "world": {"reference": [0.5, 0.25, 0.25], "preferred": 0.8},
    "beta": 0.5,
    "masses": [0.25, 0.5],
}
PATIENCE_S = 120.0


def last_message(home: Path, *, room: int = -1, **expected: str) -> tuple[str, bytes, str]:
    """Of a run by a process that has `room` bytes a file, as on a full disk, on a node that is to
    have the `expected` versions beside this machine's."""
    context = get_context("spawn")  # stdout and stderr are not this one's while it runs
    here, there = context.Pipe()
    process = context.Process(
        target=do_run,
        args=(there, program_config(ACTIONS, "test"), home, room, {**versions(), **expected}),
        daemon=True,
    )
    process.start()
    there.close()
    try:
        assert here.poll(PATIENCE_S), "no end is told"
        kind, log, why = here.recv()
    finally:
        process.kill()
        process.join()
    return kind, log, why


def do_run(
    told: Connection, settings: ProgramConfig, home: Path, room: int, expected: dict[str, str]
) -> None:
    """In the process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    runner = Runner(expected, node="10.0.0.2", name="10.0.0.2 beef", home=home)
    job = Job(RunSpec("none", 0, settings), home, home, {}, math.inf)
    runner.start(job, [])
    while (message := runner.messages()[-1])[0] == "step":
        pass
    told.send(message)


def test_a_run_that_is_done_comes_with_its_log_and_files(tmp_path: Path) -> None:
    kind, log, files = last_message(tmp_path)
    assert (kind, log) == ("done", b"node 10.0.0.2 beef\n")
    assert "manifest.json" in files
    assert "metrics.jsonl" in files
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("room", "begin"),
    [
        (0, b"Traceback (most recent call last):\n"),
        (300, b"node 10.0.0.2 beef\nTraceback (most"),  # the manifest is larger
    ],
)
def test_a_full_disk_ends_a_run_and_its_message_promises_nothing_of_what_was_logged(
    tmp_path: Path, room: int, begin: bytes
) -> None:
    kind, log, why = last_message(tmp_path, room=room)
    assert kind == "failed"
    assert why == (
        f"node 10.0.0.2: {tmp_path}: cannot be written (File too large); make room or give "
        f"permission there, then the same command starts the run anew"
    )
    assert log.startswith(begin)
    assert b"is kept" not in log


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "rl-beef"
    kind, _, why = last_message(home)
    assert kind == "failed"
    assert why.startswith(f"node 10.0.0.2: {home}: cannot be written (Not a directory); make room")


def test_a_node_of_other_versions_is_named(tmp_path: Path) -> None:
    kind, _, why = last_message(tmp_path, torch="0.1")
    assert kind == "failed"
    assert why.startswith("node 10.0.0.2: expected the driver's packages, got torch ")
    assert why.endswith(" instead of 0.1; `make setup-ray` there from the same commit")
