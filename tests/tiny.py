"""A world and a model small enough for every test: settings that tests change in one place."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

from rl.config import PPOConfig, RunConfig
from rl.models import Decoder, Tokenizer, new_decoder
from rl.tasks import ChainSum

torch.set_num_threads(1)  # another number of threads sums in another order

OPTIM: dict[str, Any] = {
    "lr": 0.01,
    "betas": [0.9, 0.95],
    "eps": 1e-8,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "schedule": "constant",
    "grad_clip": 0.0,
}
MODEL: dict[str, Any] = {
    "architecture": "qwen2",
    "hidden_size": 32,
    "layers": 1,
    "heads": 2,
    "kv_heads": 1,
    "intermediate_size": 64,
    "tie_embeddings": True,
}
RUN: dict[str, Any] = {
    "program": "policy",
    "task": {"name": "chain_sum", "modulus": 3, "digits": [2, 3]},
    "base": {
        "seed": 0,
        "model": MODEL,
        "digits": [2, 3],
        "text": {"solved": {"2": 0.8, "3": 0.5}, "filler": 0.1},
        "steps": 3,
        "batch_size": 8,
        "optim": OPTIM,
    },
    "steps": 2,
    "rollout": {
        "prompts": 4,
        "group_size": 4,
        "temperature": 1.0,
        "max_new_tokens": 10,
        "ignore_eos": False,
    },
    "reward": {"name": "answer", "scale": 1.0, "kl": 0.0},
    "advantage": {"baseline": "group_mean", "scale": "none", "ddof": 1, "eps": 1e-4},
    "loss": {
        "name": "clipped",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "bound": None,
        "aggregate": "constant",
        "old_logps": "trainer",
        "epochs": 1,
        "minibatches": 1,
    },
    "optim": OPTIM,
    "eval": {
        "every": 1,
        "problems_per_difficulty": 3,
        "samples": 4,
        "temperature": 1.0,
        "seed": 7,
    },
    "study": {"problems_per_difficulty": 2, "direction_samples": 8, "samples": 8},
    "kl": None,
    "engine": {
        "zero_stage": 0,
        "precision": "fp32",
        "micro_batch_tokens": "auto",
        "compile": False,
    },
}


def changed(settings: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """A copy with some entries replaced, by dotted path."""
    data = deepcopy(settings)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node = data
        for part in parents:
            node = node[part]
        assert last in node, f"no setting {path}"
        node[last] = value
    return data


def run_settings(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """RUN with some entries replaced, by dotted path."""
    return changed(RUN, changes)


def run_config(changes: dict[str, Any] | None = None) -> RunConfig:
    """The same, checked and frozen."""
    return RunConfig.model_validate(run_settings(changes), strict=False)


PPO: dict[str, Any] = {
    **{key: value for key, value in RUN.items() if key not in ("advantage", "study", "kl")},
    "program": "ppo",
    "missing_eos": {"method": "keep", "value": 0.0},
    "advantage": {
        "discount": 1.0,
        "trace": 0.95,
        "bootstrap": False,
        "whiten": "none",
        "ddof": 0,
        "eps": 1e-8,
        "shift_mean": True,
    },
    "critic": {"kind": "separate", "start": "random", "pretrain": None},
    "loss": {
        **{key: value for key, value in RUN["loss"].items() if key != "old_logps"},
        "value": 0.5,
        "value_clip": None,
        "entropy": 0.0,
    },
}


def ppo_config(changes: dict[str, Any] | None = None) -> PPOConfig:
    """PPO with some entries replaced, by dotted path, checked and frozen."""
    return PPOConfig.model_validate(changed(PPO, changes), strict=False)


# A random model answers some three-digit prompts modulo 2 by chance.
GUESSED: dict[str, Any] = {
    "task.modulus": 2,
    "task.digits": [3],
    "base.digits": [3],
    "base.text": {"solved": {"3": 1.0}, "filler": 0.0},
    "rollout.prompts": 6,
    "rollout.group_size": 64,
    "rollout.max_new_tokens": 4,
    "study.samples": 64,
    "eval.samples": 1,
}


def tokenizer(modulus: int = 3) -> Tokenizer:
    """The tokens of chains of sums."""
    return Tokenizer(ChainSum(modulus=modulus, digits=(2,)).alphabet)


def decoder(*, seed: int = 0, gain: float = 4.0, modulus: int = 3, **changes: Any) -> Decoder:
    """A random decoder. `gain` scales its matrices up: as made, it hardly looks at its input."""
    model = new_decoder(tokenizer(modulus), **{**MODEL, **changes}, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= gain
    return model


CLAIM: dict[str, Any] = {
    "id": "std-differs",
    "role": "secondary",
    "text": "dividing by the group's standard deviation changes the final accuracy",
    "source": "a made-up paper, section 1",
    "kind": "difference",
    "measure": {"metric": "eval/accuracy", "steps": "last"},
    "treatment": "std",
    "control": "plain",
    "direction": "greater",
    "min_effect": 0.01,
}


def write_experiment(root: Path, changes: dict[str, Any] | None = None) -> Path:
    """experiments/90-mini under `root`: `victim` runs long, `boom` fails in its second step."""
    run = {
        "base.steps": 40,
        "base.batch_size": 16,
        "rollout.prompts": 8,
        "rollout.group_size": 8,
        "optim.weight_decay": 0.01,
        **(changes or {}),
    }
    config = {
        "number": 90,
        "name": "mini",
        "question": "does it run?",
        "varies": ["advantage.scale", "optim.lr", "steps"],
        "seeds": [0, 1],
        "run": run_settings(run),
        "arms": {
            "victim": {"steps": 100000},
            "plain": {},
            "std": {"advantage.scale": "group_std"},
            "boom": {"optim.lr": 1e30},
        },
        "profiles": {"smoke": {"set": {}}, "laptop": {"set": {}, "budget_minutes": 2.0}},
    }
    directory = root / "experiments" / "90-mini"
    directory.mkdir(parents=True, exist_ok=True)
    claims = {"alpha": 0.05, "claims": [CLAIM]}
    for name, data in (("config.yaml", config), ("claims.yaml", claims)):
        (directory / name).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return directory
