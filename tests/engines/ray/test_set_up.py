"""What is installed beside .venv, and a machine without a cluster."""

import importlib.metadata
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.engines.ray.conftest import place, sweep
from tests.test_setup import PINS, RAY_PINS

pytestmark = pytest.mark.engines


def test_what_ray_needs_is_pinned_and_installed() -> None:
    pins = {**PINS, **RAY_PINS}
    for name in RAY_PINS:
        assert importlib.metadata.version(name) == pins[name]
        for needed in map(Requirement, importlib.metadata.requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                pinned = pins[str(canonicalize_name(needed.name))]
                assert needed.specifier.contains(pinned), str(needed)


def test_no_cluster_is_one_message(tmp_path: Path) -> None:
    if any(one.info["name"] == "gcs_server" for one in psutil.process_iter(["name"])):
        pytest.skip("a Ray cluster runs on this machine")
    process = sweep(place(tmp_path), "--ray", "auto", RAY_TMPDIR=str(tmp_path))
    said, _ = process.communicate()
    assert process.returncode == 2
    assert said.startswith("error: RAY=auto: Could not find any running Ray instance.")
    assert said.endswith("`ray start --head` starts one on this machine, for RAY=auto\n")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
