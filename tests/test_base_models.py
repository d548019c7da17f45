"""The cache of base models: its key, and how a model comes into it."""

import shutil
from pathlib import Path

import pytest
import torch

from rl.models import load_decoder
from rl.runner import base_models
from rl.runner.base_models import base_digest, base_directory, make_base_model
from tests.tiny import run_config

ROOT = Path(__file__).resolve().parent.parent


def test_model_is_made_once_whole_and_the_same(tmp_path: Path) -> None:
    config = run_config().base_model()
    told: list[tuple[int, float]] = []
    for name in ("one", "two"):
        cache = tmp_path / name
        cache.mkdir()
        made = make_base_model(cache, config, lambda *step: told.append(step))
        assert made == base_directory(cache, config)
        assert list(cache.iterdir()) == [made]
    assert [step for step, _ in told] == [1, 2, 3, 1, 2, 3]
    assert told[:3] == told[3:]
    one, two = (load_decoder(base_directory(tmp_path / x, config)) for x in ("one", "two"))
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    make_base_model(tmp_path / "one", config, lambda *step: told.append(step))
    assert len(told) == 6  # it was there


def test_digest_of_a_base_model_follows_what_made_it() -> None:
    plain = base_digest(run_config().base_model())
    for path, value in (
        ("base.seed", 1),
        ("base.steps", 4),
        ("base.batch_size", 9),
        ("base.text", {"solved": {"2": 0.8, "3": 0.6}, "filler": 0.1}),
        ("task.modulus", 4),
        ("engine.precision", "bf16"),
        ("engine.micro_batch_tokens", 3),
    ):
        assert base_digest(run_config({path: value}).base_model()) != plain, path
    for path, value in (
        ("steps", 9),
        ("optim", {**run_config().optim.model_dump(mode="json"), "lr": 0.5}),
        ("advantage.scale", "group_std"),
        ("task.digits", [3]),
    ):
        assert base_digest(run_config({path: value}).base_model()) == plain, path


def test_digest_of_a_base_model_follows_the_codes_meaning_not_its_telling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "rl", tmp_path / "rl", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(base_models, "__file__", str(tmp_path / "rl/runner/base_models.py"))
    plain = base_digest(run_config().base_model())

    def digest_with(file: str, old: str, new: str) -> str:
        path = tmp_path / "rl" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        digest = base_digest(run_config().base_model())
        path.write_text(text)
        return digest

    supervised = "trainers/supervised.py"
    assert digest_with(supervised, '"""Supervised', "# a comment\n\n\n" + '"""Other') == plain
    assert digest_with(supervised, "in nats.", "in bits.") == plain
    assert digest_with("tasks/chain_sum.py", "rng.random() < slip", "rng.random() > slip") != plain
    assert digest_with(supervised, "-token_logps", "token_logps") != plain
    assert digest_with("models/decoder.py", "MAX_POSITIONS = 512", "MAX_POSITIONS = 64") != plain
    assert digest_with("engine.py", "(update + 1) / warmup", "(update + 2) / warmup") != plain
    assert digest_with("trainers/rollouts.py", "MAX_ROWS = 1024", "MAX_ROWS = 9") == plain
