"""What GPUS and HOSTFILE ask for, and how DeepSpeed's launcher is told; nothing is started."""

import os
import sys
from pathlib import Path

import pytest
import torch

from rl.cli import main
from rl.config import find_experiment, load_experiment
from rl.errors import UserError
from rl.runner import launch as launching, run_experiment
from rl.runner.launch import Launch, find_ranks, read_hostfile


def hosts(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts"
    path.write_text(text)
    return path


def test_nothing_asked_for_is_one_process() -> None:
    assert find_ranks("", "") is None


def test_without_a_gpu_ranks_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launch = find_ranks("3", "")
    assert launch == Launch({"localhost": 3})
    assert (launch.world, launch.here) == (3, 3)


@pytest.mark.parametrize("gpus", ["x", "0", "-1", "1.5"])
def test_a_number_of_ranks_is_wanted(gpus: str) -> None:
    with pytest.raises(UserError, match=f"GPUS: expected a whole number from 1 up, got '{gpus}'"):
        find_ranks(gpus, "")


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(UserError, match="GPUS: expected at most 4, which this machine has, got 8"):
        find_ranks("8", "")
    assert find_ranks("4", "") is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("localhost 2\n", "line 1: expected `host slots=N`, got 'localhost 2'"),
        ("# ours\nlocalhost slots=0\n", "line 2: expected `host slots=N`"),
        ("localhost slots=two\n", "line 1: expected `host slots=N`"),
        (f"localhost slots={'9' * 5000}\n", "line 1: expected `host slots=N`"),
        (f"{'x' * 70} slots=2\n", "the first host must be this machine"),
        ("localhost slots=1\nlocalhost slots=1\n", "line 2: host localhost is there already"),
        ("\n# nothing\n", "expected lines `host slots=N`, got none"),
        ("elsewhere.invalid slots=2\n", "the first host must be this machine"),
        ("localhost slots=2\nother slots=2\n", "by the name that the other hosts know it by"),
    ],
)
def test_faults_of_a_hostfile_are_told(text: str, told: str, tmp_path: Path) -> None:
    path = hosts(tmp_path, text)
    with pytest.raises(UserError) as raised:
        read_hostfile(path)
    assert str(raised.value).startswith(str(path))
    assert told in str(raised.value)


def test_no_hostfile_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"HOSTFILE: expected a file .*there is no "):
        find_ranks("", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (sys.executable, "is no text in UTF-8"),
        ("/" + "x" * 300, "cannot be read (File name too long)"),
    ],
)
def test_what_is_no_hostfile_is_told(path: str, told: str) -> None:
    with pytest.raises(UserError) as raised:
        find_ranks("", path)
    assert str(raised.value).startswith("HOSTFILE: expected a file with lines `host slots=N`; /")
    assert str(raised.value).endswith(told)


def test_a_hostfile_of_this_machine(tmp_path: Path) -> None:
    path = hosts(tmp_path, "# one\n\n  localhost   slots=4  # all\n")
    assert read_hostfile(path) == {"localhost": 4}
    launch = find_ranks("2", str(path))
    assert launch is not None
    assert launch.slots == {"localhost": 2}
    assert launch.hostfile == path
    with pytest.raises(UserError, match=r"expected at most the slots .*got 5; localhost has 4"):
        find_ranks("5", str(path))


def test_several_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_is_here", lambda host, *, alone: host == "one" and not alone)
    monkeypatch.setattr(launching.shutil, "which", lambda _: "/bin/pdsh")
    path = hosts(tmp_path, "one slots=2\ntwo slots=3\n")
    with pytest.raises(UserError, match="as many slots on every host, got one slots=2, two slots"):
        find_ranks("", str(path))
    launch = find_ranks("2", str(path))
    assert launch is not None
    assert launch.world == 4
    monkeypatch.setattr(launching.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="HOSTFILE: DeepSpeed starts the ranks of other hosts by"):
        find_ranks("2", str(path))


START = [sys.executable, "-m", "deepspeed.launcher.runner", "--quiet", "--master_port=7"]
END = ["--module", "rl.runner.rank_worker", "/tmp/x"]  # noqa: S108 - a name only


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        (Launch({"localhost": 2}), ["--num_gpus=2", f"--hostfile={os.devnull}", *END]),
        (
            Launch({"localhost": 2}, devices="4,5"),
            ["--num_gpus=2", f"--hostfile={os.devnull}", *END, "--devices=4,5"],
        ),
        (
            Launch({"localhost": 2}, devices=""),
            ["--num_gpus=2", f"--hostfile={os.devnull}", *END, "--devices="],
        ),
        (
            Launch({"localhost": 3}, hostfile=Path("/h")),
            [
                *("--num_gpus=3", "--hostfile=/h", "--no_ssh_check", "--master_addr=127.0.0.1"),
                *END,
            ],
        ),
        (
            Launch({"one": 4, "two": 4}, hostfile=Path("/h")),
            ["--num_gpus=4", "--hostfile=/h", "--master_addr=one", *END],
        ),
    ],
)
def test_the_launchers_command(launch: Launch, expected: list[str]) -> None:
    assert launch.command("/tmp/x", 7) == [*START, "--no_local_rank", *expected]  # noqa: S108


def test_programs_without_work_for_ranks_are_refused(tmp_path: Path) -> None:
    experiment = load_experiment(find_experiment(1), "smoke")
    for seeds in (None, [0]):
        with pytest.raises(UserError, match=r"GPUS: arm \S+ is of program \S+, which has no work"):
            run_experiment(
                experiment,
                runs=tmp_path,
                arms=None,
                seeds=seeds,
                jobs=1,
                fresh=False,
                launch=Launch({"localhost": 2}),
            )
    assert list(tmp_path.iterdir()) == []


def test_bad_numbers_end_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "01", "--gpus", "many", "--runs", str(tmp_path)]) == 2
    assert "GPUS: expected a whole number from 1 up, got 'many'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
