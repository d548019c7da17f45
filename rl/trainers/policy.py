"""Policy-gradient training: the loop of every RL experiment.

problems -> rollouts -> rewards -> advantages -> updates -> weights to the sampler
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

import torch
from torch import Tensor, nn

from rl import ranks
from rl.advantages import RunningMean, advantages
from rl.artifacts import RunWriter
from rl.config import RunConfig
from rl.engine import Engine
from rl.models import Decoder
from rl.rollout import Sampler
from rl.trainers.evaluation import evaluate, mean_by_difficulty
from rl.trainers.memory import state_bytes
from rl.trainers.parts import make_engine, micro_batch_tokens, open_world
from rl.trainers.published import verdict_shares
from rl.trainers.reference import Frozen, Reference
from rl.trainers.rollouts import collate, make_sampler, training_rollouts
from rl.trainers.scoring import make_scorer
from rl.trainers.update import update_policy
from rl.types import Rollout

Report = Callable[[int, float], None]


def train_policy(
    config: RunConfig, *, seed: int, model: Decoder, log: RunWriter, report: Report
) -> int:
    """Train `model` by `config`, log every step, and return the number of tokens sampled.

    The reward is that of the response, less `reward.kl` times how far it is from the reference,
    which is `model` as given where the run's `kl` says no other.

    Goes on from the log's checkpoint where there is one: every random number is named by what it
    is for, so that weights, optimiser, running mean and step are all the state there is.

    Training metrics of step k are of the batch before its update, evaluations likewise; the last
    evaluation, logged at step `config.steps`, is of the trained model.
    """
    task, tokenizer, close_world = open_world(config)
    scorer = make_scorer(config, task, model=model, seed=seed)
    reference = Reference(model, config) if config.reward.kl or config.kl else None
    base = None
    if config.eval.base_kl:  # one frozen copy of the base model serves both
        base = Frozen(model, config) if reference is None else reference.base
    sampler = make_sampler(config, model, tokenizer, log)
    engine = make_engine(
        model,
        config.optim,
        config.engine,
        total_updates=config.steps * config.loss.epochs * config.loss.minibatches,
    )
    frozen = [] if reference is None else reference.copies
    with engine.whole(engine.model):
        log.fact("run/state_bytes", state_bytes(engine.model, frozen))
    micro_tokens = micro_batch_tokens(config.engine, model)
    heldout = task.heldout_problems(config.eval.problems_per_difficulty, config.eval.seed)
    running = RunningMean()
    first, tokens = 0, 0
    if log.checkpoint is not None:
        state = engine.load(log.checkpoint)
        running = RunningMean(**state["running"])
        if reference is not None:
            reference.restore(state["reference"])
        first, tokens = state["step"], state["tokens"]
    elif scorer.learned is not None:
        log.log(0, scorer.learned.metrics)
        tokens = scorer.learned.tokens
    hand_over(engine, model, sampler)
    from_base = None
    if base is not None:
        from_base = partial(
            base.log_ratios, engine=engine, pad_id=tokenizer.pad_id, micro_tokens=micro_tokens
        )
    judge = partial(
        evaluate,
        *(config, heldout, scorer, tokenizer, sampler, log, seed),
        from_base=from_base,
    )

    for step in range(first, config.steps):
        if step % config.eval.every == 0:
            tokens += judge(step)

        rollouts_B = training_rollouts(config, task, tokenizer, sampler, seed=seed, step=step)
        scores_PG = scorer.rewards(
            rollouts_B, scale=config.reward.scale, group_size=config.rollout.group_size
        )
        batch = collate(rollouts_B, torch.zeros(len(rollouts_B)), tokenizer.pad_id)
        batch = batch.to(engine.device)
        rewards_PG, distance = scores_PG, None
        if reference is not None:
            distance = reference.measure(
                engine, model, batch, scores_PG, step=step, micro_tokens=micro_tokens
            )
            rewards_PG = scores_PG - distance.off_reward_PG
        verdict_B = ranks.shared(rollouts_B, scorer.verdict) if scorer.verdict else []
        advantages_PG = advantages(
            rewards_PG,
            baseline=config.advantage.baseline,
            scale=config.advantage.scale,
            ddof=config.advantage.ddof,
            eps=config.advantage.eps,
            running_mean=running.mean,
        )
        running = running.update(rewards_PG)
        advantage_B = advantages_PG.flatten().float()
        batch = replace(batch, advantage_B=advantage_B.to(engine.device))

        before = flat(engine, model)
        updated = update_policy(
            engine,
            batch,
            config,
            micro_tokens=micro_tokens,
            seed=seed,
            step=step,
            penalty=distance.in_loss if distance else None,
        )
        hand_over(engine, model, sampler)

        log.log(
            step,
            {
                **batch_metrics(rollouts_B, scores_PG, advantages_PG),
                **(verdict_shares("train", verdict_B) if verdict_B else {}),
                **(distance.metrics if distance else {}),
                **updated,
                "train/update_norm": float((flat(engine, model) - before).norm()),
            },
        )
        tokens += int(batch.response_BT.sum())
        state = {"step": step + 1, "tokens": tokens, "running": asdict(running)}
        if reference is not None:
            state["reference"] = reference.state()
        log.keep(step + 1, partial(engine.save, state=state))
        report(step + 1, float(scores_PG.mean()) / config.reward.scale)

    tokens += judge(config.steps)
    sampler.close()
    engine.close()
    close_world()
    return tokens


def batch_metrics(
    rollouts_B: Sequence[Rollout], rewards_PG: Tensor, advantages_PG: Tensor | None
) -> dict[str, float | dict[float, float]]:
    """What the batch says before any update; its rewards are those without a penalty. What is said
    of groups is left out where they have no advantages of their own."""
    difficulty_P = [r.problem.difficulty for r in rollouts_B[:: rewards_PG.shape[1]]]
    of_groups: dict[str, float | dict[float, float]] = {}
    if advantages_PG is not None:
        weight_P = (advantages_PG * (rewards_PG > 0)).mean(dim=1)
        mixed_P = rewards_PG.amax(dim=1) > rewards_PG.amin(dim=1)
        of_groups = {
            "train/mixed_groups": float(mixed_P.double().mean()),
            "train/weight_by_difficulty": mean_by_difficulty(difficulty_P, weight_P.tolist()),
        }
    completions = [r.completion for r in rollouts_B]
    logps = [logp for c in completions for logp in c.logps]
    count = len(completions)
    return {
        "train/reward": float(rewards_PG.mean()),
        "train/reward_by_difficulty": mean_by_difficulty(
            difficulty_P, rewards_PG.mean(dim=1).tolist()
        ),
        **of_groups,
        "train/response_tokens": sum(len(c.token_ids) for c in completions) / count,
        "train/truncated": sum(c.finish_reason == "length" for c in completions) / count,
        "train/entropy": -sum(logps) / len(logps),
    }


def hand_over(engine: Engine, model: Decoder, sampler: Sampler) -> None:
    """Let the sampler go on with the weights that `model` has now, which `engine` trains."""
    with engine.whole(model):
        sampler.load_weights(model.state_dict())


def flat(engine: Engine, model: nn.Module) -> Tensor:
    """All weights of what `engine` trains, or of a part of it, in a row, a copy."""
    with engine.whole(model):
        return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()
