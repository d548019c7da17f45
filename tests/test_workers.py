"""Local workers: which GPU each gets."""

from pathlib import Path

import pytest

from rl.runner import workers
from rl.runner.workers import LocalWorker, visible_gpus


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
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    assert visible_gpus() == ["3", "GPU-5f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_each_worker_gets_the_gpu_with_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
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
