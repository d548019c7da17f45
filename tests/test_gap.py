"""The gap between sampler and trainer, corrected where loss.gap_cap is stated, logged always."""

from contextlib import closing
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from rl.config import KLConfig
from rl.models import ActorCritic, Decoder, FusedDecoder, scalar_head
from rl.rollout import Request
from rl.trainers.parts import engine_for, make_engine
from rl.trainers.ppo_update import Drawn, see_all, update_ppo
from rl.trainers.rollouts import collate, local_sampler
from rl.trainers.update import LossPenalty, response_logps, update_policy
from rl.types import Batch, Problem, Rollout
from tests.tiny import PPO, RUN, decoder, ppo_config, run_config, tokenizer

TOKENS = tokenizer()
ROWS = 12
MICRO = 4000  # tokens of a micro-batch: all


def made_batch(model: Decoder, off: float) -> Batch:
    """Sampled by `model`, with the trainer's log-probs less `off` for the sampler's."""
    prompts = [TOKENS.encode(("01=", "212=", "2=")[i % 3]) for i in range(ROWS)]
    completions = local_sampler(model, TOKENS).generate(
        [Request(prompt, seed=50 + i) for i, prompt in enumerate(prompts)],
        temperature=1.0,
        max_new_tokens=10,
    )
    rollouts = [
        Rollout(Problem(0, "", "", 0), i, prompt, completion, "")
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
    advantage_B = torch.randn(ROWS, generator=torch.Generator().manual_seed(0))
    batch = collate(rollouts, advantage_B, TOKENS.pad_id)
    logp_BT = response_logps(FusedDecoder(model), batch, run_config(), MICRO)
    return replace(batch, logp_sampler_BT=(logp_BT - off) * batch.response_BT)


def updated(
    cap: float | None, off: float, *, name: str = "clipped", penalty: bool = False, **more: Any
) -> tuple[dict[str, Any], Tensor]:
    """Metrics of one step, and the weights after it."""
    model = decoder()
    config = run_config({"loss": {**RUN["loss"], "name": name, "gap_cap": cap, **more}})
    batch = made_batch(model, off)
    kl = KLConfig.model_validate(
        {
            "loss": 0.1,
            "estimator": "k2",
            "level": "token",
            "weighted": False,
            "refresh": None,
            "target": None,
        }
    )
    logp_ref_BT = (batch.logp_sampler_BT - 1.0) * batch.response_BT
    engine = make_engine(model, config.optim, config.engine, 1)
    metrics = update_policy(
        engine,
        batch,
        config,
        micro_tokens=MICRO,
        seed=0,
        step=0,
        penalty=LossPenalty(logp_ref_BT, 0.1, kl) if penalty else None,
    )
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    engine.close()
    return metrics, weights


@pytest.mark.parametrize("name", ["clipped", "reinforce"])
def test_no_bit_changes_where_both_agree(name: str) -> None:
    plain, expected = updated(None, 0.0, name=name)
    weighed, weights = updated(1.0, 0.0, name=name)
    assert torch.equal(weights, expected)
    assert weighed.pop("train/gap_weight_mean") == 1.0
    assert weighed.pop("train/gap_weight_capped") == 0.0
    assert weighed == plain, "and nothing else is logged"
    assert plain["train/logp_gap_max"] == 0.0


@pytest.mark.parametrize(
    ("off", "cap", "weight", "capped"),
    [(log(2), 8.0, 2.0, 0.0), (log(2), 1.5, 1.5, 1.0), (-log(2), 1.5, 0.5, 0.0)],
)
@pytest.mark.parametrize("name", ["clipped", "reinforce", "gspo"])
def test_the_loss_of_every_token_is_weighed(
    name: str, off: float, cap: float, weight: float, capped: float
) -> None:
    """The sampler says `off` nats less of each token: the trainer has e^off times its chance."""
    plain, _ = updated(None, off, name=name)
    weighed, _ = updated(cap, off, name=name)
    assert plain["train/loss"] != 0
    for value in ("train/loss", "train/grad_norm"):
        assert weighed[value] == pytest.approx(weight * plain[value], rel=1e-5)
    assert weighed["train/gap_weight_mean"] == pytest.approx(weight, rel=1e-5)
    assert weighed["train/gap_weight_capped"] == capped
    assert weighed["train/logp_gap_mean"] == pytest.approx(abs(off), rel=1e-5)


def test_weights_stay_those_of_the_draw_while_the_policy_moves() -> None:
    """Over two epochs: the ratio to the moved policy is the loss's own."""
    weighed, _ = updated(8.0, log(2), epochs=2, minibatches=2)
    assert weighed["train/gap_weight_mean"] == pytest.approx(2.0, rel=1e-5)
    assert weighed["train/ratio_max"] != pytest.approx(1.0, rel=1e-3)


def test_a_penalty_in_the_loss_is_not_weighed() -> None:
    def loss(cap: float | None, *, penalty: bool) -> float:
        return float(updated(cap, log(2), penalty=penalty)[0]["train/loss"])

    weighed = loss(8.0, penalty=True) - loss(8.0, penalty=False)
    plain = loss(None, penalty=True) - loss(None, penalty=False)
    assert plain > 0.01
    assert weighed == pytest.approx(plain, rel=1e-4)


def half_off(batch: Batch) -> tuple[Batch, float]:
    """Every second row has advantage 0 and a sampler that is 3 nats off; and the mean gap then."""
    dead_B = torch.arange(ROWS) % 2 == 0
    off_BT = 3.0 * dead_B[:, None] * batch.response_BT
    tokens_B = batch.response_BT.sum(dim=1)
    off = replace(
        batch,
        advantage_B=batch.advantage_B.masked_fill(dead_B, 0.0),
        logp_sampler_BT=batch.logp_sampler_BT - off_BT,
    )
    return off, 3.0 * float(tokens_B[dead_B].sum() / tokens_B.sum())


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({"loss.minibatches": 2}, True),
        ({"loss.epochs": 2}, True),
        ({}, False),
        ({"loss.minibatches": 2, "loss.old_logps": "sampler"}, False),
    ],
)
def test_the_gap_is_of_the_whole_batch_where_the_trainer_knows_it_before(
    changes: dict[str, Any], whole: bool
) -> None:
    """Else it is of the rows that the first update computes, for which no pass is added."""
    model, config = decoder(), run_config(changes)
    batch, mean = half_off(made_batch(model, 0.0))
    with closing(make_engine(model, config.optim, config.engine, 1)) as engine:
        found = update_policy(engine, batch, config, micro_tokens=MICRO, seed=0, step=0)
    assert mean == pytest.approx(1.2)
    assert found["train/logp_gap_mean"] == pytest.approx(mean if whole else 0.0, abs=1e-5)
    assert found["train/logp_gap_max"] == pytest.approx(3.0 if whole else 0.0, abs=1e-5)


