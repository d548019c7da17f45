"""One batch of rollouts into optimiser updates: epochs x minibatches x micro-batches."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rl import ranks
from rl.config import DecoderRunConfig, KLConfig, RunConfig
from rl.engine import Engine, Update
from rl.kl import kl_penalty
from rl.logprobs import token_logps
from rl.losses import aggregate, clip_fraction, policy_loss, ratio_shares
from rl.models import from_prompt_end
from rl.seeding import derive
from rl.trainers.gap import Gap, corrected
from rl.trainers.parts import length_buckets
from rl.types import Batch

QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)


@dataclass(frozen=True)
class LossPenalty:
    """coefficient * kl_penalty from a reference, whose log-probs of the batch are `logp_ref_BT`."""

    logp_ref_BT: Tensor
    coefficient: float
    kl: KLConfig


@dataclass(frozen=True)
class Told:
    """What a micro-batch tells of its N tokens: sums, each token's ratio, its gap from the sampler
    and what corrected that."""

    shares: dict[str, float]
    ratio_N: Tensor
    gap: Gap
    correction: Gap

    @classmethod
    def of(
        cls,
        logp_BT: Tensor,
        old_BT: Tensor,
        shares: dict[str, float],
        part: Batch,
        correction: Gap,
    ) -> "Told":
        """Of log-probs whose ratio_shares are `shares`."""
        mask_BT = part.response_BT
        count = int(mask_BT.sum())
        return cls(
            {name: share * count for name, share in shares.items()},
            (logp_BT - old_BT)[mask_BT].exp(),
            Gap.of(logp_BT, part),
            correction,
        )


@dataclass
class Tally:
    """Sums over the micro-batches of a step, for its metrics. `gap` is the whole batch's where the
    trainer's log-probs of it are known before the first update; else it begins empty."""

    tokens: int = 0
    shares: Counter[str] = field(default_factory=Counter)
    ratios: list[Tensor] = field(default_factory=list)  # of the present update
    gap: Gap = field(default_factory=Gap)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    lr: float = 0.0  # of the last

    def add(self, update: Update, told: Iterable[Told], *, tokens: int) -> None:
        """One update of a minibatch of so many tokens, and what its micro-batches told. Their gap
        from the sampler counts where none is known: of the first."""
        unknown = not self.gap.tokens
        self.tokens += tokens
        self.losses.append(update.loss)
        self.norms.append(update.grad_norm)
        self.lr = update.lr
        self.ratios.clear()
        for part in told:
            self.shares.update(part.shares)
            self.ratios.append(part.ratio_N)
            self.gap += part.gap + part.correction if unknown else part.correction

    def metrics(self) -> dict[str, float | dict[float, float]]:
        """Of the step."""
        shares = {name: count / self.tokens for name, count in self.shares.items()}
        return {
            **(_ratio_metrics(shares, torch.cat(self.ratios)) if len(self.norms) > 1 else {}),
            "train/loss": sum(self.losses) / len(self.losses),
            "train/grad_norm": sum(self.norms) / len(self.norms),
            "train/lr": self.lr,
            "train/clip_fraction": clip_fraction(shares),
            **self.gap.metrics(),
        }


def update_policy(
    engine: Engine,
    batch: Batch,
    config: RunConfig,
    *,
    micro_tokens: int,
    seed: int,
    step: int,
    penalty: LossPenalty | None = None,
) -> dict[str, float | dict[float, float]]:
    """Take every update of one step and return its metrics.

    Old log-probs by `loss.old_logps`. Those of the trainer are, where a step is one update, that
    update's own forward pass, so that the ratio is exactly 1; else they are computed before the
    first update. A micro-batch has at most `micro_tokens`.
    """
    loss = config.loss
    updates = loss.epochs * loss.minibatches
    logp_old_BT, tally = None, Tally()
    if loss.old_logps == "sampler":
        logp_old_BT = batch.logp_sampler_BT
    elif updates > 1:
        logp_old_BT = response_logps(engine.model, batch, config, micro_tokens)
        tally.gap = Gap.of(logp_old_BT, batch)
    for epoch in range(loss.epochs):
        for rows in minibatches(batch, loss.minibatches, derive("minibatch", seed, step, epoch)):
            update = engine.update(
                micro_losses(
                    engine.model,
                    batch,
                    logp_old_BT,
                    rows,
                    config,
                    micro_tokens,
                    penalty=penalty,
                )
            )
            tally.add(update, update.told, tokens=int(batch.response_BT[rows].sum()))
    return tally.metrics()


