"""Each way to isolate programs that this machine has, and a look at what they leave."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rl.box import Way
from rl.rewards import sandbox
from tests.rewards.boxes import boxes, mounts


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No process and no mount outlives a test."""
    before = mounts() if Path("/proc/self/mounts").exists() else []
    yield
    assert boxes() == []
    assert not before or mounts() == before


@pytest.fixture(scope="module", params=["root", "user"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to isolate that this machine has: the command `unshare` says which, not the box."""
    found: Way = request.param
    if found == "root" and os.geteuid() != 0:
        pytest.skip("the tests do not run as root")
    users = ["--user", "--map-root-user"] if found == "user" else []
    command = ["unshare", *users, "--mount", "--pid", "--fork", "--net", "--ipc", "mount", "-t"]
    asked = [*command, "tmpfs", "none", "/tmp"]  # noqa: S108 - in a namespace of its own
    if shutil.which("unshare") is None:
        pytest.skip("no unshare, which tells whether this machine isolates")
    told = subprocess.run(asked, check=False, capture_output=True, text=True)
    if told.returncode:
        pytest.skip(f"this machine does not isolate as {found}: {told.stderr.strip()}")
    assert sandbox.refusal(found) == ""
    return found
