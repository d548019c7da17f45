"""Policy gradient on the lecture's sorting world, graded by enumeration at every evaluation.

A step is an epoch: responses of all prompts -> rewards -> advantages -> updates on these responses.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from rl.advantages import RunningMean, advantages
from rl.artifacts import RunWriter
from rl.config import LectureSortingConfig
from rl.engine import Engine
from rl.seeding import derive
from rl.trainers.lecture_grades import Grades
from rl.trainers.parts import engine_for
from rl.worlds.lecture_losses import kl_penalty, policy_loss, undefined
from rl.worlds.lecture_sorting import (
    REWARDS,
    LectureSorter,
    kl_per_prompt,
    response_logps,
    sample_responses,
    score,
)


def train_lecture_sorting(
    config: LectureSortingConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Train by `config`, log every epoch, and return the number of tokens sampled.

    Goes on from the log's checkpoint where there is one. Evaluations of epoch k are of the policy
    before its updates; the last, logged at step `config.steps`, is of the trained policy. An epoch
    whose ratio of logarithms is not defined takes no update.
    """
    world, reward = config.world, REWARDS[config.reward]
    draws = Draws(config.stream, seed)
    model = LectureSorter(
        vocabulary=world.vocabulary,
        width=world.width,
        length=len(world.prompts[0]),
        generator=draws.of_weights(),
    )
    initial, reference = deepcopy(model), deepcopy(model)
    updates = config.steps * config.inner_steps
    engine = engine_for(model, config.optim, config.engine, updates)
    initial.to(engine.device)
    reference.to(engine.device)
    grades = Grades(reward, world.prompts, vocabulary=world.vocabulary)
    prompt_PT = torch.tensor(world.prompts, device=engine.device)
    first, running = 0, RunningMean()
    if log.checkpoint is not None:
        state = engine.load(log.checkpoint)
        first, running = state["step"], RunningMean(**state["running"])
        reference.load_state_dict(state["reference"])
        draws.go_on_from(state["draws"])

    for step in range(first, config.steps):
        if config.kl.refresh_every is not None and step % config.kl.refresh_every == 0:
            reference.load_state_dict(model.state_dict())
        if step % config.eval_every == 0:
            log.log(step, grades.of(model, reference=reference, initial=initial))

        with torch.no_grad():
            logits_PTV, reference_PTV = model(prompt_PT), reference(prompt_PT)
        response_PGT = sample_responses(
            logits_PTV.cpu(), count=config.responses, generator=draws.of_epoch(step)
        ).to(engine.device)
        rewards_PG = score(reward, prompt_PT, response_PGT)
        advantages_PG = advantages(
            rewards_PG,
            baseline=config.advantage.baseline,
            scale=config.advantage.scale,
            ddof=config.advantage.ddof,
            eps=config.advantage.eps,
            running_mean=running.mean,
        )
        running = running.update(rewards_PG)
        epoch = Epoch(
            prompt_PT=prompt_PT,
            response_PGT=response_PGT,
            advantage_PG=advantages_PG.float().to(engine.device),
            logp_old_PGT=response_logps(logits_PTV, response_PGT),
            logp_ref_PGT=response_logps(reference_PTV, response_PGT),
            reference_PTV=reference_PTV,
        )
        updated = _update(engine, config, epoch)

        with torch.no_grad():
            drift_P = kl_per_prompt(model(prompt_PT), logits_PTV)
        tied_P = rewards_PG.amax(dim=1) == rewards_PG.amin(dim=1)
        mean = float(rewards_PG.mean())
        log.log(
            step,
            {
                "sorting/reward": mean,
                "sorting/tied_groups": float(tied_P.double().mean()),
                "sorting/drift": float(drift_P.mean()),
                **updated,
            },
        )
        state = {
            "step": step + 1,
            "running": asdict(running),
            "reference": reference.state_dict(),
            "draws": draws.state(),
        }
        log.keep(step + 1, partial(engine.save, state=state))
        report(step + 1, mean)

    log.log(config.steps, grades.of(model, reference=reference, initial=initial))
    engine.close()
    return config.steps * prompt_PT.numel() * config.responses


class Draws:
    """Where random numbers come from: `derived` seeds, or one `global` stream in order of use.

    The global stream is the named exception to rl.seeding that the lecture's digits need: what is
    drawn first moves all that comes after.
    """

    def __init__(self, stream: str, seed: int) -> None:
        self._seed = seed
        self._one = torch.Generator().manual_seed(seed) if stream == "global" else None

    def of_weights(self) -> torch.Generator:
        """For the untrained policy."""
        return self._one or _generator(derive("sorting-weights", self._seed))

    def of_epoch(self, step: int) -> torch.Generator:
        """For the responses of one epoch."""
        return self._one or _generator(derive("sorting-responses", self._seed, step))

    def state(self) -> Tensor | None:
        """How far the global stream is drawn; derived seeds have no state."""
        return None if self._one is None else self._one.get_state()

    def go_on_from(self, state: Tensor | None) -> None:
        """Take up what `state` returned."""
        if self._one is not None and state is not None:
            self._one.set_state(state)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Epoch:
    """What the updates of one epoch share; the old policy is the one that drew the responses."""

    prompt_PT: Tensor
    response_PGT: Tensor
    advantage_PG: Tensor
    logp_old_PGT: Tensor
    logp_ref_PGT: Tensor
    reference_PTV: Tensor


def _update(engine: Engine, config: LectureSortingConfig, epoch: Epoch) -> dict[str, float]:
    """The epoch's updates, all on the same responses."""
    if undefined(epoch.logp_old_PGT, name=config.loss.name):
        return {"sorting/skipped": 1.0}

    def loss() -> Tensor:
        logits_PTV = engine.model(epoch.prompt_PT)
        logp_PGT = response_logps(logits_PTV, epoch.response_PGT)
        value = policy_loss(
            logp_PGT,
            epoch.logp_old_PGT,
            epoch.advantage_PG,
            name=config.loss.name,
            clip=config.loss.clip,
        )
        if config.kl.coefficient == 0:
            return value
        if config.kl.estimator == "exact":
            penalty = kl_per_prompt(logits_PTV, epoch.reference_PTV).mean()
        else:
            penalty = kl_penalty(logp_PGT, epoch.logp_ref_PGT, estimator=config.kl.estimator)
        return value + config.kl.coefficient * penalty

    made = [engine.update([loss]) for _ in range(config.inner_steps)]
    return {
        "sorting/skipped": 0.0,
        "sorting/loss": sum(update.loss for update in made) / len(made),
        "sorting/grad_norm": sum(update.grad_norm for update in made) / len(made),
    }
