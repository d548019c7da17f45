"""Local workers: which GPU each gets."""

from pathlib import Path

import pytest

from rl.runner import workers
from rl.runner.workers import LocalWorker, visible_gpus

# CUDA_VISIBLE_DEVICES on a machine with two GPUs: the first name of none ends the list.
LEFT_OF_TWO = {
    "": [],
    "-1": [],
    "1": ["1"],
    "1, 0": ["1", "0"],
    "0,-1,1": ["0"],
    "1,2,0": ["1"],
    "NoDevFiles": [],
    "GPU-5f,GPU-6a": ["GPU-5f", "GPU-6a"],
    "MIG-1,MIG-2,MIG-3": ["MIG-1", "MIG-2", "MIG-3"],
}


class Silent:
    """In the place of a process, which would look for GPUs that are not here."""

    exitcode = 0

    def __init__(self, *, target: object, args: tuple[object, ...], daemon: bool) -> None:
        assert daemon
        assert target is workers.work
        self.gpu = args[1]

    def start(self) -> None:
        """Nothing."""

    def join(self) -> None:
        """Nothing."""

    def kill(self) -> None:
        """Nothing."""


def test_gpus_are_those_that_the_environment_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == []
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus() == ["0", "1"]
    for given, left in LEFT_OF_TWO.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus() == left, given


@pytest.mark.parametrize("given", LEFT_OF_TWO)
def test_without_a_driver_no_name_is_that_of_a_gpu(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "DRIVER", tmp_path / "none")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == []


def test_each_worker_gets_the_gpu_with_the_fewest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(workers, "DRIVER", tmp_path)
    context = workers.get_context("spawn")
    monkeypatch.setattr(context, "Process", Silent, raising=False)
    monkeypatch.setattr(workers, "get_context", lambda _: context)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,7")
    first, second, third = (LocalWorker() for _ in range(3))
    assert [w._process.gpu for w in (first, second, third)] == ["2", "7", "2"]
    second.kill()
    assert LocalWorker()._process.gpu == "7"
    first.kill()
    third.dismiss()
    fourth = LocalWorker()
    assert fourth._process.gpu == "2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert LocalWorker()._process.gpu is None
    monkeypatch.setattr(LocalWorker, "_busy", type(LocalWorker._busy)())
