"""Promotion: a complete, clean-tree experiment under runs/ becomes committed evidence."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl.digests import base_settings, json_sha256, short
from rl.errors import UserError
from rl.evidence import (
    METRICS,
    RUNS,
    SAMPLES,
    VERDICTS,
    Evidence,
    aside_of,
    has_evidence,
    read_runs,
    seal,
)
from rl.files import write_json

FRESH = "set these runs aside with FRESH=1 and run again"


def promote(
    root: Path, target: Path, verdicts: Any, digests: Mapping[str, str], force: bool
) -> None:
    """Turn the runs under `root` into committed evidence. Cut off anywhere, the old is whole.

    Runs may be of several commits, which the README's table lists.

    Args:
        root: an experiment's run folder.
        target: its artifacts/ folder.
        verdicts: content of verdicts.json.
        digests: the config_sha256 of each planned arm.
        force: replace evidence that is there.

    Raises:
        UserError: runs are missing or damaged, started with a changed tree or overrides, or do not
            belong together; or evidence is there already.
    """
    evidence = read_runs(root)
    _check_whole(root, evidence)
    _check_together(root, evidence.manifests, digests)
    if has_evidence(target) and not force:
        raise UserError(f"{target}: evidence is there already; FORCE=1 replaces it")
    new, old = target.with_name(f"{target.name}.new"), aside_of(target)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    evidence.metrics.to_parquet(new / METRICS, compression="zstd", index=False)
    with (new / SAMPLES).open("w", encoding="utf-8") as file:
        for sample in evidence.samples:
            file.write(json.dumps(sample) + "\n")
    write_json(new / VERDICTS, verdicts)
    write_json(new / RUNS, {"plan": evidence.plan, "runs": evidence.manifests})
    seal(new)
    for path in new.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())
    _swap(new, target, old)


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put `new`, whole on disk, in the place of `target`: whole too, there or at `old`."""
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)  # left by a swap that was cut off at its end
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _check_whole(root: Path, evidence: Evidence) -> None:
    if evidence.damaged:
        (arm, seed), fault = next(iter(evidence.damaged.items()))
        raise UserError(
            f"{root}: {len(evidence.damaged)} run(s) damaged: {arm} seed {seed}: {fault}"
        )
    missing = evidence.missing()
    if missing:
        listed = ", ".join(f"{arm} seed {seed}" for arm, seed in missing[:5])
        raise UserError(
            f"{root}: incomplete, {len(missing)} of the planned runs are missing ({listed}"
            f"{', ...' if len(missing) > 5 else ''}); run the experiment to its end first"
        )
    if evidence.plan["overrides"]:
        raise UserError(f"{root}: made with SET or ROLLOUT; only a run as configured is evidence")
    dirty = [m for m in evidence.manifests if not m["clean_tree"]]
    if dirty:
        raise UserError(
            f"{root}: {len(dirty)} run(s) started with uncommitted changes, so no commit says what "
            f"ran; commit, {FRESH}"
        )


def _check_together(
    root: Path, manifests: list[dict[str, Any]], digests: Mapping[str, str]
) -> None:
    """All runs are as planned, by the same packages, from the same base models and data."""
    for m in manifests:
        if m["config_sha256"] != digests[m["arm"]]:
            raise UserError(
                f"{root}: {m['arm']} seed {m['seed']} ran with settings of "
                f"{short(m['config_sha256'])}, but plan.json has {short(digests[m['arm']])} for "
                f"this arm; {FRESH}"
            )
    first = manifests[0]
    for m in manifests:
        if m["versions"] != first["versions"]:
            differ = _difference(first["versions"], m["versions"])
            raise UserError(
                f"{root}: {first['arm']} seed {first['seed']} and {m['arm']} seed {m['seed']} ran "
                f"with different packages ({differ}); {FRESH}"
            )
    weights: dict[str, dict[str, str]] = defaultdict(dict)
    data: dict[str, dict[str, str]] = defaultdict(dict)
    for m in manifests:
        run = f"{m['arm']} seed {m['seed']}"
        if "base_sha256" in m:  # manifests of older runs do not say
            settings = json_sha256(base_settings(m["config"]))
            digest = m["base_sha256"]
            weights[settings].setdefault(digest, f"{run}: {short(digest)}")
        for part, told in m.get("data", {}).items():  # that of a generated world has none
            data[json_sha256(m["config"]["task"][part])].setdefault(told, f"{run}: {told}")
    _check_one(root, weights, "runs from one base configuration started from different weights")
    _check_one(root, data, "runs of one data set read different data")


def _check_one(root: Path, found: Mapping[str, Mapping[str, str]], differs: str) -> None:
    """Of each of the settings there is one thing; `found` tells a run of each that there is."""
    for told in found.values():
        if len(told) > 1:
            raise UserError(f"{root}: {differs} ({', '.join(told.values())}); {FRESH}")


def _difference(one: Mapping[str, str], two: Mapping[str, str]) -> str:
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    return ", ".join(f"{name} {one.get(name)} and {two.get(name)}" for name in names)
