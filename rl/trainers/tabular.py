"""Training of a tabular policy, by imitation or by reward, where every result is exact.

demonstrations, or own samples -> a weight a response -> update of weighted log-likelihoods
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rl.advantages import BASELINES, RunningMean, advantages
from rl.artifacts import RunWriter
from rl.config import TabularConfig, TreeConfig
from rl.engine import Engine
from rl.losses import aggregate
from rl.seeding import derive
from rl.tabular.build import random_tree
from rl.tabular.exact import list_responses, response_logps, squared_scores, values
from rl.tabular.policy import TabularPolicy, before_first_slip, draw_groups
from rl.tabular.worlds import World, chain_world, demonstrator
from rl.trainers.parts import engine_for
from rl.trainers.tabular_metrics import Responses, exact_metrics, responses, sample_metrics

SAMPLED = ("sft_own", "reinforce")  # objectives that need the policy's own responses


@dataclass(frozen=True)
class _State:
    """What one step hands to the next, weights apart."""

    step: int
    samples: int
    running: RunningMean
    value_P: tuple[float, ...]


def train_tabular(
    config: TabularConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Train by `config`, log every `eval_every` steps, and return the number of tokens sampled.

    Goes on from the log's checkpoint where there is one. What is logged at step k is of the policy
    before its update, and at step `config.steps` of the trained one.
    """
    world, logit_KV = make_world(config, seed)
    data = demonstrations(config, world, seed)
    policy = TabularPolicy(logit_KV)
    start_KV = policy().detach()
    engine = engine_for(policy, config.optim, config.engine, config.steps)
    state = _State(0, 0, RunningMean(), (0.0,) * world.prompts)
    if log.checkpoint is not None:
        state = _restored(engine.load(log.checkpoint))

    for step in range(state.step, config.steps):
        name = config.objective.name if step >= config.mle_steps else "mle"
        logp_KV = policy().detach()
        own = own_samples(config, world, logp_KV, seed, step) if name in SAMPLED else None
        batch = data if own is None else own
        if name == "exact_pg":
            loss = partial(_expected_loss, engine, world)
        else:
            weight_B, count = _weights(config, name, world, logp_KV, batch, state)
            loss = partial(_weighted_loss, engine, batch, weight_B, count)
        update = engine.update([loss])
        if step % config.eval_every == 0:
            log.log(
                step,
                {
                    **exact_metrics(world, logp_KV, start_KV=start_KV, data=data),
                    **(sample_metrics(logp_KV, own) if own else {}),
                    "tabular/samples": state.samples,
                    "tabular/loss": update.loss,
                    "tabular/grad_norm": update.grad_norm,
                },
            )
        state = _next_state(config, state, own)
        log.keep(step + 1, partial(engine.save, state=asdict(state)))
        report(step + 1, float(values(world, logp_KV, world.reward_KV).mean()))

    last = exact_metrics(world, policy().detach(), start_KV=start_KV, data=data)
    log.log(config.steps, {**last, "tabular/samples": state.samples})
    engine.close()
    return state.samples * world.length


def make_world(config: TabularConfig, seed: int) -> tuple[World, Tensor]:
    """The world of one seed and the start policy's logits [K, V]; arms share them."""
    world = config.world
    if isinstance(world, TreeConfig):
        settings = world.model_dump(exclude={"name"})
        return random_tree(**settings, seed=derive("tabular-world", seed))
    chain = chain_world(**world.model_dump(exclude={"name"}))
    return chain, torch.zeros(chain.contexts, chain.vocabulary, dtype=torch.float64)


def demonstrations(config: TabularConfig, world: World, seed: int) -> Responses:
    """The fixed data set: `data.demonstrations` responses to every prompt."""
    data = config.data
    drawn = draw_groups(
        world,
        demonstrator(world, noise=data.noise),
        count=data.demonstrations,
        stream="tabular-data",
        parts=(seed,),
    )
    written_BT = torch.ones_like(drawn[1], dtype=torch.bool)
    if data.gives_up:
        written_BT = before_first_slip(world, *drawn)
    return responses(world, *drawn, written_BT)


