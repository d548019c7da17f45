"""A tiny experiment on two ranks under DeepSpeed's launcher, with accidents.

Rank 1 is killed in the first launch; the second does the other run. In the third, of a hostfile
that names this machine, the killed run goes on to its end and Ctrl-C ends the next; in the fourth a
termination does; in the fifth the disk is full.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rl.artifacts import read_lines, run_status
from rl.evidence import read_runs
from rl.files import read_json
from rl.runner import progress, ranked, run_experiment
from rl.runner.launch import Launch
from tests.engines.ranks.conftest import PATIENCE_S
from tests.engines.ranks.test_whole_runs import same
from tests.places import ROOT, Place, capture, in_a_small_place, processes_in
from tests.tiny import OPTIM, write_experiment

pytestmark = pytest.mark.engines
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where DeepSpeed may leave its buffers


def of_ranks(root: Path) -> dict[int, str]:
    """Command lines of the processes that were started in `root` to be ranks or to start them."""
    every = processes_in(root).items()
    return {process: words for process, words in every if "rl.runner.rank_worker" in words}


def ranks_only(root: Path) -> dict[int, int]:
    """Of them the ranks themselves: their numbers by process id."""
    found = {}
    for process, words in of_ranks(root).items():
        if "deepspeed" not in words:
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            [rank] = [x for x in environment if x.startswith(b"RANK=")]
            found[process] = int(rank.removeprefix(b"RANK="))
    return found


def logged(run: Path) -> int:
    """How many lines."""
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for(run: Path, lines: int) -> None:
    """Until so many lines are logged and a checkpoint is there."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if logged(run) >= lines and run_status(run) == "running":
            return
        time.sleep(0.02)
    raise AssertionError(f"{run}: nothing was logged")


def kill_rank_1(root: Path, run: Path) -> None:
    wait_for(run, 8)
    [process] = [p for p, rank in ranks_only(root).items() if rank == 1]
    os.kill(process, signal.SIGKILL)


@dataclass(frozen=True)
class Accident:
    """What was there and was said after the killed run."""

    place: Place
    status: str
    logged: int
    left: dict[int, str]


