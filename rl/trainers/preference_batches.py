"""Pairs as a policy learns from them: both responses' log-probs, losses and what they say.

Axis letters: M pairs; B = 2 M responses, first the chosen ones, then the rejected in their order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from rl.config import PreferencesConfig
from rl.data import EncodedPair, Labelling, draw_labels
from rl.engine import Engine, Update
from rl.losses.preference import WITHOUT_REFERENCE, Pairs, implicit_rewards, preference_loss
from rl.losses.reward import accuracies
from rl.seeding import derive
from rl.trainers.gap import Gap
from rl.trainers.parts import length_buckets
from rl.trainers.reference import Frozen
from rl.trainers.reward_metrics import gold_accuracy
from rl.trainers.rollouts import Ids, collate_ids, sampler_logps
from rl.trainers.update import forward_logps, response_logps
from rl.types import Batch, Rollout


@dataclass(frozen=True)
class PairBatch:
    """Pairs with log pi_ref of each whole response, nats, which no update changes."""

    batch: Batch
    ref_B: Tensor

    @property
    def count(self) -> int:
        """M."""
        return len(self.ref_B) // 2

    def rows(self, place_M: Tensor) -> Tensor:
        """Where the responses of some of the pairs stand, in the order of a batch of their own."""
        place_M = place_M.to(self.ref_B.device)
        return torch.cat([place_M, place_M + self.count])

    def pick(self, place_M: Tensor) -> "PairBatch":
        """Some of the pairs, cut to the longest of their responses."""
        rows_B = self.rows(place_M)
        return PairBatch(self.batch.rows(rows_B), self.ref_B[rows_B])


@dataclass(frozen=True)
class Reader:
    """The base model as the reference of pairs, and how they are laid out."""

    base: Frozen
    engine: Engine
    pad_id: int
    micro_tokens: int

    def read(
        self, chosen: Sequence[tuple[Ids, Ids]], rejected: Sequence[tuple[Ids, Ids]]
    ) -> PairBatch:
        """Pairs of (prompt, response), with one pass of the reference over each response."""
        batch = collate_ids([*chosen, *rejected], self.pad_id).to(self.engine.device)
        return PairBatch(batch, self.base.logps(self.engine, batch, self.micro_tokens).sum(dim=1))

    def encoded(self, pairs: Sequence[EncodedPair]) -> PairBatch:
        """The data's."""
        return self.read(
            [(pair.prompt_ids, pair.chosen_ids) for pair in pairs],
            [(pair.prompt_ids, pair.rejected_ids) for pair in pairs],
        )

    def own(
        self,
        config: PreferencesConfig,
        rollouts_B: Sequence[Rollout],
        reward_M2: Tensor,
        *,
        seed: int,
        step: int,
    ) -> PairBatch:
        """The policy's, a prompt's two responses after each other, labelled by their rewards."""
        hard = config.method.labels == "hard"
        labelling = Labelling(scale=float("inf") if hard else 1.0, flip=0.0)
        gap_M = reward_M2[:, 0] - reward_M2[:, 1]
        labels = draw_labels(gap_M, labelling, seed=derive("online-labels", seed, step))
        first = labels.first_M.tolist()
        chosen = [rollouts_B[2 * m + (not is_first)] for m, is_first in enumerate(first)]
        rejected = [rollouts_B[2 * m + is_first] for m, is_first in enumerate(first)]
        rows = [(r.prompt_ids, r.completion.token_ids) for r in [*chosen, *rejected]]
        read = self.read(rows[: len(chosen)], rows[len(chosen) :])
        logp_BT = sampler_logps([*chosen, *rejected]).to(self.engine.device)
        return replace(read, batch=replace(read.batch, logp_sampler_BT=logp_BT))


def update_on_pairs(
    engine: Engine, pairs: PairBatch, config: PreferencesConfig, micro_tokens: int
) -> tuple[Update, dict[str, float], Gap]:
    """One update, what the policy said of the pairs before it, and how far it was from the
    sampler's log-probs, which mean nothing where the pairs are not its own."""
    logp_B, gap = torch.zeros_like(pairs.ref_B), Gap()
    update = engine.update(micro_losses(engine, pairs, config, micro_tokens))
    for pick_M, logp_b, part in update.told:
        logp_B[pairs.rows(pick_M)] = logp_b
        gap += part
    return update, said_of(config, compared(config, pairs, logp_B)), gap


