"""What the shared engine costs a step of a toy: python -m rl.bench.toy_step.

One update of a toy's policy, on the same loss, by rl.engine.Engine (DeepSpeed) and by
torch.optim.AdamW alone. Rounds take turns, so that what else the machine does falls on both alike;
the first is not counted.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl.engine import Engine
from rl.errors import exit_status
from rl.files import write_json
from rl.models.networks import new_network
from rl.runner.provenance import machine
from rl.trainers.episode_update import policy_loss
from rl.worlds.lecture_sorting import LectureSorter, response_logps, sample_responses

ROUNDS, UPDATES = 7, 200
ADAM: dict[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}

Loss = Callable[[nn.Module], Tensor]


def main() -> int:
    """Time both sides of every toy and write CPU seconds of an update, a number a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("analysis/bench/engine.json"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--updates", type=int, default=UPDATES)
    options = parser.parse_args()

    def measure() -> int:
        torch.set_num_threads(1)
        found = {name: compare(make, options.rounds, options.updates) for name, make in TOYS}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        content = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "toys": found}
        write_json(options.out, content)
        return 0

    return exit_status(measure)


def compare(
    make: Callable[[], tuple[nn.Module, Loss]], rounds: int, updates: int
) -> dict[str, list[float]]:
    """CPU seconds of one update by each side, a number a round."""
    sides = {"engine": with_engine(*make(), updates * (rounds + 1)), "adamw": alone(*make())}
    found: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side, update in sides.items():
            start = time.process_time()
            for _ in range(updates):
                update()
            if turn:
                found[side].append((time.process_time() - start) / updates)
    return found


def with_engine(model: nn.Module, loss: Loss, total: int) -> Callable[[], None]:
    """An update by the engine that all experiments use, for a run of `total` updates."""
    engine = Engine(
        model,
        **ADAM,
        warmup_steps=0,
        schedule="constant",
        total_updates=total,
        grad_clip=0.0,
        zero_stage=0,
        precision="fp32",
    )

    def update() -> None:
        engine.update([lambda: loss(engine.model)])

    return update


def alone(model: nn.Module, loss: Loss) -> Callable[[], None]:
    """An update by the least that trains the same: it reads neither loss nor gradient norm."""
    optimizer = torch.optim.AdamW(model.parameters(), **ADAM)

    def update() -> None:
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()

    return update


def _lecture() -> tuple[nn.Module, Loss]:
    """The lecture's sorting world: 3 prompts, 10 responses to each."""
    generator = torch.Generator().manual_seed(0)
    model = LectureSorter(vocabulary=5, width=10, length=3, generator=generator)
    prompt_PT = torch.tensor([[1, 0, 2], [3, 2, 4], [1, 2, 3]])
    with torch.no_grad():
        response_PGT = sample_responses(model(prompt_PT), count=10, generator=generator)

    def loss(called: nn.Module) -> Tensor:
        return -response_logps(called(prompt_PT), response_PGT).mean()

    return model, loss


def _cartpole() -> tuple[nn.Module, Loss]:
    """A network of 64 hidden units on the 2,000 steps of ten episodes."""
    generator = torch.Generator().manual_seed(0)
    model = new_network(features=4, outputs=2, hidden=[64], activation="tanh", seed=0)
    observation_MD = torch.randn(2000, 4, generator=generator)
    action_M = torch.randint(2, (2000,), generator=generator)

    def loss(called: nn.Module) -> Tensor:
        logp_MA = called(observation_MD).log_softmax(dim=1)
        return policy_loss(logp_MA, action_M, torch.ones(2000), episodes=10)

    return model, loss


def _bandit() -> tuple[nn.Module, Loss]:
    """Two states, two actions, four episodes: as small as it gets."""
    model = new_network(features=2, outputs=2, hidden=[], activation="tanh", seed=0)
    observation_MD, action_M = torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 1, 0])
    return_M = torch.tensor([11.0, 2.0, 9.0, 0.0])

    def loss(called: nn.Module) -> Tensor:
        logp_MA = called(observation_MD).log_softmax(dim=1)
        return policy_loss(logp_MA, action_M, return_M, episodes=4)

    return model, loss


TOYS = (
    ("two-state bandit, 4 episodes", _bandit),
    ("lecture's sorting, 30 responses", _lecture),
    ("CartPole, 2,000 steps", _cartpole),
)

if __name__ == "__main__":
    sys.exit(main())