def command(root: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rl.cli", "run", "90", "--checkpoint-seconds=0", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Both runs by one process each."""
    root = tmp_path_factory.mktemp("alone").resolve()
    directory = write_experiment(root, {"optim": {**OPTIM, "eps": 0.01}, "rollout.prompts": 4})
    written = yaml.safe_load((directory / "config.yaml").read_text())
    written["arms"] = {"long": {"steps": 24}, "plain": {}, "victim": {"steps": 100000}}
    claims = {"alpha": 0.05, "claims": []}
    (directory / "config.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    text = (directory / "claims.yaml").read_text()
    claims["claims"] = [{**claim, "treatment": "long"} for claim in yaml.safe_load(text)["claims"]]
    (directory / "claims.yaml").write_text(yaml.safe_dump(claims))
    done = command(root, "--arms=long,plain", "--seeds=0", "--jobs=2")
    said, _ = done.communicate()
    assert done.returncode == 0, said
    return Place(root, said, True)


@pytest.fixture(scope="module")
def accident(alone: Place, tmp_path_factory: pytest.TempPathFactory) -> Accident:
    """The same on two ranks; rank 1 of the long run is killed."""
    root = tmp_path_factory.mktemp("accident").resolve()
    for name in ("experiments", "runs/base-models"):
        shutil.copytree(alone.root / name, root / name)
    here, ports = Place(root, "", False), list[int]()
    run = here.label / "long" / "seed-0"

    def noted() -> int:
        ports.append(free_port())
        return ports[-1]

    free_port = ranked._free_port
    with (
        pytest.MonkeyPatch.context() as patch,
        capture() as said,
        ThreadPoolExecutor() as others,
    ):
        patch.setattr(progress, "PLAIN_EVERY_S", 0.0)
        patch.setattr(ranked, "_free_port", noted)
        patch.chdir(root)
        killer = others.submit(kill_rank_1, root, run)
        result = run_experiment(
            here.experiment(),
            runs=Path("runs"),
            arms=["long", "plain"],
            seeds=[0],
            jobs=2,
            fresh=False,
            checkpoint_seconds=0.0,
            launch=Launch({"localhost": 2}),
        )
        killer.result()
    assert len(ports) == 2  # the ranks of the other run are new ones
    # DeepSpeed names its buffers by that port, so those of others on this machine are not counted.
    assert [left for port in ports for left in SHARED_MEMORY.glob(f"deepspeed_*_{port}_*")] == []
    logged = len(read_lines(run / "metrics.jsonl"))
    return Accident(Place(root, "".join(said), result), run_status(run), logged, of_ranks(root))


def test_a_killed_rank_ends_its_run_with_one_message(accident: Accident) -> None:
    assert not accident.place.result
    said = accident.place.said
    assert "every run is done by 2 ranks, one run at a time" in said
    assert re.search(r"^long seed 0: FAILED at step \d+", said, re.MULTILINE)
    assert re.search(
        r"^failed: long seed 0: rank 1 of 2 ended without a word, signal SIGKILL; the ranks' logs: "
        r"\S*logs/long-seed-0\*\.txt, \S*logs/launcher\.txt\. The same command goes on from the "
        r"last checkpoint$",
        said,
        re.MULTILINE,
    )
    assert accident.status == "running"
    assert accident.logged >= 8


def test_the_other_run_is_done_and_nothing_is_left_behind(accident: Accident, alone: Place) -> None:
    assert accident.left == {}
    run = accident.place.label / "plain" / "seed-0"
    assert run_status(run) == "complete"
    same(*(read_lines(p.label / "plain/seed-0/metrics.jsonl") for p in (alone, accident.place)))
    manifest = read_json(run / "manifest.json")
    assert manifest["ranks"] == [2]
    assert manifest["tokens"] == read_json(alone.label / "plain/seed-0/manifest.json")["tokens"]
    evidence = read_runs(accident.place.label)
    assert ("plain", 0) not in evidence.missing()
    assert ("long", 0) in evidence.missing()
    logs = accident.place.label / "logs"
    assert {"plain-seed-0.txt", "plain-seed-0-rank-1.txt", "launcher.txt"} <= {
        path.name for path in logs.iterdir()
    }


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_killed_run_goes_on_and_a_stop_leaves_nothing(
    sent: signal.Signals, status: int, accident: Accident, alone: Place
) -> None:
    root, label = accident.place.root, accident.place.label
    victim = label / "victim" / "seed-0"
    before = logged(victim)
    (root / "hosts").write_text("# one machine\nlocalhost slots=2\n")
    asked = command(root, "--arms=long,plain,victim", "--seeds=0", "--hostfile=hosts")
    try:
        wait_for(victim, before + 6)
        assert len(ranks_only(root)) == 2
        asked.send_signal(sent)
        said, _ = asked.communicate(timeout=PATIENCE_S)
    finally:
        asked.kill()
    assert asked.returncode == status, said
    assert "stopped; the same command goes on with the runs that are left" in said
    assert "Traceback" not in said
    assert of_ranks(root) == {}
    same(*(read_lines(p.label / "long/seed-0/metrics.jsonl") for p in (alone, accident.place)))
    manifest = read_json(label / "long" / "seed-0" / "manifest.json")
    assert (manifest["status"], manifest["ranks"]) == ("complete", [2, 2])
    assert len(manifest["resumed"]) == 1
    assert run_status(victim) == "running"


FULL = """
cp -r "$0"/experiments "$0"/runs "$1" && cd "$1" && export PYTHONPATH={root}
{python} -m rl.cli run 90 --checkpoint-seconds=3600 --arms=victim --seeds=0 --gpus=2
echo "status $?"
"""


def test_a_full_disk_is_told_where_no_log_can_be_written(alone: Place, tmp_path: Path) -> None:
    """The log of the run takes no traceback either."""
    for name in ("experiments", "runs/base-models"):
        shutil.copytree(alone.root / name, tmp_path / name)
    used = sum(path.stat().st_size + 4096 for path in tmp_path.rglob("*"))
    script = FULL.format(root=ROOT, python=sys.executable)
    size = f"size={used // 1024 + 200}k"
    _, said = in_a_small_place(size, ["bash", "-c", script, str(tmp_path)])
    assert re.search(
        r"^failed: victim seed 0: \S+ cannot be written \(No space left on device\); "
        r"what was logged before is kept",
        said,
        re.MULTILINE,
    ), said
    assert "Traceback" not in said
    assert said.endswith("status 1\n")
