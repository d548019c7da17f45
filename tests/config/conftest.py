"""A small valid experiment that each test spoils in one place."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rl.config import Experiment, load_experiment
from rl.errors import UserError

OPTIM = {
    "lr": 3e-4,
    "betas": [0.9, 0.95],
    "eps": 1e-8,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "schedule": "constant",
    "grad_clip": 1.0,
}
RUN = {
    "program": "policy",
    "task": {"name": "chain_sum", "modulus": 5, "digits": [2, 3]},
    "base": {
        "seed": 0,
        "model": {
            "architecture": "qwen2",
            "hidden_size": 16,
            "layers": 1,
            "heads": 2,
            "kv_heads": 1,
            "intermediate_size": 32,
            "tie_embeddings": True,
        },
        "digits": [2, 3],
        "text": {"solved": {"2": 0.9, "3": 0.5}, "filler": 0.0},
        "steps": 10,
        "batch_size": 8,
        "optim": dict(OPTIM),
    },
    "steps": 4,
    "rollout": {
        "prompts": 3,
        "group_size": 4,
        "temperature": 1.0,
        "max_new_tokens": 16,
        "ignore_eos": False,
    },
    "reward": {"name": "solution", "scale": 1.0, "kl": 0.0},
    "advantage": {"baseline": "group_mean", "scale": "none", "ddof": 1, "eps": 1e-4},
    "loss": {
        "name": "reinforce",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "aggregate": "constant",
        "old_logps": "trainer",
        "epochs": 1,
        "minibatches": 1,
    },
    "optim": OPTIM,
    "eval": {
        "every": 2,
        "problems_per_difficulty": 4,
        "samples": 2,
        "temperature": 1.0,
        "seed": 7,
    },
    "study": {"problems_per_difficulty": 2, "direction_samples": 4, "samples": 8},
}
CONFIG = {
    "number": 3,
    "name": "small",
    "question": "does it load?",
    "varies": ["advantage.scale", "program", "steps"],
    "seeds": [0, 1],
    "run": RUN,
    "arms": {
        "none": {},
        "group_std": {"advantage.scale": "group_std"},
        "weight": {"program": "gradient_weight"},
    },
    "profiles": {"laptop": {"set": {}}, "smoke": {"set": {"steps": 2}, "seeds": [0]}},
}
CLAIM = {
    "id": "std-helps",
    "role": "primary",
    "text": "dividing by the group's standard deviation raises the final accuracy",
    "source": "a paper, section 1",
    "kind": "difference",
    "measure": {"metric": "eval/accuracy", "steps": "last"},
    "treatment": "group_std",
    "control": "none",
    "direction": "greater",
    "min_effect": 0.01,
}


@dataclass
class Files:
    """The two files of one experiment, to be changed and loaded."""

    directory: Path
    config: dict[str, Any]
    claims: dict[str, Any]

    def put(self, path: str, value: Any) -> None:
        """Set one entry of config.yaml by dotted path; claims are reached by `claims`."""
        *parents, last = path.split(".")
        node = self.config
        for part in parents:
            node = node[part]
        node[last] = value

    def load(self, profile: str = "laptop", overrides: dict[str, Any] | None = None) -> Experiment:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, data in (("config.yaml", self.config), ("claims.yaml", self.claims)):
            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
            (self.directory / name).write_text(text, encoding="utf-8")
        return load_experiment(self.directory, profile, overrides)

    def fault(self, profile: str = "laptop", overrides: dict[str, Any] | None = None) -> str:
        """The one message that loading ends with."""
        with pytest.raises(UserError) as caught:
            self.load(profile, overrides)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return str(caught.value)


def small_experiment(root: Path) -> Files:
    """A valid experiment in a directory of its own under `root`."""
    claims = {"alpha": 0.05, "claims": [deepcopy(CLAIM)]}
    return Files(root / "03-small", deepcopy(CONFIG), claims)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return small_experiment(tmp_path)


@pytest.fixture(scope="session")
def random_files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a fresh copy for each generated example; the directory is shared."""
    root = tmp_path_factory.mktemp("random")
    return lambda: small_experiment(root)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a valid experiment that nobody changes."""
    files = small_experiment(tmp_path_factory.mktemp("written"))
    files.load()
    return files.directory
