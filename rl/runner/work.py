"""How much a run does, at most, from its configuration: responses sampled and rows trained."""

from dataclasses import dataclass, replace
from functools import singledispatch
from math import ceil

from rl.config import (
    DecoderRunConfig,
    PPOConfig,
    PreferencesConfig,
    ProgramConfig,
    RewardFitConfig,
    RewardModelConfig,
    RunConfig,
    TaskConfig,
)
from rl.trainers.rollouts import MAX_ROWS

UPDATE, LOOK = 3.0, 1.0  # forward passes' worth of an update, and of log-probs without a gradient


@dataclass(frozen=True)
class Work:
    """Of one run, at most: responses `sampled`, each part with how many are at once, and rows
    trained times the forward passes' worth of work on each; how many times a decoder's weights
    stand in memory, trained and frozen."""

    sampled: tuple[tuple[float, int], ...] = ()
    passes: float = 0.0
    trained: int = 1
    frozen: int = 0

    def __add__(self, other: "Work") -> "Work":
        """In one run: what is frozen stays, and what trains, trains by turns."""
        return Work(
            self.sampled + other.sampled,
            self.passes + other.passes,
            max(self.trained, other.trained),
            self.frozen + other.frozen,
        )


@singledispatch
def work_of(config: ProgramConfig) -> Work:
    """The work of one run, at most."""
    raise TypeError(f"no work is known of program {config.program}")


@work_of.register
def _(config: RunConfig) -> Work:
    if config.program == "gradient_weight":
        study = config.study
        rows = study.problems_per_difficulty * (study.direction_samples + study.samples)
        rows *= _difficulties(config)
        return Work(_in_calls(rows, 1), rows * UPDATE)
    rows, loss = config.steps * _batch(config), config.loss
    looks = loss.old_logps == "trainer" and loss.epochs * loss.minibatches > 1
    reference = bool(config.reward.kl or config.kl)
    update = UPDATE + LOOK * config.engine.gradient_checkpointing  # which looks once more
    passes = update * loss.epochs + LOOK * looks + LOOK * reference
    frozen = int(reference or config.eval.base_kl)
    own = Work(_in_calls(rows, config.steps), rows * passes, frozen=frozen)
    return own + _evaluation(config) + _learned(config)


@work_of.register
def _(config: PPOConfig) -> Work:
    pretrain = config.critic.pretrain
    rows, fit = config.steps * _batch(config), pretrain.updates * _batch(config) if pretrain else 0
    networks = 2 if config.critic.kind == "separate" else 1
    passes = networks * (UPDATE * config.loss.epochs + LOOK) + LOOK * bool(config.reward.kl)
    frozen = int(bool(config.reward.kl) or config.eval.base_kl)
    calls = config.steps + (pretrain.updates if pretrain else 0)
    sampled = _in_calls(rows + fit, calls)
    own = Work(sampled, rows * passes + fit * UPDATE, trained=networks, frozen=frozen)
    return own + _evaluation(config) + _learned(config)


@work_of.register
def _(config: PreferencesConfig) -> Work:
    pairs, rows = config.preferences, config.steps * _batch(config)
    own = Work(frozen=1)  # the best of N trains nothing
    if pairs is not None:
        read = 2 * config.steps * pairs.batch_pairs
        own += Work(_in_calls(2 * pairs.pairs, 1), read * (UPDATE + LOOK))
    elif config.method.name == "online_dpo":
        own += Work(_in_calls(rows, config.steps), rows * (UPDATE + LOOK))
    return own + _evaluation(config) + _learned(config)


@work_of.register
def _(config: RewardModelConfig) -> Work:
    return _fit(config, config.steps)


def _batch(config: DecoderRunConfig) -> int:
    return config.rollout.prompts * config.rollout.group_size


def _difficulties(config: DecoderRunConfig) -> int:
    task = config.task
    return len(task.digits if isinstance(task, TaskConfig) else task.difficulties)


def _in_calls(rows: float, calls: int) -> tuple[tuple[float, int], ...]:
    """So many responses of so many calls of the sampler, as a part of Work."""
    return ((rows, min(MAX_ROWS, ceil(rows / calls))),)


def _fit(config: RewardFitConfig, steps: int) -> Work:
    """A reward model: its pairs are written, and every member trains."""
    rows = 2 * steps * config.batch_pairs * config.ensemble.members
    return Work(_in_calls(2 * config.pairs, 1), rows * UPDATE)


def _learned(config: DecoderRunConfig) -> Work:
    learned = config.reward.learned
    if learned is None:
        return Work()
    return replace(_fit(learned, learned.steps), frozen=learned.ensemble.members)


def _evaluation(config: DecoderRunConfig) -> Work:
    """At every `eval.every`-th step, and after the last."""
    times = ceil(config.steps / config.eval.every) + 1
    problems = config.eval.problems_per_difficulty * _difficulties(config)
    best_of = _batch(config) if isinstance(config, PreferencesConfig) else 1
    rows = times * problems * config.eval.samples * best_of
    return Work(_in_calls(rows, times), rows * LOOK * config.eval.base_kl)
