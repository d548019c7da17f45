"""Runs of two arms and two seeds, written through rl.artifacts in a moment."""

import struct
from pathlib import Path
from typing import Any

import pandas as pd

from rl.artifacts import RunWriter, run_directory
from rl.evidence import Evidence
from rl.files import write_json

PLAN = {
    "experiment": "03-small",
    "number": 3,
    "profile": "laptop",
    "label": "laptop",
    "overrides": {},
    "arms": {"group_std": {"steps": 1}, "none": {"steps": 1}},
    "seeds": [0, 1],
    "claims_sha256": "c0ffee",
    "budget_minutes": None,
}


# Values whose bits a careless round trip would change.
VALUES = [1 / 3, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0]


VERDICTS = {"verdicts": [{"id": "a", "verdict": "inconclusive"}]}


DIGESTS = {"group_std": "5ca1e", "none": "0ff"}
CONFIG = {
    "task": {"name": "chain_sum", "modulus": 5, "digits": [2]},
    "base": {"seed": 0},
    "engine": {
        "precision": "fp32",
        "micro_batch_tokens": "auto",
        "compile": False,
        "zero_stage": 0,
    },
}


def manifest(arm: str, seed: int, **changes: Any) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "profile": "laptop",
        "clean_tree": True,
        "commit": "0" * 40,
        "config": CONFIG,
        "config_sha256": DIGESTS[arm],
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "base_sha256": "ba5e",
        **changes,
    }


def write_run(root: Path, arm: str, seed: int, *, finish: bool = True, **changes: Any) -> Path:
    """One short run with a value of each form."""
    directory = run_directory(root, arm, seed)
    with RunWriter(directory, manifest(arm, seed, **changes)) as writer:
        for step, value in enumerate(VALUES):
            writer.log(step, {"eval/accuracy": value + seed})
            writer.log(step, {"eval/accuracy_by_difficulty": {2: value, 3.5: -value}})
        writer.sample({"step": 0, "problem_id": 4, "text": "2→4 \n"})
        if finish:
            writer.finish({"seconds": 1.5, "tokens": 7})
    return directory


def write_all(root: Path, **changes: Any) -> Path:
    """A complete experiment of two arms and two seeds."""
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "plan.json", {**PLAN, **changes.pop("plan", {})})
    for arm in PLAN["arms"]:
        for seed in PLAN["seeds"]:
            write_run(root, arm, seed, **changes)
    return root


def bits(values: "pd.Series[float]") -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


def assert_same(one: Evidence, other: Evidence) -> None:
    """Equal to the bit, -0.0 and NaN included."""
    assert one.plan == other.plan
    assert one.manifests == other.manifests
    assert one.samples == other.samples
    pd.testing.assert_frame_equal(one.metrics, other.metrics, check_exact=True)
    for column in ("level", "value"):
        assert bits(one.metrics[column]) == bits(other.metrics[column])
