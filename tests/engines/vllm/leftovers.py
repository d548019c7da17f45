"""What the tests of vLLM's own process share: whether processes and files of it are left."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rl.rollout.vllm import close_idle

MEMORY = Path("/dev/shm")  # noqa: S108
SECONDS = 5.0  # in which all is gone


def soon(done: Callable[[], bool]) -> bool:
    """Whether it is so within seconds."""
    end = time.monotonic() + SECONDS
    while not (found := done()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def is_there(process: int) -> bool:
    """A process with this id."""
    return Path(f"/proc/{process}").exists()


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """What starts in it ends there, and leaves no file in memory or in TMPDIR, which is its own."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="t-") as folder:
        patch.setattr(tempfile, "tempdir", folder)
        patch.setenv("TMPDIR", folder)
        before = left_in_memory()
        yield
        close_idle()
        assert list(Path(folder).iterdir()) == []
        assert soon(lambda: left_in_memory() <= before), left_in_memory() - before


def left_in_memory() -> set[Path]:
    """Files there of a worker or its engine, but for those that a process reads or writes."""
    found = {x for x in MEMORY.iterdir() if x.name.startswith(("rl-", "psm_", "vllm_"))}
    used = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has just ended, or is another user's
            used += maps.read_text(encoding="utf-8", errors="replace") if found else ""
    return {x for x in found if str(x) not in used}
