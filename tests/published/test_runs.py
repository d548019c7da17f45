"""Whole runs on a published checkpoint and published problems, in small."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rl.artifacts import run_directory
from rl.cli import main
from rl.config import RunConfig, load_experiment
from rl.digests import base_settings, file_sha256
from rl.engine import Engine
from rl.evidence import read_runs
from rl.files import read_json
from rl.logprobs import token_logps
from rl.runner import run_experiment
from rl.trainers.parts import make_engine
from rl.trainers.policy import train_policy
from rl.trainers.published import load_published
from tests.goes_on import whole_and_cut
from tests.published.checkpoint import BASE, NAME, PUBLISHED, REVISION, TASK
from tests.tiny import CLAIM, changed, run_settings

GRADIENT = "gradient_checkpointing"


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    return RunConfig.model_validate(changed(PUBLISHED, changes), strict=False)


def write_experiment(root: Path) -> Path:
    """experiments/90-mini, whose profile `paper` replaces the sections of a generated world."""
    paper = {
        "task": TASK,
        "base": BASE,
        "reward.name": "answer",
        "rollout.max_new_tokens": 8,
        "eval.samples": 1,
    }
    written = {
        "number": 90,
        "name": "mini",
        "question": "does it run?",
        "varies": ["advantage.scale"],
        "seeds": [0, 1],
        "run": run_settings(),
        "arms": {"plain": {}, "std": {"advantage.scale": "group_std"}},
        "profiles": {"laptop": {"set": {}}, "paper": {"arms": ["plain"], "set": paper}},
    }
    directory = root / "experiments" / "90-mini"
    directory.mkdir(parents=True)
    for name, data in (("config", written), ("claims", {"alpha": 0.05, "claims": [CLAIM]})):
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return directory


@pytest.mark.usefixtures("here")
def test_a_paper_profile_runs_to_whole_artifacts(models: Path, tmp_path: Path) -> None:
    experiment = load_experiment(write_experiment(tmp_path), "paper")
    runs = tmp_path / "runs"
    assert run_experiment(experiment, runs=runs, arms=None, seeds=None, jobs=1, fresh=False)
    root = runs / experiment.name / "paper"
    found = read_runs(root)
    assert not found.faults
    assert len(found.manifests) == 2
    names = set(found.metrics["metric"])
    assert {"eval/accuracy", "train/verdict_timeout", "eval/verdict_unread"} <= names
    levels = found.metrics.query("metric == 'eval/accuracy_by_difficulty'")["level"]
    assert set(levels) == {1, 2, 3, 5}  # of the small held-out set
    manifest = read_json(run_directory(root, "plain", 0) / "manifest.json")
    assert manifest["base_model"] == f"{NAME}@{REVISION}"
    assert manifest["base_sha256"] == file_sha256(models / NAME / "model.safetensors")
    assert manifest["data"]["train"].startswith("gsm8k_train.jsonl sha256 ")
    assert base_settings(manifest["config"]) == {"base": BASE}
    assert found.samples[0]["prompt"].endswith("\nAssistant: <think>")
    assert (root / "logs" / "plain-seed-0.txt").read_text().startswith("heldout: 8 of 8 rows")


@pytest.mark.parametrize("prompt", ["chat", "r1_zero"])
@pytest.mark.usefixtures("here")
def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, prompt: str) -> None:
    settings = config({"task.prompt": prompt, "steps": 3})

    def train(config: RunConfig, **how: Any) -> int:
        model, _ = load_published(config)
        return train_policy(config, model=model, **how)

    whole, cut = whole_and_cut(tmp_path, train, settings, after=2)
    assert whole == cut
    assert len(whole) == 3 + 2 * 4


@pytest.mark.usefixtures("here")
def test_checkpointed_gradients_are_the_same() -> None:
    """Up to rounding, as plain and fused operations differ; and less is kept for the way back."""
    norms, kept = [], []
    token_BT = torch.arange(200).view(2, 100)
    for checkpointing in (False, True):
        settings = config({"engine": {**PUBLISHED["engine"], GRADIENT: checkpointing}})
        model, _ = load_published(settings)
        engine = make_engine(model, settings.optim, settings.engine, 1)
        sizes: list[int] = []

        def loss(engine: Engine = engine, sizes: list[int] = sizes) -> torch.Tensor:
            def keep(x: torch.Tensor) -> torch.Tensor:
                sizes.append(x.numel())
                return x

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
                logits_BTV = engine.model(input_ids=token_BT).logits
            return -token_logps(logits_BTV, token_BT, temperature=1.0).mean()

        norms.append(engine.update([loss]).grad_norm)
        kept.append(sum(sizes))
        engine.close()
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert norms[0] > 1e-3
    assert kept[1] < kept[0] / 2


@pytest.mark.usefixtures("here")
def test_in_bf16_the_checkpoint_is_loaded_and_trained_in_it(tmp_path: Path) -> None:
    settings = config({"engine": {**PUBLISHED["engine"], "precision": "bf16", GRADIENT: True}})
    model, _ = load_published(settings)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}

    def train(config: RunConfig, **how: Any) -> int:
        return train_policy(config, model=load_published(config)[0], **how)

    whole, cut = whole_and_cut(tmp_path, train, settings, after=1)
    assert whole == cut


def test_without_the_checkpoint_one_message_and_nothing_written(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_experiment(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RL_DATA_DIR", str(data))
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("RL_MODEL_DIR", str(tmp_path / "none"))
    assert main(["run", "90", "--profile=paper"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (message,) = said.err.splitlines()
    assert message.startswith(f"error: arm plain: RL_MODEL_DIR = {tmp_path / 'none'}: expected")
    assert not (tmp_path / "runs").exists()
