"""One batch of rollouts, judged by the critic, into updates of policy and critic together."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rl import ranks
from rl.config import PPOConfig
from rl.engine import Engine
from rl.logprobs import token_entropies, token_logps
from rl.losses import aggregate, policy_loss, ratio_shares
from rl.losses.value import value_loss
from rl.models import from_prompt_end
from rl.seeding import derive
from rl.trainers.gap import Gap, corrected
from rl.trainers.parts import length_buckets
from rl.trainers.update import Tally, Told, in_place, minibatches, prompt_lengths
from rl.types import Batch
from rl.whitening import whiten

Metrics = dict[str, float | dict[float, float]]


class Seen(NamedTuple):
    """What an ActorCritic says of a batch. Entry t speaks of token t; 0 off the response."""

    logp_BT: Tensor
    entropy_BT: Tensor  # of what token t was drawn from, nats
    value_BT: Tensor  # of the state before token t
    value_after_B: Tensor  # of the state after the last token


@dataclass(frozen=True)
class Drawn:
    """A batch with all that is fixed before its first update."""

    batch: Batch
    logp_old_BT: Tensor
    value_old_BT: Tensor
    advantage_BT: Tensor
    return_BT: Tensor  # what values are fitted to

    def rows(self, pick: Tensor) -> "Drawn":
        """Some of the rows, cut to the longest of them."""
        batch = self.batch.rows(pick)
        width = batch.token_BT.shape[1]
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "batch"}
        return Drawn(batch, **{name: x_BT[pick, :width] for name, x_BT in others.items()})


def see(model: nn.Module, part: Batch, config: PPOConfig) -> Seen:
    """One forward pass of policy and critic."""
    prompt_B = prompt_lengths(part)
    temperature = config.rollout.temperature
    judged = model(input_ids=part.token_BT, prompt_lengths=prompt_B)
    tail_BR = from_prompt_end(part.token_BT, prompt_B)
    logp_BR = token_logps(judged.logits, tail_BR, temperature=temperature)
    entropy_BR = token_entropies(judged.logits, temperature=temperature)
    last_B1 = part.response_BT.sum(dim=1, keepdim=True)
    return Seen(
        in_place(logp_BR, part),
        in_place(entropy_BR, part),
        values_before(judged.values, part),
        judged.values.gather(1, last_B1)[:, 0],
    )


def values_before(value_BR: Tensor, part: Batch) -> Tensor:
    """Of values after each token from the last of the prompt on, (B, 1 + R), those before each
    response token, in their places (B, T), 0 elsewhere."""
    return in_place(nn.functional.pad(value_BR[:, :-1], (1, 0)), part)


def see_all(model: nn.Module, batch: Batch, config: PPOConfig, micro_tokens: int) -> Seen:
    """The same for a whole batch, without a gradient, in micro-batches."""
    logp_BT, entropy_BT, value_BT = (torch.zeros_like(batch.logp_sampler_BT) for _ in range(3))
    after_B = torch.zeros_like(batch.logp_sampler_BT[:, 0])
    picks = length_buckets(batch.length_B, micro_tokens)
    with torch.no_grad():
        parts = ranks.shared(picks, lambda pick: see(model, batch.rows(pick), config))
    for pick, part in zip(picks, parts, strict=True):
        width = part.logp_BT.shape[1]
        logp_BT[pick, :width] = part.logp_BT
        entropy_BT[pick, :width] = part.entropy_BT
        value_BT[pick, :width] = part.value_BT
        after_B[pick] = part.value_after_B
    return Seen(logp_BT, entropy_BT, value_BT, after_B)


def update_ppo(
    engine: Engine, drawn: Drawn, config: PPOConfig, *, micro_tokens: int, seed: int, step: int
) -> Metrics:
    """Take every update of one step and return its metrics. A micro-batch has at most
    `micro_tokens`."""
    settings = config.loss
    tally = Tally(gap=Gap.of(drawn.logp_old_BT, drawn.batch))
    totals = Counter[str]()
    for epoch in range(settings.epochs):
        order = derive("minibatch", seed, step, epoch)
        for rows in minibatches(drawn.batch, settings.minibatches, order):
            some = drawn.rows(rows)
            update = engine.update(_micro_losses(engine.model, some, config, micro_tokens))
            tokens = int(some.batch.response_BT.sum())
            tally.add(update, (told for told, _ in update.told), tokens=tokens)
            for _, parts in update.told:
                totals.update(parts)
    updates = len(tally.norms)
    return {
        **tally.metrics(),
        **{f"ppo/{name}_loss": total / updates for name, total in totals.items()},
    }


def _micro_losses(
    model: nn.Module,
    drawn: Drawn,
    config: PPOConfig,
    micro_tokens: int,
) -> Iterator[Callable[[], tuple[Tensor, tuple[Told, dict[str, float]]]]]:
    """The parts of one update's loss, of the minibatch `drawn`, whose totals the denominators are.
    Each tells its share of the losses of policy and critic too.

    loss = policy + c1 value - c2 entropy (1707.06347, eq. 9, to be minimised).
    """
    settings = config.loss
    batch = drawn.batch
    clip = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    totals = {"sequences": len(batch.length_B), "tokens": int(batch.response_BT.sum())}
    if config.advantage.whiten == "minibatch":
        drawn = whitened(drawn, config)
    for pick in length_buckets(batch.length_B, micro_tokens):

        def compute(pick: Tensor = pick) -> tuple[Tensor, tuple[Told, dict[str, float]]]:
            part = drawn.rows(pick)
            mask_BT = part.batch.response_BT
            seen = see(model, part.batch, config)
            policy_BT = policy_loss(
                seen.logp_BT,
                part.logp_old_BT,
                part.advantage_BT,
                mask_BT,
                name=settings.name,
                bound=settings.bound,
                **clip,
            )
            policy_BT, correction = corrected(
                policy_BT, part.logp_old_BT, part.batch, settings.gap_cap
            )
            value_BT = value_loss(
                seen.value_BT,
                part.return_BT,
                mask_BT,
                clip=settings.value_clip,
                value_old_BT=None if settings.value_clip is None else part.value_old_BT,
            )
            policy, value, entropy = (
                aggregate(
                    x_BT,
                    mask_BT,
                    mode=settings.aggregate,
                    max_length=config.rollout.max_new_tokens,
                    **totals,
                )
                for x_BT in (policy_BT, value_BT, seen.entropy_BT)
            )
            logp_BT = seen.logp_BT.detach()
            shares = ratio_shares(logp_BT, part.logp_old_BT, part.advantage_BT, mask_BT, **clip)
            told = Told.of(logp_BT, part.logp_old_BT, shares, part.batch, correction)
            parts = {"policy": float(policy.detach()), "value": float(value.detach())}
            loss = policy + settings.value * value - settings.entropy * entropy  # eq. 9
            return loss, (told, parts)

        yield compute


def whitened(drawn: Drawn, config: PPOConfig) -> Drawn:
    """With advantages whitened over all tokens of `drawn`."""
    settings = config.advantage
    white_BT = whiten(
        drawn.advantage_BT,
        drawn.batch.response_BT,
        ddof=settings.ddof,
        eps=settings.eps,
        shift_mean=settings.shift_mean,
    )
    return replace(drawn, advantage_BT=white_BT)
