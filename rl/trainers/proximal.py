"""Training of a tabular policy that reuses its samples and is to stay close to what it was.

pi_old = policy -> responses -> reward less KL -> advantage -> several updates -> reference
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import ProximalConfig, TrustRegionConfig
from rl.engine import Engine
from rl.kl import adapted, kl_penalty
from rl.losses import aggregate, policy_loss
from rl.seeding import derive
from rl.tabular.build import random_tree
from rl.tabular.exact import divergences, list_responses, values
from rl.tabular.policy import TabularPolicy
from rl.tabular.trust_region import trust_region_step
from rl.tabular.worlds import World
from rl.trainers.parts import engine_for
from rl.trainers.proximal_batch import Batch, State, make_batch, mean_kl
from rl.trainers.proximal_metrics import (
    Metrics,
    cosine_with_gradient,
    optimum,
    ratio_metrics,
    state_metrics,
)


def train_proximal(
    config: ProximalConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Train by `config`, log every `eval_every` steps, and return the number of tokens sampled.

    Goes on from the log's checkpoint where there is one. What is logged of the policy at step k is
    of the one before its updates, and at step `config.steps` of the trained one.
    """
    settings = config.world.model_dump(exclude={"name"})
    world, logit_KV = random_tree(**settings, seed=derive("proximal-world", seed))
    listing = list_responses(world)
    policy = TabularPolicy(logit_KV)
    start_KV = policy().detach()
    best = optimum(world, start_KV, beta=config.beta)
    updates = config.steps * config.loss.epochs
    engine = engine_for(policy, config.optim, config.engine, updates)
    state = State(0, 0, 1.0, config.loss.penalty, start_KV)
    if log.checkpoint is not None:
        state = State(**engine.load(log.checkpoint))

    for step in range(state.step, config.steps):
        old_KV = policy().detach()
        if config.kl.refresh is not None and step % config.kl.refresh == 0:
            state = replace(state, reference_KV=old_KV)
        batch = make_batch(config, world, listing, old_KV, state, seed=seed, step=step)
        logged = step % config.eval_every == 0
        loss_of = partial(batch_loss, config, world, batch, state)
        if config.trust_region is not None:
            made = _trust_region(config.trust_region, world, policy, loss_of, logged)
        else:
            made = _gradient_updates(config, world, engine, policy, loss_of, logged)
        new_KV = policy().detach()
        step_kl = float(divergences(world, old_KV, new_KV).mean())
        if logged:
            log.log(
                step,
                {
                    **state_metrics(
                        world,
                        old_KV,
                        start_KV=start_KV,
                        reference_KV=state.reference_KV,
                        best=best,
                    ),
                    **_batch_metrics(config, batch, new_KV),
                    **made,
                    "proximal/step_kl": step_kl,
                    "proximal/coefficient": max(
                        state.factor * config.reward.kl,
                        state.factor * config.kl.loss,
                        state.penalty,
                    ),
                    "proximal/samples": state.samples,
                },
            )
        state = _next_state(config, world, state, batch, step_kl)
        log.keep(step + 1, partial(_save, engine, state))
        report(step + 1, float(values(world, new_KV, world.reward_KV).mean()))

    last = state_metrics(
        world, policy().detach(), start_KV=start_KV, reference_KV=state.reference_KV, best=best
    )
    log.log(config.steps, {**last, "proximal/samples": state.samples})
    engine.close()
    return state.samples * world.length


def batch_loss(
    config: ProximalConfig, world: World, batch: Batch, state: State, logp_KV: Tensor
) -> Tensor:
    """Policy loss + kl.loss * KL estimate + penalty * KL(pi_old || pi), log-probs [K, V] in.

    A response's tokens are summed, and responses averaged by weight, so that the gradient of the
    policy loss at pi_old is that of whole responses. So it is for `gspo`, too: its ratio has a
    T-th of the gradient of log pi(y), and stands T times in the sum.
    """
    at_BT = (batch.context_BT, batch.token_BT)
    logp_BT, old_BT = logp_KV[at_BT], batch.old_KV[at_BT]
    settings, kl = config.loss, config.kl
    value_BT = policy_loss(
        logp_BT,
        old_BT,
        batch.advantage_B,
        batch.mask_BT,
        name=settings.name,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        bound=settings.bound,
    )
    if kl.loss:
        value_BT = value_BT + state.factor * kl.loss * kl_penalty(
            logp_BT,
            batch.reference_KV[at_BT],
            batch.mask_BT,
            estimator=kl.estimator,
            level=kl.level,
            logp_old_BT=old_BT if kl.weighted else None,
        )
    loss = aggregate(
        batch.weight_B[:, None] * value_BT,
        batch.mask_BT,
        mode="constant",
        sequences=len(value_BT),
        tokens=batch.mask_BT.numel(),
        max_length=1,  # the sum over a response's tokens, not divided by a length
    )
    if state.penalty:  # 1707.06347, eq. 8
        loss = loss + state.penalty * divergences(world, batch.old_KV, logp_KV).mean()
    return loss


