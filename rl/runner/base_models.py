"""Base models, trained once and kept by the hash of all that made them."""

import ast
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from rl.config import BaseModelConfig
from rl.digests import base_settings
from rl.files import CHECKPOINT_SECONDS, Checkpoints, lock, named

SOURCES = (
    *("seeding.py", "logprobs.py", "losses", "tasks", "models", "engine.py", "ranks.py"),
    *("trainers/supervised.py", "trainers/parts.py"),
)


def base_digest(config: BaseModelConfig) -> str:
    """Hash of the settings, the code (comments and layout apart) and the libraries."""
    digest = hashlib.sha256()
    settings = base_settings(config.model_dump(mode="json"))
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name in ("torch", "transformers", "deepspeed"):
        digest.update(f"{name}=={version(name)}".encode())
    package = Path(__file__).parent.parent
    for source in SOURCES:
        path = package / source
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(_meaning(file.read_text(encoding="utf-8")))
    return digest.hexdigest()[:16]


@cache  # many runs of an experiment ask, and parsing takes a tenth of a second for all files
def _meaning(source: str) -> bytes:
    """The syntax tree without docstrings: what the code does, not how it is told."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body.remove(first)
    return ast.dump(tree).encode()


def base_directory(cache: Path, config: BaseModelConfig) -> Path:
    """Where the base model of `config` is or will be."""
    return cache / base_digest(config)


def make_base_model(
    cache: Path,
    config: BaseModelConfig,
    report: Callable[[int, float], None],
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Path:
    """The folder of the base model, trained now if it is not there. It appears whole or not.

    A second process that wants the same one waits for the first. Training that was killed goes on
    from its last checkpoint. `report` gets (steps done, loss).
    """
    from rl.models import save_decoder  # seconds of imports, which a look into the cache saves
    from rl.trainers.parts import make_task, make_tokenizer
    from rl.trainers.supervised import train_base

    target = base_directory(cache, config)
    if target.exists():
        return target
    making = cache / f"{target.name}.making"
    held = lock(making)
    try:
        if target.exists():  # made while this process waited
            return target
        task = make_task(config.task.model_copy(update={"digits": config.base.digits}))
        tokenizer = make_tokenizer(task)
        model = train_base(
            config.base,
            task=task,
            tokenizer=tokenizer,
            engine_config=config.engine,
            checkpoints=Checkpoints(making / "checkpoints", every_s=checkpoint_seconds),
            report=report,
        )
        with named(making):
            save_decoder(model, tokenizer, making / "model")
            (making / "model").rename(target)
        shutil.rmtree(making)
        return target
    finally:
        os.close(held)