def updated_by_ppo(changes: dict[str, Any], off: float, *, half: bool = False) -> dict[str, Any]:
    """Metrics of one step."""
    model = decoder()
    config = ppo_config({"loss": {**PPO["loss"], "entropy": 0.1, **changes}})
    batch = made_batch(model, off)
    if half:
        batch, _ = half_off(batch)
    critic = ActorCritic(model, scalar_head(32, seed=1))
    engine = engine_for(critic, config.optim, config.engine, 1)
    seen = see_all(engine.model, batch, config, MICRO)
    generator = torch.Generator().manual_seed(1)
    some_BT, more_BT = (
        torch.randn(batch.token_BT.shape, generator=generator) * batch.response_BT for _ in range(2)
    )
    drawn = Drawn(batch, seen.logp_BT, seen.value_BT, some_BT, more_BT)
    found = update_ppo(engine, drawn, config, micro_tokens=MICRO, seed=0, step=0)
    engine.close()
    return found


def test_of_ppo_the_policys_part_alone_is_weighed() -> None:
    plain, weighed = (updated_by_ppo({"gap_cap": cap}, log(2)) for cap in (None, 8.0))
    assert weighed["ppo/policy_loss"] == pytest.approx(2 * plain["ppo/policy_loss"], rel=1e-4)
    assert weighed["ppo/value_loss"] == plain["ppo/value_loss"]
    assert weighed["train/gap_weight_mean"] == pytest.approx(2.0, rel=1e-5)
    assert "train/gap_weight_mean" not in plain
    for value in (plain, weighed):
        assert value["train/logp_gap_mean"] == pytest.approx(log(2), rel=1e-5)


def test_of_ppo_the_gap_is_of_the_whole_batch() -> None:
    """Not of the first minibatch alone."""
    found = updated_by_ppo({"minibatches": 2}, 0.0, half=True)
    assert found["train/logp_gap_mean"] == pytest.approx(1.2, abs=1e-5)
    assert found["train/logp_gap_max"] == pytest.approx(3.0, abs=1e-5)
