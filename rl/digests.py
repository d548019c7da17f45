"""Content hashes: is what is read now what was written then?"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(data: Any) -> str:
    """sha256 of plain data, whatever the order of its keys and its layout in a file."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def log_facts(path: Path) -> dict[str, str | int]:
    """What a manifest keeps of a log: hash and number of lines."""
    return {"sha256": file_sha256(path), "lines": path.read_bytes().count(b"\n")}


def short(digest: object) -> str:
    """As much of a hash as a message needs."""
    return f"sha256 {str(digest)[:12]}"


def base_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's plain configuration makes its base model: runs that agree in it start from
    one and the same."""
    task, engine = config["task"], config["engine"]
    if "revision" in config["base"]:  # published: nothing here trained it
        return {"base": config["base"]}
    return {
        "task": [task["name"], task["modulus"]],
        "base": config["base"],
        "precision": engine["precision"],
        "micro_batch_tokens": engine["micro_batch_tokens"],
        "compile": engine["compile"],
    }
