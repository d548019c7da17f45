"""Each way to isolate programs that this machine has, and a look at what they leave."""

import os
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
    """Each way to isolate that this machine has."""
    found: Way = request.param
    if found == "root" and os.geteuid() != 0:
        pytest.skip("the tests do not run as root")
    if refused := sandbox.refusal(found):
        pytest.skip(f"this machine does not isolate as {found}: {refused}")
    return found
