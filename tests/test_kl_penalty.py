"""The penalty for going away from the base model: where it is 0, what it pulls at, and that it
costs nothing when it is not asked for."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.models import Decoder
from rl.trainers import policy
from rl.trainers.parts import forward_logits, make_engine, micro_batch_tokens
from rl.trainers.policy import train_policy
from rl.trainers.reference import Reference
from rl.trainers.rollouts import collate
from rl.trainers.update import update_policy
from rl.types import Completion, Problem, Rollout
from tests.tiny import GUESSED, decoder, run_config, tokenizer

WORLD = {**GUESSED, "eval.every": 100, "reward.kl": 0.1}


def trained(
    directory: Path, changes: dict[str, Any], model: Decoder | None = None
) -> dict[int, dict[str, Any]]:
    """Metrics by step."""
    with RunWriter(directory, {"arm": "arm", "seed": 0}) as log:
        train_policy(
            run_config({**WORLD, **changes}),
            seed=0,
            model=model or decoder(gain=1.0, modulus=2),
            log=log,
            report=lambda *_: None,
        )
    steps: dict[int, dict[str, Any]] = {}
    for record in read_lines(directory / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record["values"])
    return steps


def test_nothing_is_computed_where_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "Reference", None)  # would fail if it were called
    steps = trained(tmp_path / "run", {"reward.kl": 0.0})
    assert not any("train/kl" in values for values in steps.values())


def test_the_first_step_is_that_without_a_penalty(tmp_path: Path) -> None:
    """Policy and reference are one: the divergence is 0 to the last bit, and so all else is."""
    plain = trained(tmp_path / "plain", {"reward.kl": 0.0})
    steps = trained(tmp_path / "kl", {"reward.kl": 50.0})
    assert steps[0].pop("train/kl") == 0.0
    assert steps[0] == plain[0]
    assert steps[1]["train/kl"] != 0.0
    assert steps[1]["train/loss"] != plain[1]["train/loss"]
    assert steps[1]["train/reward"] == plain[1]["train/reward"]  # it is without the penalty


def test_a_large_penalty_keeps_the_policy_near(tmp_path: Path) -> None:
    """With its sign turned it would drive the policy away."""
    late = {}
    for kl in (1e-9, 3.0):
        steps = trained(tmp_path / f"{kl}", {"reward.kl": kl, "steps": 12, "optim.lr": 0.01})
        late[kl] = sum(steps[step]["train/kl"] for step in range(8, 12)) / 4
    assert late[1e-9] > 0.3
    assert late[3.0] < 0.5 * late[1e-9]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergence_is_that_of_two_plain_forward_passes(temperature: float) -> None:
    """A policy that has gone away, response by response, without padding or sharing."""
    tokens = tokenizer()
    changes = {
        "rollout.temperature": temperature,
        "rollout.group_size": 2,
        "study.samples": 2,
        "reward.kl": 1.0,
    }
    config = run_config(changes)
    model = decoder()
    base = deepcopy(model)
    reference = Reference(model, config)
    made = [("01=", "0#1"), ("01=", "11"), ("212=", "2210#0"), ("212=", "")]
    rollouts = []
    for prompt, text in made:
        ids = (*tokens.encode(text), tokens.eos_id)
        completion = Completion(ids, (-1.0,) * len(ids), "stop")
        problem = Problem(0, prompt, "", len(prompt) - 1)
        rollouts.append(Rollout(problem, 0, tokens.encode(prompt), completion, text))
    batch = collate(rollouts, torch.tensor([1.0, -1.0, 0.5, -0.5]), tokens.pad_id)
    engine = make_engine(model, config.optim, config.engine, 3)
    micro = micro_batch_tokens(config.engine, model)

    def distance() -> torch.Tensor:
        scores_PG = torch.zeros(2, 2)
        found = reference.measure(engine, model, batch, scores_PG, step=0, micro_tokens=micro)
        return found.off_reward_PG

    assert distance().tolist() == [[0.0, 0.0], [0.0, 0.0]]
    for step in range(3):
        update_policy(engine, batch, config, micro_tokens=micro, seed=0, step=step)
    found = distance()
    engine.close()
    wanted = []
    with torch.no_grad():
        for rollout in rollouts:
            ids_1T = torch.tensor([(*rollout.prompt_ids, *rollout.completion.token_ids)])
            count = len(rollout.completion.token_ids)
            sums = []
            for one in (model, base):
                logp = torch.log_softmax(forward_logits(one, ids_1T)[0, :-1] / temperature, dim=-1)
                sums.append(float(logp.gather(1, ids_1T[0, 1:, None])[-count:].sum()))
            wanted.append(sums[0] - sums[1])
    assert found.flatten().tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert max(map(abs, wanted)) > 0.1