def own_samples(
    config: TabularConfig, world: World, logp_KV: Tensor, seed: int, step: int
) -> Responses:
    """One step's fresh responses of the policy: `group_size` to every prompt."""
    drawn = draw_groups(
        world,
        logp_KV.exp(),
        count=config.group_size,
        stream="tabular-rollout",
        parts=(seed, step),
    )
    return responses(world, *drawn, torch.ones_like(drawn[1], dtype=torch.bool))


def _weights(
    config: TabularConfig,
    name: str,
    world: World,
    logp_KV: Tensor,
    batch: Responses,
    state: _State,
) -> tuple[Tensor, int]:
    """The weight [B] of each log-likelihood, and what their weighted sum is divided by."""
    everything = len(batch.reward_B)
    if name == "mle":
        return torch.ones_like(batch.reward_B), everything
    if name == "reinforce":
        rewards_PG = batch.reward_B.view(world.prompts, -1)
        return _advantages(config, world, logp_KV, rewards_PG, state).flatten(), everything
    kept = int(batch.right_B.sum())
    count = everything if config.objective.denominator == "all" else max(kept, 1)
    return batch.right_B.double(), count


def _advantages(
    config: TabularConfig, world: World, logp_KV: Tensor, rewards_PG: Tensor, state: _State
) -> Tensor:
    """By rl.advantages; a baseline that it does not know is taken off the reward first."""
    name = config.advantage.baseline
    if name not in BASELINES:
        offset_P = _offsets(config, world, logp_KV, state)
        rewards_PG, name = rewards_PG - offset_P[:, None], "none"
    return advantages(
        rewards_PG, baseline=name, scale="none", ddof=0, eps=0.0, running_mean=state.running.mean
    )


def _offsets(config: TabularConfig, world: World, logp_KV: Tensor, state: _State) -> Tensor:
    """A baseline that does not depend on the batch, for each prompt [P]."""
    name = config.advantage.baseline
    if name == "constant":
        return torch.full((world.prompts,), config.advantage.constant, dtype=torch.float64)
    if name == "learned_value":
        return torch.tensor(state.value_P, dtype=torch.float64)
    if name == "exact_value":
        return values(world, logp_KV, world.reward_KV)
    listing = list_responses(world)  # b* = E[|s|^2 r] / E[|s|^2], as rl.tabular.moments
    weight_PN = response_logps(listing, logp_KV).exp() * squared_scores(listing, logp_KV)
    return (weight_PN * listing.reward_PN).sum(dim=1) / weight_PN.sum(dim=1)


def _weighted_loss(engine: Engine, batch: Responses, weight_B: Tensor, count: int) -> Tensor:
    """-(1/count) sum_i weight_i log pi(y_i)."""
    logp_BT = engine.model()[batch.context_BT, batch.token_BT]
    return aggregate(
        -weight_B[:, None] * logp_BT,
        batch.written_BT,
        mode="constant",
        sequences=count,
        tokens=int(batch.written_BT.sum()),
        max_length=1,  # the sum over a response's tokens, not divided by a length
    )


def _expected_loss(engine: Engine, world: World) -> Tensor:
    """Minus the exact expected reward, mean over prompts."""
    return -values(world, engine.model(), world.reward_KV).mean()


def _next_state(config: TabularConfig, state: _State, own: Responses | None) -> _State:
    if own is None:
        return _State(state.step + 1, state.samples, state.running, state.value_P)
    rewards_PG = own.reward_B.view(len(state.value_P), -1)
    rate = config.advantage.value_rate
    return _State(
        state.step + 1,
        state.samples + rewards_PG.numel(),
        state.running.update(rewards_PG),
        tuple(
            value + rate * (mean - value)
            for value, mean in zip(state.value_P, rewards_PG.mean(dim=1).tolist(), strict=True)
        ),
    )


def _restored(state: dict[str, Any]) -> _State:
    return _State(
        state["step"], state["samples"], RunningMean(**state["running"]), tuple(state["value_P"])
    )
