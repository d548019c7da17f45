"""What the policy trainer reports, in numbers worked by hand."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.models import Decoder
from rl.tasks import ChainSum
from rl.trainers.evaluation import lengths_by_outcome
from rl.trainers.policy import batch_metrics, train_policy
from rl.types import Completion, Problem, Rollout
from tests.tiny import GUESSED as WORLD, decoder, run_config


def trained(
    directory: Path, model: Decoder, changes: dict[str, Any] | None = None, seed: int = 0
) -> tuple[dict[int, dict[str, Any]], list[tuple[int, float]]]:
    """Metrics by step, and what was reported."""
    told: list[tuple[int, float]] = []
    with RunWriter(directory, {"arm": "arm", "seed": seed}) as log:
        train_policy(
            run_config({**WORLD, **(changes or {})}),
            seed=seed,
            model=model,
            log=log,
            report=lambda *step: told.append(step),
        )
    steps: dict[int, dict[str, Any]] = {}
    for record in read_lines(directory / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record["values"])
    return steps, told


def test_metrics_of_a_batch_by_hand() -> None:
    """Three prompts of two samples; rewards in units of 10; groups mixed, all right, all wrong."""
    rewards = torch.tensor([[10.0, 0.0], [10.0, 10.0], [0.0, 0.0]], dtype=torch.float64)
    advantages = torch.tensor([[3.0, -3.0], [2.0, 4.0], [-1.0, -1.0]], dtype=torch.float64)
    lengths = [1, 2, 3, 4, 5, 6]
    difficulties = [2, 2, 3, 3, 2, 2]
    rollouts = [
        Rollout(
            Problem(i // 2, "", "", difficulties[i]),
            i % 2,
            (1,),
            Completion((4,) * n, (-0.5,) * n, "length" if i == 5 else "stop"),
            "",
        )
        for i, n in enumerate(lengths)
    ]
    assert batch_metrics(rollouts, rewards, advantages) == {
        "train/reward": 5.0,
        "train/reward_by_difficulty": {2.0: 2.5, 3.0: 10.0},
        "train/mixed_groups": pytest.approx(1 / 3),
        "train/weight_by_difficulty": {2.0: 0.75, 3.0: 3.0},  # (3 + 0)/2 and 0; (2 + 4)/2
        "train/response_tokens": 3.5,
        "train/truncated": pytest.approx(1 / 6),
        "train/entropy": 0.5,
    }


def test_update_norm_is_the_way_gone_and_reports_are_in_plain_reward(tmp_path: Path) -> None:
    model = decoder(gain=1.0, modulus=2)
    start = deepcopy(model)
    changes = {"steps": 1, "reward.scale": 10.0}
    steps, told = trained(tmp_path / "run", model, changes)
    pairs = zip(model.parameters(), start.parameters(), strict=True)  # tied weights once
    gone = sum(float(((a - b).detach() ** 2).sum()) for a, b in pairs)
    assert steps[0]["train/update_norm"] == pytest.approx(gone**0.5, rel=1e-5)
    assert gone > 0
    assert steps[0]["train/reward"] > 0
    assert told == [(1, pytest.approx(steps[0]["train/reward"] / 10))]


def test_running_mean_is_of_the_batches_before(tmp_path: Path) -> None:
    """Of a 0/1 reward with baseline b, (1/G) sum A 1[r > 0] is the reward rate times 1 - b."""
    changes = {"advantage.baseline": "running_mean", "steps": 3, "optim.lr": 1e-5}
    steps, _ = trained(tmp_path / "run", decoder(gain=1.0, modulus=2), changes)
    rates = [steps[step]["train/reward"] for step in range(3)]
    assert min(rates) > 0
    for step, b in enumerate((0.0, rates[0], (rates[0] + rates[1]) / 2)):
        weight = steps[step]["train/weight_by_difficulty"]["3.0"]
        assert weight == pytest.approx(rates[step] * (1 - b), rel=1e-9)


def test_training_prompts_follow_the_runs_seed_and_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    real = ChainSum.train_problems

    def noted(task: ChainSum, count: int, seed: int) -> list[Problem]:
        problems = real(task, count, seed)
        drawn.append([p.prompt for p in problems])
        return problems

    monkeypatch.setattr(ChainSum, "train_problems", noted)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        trained(tmp_path / name, decoder(gain=1.0, modulus=2), seed=seed)
    one, same, other = drawn[:2], drawn[2:4], drawn[4:]
    assert one == same
    assert one[0] != one[1]
    assert not [prompts for prompts in other if prompts in one]


def test_lengths_by_outcome_by_hand() -> None:
    made = [Completion((4,) * n, (-0.5,) * n, "stop") for n in (2, 3, 7, 8)]
    assert lengths_by_outcome(made, [1.0, 0.0, 10.0, 0.0]) == {
        "eval/response_tokens_correct": 4.5,
        "eval/response_tokens_incorrect": 5.5,
    }
    assert lengths_by_outcome(made, [0.0] * 4) == {"eval/response_tokens_incorrect": 5.0}
    assert lengths_by_outcome(made, [1.0] * 4) == {"eval/response_tokens_correct": 5.0}
