"""Learning from preferences with tabular policies, a sweep in one run, judged exactly.

reference, pairs -> learned reward -> batch or pairs -> updates of all levels -> frontier
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import TabularPreferencesConfig
from rl.engine import Engine, Update
from rl.tabular.policy import TabularPolicies
from rl.tabular.texts import text_logps
from rl.trainers.parts import engine_for
from rl.trainers.preference_metrics import final_logps, problem_metrics, sweep_metrics
from rl.trainers.preference_problem import Problem, make_problem
from rl.trainers.preference_updates import batch_loss, make_batch, pair_loss

UNTRAINED = ("sft", "best_of_n")
BY_BATCH = ("ppo", "rloo", "grpo")


def train_tabular_preferences(
    config: TabularPreferencesConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Train by `config`, log every `eval_every` steps, and return the number of tokens sampled.

    Goes on from the log's checkpoint where there is one. What is logged at step k is of the
    policies before its updates, and at step `config.steps` of the trained ones; a method without
    training logs the latter alone.
    """
    problem = make_problem(config, seed)
    policies = TabularPolicies(problem.ref_KV, len(config.levels))

    def logps() -> Tensor:
        return text_logps(problem.texts, policies().detach())

    if config.method.name not in UNTRAINED:
        updates = config.steps * config.method.epochs
        engine = engine_for(policies, config.optim, config.engine, updates)
        first = 0 if log.checkpoint is None else int(engine.load(log.checkpoint)["step"])
        for step in range(first, config.steps):
            before_SPN = logps()
            update = _updates(config, problem, engine, policies, seed=seed, step=step)
            if step % config.eval_every == 0:
                found = sweep_metrics(config, problem, before_SPN)
                found |= {
                    "preferences/loss": update.loss,
                    "preferences/grad_norm": update.grad_norm,
                }
                log.log(step, {**problem_metrics(problem), **found})
            log.keep(step + 1, partial(_save, engine, step + 1))
            report(step + 1, update.loss)
        engine.close()
    last = sweep_metrics(config, problem, final_logps(config, problem, logps()))
    log.log(config.steps, {**problem_metrics(problem), **last})
    report(config.steps, 0.0)
    drawn = config.world.prompts * (config.method.group_size or 0) * len(config.levels)
    return drawn * config.steps * config.world.length


def _updates(
    config: TabularPreferencesConfig,
    problem: Problem,
    engine: Engine,
    policies: TabularPolicies,
    *,
    seed: int,
    step: int,
) -> Update:
    """One batch's updates of all levels; the last of them."""

    def losses() -> Iterator[Callable[[], Tensor]]:
        if config.method.name not in BY_BATCH:
            yield lambda: pair_loss(config, problem, engine.model())
            return
        batch = make_batch(config, problem, policies().detach(), seed=seed, step=step)
        for _ in range(config.method.epochs):
            yield lambda: batch_loss(config, problem, batch, engine.model())

    made = [engine.update([loss]) for loss in losses()]
    return made[-1]


def _save(engine: Engine, step: int, folder: Path) -> None:
    engine.save(folder, {"step": step})
