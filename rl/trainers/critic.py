"""The critic of a run: where its weights come from, and its training before the policy's."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from rl.artifacts import RunWriter
from rl.config import PPOConfig
from rl.gae import gae
from rl.losses import aggregate
from rl.losses.value import explained_variance, value_loss
from rl.models import (
    Decoder,
    ScalarDecoder,
    Tokenizer,
    new_decoder,
    scalar_head,
)
from rl.seeding import derive
from rl.tasks import World
from rl.token_rewards import penalised_where_unended, replaced_where_unended, token_rewards
from rl.trainers.learned_reward import LearnedReward
from rl.trainers.parts import engine_for, fuses, length_buckets
from rl.trainers.ppo_update import values_before
from rl.trainers.rollouts import collate, make_sampler, training_rollouts
from rl.trainers.scoring import Scorer
from rl.trainers.update import prompt_lengths
from rl.types import Batch, Rollout


def make_critic(
    config: PPOConfig,
    *,
    model: Decoder,
    tokenizer: Tokenizer,
    learned: LearnedReward | None,
    seed: int,
) -> nn.Linear | ScalarDecoder:
    """The critic as it is before any training. `model` is the base model, and `learned` the reward
    model, if there is one: it may be a copy of either, of an ensemble the first member's."""
    head = scalar_head(model.config.hidden_size, seed=derive("value-head", seed))
    if config.critic.kind == "head":
        return head
    fuse = fuses(config.engine)
    if config.critic.start == "reward_model":
        if learned is None:  # PPOConfig has seen to it
            raise TypeError("critic: there is no reward model to start from")
        start = deepcopy(learned.members[0].model)
        return ScalarDecoder(start.decoder, start.head, fuse=fuse)
    if config.critic.start == "base":
        return ScalarDecoder(deepcopy(model), head, fuse=fuse)
    sizes = config.base.model.model_dump()
    trunk = new_decoder(tokenizer, **sizes, seed=derive("critic-weights", seed))
    return ScalarDecoder(trunk, head, fuse=fuse)


def final_scores(config: PPOConfig, scores_PG: Tensor, rollouts_B: Sequence[Rollout]) -> Tensor:
    """Scores (B), float32, with what missing_eos says of responses that did not stop."""
    score_B = scores_PG.flatten().float()
    stopped_B = torch.tensor([r.completion.finish_reason == "stop" for r in rollouts_B])
    value = config.missing_eos.value
    if config.missing_eos.method == "replace":
        return replaced_where_unended(score_B, stopped_B, value=value)
    if config.missing_eos.method == "subtract":
        return penalised_where_unended(score_B, stopped_B, penalty=value)
    return score_B


def monte_carlo(reward_BT: Tensor, mask_BT: Tensor, *, discount: float) -> Tensor:
    """Discounted rewards to go (B, T), whatever any critic says; 0 off the mask."""
    nothing_BT = torch.zeros_like(reward_BT)
    return_BT: Tensor = gae(
        reward_BT, nothing_BT, mask_BT, discount=discount, trace=1.0, value_after_B=None
    )[1]
    return return_BT


def pretrain_critic(
    critic: ScalarDecoder,
    config: PPOConfig,
    *,
    model: Decoder,
    task: World,
    tokenizer: Tokenizer,
    scorer: Scorer,
    micro_tokens: int,
    seed: int,
    log: RunWriter,
) -> int:
    """Fit the critic to Monte-Carlo returns of the base model `model`; returns the number of tokens
    sampled. Of each batch, what the critic says before its update is logged.

    The base model is the reference, so that its own penalty is 0.
    """
    settings = config.critic.pretrain
    if settings is None:
        return 0
    # Not at stage 3: afterwards the critic goes on in another engine, which wants it whole.
    stage = min(config.engine.zero_stage, 2)
    engine_config = config.engine.model_copy(update={"zero_stage": stage})
    engine = engine_for(critic, settings.optim, engine_config, settings.updates)
    sampler = make_sampler(config, model, tokenizer, log)
    explained: dict[float, float] = {}
    losses: dict[float, float] = {}
    tokens = 0
    for update in range(settings.updates):
        rollouts_B = training_rollouts(
            config, task, tokenizer, sampler, seed=seed, step=update, prefix="critic-"
        )
        scores_PG = scorer.rewards(
            rollouts_B, scale=config.reward.scale, group_size=config.rollout.group_size
        )
        batch = collate(rollouts_B, torch.zeros(len(rollouts_B)), tokenizer.pad_id)
        batch = batch.to(engine.device)
        score_B = final_scores(config, scores_PG, rollouts_B).to(engine.device)
        reward_BT = token_rewards(
            score_B, torch.zeros_like(batch.logp_sampler_BT), batch.response_BT, coefficient=0.0
        )
        return_BT = monte_carlo(reward_BT, batch.response_BT, discount=config.advantage.discount)
        value_BT = torch.zeros_like(return_BT)
        done = engine.update(_fit(engine.model, batch, return_BT, config, micro_tokens))
        for pick, found_bT in done.told:
            value_BT[pick, : found_bT.shape[1]] = found_bT
        losses[float(update)] = done.loss
        share = explained_variance(value_BT, return_BT, batch.response_BT)
        if share is not None:
            explained[float(update)] = share
        tokens += int(batch.response_BT.sum())
    sampler.close()
    engine.close()
    found = {"ppo/pretrain_value_loss": losses, "ppo/pretrain_explained_variance": explained}
    log.log(0, {name: by_update for name, by_update in found.items() if by_update})
    return tokens


def _fit(
    model: nn.Module,
    batch: Batch,
    return_BT: Tensor,
    config: PPOConfig,
    micro_tokens: int,
) -> list[Callable[[], tuple[Tensor, tuple[Tensor, Tensor]]]]:
    """The parts of the plain value loss of a batch; each tells its rows and their values."""

    def loss_of(pick: Tensor) -> Callable[[], tuple[Tensor, tuple[Tensor, Tensor]]]:
        def compute() -> tuple[Tensor, tuple[Tensor, Tensor]]:
            part = batch.rows(pick)
            width = part.token_BT.shape[1]
            after_BR = model(input_ids=part.token_BT, prompt_lengths=prompt_lengths(part))
            found_BT = values_before(after_BR, part)
            loss_BT = value_loss(
                found_BT, return_BT[pick, :width], part.response_BT, clip=None, value_old_BT=None
            )
            loss = aggregate(
                loss_BT,
                part.response_BT,
                mode=config.loss.aggregate,
                sequences=len(batch.length_B),
                tokens=int(batch.response_BT.sum()),
                max_length=config.rollout.max_new_tokens,
            )
            return loss, (pick, found_BT.detach())

        return compute

    return [loss_of(pick) for pick in length_buckets(batch.length_B, micro_tokens)]
