"""The models of a learned reward: their updates, their scores, and what their pairs say of them."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from rl import ranks
from rl.config import RewardModelConfig
from rl.data import EncodedPair, Encoder, encode_scored
from rl.engine import Update
from rl.losses.reward import bradley_terry, direct_assessment
from rl.models import ByteTokenizer, Decoder, RewardModel, combined, new_decoder
from rl.seeding import derive
from rl.trainers.parts import (
    engine_for,
    length_buckets,
    make_task,
    make_tokenizer,
    micro_batch_tokens,
    pad_right,
)
from rl.trainers.preference_pairs import Pairs, published_pairs, sampled_pairs
from rl.trainers.reward_metrics import Judged
from rl.types import Rollout

Ids = tuple[int, ...]


class Member:
    """One model of an ensemble under an engine of its own, so that none moves another."""

    def __init__(
        self,
        config: RewardModelConfig,
        *,
        start: Decoder | None,
        reader: Encoder,
        number: int,
        seed: int,
    ) -> None:
        """From `start`, or without it from random weights of the size that `scratch` says."""
        if start is not None:
            decoder = deepcopy(start)
        elif config.scratch is not None and isinstance(reader, ByteTokenizer):
            size = config.scratch.model_dump()
            decoder = new_decoder(reader, **size, seed=derive("reward-base", seed, number))
        else:  # RewardModelConfig has seen to it
            raise TypeError("expected a base model, or `scratch` with a tokenizer of bytes")
        self.model = RewardModel(decoder, seed=derive("reward-head", seed, number))
        self.engine = engine_for(self.model, config.optim, config.engine, config.steps)
        self.number = number
        self._config = config
        self._seed = seed
        self._pad_id: int = decoder.config.pad_token_id
        self._micro_tokens = micro_batch_tokens(config.engine, decoder)

    def update(self, step: int, pairs: Sequence[EncodedPair]) -> Update:
        """One update on the step's batch of `pairs`."""
        places = batch_places(len(pairs), self._config.batch_pairs, self._seed, self.number, step)
        batch = [pairs[place] for place in places]
        length_B = torch.tensor([_longer(pair) for pair in batch])
        # Both responses of a pair stand in one micro-batch.
        buckets = length_buckets(length_B, self._micro_tokens // 2)
        return self.engine.update(
            partial(self._loss, [batch[i] for i in pick.tolist()]) for pick in buckets
        )

    def _loss(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """Its part of the mean over the pairs of the batch, or over their responses."""
        rows = responses(pairs)
        chosen_b, rejected_b = self._forward(rows, self.engine.model).chunk(2)
        count = self._config.batch_pairs
        if self._config.loss == "bradley_terry":
            return bradley_terry(chosen_b, rejected_b, margin_B=None).sum() / count
        score_b = torch.cat([chosen_b, rejected_b])
        good_b = torch.arange(len(score_b), device=score_b.device) < len(pairs)
        return direct_assessment(score_b, good_b).sum() / (2 * count)

    @torch.no_grad()
    def scores(self, rows: Sequence[Ids]) -> Tensor:
        """Scores of token ids, float64, in their order."""
        self.model.eval()
        found_B = torch.empty(len(rows), dtype=torch.float64)
        picks = length_buckets(torch.tensor([len(row) for row in rows]), self._micro_tokens)
        found = ranks.shared(
            [[rows[i] for i in pick.tolist()] for pick in picks],
            lambda some: self._forward(some, self.model).double().cpu(),
        )
        for pick, score_b in zip(picks, found, strict=True):
            found_B[pick] = score_b
        return found_B

    def _forward(self, rows: Sequence[Ids], model: nn.Module) -> Tensor:
        device = self.model.head.weight.device
        token_BT = pad_right(rows, fill=self._pad_id, dtype=torch.int64).to(device)
        length_B = torch.tensor([len(row) for row in rows], device=device)
        score_B: Tensor = model(input_ids=token_BT, lengths=length_B)
        return score_B


def make_members(
    config: RewardModelConfig, *, model: Decoder | None, reader: Encoder, seed: int
) -> list[Member]:
    """All of the ensemble; `model` is the base model, from which they start without `scratch`."""
    start = model if config.scratch is None else None
    return [
        Member(config, start=start, reader=reader, number=number, seed=seed)
        for number in range(config.ensemble.members)
    ]


def centre(members: Sequence[Member], pairs: Pairs) -> None:
    """Each for itself: the mean score of all responses of the training pairs becomes 0."""
    for member in members:
        member.model.centre(float(member.scores(responses(pairs.train)).mean()))


def batch_places(pairs: int, batch: int, seed: int, member: int, step: int) -> list[int]:
    """The places of one step's pairs: all pairs in a random order, then in another, and so on."""
    places: list[int] = []
    for drawn in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(drawn, pairs)
        if not places or place == 0:
            generator = torch.Generator()
            generator.manual_seed(derive("reward-epoch", seed, member, epoch))
            order = torch.randperm(pairs, generator=generator).tolist()
        places.append(order[place])
    return places


def rollout_scores(
    members: Sequence[Member],
    rollouts: Sequence[Rollout],
    *,
    reader: Encoder | None,
    context: int,
    prompt_at_least: int,
    how: str,
) -> Tensor:
    """What members whose scores are centred say of a policy's responses, float64.

    With `reader` None they share the policy's tokenizer and get its ids; else they get text.
    """
    rows = [
        (*r.prompt_ids, *r.completion.token_ids)
        if reader is None
        else encode_scored(
            r.problem.prompt,
            r.text,
            ended=r.completion.finish_reason == "stop",
            tokenizer=reader,
            context=context,
            prompt_at_least=prompt_at_least,
        )
        for r in rollouts
    ]
    return combined(torch.stack([member.scores(rows) for member in members]), how=how)


def read_pairs(
    config: RewardModelConfig, model: Decoder | None, seed: int
) -> tuple[Encoder, Pairs]:
    """The model's tokenizer, and the pairs in its tokens."""
    if config.data.name == "published":
        reader = ByteTokenizer()
        return reader, published_pairs(config, config.data, reader=reader, seed=seed)
    if config.task is None or model is None:  # RewardModelConfig has seen to it
        raise TypeError("data sampled: expected a task and its base model")
    task = make_task(config.task)
    own: Encoder = make_tokenizer(task) if config.scratch is None else ByteTokenizer()
    return own, sampled_pairs(config, config.data, task=task, model=model, reader=own, seed=seed)


def judge(
    config: RewardModelConfig, members: Sequence[Member], pairs: Pairs, *, centred: bool = False
) -> Judged:
    """Scores of all pairs. Where the models are not centred yet, their scores are."""
    train_KB = torch.stack([member.scores(responses(pairs.train)) for member in members])
    heldout_KB = torch.stack([member.scores(responses(pairs.heldout)) for member in members])
    if not centred:
        mean_K1 = train_KB.mean(dim=1, keepdim=True)
        train_KB, heldout_KB = train_KB - mean_K1, heldout_KB - mean_K1
    one_KB, other_KB = heldout_KB.chunk(2, dim=1)
    how = config.ensemble.combine
    return Judged(
        train_score_B=combined(train_KB, how=how),
        heldout_score_B=combined(heldout_KB, how=how),
        disagreement=float((one_KB - other_KB).std(dim=0, correction=0).mean()),
        gap_B=pairs.gap_B,
        chance_B=pairs.chance_B,
        text=pairs.text,
    )


def responses(pairs: Sequence[EncodedPair]) -> list[Ids]:
    """First the preferred ones, then the others."""
    chosen = [pair.prompt_ids + pair.chosen_ids for pair in pairs]
    return chosen + [pair.prompt_ids + pair.rejected_ids for pair in pairs]


def _longer(pair: EncodedPair) -> int:
    return len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))
