"""The whole command against kills at random moments, a second copy of itself and a full disk."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.places import ROOT, in_a_small_place, processes_in
from tests.tiny import write_experiment

pytestmark = pytest.mark.slow

COMMAND = [
    *(sys.executable, "-m", "rl.cli", "run", "90", "--arms", "plain,std", "--jobs", "2"),
    *("--checkpoint-seconds", "0"),
]
LOGS = [
    f"{arm}/seed-{seed}/{name}.jsonl"
    for arm in ("plain", "std")
    for seed in (0, 1)
    for name in ("metrics", "samples")
]
KILLS = 10


def started(root: Path) -> "subprocess.Popen[str]":
    """The command, in a process group of its own."""
    return subprocess.Popen(
        COMMAND,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def logs(root: Path) -> dict[str, bytes]:
    return {name: (root / "runs/90-mini/laptop" / name).read_bytes() for name in LOGS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, its base model included, with nothing in its way."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_experiment(root, {"steps": 30})
    process = started(root)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return root


def test_ten_kills_at_random_moments_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    """Base model, sampling, steps, logs, checkpoints: SIGKILL hits anywhere, every second time the
    parent alone, whose workers are left behind. Which moments they are differs from run to run;
    what is asserted holds for all."""
    write_experiment(tmp_path, {"steps": 30})
    chance = random.SystemRandom()
    kills = 0
    while True:
        process = started(tmp_path)
        try:
            said, _ = process.communicate(timeout=chance.uniform(2, 15) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, said
        assert logs(tmp_path) == logs(undisturbed)
        if kills == KILLS:
            break
        shutil.rmtree(tmp_path / "runs")  # done before the tenth: once more from the beginning
    cache = tmp_path / "runs/base-models"
    (base,) = cache.iterdir()
    name = f"{base.name}/model.safetensors"
    assert (cache / name).read_bytes() == (undisturbed / "runs/base-models" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_told_and_no_process_stays(
    undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    write_experiment(tmp_path, {"steps": 30})
    shutil.copytree(undisturbed / "runs/base-models", tmp_path / "runs/base-models")
    process = started(tmp_path)
    while not list(tmp_path.rglob("metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.1)
    assert len(processes_in(tmp_path)) >= 3
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == 128 + number
    assert said.endswith("\nstopped; the same command goes on with the runs that are left\n")
    assert processes_in(tmp_path) == {}


def test_of_two_started_at_once_one_runs_and_one_says_so(undisturbed: Path, tmp_path: Path) -> None:
    write_experiment(tmp_path, {"steps": 30})
    shutil.copytree(undisturbed / "runs/base-models", tmp_path / "runs/base-models")
    both = [started(tmp_path) for _ in range(2)]
    said = {process.communicate()[0]: process.returncode for process in both}
    assert sorted(said.values()) == [0, 2]
    (refusal,) = [text for text, status in said.items() if status == 2]
    assert refusal == (
        "error: runs/90-mini/laptop: another process runs this experiment; wait for it or stop it "
        "first\n"
    )
    assert logs(tmp_path) == logs(undisturbed)


FULL = """
cd "$1" && cp -r "$0"/. . && export PYTHONPATH={root}
{command}; echo "status $?"
find runs -name "*.partial"
mount -o remount,size=64m "$1"
{command}; echo "status $?"
cp -r runs/90-mini/laptop "$0/result"
"""


def test_a_full_disk_stops_runs_which_go_on_when_there_is_room(
    undisturbed: Path, tmp_path: Path
) -> None:
    write_experiment(tmp_path, {"steps": 30})
    (tmp_path / "runs").mkdir()
    shutil.copytree(undisturbed / "runs/base-models", tmp_path / "runs/base-models")
    used = sum(path.stat().st_size for path in tmp_path.rglob("*"))
    script = FULL.format(root=ROOT, command=" ".join(COMMAND))
    size = f"size={used // 1024 + 400}k"
    _, said = in_a_small_place(size, ["bash", "-c", script, str(tmp_path)])
    first, second, _ = said.split("status ")
    assert "cannot be written (No space left on device); what was logged before is kept" in first
    assert first.count("failed: ") == first.count("cannot be written") >= 1
    assert "enforce" not in first
    assert second.startswith("1\n90-mini")  # no partial folder is listed between
    assert said.endswith("status 0\n")
    for name, content in logs(undisturbed).items():
        assert (tmp_path / "result" / name).read_bytes() == content