def _ratio_metrics(
    shares: dict[str, float], ratio_N: Tensor
) -> dict[str, float | dict[float, float]]:
    """Where the ratios went, where a step is several updates."""
    at_Q = ratio_N.double().quantile(torch.tensor(QUANTILES).double().to(ratio_N.device))
    return {
        **{f"train/ratio_{where}": share for where, share in shares.items()},
        "train/ratio_quantiles": dict(zip(QUANTILES, at_Q.tolist(), strict=True)),
        "train/ratio_max": float(ratio_N.max()),
    }


def response_logps(
    model: nn.Module, batch: Batch, config: DecoderRunConfig, micro_tokens: int
) -> Tensor:
    """Log-probs (B, T) of the response tokens under the model's present weights, 0 elsewhere, no
    gradient."""
    logp_BT = torch.zeros_like(batch.logp_sampler_BT)
    picks = length_buckets(batch.length_B, micro_tokens)
    with torch.no_grad():
        found = ranks.shared(picks, lambda pick: forward_logps(model, batch.rows(pick), config))
    for pick, logp_bT in zip(picks, found, strict=True):
        logp_BT[pick, : logp_bT.shape[1]] = logp_bT
    return logp_BT


def forward_logps(model: nn.Module, part: Batch, config: DecoderRunConfig) -> Tensor:
    """Log-probs (B, T) of the response tokens, 0 elsewhere; a group's prompt is computed once."""
    prompt_B = prompt_lengths(part)
    logits_BRV = model(input_ids=part.token_BT, prompt_lengths=prompt_B).logits
    tail_BR = from_prompt_end(part.token_BT, prompt_B)
    return in_place(token_logps(logits_BRV, tail_BR, temperature=config.rollout.temperature), part)


def prompt_lengths(part: Batch) -> Tensor:
    """Tokens (B) of each row's prompt."""
    return part.length_B - part.response_BT.sum(dim=1)


def in_place(x_BR: Tensor, part: Batch) -> Tensor:
    """Of values from each row's last prompt token on, (B, 1 + R), those of the response tokens in
    their places (B, T), 0 elsewhere."""
    prompt_B = prompt_lengths(part)
    place_T = torch.arange(part.token_BT.shape[1], device=prompt_B.device)
    after_BT = (place_T - prompt_B[:, None] + 1).clamp(min=0, max=x_BR.shape[1] - 1)
    return x_BR.gather(1, after_BT).masked_fill(~part.response_BT, 0.0)


def minibatches(batch: Batch, count: int, seed: int) -> Iterator[Tensor]:
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
    *,
    penalty: LossPenalty | None = None,
) -> Iterator[Callable[[], tuple[Tensor, Told]]]:
    """The parts of one update's loss. Denominators are those of the whole minibatch.

    Without a penalty, rows of advantage 0 add nothing to loss or gradient and are left out; one is
    kept where all are such, because an update with a zero gradient still moves by its momentum.
    """
    settings = config.loss
    sequences, tokens = len(rows), int(batch.response_BT[rows].sum())
    clip = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    live = rows if penalty else rows[batch.advantage_B[rows] != 0]
    live = live if len(live) else rows[:1]
    for bucket in length_buckets(batch.length_B[live], micro_tokens):
        pick = live[bucket]

        def compute(pick: Tensor = pick) -> tuple[Tensor, Told]:
            part = batch.rows(pick)
            mask_BT = part.response_BT
            logp_BT = forward_logps(model, part, config)
            old_BT = logp_BT.detach()
            if logp_old_BT is not None:
                old_BT = logp_old_BT[pick, : logp_BT.shape[1]]
            shares = ratio_shares(logp_BT.detach(), old_BT, part.advantage_B, mask_BT, **clip)
            loss_BT = policy_loss(
                logp_BT,
                old_BT,
                part.advantage_B,
                mask_BT,
                name=settings.name,
                bound=settings.bound,
                **clip,
            )
            loss_BT, correction = corrected(loss_BT, old_BT, part, settings.gap_cap)
            if penalty is not None:
                loss_BT = loss_BT + penalty.coefficient * kl_penalty(
                    logp_BT,
                    penalty.logp_ref_BT[pick, : logp_BT.shape[1]],
                    mask_BT,
                    estimator=penalty.kl.estimator,
                    level=penalty.kl.level,
                    logp_old_BT=old_BT if penalty.kl.weighted else None,
                )
            loss = aggregate(
                loss_BT,
                mask_BT,
                mode=settings.aggregate,
                sequences=sequences,
                tokens=tokens,
                max_length=config.rollout.max_new_tokens,
            )
            return loss, Told.of(logp_BT.detach(), old_BT, shares, part, correction)

        yield compute
