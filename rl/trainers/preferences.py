"""Learning from pairs without a policy gradient: DPO, its kin, and what they are compared with.

pairs -> log-probs under policy and reference -> preference loss -> update -> weights to the sampler
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import log as ln

import torch
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import PreferencesConfig
from rl.models import Decoder, Tokenizer
from rl.tasks import World
from rl.trainers.evaluation import evaluate
from rl.trainers.parts import make_engine, make_task, make_tokenizer, micro_batch_tokens
from rl.trainers.policy import batch_metrics, flat, hand_over
from rl.trainers.preference_batches import PairBatch, Reader, judge_pairs, update_on_pairs
from rl.trainers.preference_pairs import Pairs, sampled_pairs
from rl.trainers.reference import Frozen
from rl.trainers.reward_members import batch_places
from rl.trainers.rollouts import make_sampler, training_rollouts
from rl.trainers.scoring import Scorer, make_scorer
from rl.types import Rollout

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Data:
    """Training and held-out pairs, the reference's log-probs with them; `gap_M` of the latter."""

    train: PairBatch
    heldout: PairBatch
    gap_M: Tensor | None


def train_preferences(
    config: PreferencesConfig, *, seed: int, model: Decoder, log: RunWriter, report: Report
) -> int:
    """Train `model`, the base model and the reference, by `config`; log every step; return the
    tokens sampled.

    Goes on from the log's checkpoint where there is one: pairs, batches and draws are named by what
    they are for, so that weights, optimiser and step are all the state there is.

    Training metrics of step k are of its batch before the update, evaluations likewise; the last
    evaluation, logged at step `config.steps`, is of the trained model.
    """
    task = make_task(config.generated.task)
    tokenizer = make_tokenizer(task)
    scorer = make_scorer(config, task, model=model, seed=seed)
    tokens = 0
    if log.checkpoint is None and scorer.learned is not None:
        log.log(0, scorer.learned.metrics)
        tokens += scorer.learned.tokens
    if config.method.name == "best_of_n":
        tokens += judge_best_of_n(config, task, tokenizer, scorer, model, log=log, seed=seed)
        report(config.steps, 0.0)
        return tokens
    pairs = written_pairs(config, task, tokenizer, model, seed=seed)
    if log.checkpoint is None and pairs is not None:
        log.log(0, pairs.drawn)
        tokens += pairs.tokens
    base = Frozen(model, config)
    sampler = make_sampler(config, model, tokenizer, log)
    engine = make_engine(model, config.optim, config.engine, total_updates=config.steps)
    micro_tokens = micro_batch_tokens(config.engine, model)
    reader = Reader(base, engine, tokenizer.pad_id, micro_tokens)
    data = read_data(reader, pairs) if pairs is not None else None
    heldout = task.heldout_problems(config.eval.problems_per_difficulty, config.eval.seed)
    first = 0
    if log.checkpoint is not None:
        state = engine.load(log.checkpoint)
        first, tokens = state["step"], state["tokens"]
    hand_over(engine, model, sampler)
    from_base = partial(
        base.log_ratios, engine=engine, pad_id=tokenizer.pad_id, micro_tokens=micro_tokens
    )

    def judge(step: int) -> int:
        """Of held-out prompts and held-out pairs; the tokens sampled."""
        if data is not None:
            said = judge_pairs(engine, data.heldout, config, micro_tokens, data.gap_M)
            log.log(step, {f"heldout_pairs/{name}": value for name, value in said.items()})
        return evaluate(
            config, heldout, scorer, tokenizer, sampler, log, seed, step, from_base=from_base
        )

    for step in range(first, config.steps):
        if step % config.eval.every == 0:
            tokens += judge(step)

        if data is not None and config.preferences is not None:
            size = config.preferences.batch_pairs
            places = batch_places(data.train.count, size, seed, 0, step)
            batch = data.train.pick(torch.tensor(places))
        else:
            rollouts_B = training_rollouts(config, task, tokenizer, sampler, seed=seed, step=step)
            reward_M2 = scorer.rewards(rollouts_B, scale=config.reward.scale, group_size=2)
            batch = reader.own(config, rollouts_B, reward_M2, seed=seed, step=step)
            log.log(step, batch_metrics(rollouts_B, reward_M2, None))
            tokens += int(batch.batch.response_BT.sum())

        before = flat(engine, model)
        update, said, gap = update_on_pairs(engine, batch, config, micro_tokens)
        hand_over(engine, model, sampler)

        log.log(
            step,
            {
                **{f"pairs/{name}": value for name, value in said.items()},
                **(gap.metrics() if data is None else {}),
                "train/loss": update.loss,
                "train/grad_norm": update.grad_norm,
                "train/lr": update.lr,
                "train/update_norm": float((flat(engine, model) - before).norm()),
            },
        )
        log.keep(step + 1, partial(engine.save, state={"step": step + 1, "tokens": tokens}))
        report(step + 1, update.loss)

    tokens += judge(config.steps)
    sampler.close()
    engine.close()
    return tokens


def written_pairs(
    config: PreferencesConfig, task: World, tokenizer: Tokenizer, model: Decoder, *, seed: int
) -> Pairs | None:
    """The pairs that a reward model of the same settings and seed would learn from; None where
    nothing is learned from the base model's responses."""
    asked = config.preferences
    if asked is None:
        return None
    return sampled_pairs(asked, asked.data, task=task, model=model, reader=tokenizer, seed=seed)


def read_data(reader: Reader, pairs: Pairs) -> Data:
    """The reference reads every response once, here."""
    return Data(reader.encoded(pairs.train), reader.encoded(pairs.heldout), pairs.gap_B)


def judge_best_of_n(
    config: PreferencesConfig,
    task: World,
    tokenizer: Tokenizer,
    scorer: Scorer,
    model: Decoder,
    *,
    log: RunWriter,
    seed: int,
) -> int:
    """At step 0 the base model itself; at the last step the best of its every N responses, by the
    run's reward. Returns the tokens sampled."""
    sampler = make_sampler(config, model, tokenizer, log)
    heldout = task.heldout_problems(config.eval.problems_per_difficulty, config.eval.seed)
    tokens = 0
    for step, n in ((0, 1), (config.steps, config.rollout.group_size)):
        tokens += evaluate(
            config,
            heldout,
            scorer,
            tokenizer,
            sampler,
            log,
            seed,
            step,
            from_base=partial(_all_alike, best_of_n_kl(n)),
            best_of=n,
        )
    sampler.close()
    return tokens


def best_of_n_kl(n: int) -> float:
    """log n - (n - 1) / n, nats: KL(best of n || one of them) where no two have one score, and the
    most that it can be where some have (2009.01325, section 4.3)."""
    return ln(n) - (n - 1) / n


def _all_alike(value: float, rollouts: Sequence[Rollout]) -> Tensor:
    return torch.full((len(rollouts),), value, dtype=torch.float64)
