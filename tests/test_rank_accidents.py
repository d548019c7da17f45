"""What befalls ranks and the folder that they are met in, without DeepSpeed and without a run."""

import os
import signal
import sys
import tempfile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from rl import files
from rl.config import find_experiment, load_experiment
from rl.errors import UserError
from rl.runner import rank_worker, ranked
from rl.runner.launch import Launch, find_ranks
from rl.runner.ranked import RankedWorker
from rl.runner.worker import Job

# In the place of the launcher: rank 0 is met, takes no job, says one thing at most and is gone,
# which the launcher does not see.
GONE = """
import socket, sys, time
from multiprocessing.connection import Connection
met = socket.socket(socket.AF_UNIX)
met.connect(sys.argv[1])
met.shutdown(socket.SHUT_RD)
rank = Connection(met.detach())
rank.send(0)
{say}
rank.close()
time.sleep(600)
"""


class StandIn(Launch):
    """Something else than DeepSpeed's launcher is started."""

    program = sys.executable
    said = ""

    def command(self, address: str, port: int) -> list[str]:
        """See Launch."""
        assert port > 0
        return [self.program, "-c", GONE.format(say=self.said), address]


class Absurd(StandIn):
    """Its rank says what no rank does."""

    said = "rank.send(None)"


class Missing(StandIn):
    """Nothing can be started."""

    program = "/nothing/here"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(ranked, "END_SECONDS", 0.1)
    return folder


def job(root: Path) -> Job:
    spec = load_experiment(find_experiment(1), "smoke").select(None, None)[0]
    return Job(spec, root, root, {}, 0.0)


def fail_on_a_rank(runner: Connection, root: Path) -> None:
    """A rank does the job, which cannot be done."""

    def fail(_: object, __: object) -> None:
        raise ValueError("no such thing")

    rank_worker.run_job = fail
    rank_worker._do(job(root), runner)


def reason(root: Path) -> tuple[str, str]:
    """What the runner hears of such a rank, which then waits to be ended."""
    context = get_context("spawn")
    runner, there = context.Pipe()
    process = context.Process(target=fail_on_a_rank, args=(there, root))
    process.start()
    there.close()
    try:
        heard: tuple[str, str] = runner.recv()
    finally:
        runner.close()
        process.join()
    assert process.exitcode == 1
    return heard


def test_a_rank_tells_its_reason_and_logs_where(tmp_path: Path) -> None:
    assert reason(tmp_path) == ("failed", "ValueError: no such thing")
    assert "ValueError: no such thing" in job(tmp_path).log_file.read_text()


def test_a_full_disk_keeps_no_rank_from_its_reason(tmp_path: Path) -> None:
    log = job(tmp_path).log_file
    log.parent.mkdir()
    log.symlink_to("/dev/full")
    assert reason(tmp_path) == ("failed", "ValueError: no such thing")


def test_a_rank_whose_log_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    kind, why = reason(tmp_path)
    assert kind == "failed"
    assert why.startswith(f"{job(tmp_path).log_file}: cannot be written (")


@pytest.mark.parametrize("hidden", ["", "-1", "4,5"])
def test_what_hides_gpus_holds_in_the_ranks(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher has set 0 up to their number, whatever it was."""
    at_load = []

    def stop() -> None:
        at_load.append(os.environ["CUDA_VISIBLE_DEVICES"])
        raise EOFError

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    launch = find_ranks("1", "")
    assert launch is not None
    words = launch.command("socket", 7)
    monkeypatch.setattr(sys, "argv", words[words.index("rl.runner.rank_worker") :])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CROSS_RANK", "1")
    monkeypatch.setattr(rank_worker, "load", stop)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(EOFError):
        rank_worker.main()
    signal.signal(signal.SIGINT, before)
    assert at_load == [hidden]


def test_a_rank_0_that_is_dead_when_a_job_comes_is_told(place: Path, tmp_path: Path) -> None:
    worker = RankedWorker(StandIn({"localhost": 1}), tmp_path / "logs")
    worker.give(job(tmp_path))
    kind, why = worker.hear()
    worker.dismiss()
    assert kind == "failed"
    assert why.startswith("rank 0 of 1 ended without a word, ")
    assert worker._launcher.returncode == -signal.SIGKILL
    assert list(place.iterdir()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_launcher_outlives_the_one_who_hears_it(place: Path, tmp_path: Path) -> None:
    worker = RankedWorker(Absurd({"localhost": 1}), tmp_path / "logs")
    worker.give(job(tmp_path))
    assert worker.hear() == (
        "failed",
        f"its ranks are out of hearing; see {tmp_path}/logs/launcher.txt",
    )
    worker.dismiss()
    assert worker._launcher.returncode == -signal.SIGKILL
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("fits", [True, False])
def test_ranks_are_met_elsewhere_if_temporary_files_are_too_deep(
    *, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a socket has 107 bytes at most; `/rl-ranks-12345678/runner` has 25."""
    with tempfile.TemporaryDirectory(dir=files.SHORT) as short:
        bytes_here = 107 - 25 if fits else 107 - 25 + 1
        deep = Path(short) / ("x" * (bytes_here - len(short) - 1))
        deep.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        worker = RankedWorker(StandIn({"localhost": 1}), tmp_path / "logs")
        folder = worker._folder
        mode = folder.stat().st_mode & 0o777
        worker.kill()
        assert folder.parent == (deep if fits else files.SHORT)
        assert mode == 0o700
        assert not folder.exists()
        assert list(deep.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(place: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}/logs/launcher.txt: cannot be written "):
        RankedWorker(StandIn({"localhost": 1}), tmp_path / "logs")
    place.rmdir()
    with pytest.raises(UserError, match=f"^{place}: cannot be written "):
        RankedWorker(StandIn({"localhost": 1}), tmp_path / "others")


def test_nothing_is_left_of_ranks_that_cannot_be_started(place: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RankedWorker(Missing({"localhost": 1}), tmp_path / "logs")
    assert list(place.iterdir()) == []
