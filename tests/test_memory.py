"""What a run keeps in memory, counted by hand."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rl.artifacts import SAME, RunWriter
from rl.files import read_json
from rl.models import count_parameters
from rl.trainers.memory import state_bytes
from rl.trainers.policy import train_policy
from rl.trainers.ppo import train_ppo
from tests.tiny import decoder, ppo_config, run_config

FACTS: dict[str, Any] = {**dict.fromkeys(SAME, "same"), "arm": "p", "seed": 0, "started": "now"}
P = count_parameters(decoder())
HEAD = 32 + 1


def test_bytes_by_hand() -> None:
    one, other = nn.Linear(3, 2), nn.Linear(2, 1, bias=False)  # 8 and 2 numbers
    assert state_bytes(one, []) == 16 * 8
    assert state_bytes(one, [other, other]) == 16 * 8 + 2 * 4 * 2
    tied = nn.ModuleList([one, one])
    assert state_bytes(tied, []) == 16 * 8
    assert state_bytes(nn.ModuleList([one, other.requires_grad_(False)]), []) == 16 * 8 + 4 * 2
    # Weight 2, gradient 2, moments 8, master copy 4.
    assert state_bytes(nn.Linear(3, 2).to(torch.bfloat16), []) == 16 * 8


def of_run(directory: Path, program: str, changes: dict[str, Any]) -> int:
    train, config = (train_ppo, ppo_config) if program == "ppo" else (train_policy, run_config)
    asked: Any = config({"steps": 1, **changes})
    with RunWriter(directory, FACTS) as log:
        train(asked, seed=0, model=decoder(), log=log, report=lambda *_: None)
        log.finish({})
    kept: int = read_json(directory / "manifest.json")["state_bytes"]
    return kept


def test_a_critic_of_the_policys_size_doubles_what_trains(tmp_path: Path) -> None:
    separate = {"critic": {"kind": "separate", "start": "base", "pretrain": None}}
    assert of_run(tmp_path / "policy", "policy", {}) == 16 * P
    assert of_run(tmp_path / "kl", "policy", {"reward.kl": 0.1}) == 20 * P
    head = {"critic": {"kind": "head", "start": "random", "pretrain": None}}
    assert of_run(tmp_path / "head", "ppo", head) == 20 * P + 16 * HEAD
    assert of_run(tmp_path / "separate", "ppo", separate) == 36 * P + 16 * HEAD
