"""One batch of rollouts into optimiser updates: epochs x minibatches x micro-batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rl.config import RunConfig
from rl.engine import Engine
from rl.logprobs import token_logps
from rl.losses import aggregate, clip_fraction, policy_loss, ratio_shares
from rl.models import from_prompt_end
from rl.seeding import derive
from rl.trainers.parts import length_buckets
from rl.types import Batch


@dataclass
class Tally:
    """Sums over the micro-batches of a step, for its metrics."""

    tokens: int = 0
    clipped: float = 0.0
    gap_tokens: int = 0
    gap_sum: float = 0.0
    gap_max: float = 0.0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)


def update_policy(
    engine: Engine, batch: Batch, config: RunConfig, *, micro_tokens: int, seed: int, step: int
) -> dict[str, float]:
    """Take every update of one step and return its metrics.

    Old log-probs by `loss.old_logps`. Those of the trainer are, where a step is one update, that
    update's own forward pass, so that the ratio is exactly 1; else they are computed before the
    first update. A micro-batch has at most `micro_tokens`.
    """
    loss = config.loss
    logp_old_BT = None
    if loss.old_logps == "sampler":
        logp_old_BT = batch.logp_sampler_BT
    elif loss.epochs * loss.minibatches > 1:
        logp_old_BT = response_logps(engine.model, batch, config, micro_tokens)
    tally = Tally()
    lr = 0.0
    for epoch in range(loss.epochs):
        for rows in _minibatches(batch, loss.minibatches, derive("minibatch", seed, step, epoch)):
            first = not tally.norms
            update = engine.update(
                micro_losses(
                    engine.model, batch, logp_old_BT, rows, config, micro_tokens, tally, gap=first
                )
            )
            tally.losses.append(update.loss)
            tally.norms.append(update.grad_norm)
            lr = update.lr
    return {
        "train/loss": sum(tally.losses) / len(tally.losses),
        "train/grad_norm": sum(tally.norms) / len(tally.norms),
        "train/lr": lr,
        "train/clip_fraction": tally.clipped / tally.tokens,
        "train/logp_gap_mean": tally.gap_sum / tally.gap_tokens,
        "train/logp_gap_max": tally.gap_max,
    }


def response_logps(model: nn.Module, batch: Batch, config: RunConfig, micro_tokens: int) -> Tensor:
    """Log-probs (B, T) of the response tokens under the model's present weights, 0 elsewhere, no
    gradient."""
    logp_BT = torch.zeros_like(batch.logp_sampler_BT)
    with torch.no_grad():
        for pick in length_buckets(batch.length_B, micro_tokens):
            part = batch.rows(pick)
            logp_BT[pick, : part.token_BT.shape[1]] = _forward(model, part, config)
    return logp_BT


def _forward(model: nn.Module, part: Batch, config: RunConfig) -> Tensor:
    """Log-probs (B, T) of the response tokens, 0 elsewhere; a group's prompt is computed once."""
    prompt_B = part.length_B - part.response_BT.sum(dim=1)
    logits_BRV = model(input_ids=part.token_BT, prompt_lengths=prompt_B).logits
    tail_BR = from_prompt_end(part.token_BT, prompt_B)
    logp_BR = token_logps(logits_BRV, tail_BR, temperature=config.rollout.temperature)
    place_T = torch.arange(part.token_BT.shape[1], device=prompt_B.device)
    after_BT = (place_T - prompt_B[:, None] + 1).clamp(min=0, max=logp_BR.shape[1] - 1)
    return logp_BR.gather(1, after_BT).masked_fill(~part.response_BT, 0.0)


def _minibatches(batch: Batch, count: int, seed: int) -> Iterator[Tensor]:
    """Equal shares of the rows, shuffled where there are several. Exact: `count` divides."""
    rows = len(batch.length_B)
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(rows) if count == 1 else torch.randperm(rows, generator=generator)
    yield from order.to(batch.length_B.device).split(rows // count)


def micro_losses(
    model: nn.Module,
    batch: Batch,
    logp_old_BT: Tensor | None,
    rows: Tensor,
    config: RunConfig,
    micro_tokens: int,
    tally: Tally,
    *,
    gap: bool,
) -> Iterator[Callable[[], Tensor]]:
    """The parts of one update's loss. Denominators are those of the whole minibatch.

    Rows of advantage 0 add nothing to loss or gradient and are left out; one is kept where all
    are such, because an update with a zero gradient still moves by its momentum.
    """
    settings = config.loss
    sequences, tokens = len(rows), int(batch.response_BT[rows].sum())
    clip = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    tally.tokens += tokens
    live = rows[batch.advantage_B[rows] != 0]
    live = live if len(live) else rows[:1]
    for bucket in length_buckets(batch.length_B[live], micro_tokens):
        pick = live[bucket]

        def compute(pick: Tensor = pick) -> Tensor:
            part = batch.rows(pick)
            mask_BT = part.response_BT
            logp_BT = _forward(model, part, config)
            old_BT = logp_BT.detach()
            if logp_old_BT is not None:
                old_BT = logp_old_BT[pick, : logp_BT.shape[1]]
            count = int(mask_BT.sum())
            shares = ratio_shares(logp_BT.detach(), old_BT, part.advantage_B, mask_BT, **clip)
            tally.clipped += count * clip_fraction(shares)
            if gap:
                gap_BT = (logp_BT.detach() - part.logp_sampler_BT).abs() * mask_BT
                tally.gap_tokens += count
                tally.gap_sum += float(gap_BT.sum())
                tally.gap_max = max(tally.gap_max, float(gap_BT.max()))
            return aggregate(
                policy_loss(
                    logp_BT,
                    old_BT,
                    part.advantage_B,
                    mask_BT,
                    name=settings.name,
                    bound=settings.bound,
                    **clip,
                ),
                mask_BT,
                mode=settings.aggregate,
                sequences=sequences,
                tokens=tokens,
                max_length=config.rollout.max_new_tokens,
            )

        yield compute
