"""The reward of a run that is learned first, from pairs that its base model wrote."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl.config import DecoderRunConfig, EngineConfig, LearnedRewardConfig, RewardModelConfig
from rl.data import Encoder
from rl.models import Decoder
from rl.trainers.reward_members import (
    Member,
    centre,
    judge,
    make_members,
    read_pairs,
    rollout_scores,
)
from rl.trainers.reward_metrics import Values, pair_metrics
from rl.types import Rollout


@dataclass(frozen=True)
class LearnedReward:
    """Fitted members; `reader` is their tokenizer where it is not the policy's. `metrics` are those
    of their held-out pairs; `tokens` were sampled for the pairs."""

    settings: LearnedRewardConfig
    members: Sequence[Member]
    reader: Encoder | None
    metrics: Values
    tokens: int

    def scores(self, rollouts: Sequence[Rollout]) -> list[float]:
        """Of whole responses, cut off or not; on training pairs their mean is 0."""
        found_B = rollout_scores(
            self.members,
            rollouts,
            reader=self.reader,
            context=self.settings.context,
            prompt_at_least=self.settings.prompt_at_least,
            how=self.settings.ensemble.combine,
        )
        return [float(score) for score in found_B]


def learn_reward(
    config: DecoderRunConfig, settings: LearnedRewardConfig, *, model: Decoder, seed: int
) -> LearnedReward:
    """What program `reward_model` makes of the same settings; `model` is the base model.

    Pairs and batches are drawn by name, so that all arms of a seed get one and the same reward, and
    a run that goes on gets its own again.
    """
    asked = as_program(config, settings)
    reader, pairs = read_pairs(asked, model, seed)
    members = make_members(asked, model=model, reader=reader, seed=seed)
    for step in range(asked.steps):
        for member in members:
            member.update(step, pairs.train)
    centre(members, pairs)
    for member in members:
        member.engine.close()
    return LearnedReward(
        settings=settings,
        members=members,
        reader=None if settings.scratch is None else reader,
        metrics=pair_metrics(judge(asked, members, pairs, centred=True), bins=asked.bins),
        tokens=pairs.tokens,
    )


def as_program(config: DecoderRunConfig, settings: LearnedRewardConfig) -> RewardModelConfig:
    """The same reward model as a run of its own: in single precision, whatever the policy's."""
    return RewardModelConfig(
        program="reward_model",
        task=config.generated.task,
        base=config.generated.base,
        engine=EngineConfig(micro_batch_tokens=config.engine.micro_batch_tokens),
        eval_every=settings.steps,
        **{name: getattr(settings, name) for name in type(settings).model_fields},
    )
