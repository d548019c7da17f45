"""Promotion: a complete, clean-tree experiment under runs/ becomes committed evidence."""

import json
import shutil
from pathlib import Path
from typing import Any

from rl.errors import UserError
from rl.evidence import METRICS, RUNS, SAMPLES, VERDICTS, has_evidence, read_runs, seal
from rl.files import write_json


def promote(root: Path, target: Path, verdicts: Any, force: bool) -> None:
    """Turn a complete, clean-tree run into committed evidence.

    Raises:
        UserError: runs missing, a changed tree, overrides, or evidence that is there already.
    """
    evidence = read_runs(root)
    missing = evidence.missing()
    if missing:
        listed = ", ".join(f"{arm} seed {seed}" for arm, seed in missing[:5])
        raise UserError(
            f"{root}: incomplete, {len(missing)} of the planned runs are missing ({listed}"
            f"{', ...' if len(missing) > 5 else ''}); run the experiment to its end first"
        )
    if evidence.plan["overrides"]:
        raise UserError(f"{root}: made with SET overrides; only a run as configured is evidence")
    dirty = [m for m in evidence.manifests if not m["clean_tree"]]
    if dirty:
        raise UserError(
            f"{root}: {len(dirty)} run(s) started with uncommitted changes, so no commit says what "
            f"ran; commit, set these runs aside with FRESH=1 and run again"
        )
    if has_evidence(target) and not force:
        raise UserError(f"{target}: evidence is there already; FORCE=1 replaces it")
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    evidence.metrics.to_parquet(new / METRICS, compression="zstd", index=False)
    with (new / SAMPLES).open("w", encoding="utf-8") as file:
        for sample in evidence.samples:
            file.write(json.dumps(sample) + "\n")
    write_json(new / VERDICTS, verdicts)
    write_json(new / RUNS, {"plan": evidence.plan, "runs": evidence.manifests})
    seal(new)
    if target.exists():  # only now, with the new evidence whole on disk
        shutil.rmtree(target)
    new.rename(target)