def _gradient_updates(
    config: ProximalConfig,
    world: World,
    engine: Engine,
    policy: TabularPolicy,
    loss_of: Callable[[Tensor], Tensor],
    logged: bool,
) -> Metrics:
    """`loss.epochs` updates of the whole batch, and what is said of the first and the last."""
    found: Metrics = {}
    last = config.loss.epochs - 1
    for epoch in range(config.loss.epochs):
        if logged and epoch in (0, last):
            here = cosine_with_gradient(world, policy.logit_KV, -_gradient(policy, loss_of))
            found.setdefault("proximal/cosine_first", here)
            found["proximal/cosine_last"] = here
        update = engine.update([lambda: loss_of(engine.model())])
        found |= {"proximal/loss": update.loss, "proximal/grad_norm": update.grad_norm}
    return found


def _trust_region(
    settings: TrustRegionConfig,
    world: World,
    policy: TabularPolicy,
    loss_of: Callable[[Tensor], Tensor],
    logged: bool,
) -> Metrics:
    """One step that sets the weights: no optimiser has a part in it, and none is stepped."""
    gradient_KV = _gradient(policy, loss_of)
    before_KV = policy.logit_KV.detach().double()
    loss = float(loss_of(policy().detach()))
    step = trust_region_step(
        world, before_KV, lambda logp_KV: -loss_of(logp_KV), **settings.model_dump()
    )
    with torch.no_grad():
        policy.logit_KV.copy_(step.logit_KV)
    found: Metrics = {"proximal/loss": loss, "proximal/grad_norm": float(gradient_KV.norm())}
    if logged:
        along = cosine_with_gradient(world, before_KV, step.logit_KV - before_KV)
        found |= {"proximal/cosine_first": along, "proximal/cosine_last": along}
    return found


def _gradient(policy: TabularPolicy, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Of the loss by the logits [K, V], float64."""
    leaf_KV = policy.logit_KV.detach().double().requires_grad_()
    (slope_KV,) = torch.autograd.grad(loss_of(leaf_KV.log_softmax(dim=1)), leaf_KV)
    return slope_KV


def _batch_metrics(config: ProximalConfig, batch: Batch, new_KV: Tensor) -> Metrics:
    at_BT = (batch.context_BT, batch.token_BT)
    found = ratio_metrics(
        new_KV[at_BT],
        batch.old_KV[at_BT],
        batch.advantage_B,
        batch.mask_BT,
        clip_low=config.loss.clip_low,
        clip_high=config.loss.clip_high,
    )
    found["proximal/sampled_kl"] = mean_kl(batch)
    if config.group_size is not None and len(batch.kl_B) > 1:
        error = batch.kl_B.std() / len(batch.kl_B) ** 0.5
        found["proximal/sampled_kl_se"] = float(error)
    return found


def _next_state(
    config: ProximalConfig, world: World, state: State, batch: Batch, step_kl: float
) -> State:
    """Coefficients with a target move (1707.06347, section 4)."""
    factor, penalty, loss = state.factor, state.penalty, config.loss
    if config.kl.target is not None:
        factor = adapted(factor, mean_kl(batch), target=config.kl.target)
    if loss.penalty_target is not None:
        penalty = adapted(penalty, step_kl, target=loss.penalty_target)
    drawn = world.prompts * (config.group_size or 0)
    return State(state.step + 1, state.samples + drawn, factor, penalty, state.reference_KV)


def _save(engine: Engine, state: State, folder: Path) -> None:
    engine.save(folder, asdict(state))
