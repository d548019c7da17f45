"""Proximal policy optimisation of a decoder (1707.06347; for language models, 2403.17031).

problems -> rollouts -> scores -> rewards a token -> values, advantages -> updates of both
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import PPOConfig
from rl.gae import gae
from rl.kl import kl_penalty
from rl.losses.value import explained_variance
from rl.models import ActorCritic, Decoder, ScalarDecoder
from rl.token_rewards import token_rewards
from rl.trainers.critic import final_scores, make_critic, monte_carlo, pretrain_critic
from rl.trainers.evaluation import evaluate
from rl.trainers.memory import state_bytes
from rl.trainers.parts import engine_for, fuses, make_task, make_tokenizer, micro_batch_tokens
from rl.trainers.policy import batch_metrics, flat, hand_over
from rl.trainers.ppo_update import Drawn, Metrics, Seen, see_all, update_ppo, whitened
from rl.trainers.reference import Frozen
from rl.trainers.rollouts import collate, make_sampler, training_rollouts
from rl.trainers.scoring import make_scorer
from rl.types import Batch

Report = Callable[[int, float], None]


def train_ppo(
    config: PPOConfig, *, seed: int, model: Decoder, log: RunWriter, report: Report
) -> int:
    """Train `model`, the base model, by `config`; log every step; return the tokens sampled.

    Goes on from the log's checkpoint where there is one, with the critic as it was there. Policy,
    critic, optimiser and step are all the state there is: the reference is the base model.

    Training metrics of step k are of the batch before its updates, evaluations likewise; the last
    evaluation, logged at step `config.steps`, is of the trained model.
    """
    task = make_task(config.generated.task)
    tokenizer = make_tokenizer(task)
    scorer = make_scorer(config, task, model=model, seed=seed)
    micro_tokens = micro_batch_tokens(config.engine, model)
    reference = Frozen(model, config)
    critic = make_critic(
        config, model=model, tokenizer=tokenizer, learned=scorer.learned, seed=seed
    )
    first, tokens = 0, 0
    if log.checkpoint is None and scorer.learned is not None:
        log.log(0, scorer.learned.metrics)
        tokens = scorer.learned.tokens
    if log.checkpoint is None and isinstance(critic, ScalarDecoder):
        tokens += pretrain_critic(
            critic,
            config,
            model=model,
            task=task,
            tokenizer=tokenizer,
            scorer=scorer,
            micro_tokens=micro_tokens,
            seed=seed,
            log=log,
        )
    sampler = make_sampler(config, model, tokenizer, log)
    engine = engine_for(
        ActorCritic(model, critic, fuse=fuses(config.engine)),
        config.optim,
        config.engine,
        config.steps * config.loss.epochs * config.loss.minibatches,
    )
    with engine.whole(engine.model):
        log.fact("run/state_bytes", state_bytes(engine.model, [reference.copy]))
    heldout = task.heldout_problems(config.eval.problems_per_difficulty, config.eval.seed)
    if log.checkpoint is not None:
        state = engine.load(log.checkpoint)
        first, tokens = state["step"], state["tokens"]
    hand_over(engine, model, sampler)
    judge = partial(
        evaluate,
        *(config, heldout, scorer, tokenizer, sampler, log, seed),
        from_base=partial(
            reference.log_ratios, engine=engine, pad_id=tokenizer.pad_id, micro_tokens=micro_tokens
        ),
    )

    for step in range(first, config.steps):
        if step % config.eval.every == 0:
            tokens += judge(step)

        rollouts_B = training_rollouts(config, task, tokenizer, sampler, seed=seed, step=step)
        scores_PG = scorer.rewards(
            rollouts_B, scale=config.reward.scale, group_size=config.rollout.group_size
        )
        score_B = final_scores(config, scores_PG, rollouts_B).to(engine.device)
        truncated_B = torch.tensor([r.completion.finish_reason == "length" for r in rollouts_B])
        batch = collate(rollouts_B, torch.zeros(len(rollouts_B)), tokenizer.pad_id)
        batch = batch.to(engine.device)

        seen = see_all(engine.model, batch, config, micro_tokens)
        kl_BT = kl_penalty(
            seen.logp_BT,
            reference.logps(engine, batch, micro_tokens),
            batch.response_BT,
            estimator="k1",
            level="token",
        )
        reward_BT = token_rewards(score_B, kl_BT, batch.response_BT, coefficient=config.reward.kl)
        after_B = seen.value_after_B.masked_fill(~truncated_B.to(engine.device), 0.0)
        advantage_BT, return_BT = gae(
            reward_BT,
            seen.value_BT,
            batch.response_BT,
            discount=config.advantage.discount,
            trace=config.advantage.trace,
            value_after_B=after_B if config.advantage.bootstrap else None,
        )
        drawn = Drawn(batch, seen.logp_BT, seen.value_BT, advantage_BT, return_BT)
        if config.advantage.whiten == "batch":
            drawn = whitened(drawn, config)

        before = flat(engine, model)
        updated = update_ppo(engine, drawn, config, micro_tokens=micro_tokens, seed=seed, step=step)
        hand_over(engine, model, sampler)

        mc_BT = monte_carlo(reward_BT, batch.response_BT, discount=config.advantage.discount)
        log.log(
            step,
            {
                **batch_metrics(rollouts_B, scores_PG, None),
                "train/kl": float(kl_BT.sum(dim=1).double().mean()),
                **updated,
                "train/update_norm": float((flat(engine, model) - before).norm()),
                "ppo/score": float(score_B.double().mean()),
                **critic_metrics(batch, seen, advantage_BT, return_BT, mc_BT),
            },
        )
        tokens += int(batch.response_BT.sum())
        state = {"step": step + 1, "tokens": tokens}
        log.keep(step + 1, partial(engine.save, state=state))
        report(step + 1, float(scores_PG.mean()) / config.reward.scale)

    tokens += judge(config.steps)
    sampler.close()
    engine.close()
    return tokens


def critic_metrics(
    batch: Batch, seen: Seen, advantage_BT: Tensor, return_BT: Tensor, mc_BT: Tensor
) -> Metrics:
    """How good the critic is before the updates of a batch, and what it makes of it."""
    mask_BT = batch.response_BT
    value_N, advantage_N, mc_N, entropy_N = (
        x_BT[mask_BT].double() for x_BT in (seen.value_BT, advantage_BT, mc_BT, seen.entropy_BT)
    )
    found: Metrics = {
        "ppo/entropy": float(entropy_N.mean()),
        "ppo/value": float(value_N.mean()),
        "ppo/value_bias": float((value_N - mc_N).mean()),
        "ppo/value_error": float((value_N - mc_N).square().mean()),
        "ppo/advantage": float(advantage_N.mean()),
        "ppo/advantage_std": float(advantage_N.std(correction=0)),
    }
    explained = {
        "ppo/explained_variance": explained_variance(seen.value_BT, mc_BT, mask_BT),
        "ppo/target_explained_variance": explained_variance(seen.value_BT, return_BT, mask_BT),
    }
    return found | {name: share for name, share in explained.items() if share is not None}