def micro_losses(
    engine: Engine,
    pairs: PairBatch,
    config: PreferencesConfig,
    micro_tokens: int,
) -> Iterator[Callable[[], tuple[Tensor, tuple[Tensor, Tensor, Gap]]]]:
    """The parts of one update's loss; both responses of a pair stand in one. Denominators are those
    of the whole batch. Each tells its pairs, log pi of each whole response of theirs, and the gap
    from the sampler."""
    chosen_tokens = int(pairs.batch.response_BT[: pairs.count].sum())
    longer_M = pairs.batch.length_B.view(2, -1).amax(dim=0)

    def compute(pick_M: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Gap]]:
        part = pairs.pick(pick_M)
        logp_bT = forward_logps(engine.model, part.batch, config)
        logp_b = logp_bT.sum(dim=1)
        read = compared(config, part, logp_b)
        loss = loss_of(config, read, count=pairs.count, chosen_tokens=chosen_tokens)
        return loss, (pick_M, logp_b.detach(), Gap.of(logp_bT, part.batch))

    for pick_M in length_buckets(longer_M, micro_tokens // 2):
        yield partial(compute, pick_M)


def loss_of(config: PreferencesConfig, pairs: Pairs, *, count: int, chosen_tokens: int) -> Tensor:
    """The part of the mean loss that `pairs` have, of `count` pairs in all: nats a pair; of sft
    nats a token, of so many in all."""
    method = config.method
    if method.name == "sft":
        return -pairs.chosen_B.sum() / chosen_tokens
    name, beta = compares(config)
    return (
        preference_loss(
            pairs,
            name=name,
            beta=beta,
            label_smoothing=method.label_smoothing,
            gamma=method.gamma,
        ).sum()
        / count
    )


def compares(config: PreferencesConfig) -> tuple[str, float]:
    """What is compared, by its name in rl.losses.preference, and its beta. A method with no such
    loss is looked at by log pi / pi_ref, as dpo is, with beta 1."""
    name, beta = config.method.name, config.method.beta
    if beta is None:
        return "dpo", 1.0
    return ("dpo" if name == "online_dpo" else name), beta


def compared(config: PreferencesConfig, pairs: PairBatch, logp_B: Tensor) -> Pairs:
    """What rl.losses.preference reads, of log pi of each whole response."""
    chosen_M, rejected_M = logp_B.chunk(2)
    ref_chosen_M, ref_rejected_M = pairs.ref_B.chunk(2)
    length_B = pairs.batch.response_BT.sum(dim=1)
    without = compares(config)[0] in WITHOUT_REFERENCE
    return Pairs(
        chosen_B=chosen_M,
        rejected_B=rejected_M,
        ref_chosen_B=None if without else ref_chosen_M,
        ref_rejected_B=None if without else ref_rejected_M,
        chosen_length_B=length_B.chunk(2)[0],
        rejected_length_B=length_B.chunk(2)[1],
    )


def judge_pairs(
    engine: Engine,
    pairs: PairBatch,
    config: PreferencesConfig,
    micro_tokens: int,
    gap_M: Tensor | None,
) -> dict[str, float]:
    """What the policy says of held-out pairs, `gap_M` the gold of the chosen less the rejected."""
    logp_B = response_logps(engine.model, pairs.batch, config, micro_tokens).sum(dim=1)
    read = compared(config, pairs, logp_B)
    tokens = int(read.chosen_length_B.sum())
    found = {"loss": float(loss_of(config, read, count=pairs.count, chosen_tokens=tokens))}
    found |= said_of(config, read)
    if gap_M is not None:
        chosen_M, rejected_M = rewards_of(config, read)
        right = gold_accuracy((chosen_M - rejected_M).double().cpu(), gap_M)
        found |= {} if right is None else {"gold_accuracy": right}
    return found


def said_of(config: PreferencesConfig, pairs: Pairs) -> dict[str, float]:
    """Means over pairs; see rl.metrics.pairs."""
    chosen_M, rejected_M = rewards_of(config, pairs)
    found = {
        "chosen_reward": chosen_M,
        "rejected_reward": rejected_M,
        "margin": chosen_M - rejected_M,
        "accuracy": accuracies(chosen_M - rejected_M),
        "chosen_logp": pairs.chosen_B,
        "rejected_logp": pairs.rejected_B,
    }
    return {name: float(x_M.double().mean()) for name, x_M in found.items()}


def rewards_of(config: PreferencesConfig, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Implicit rewards of the chosen and the rejected responses."""
    name, beta = compares(config)
    return implicit_rewards(pairs, name=name, beta=beta)
