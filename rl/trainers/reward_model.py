"""Reward models: a score of whole responses, learned from which of two a judge took.

pairs -> scores of both responses -> Bradley-Terry or direct assessment -> update, then centring
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rl.artifacts import RunWriter
from rl.config import RewardModelConfig
from rl.models import Decoder
from rl.trainers.reward_members import Member, centre, judge, make_members, read_pairs
from rl.trainers.reward_metrics import data_metrics, pair_metrics

Report = Callable[[int, float], None]


def train_reward_model(
    config: RewardModelConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Report,
    model: Decoder | None = None,
) -> int:
    """Train by `config`, log every step, and return the number of tokens sampled for the pairs.

    `model` is the base model, where there is one. Goes on from the log's checkpoint: pairs and
    batches are drawn by name, so that weights, optimisers and the step are all the state there is.
    """
    reader, pairs = read_pairs(config, model, seed)
    members = make_members(config, model=model, reader=reader, seed=seed)
    first = _load(log.checkpoint, members) if log.checkpoint is not None else 0
    if first == 0:
        log.log(0, {**pairs.drawn, **data_metrics(pairs.text)})

    for step in range(first, config.steps):
        if step % config.eval_every == 0:
            log.log(step, pair_metrics(judge(config, members, pairs), bins=config.bins))
        updates = [member.update(step, pairs.train) for member in members]
        loss = sum(update.loss for update in updates) / len(members)
        norm = sum(update.grad_norm for update in updates) / len(members)
        log.log(step, {"reward_model/loss": loss, "reward_model/grad_norm": norm})
        log.keep(step + 1, partial(_save, members=members, step=step + 1))
        report(step + 1, loss)

    centre(members, pairs)
    judged = judge(config, members, pairs, centred=True)
    log.log(
        config.steps,
        {
            **pair_metrics(judged, bins=config.bins),
            "reward_model/reference_score": float(judged.train_score_B.mean()),
            "reward_model/heldout_score": float(judged.heldout_score_B.mean()),
        },
    )
    for member in members:
        member.engine.close()
    return pairs.tokens


def _save(folder: Path, *, members: Sequence[Member], step: int) -> None:
    for member in members:
        member.engine.save(folder / f"member-{member.number}", {"step": step})


def _load(folder: Path, members: Sequence[Member]) -> int:
    """Restore every member; the step is saved with each, and the same."""
    states = [member.engine.load(folder / f"member-{member.number}") for member in members]
    return int(states[0]["step"])
