"""What a learned reward is learned from, and how: shared by every program that has one."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import DecoderConfig, OptimConfig
from rl.config.scalars import PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict

# Rewards that only a response and its prompt decide, with nothing trained or run for them.
Gold = Literal["answer", "solution", "exact", "position", "inclusion_ordering", "multiset_ordering"]


class HeldoutPairsConfig(Strict):
    """`pairs_per_problem` pairs of each held-out prompt, the same for every arm and seed."""

    problems_per_difficulty: PositiveInt
    pairs_per_problem: PositiveInt
    seed: Seed


class SampledPairsConfig(Strict):
    """Pairs of responses that the base model writes at `temperature`, judged by the reward `gold`.

    `scale` and `flip` are the judge's (rl.data.Labelling): the chance to choose the first is
    sigmoid(scale * difference of gold), or with `hard` all or nothing, and a label is turned with
    the chance `flip`. Responses that are cut off or hold a special token are in no pair. A pair is
    drawn `attempts` times at most.
    """

    name: Literal["sampled"]
    gold: Gold
    temperature: PositiveFloat
    max_new_tokens: PositiveInt
    scale: PositiveFloat | Literal["hard"]
    flip: Annotated[float, Field(ge=0, le=0.5)]
    attempts: PositiveInt
    heldout: HeldoutPairsConfig


class EnsembleConfig(Strict):
    """`members` models, alike but for the weights they start with and the order of their batches;
    what they say together is the `mean` of their centred scores, or the `lowest`."""

    members: Annotated[int, Field(ge=1, le=64)]
    combine: Literal["mean", "lowest"]


class PairsConfig(Strict):
    """How many pairs, and how they are read: `batch_pairs` of the `pairs` training pairs an update.

    A sequence has `context` tokens at most, and a prompt is cut at its start to no fewer than
    `prompt_at_least`.
    """

    pairs: PositiveInt
    batch_pairs: PositiveInt
    context: Annotated[int, Field(ge=2, le=512)]
    prompt_at_least: PositiveInt

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.batch_pairs > self.pairs:
            raise ValueError(
                f"batch_pairs: expected no more than the {self.pairs} training pairs (`pairs`), "
                f"got {self.batch_pairs}"
            )
        if self.prompt_at_least >= self.context:
            raise ValueError(
                f"prompt_at_least: expected fewer tokens than context {self.context}, which "
                f"leaves room for a response, got {self.prompt_at_least}"
            )
        return self


class RewardFitConfig(PairsConfig):
    """Updates of each member on batches of the training pairs.

    `loss`: `bradley_terry`, -log sigma(r(y_w) - r(y_l)) of a pair, or `direct_assessment`, a
    classifier for which the preferred response of a pair is good and the other is not.

    With `scratch` null the model starts from the base model and reads its tokens; else from random
    weights of that size, and reads text, a token a byte: another tokenizer than the policy's.
    Predicted preferences are compared with what came in `bins` bins.
    """

    scratch: DecoderConfig | None
    loss: Literal["bradley_terry", "direct_assessment"]
    ensemble: EnsembleConfig
    optim: OptimConfig
    bins: Annotated[int, Field(ge=1, le=100)]


class LearnedRewardConfig(RewardFitConfig):
    """The reward model of a run that trains a policy, fitted in `steps` updates before the first
    step, on pairs that the base model wrote. It is the one that program `reward_model` makes of
    the same settings and seed, and in single precision whatever the run's."""

    data: SampledPairsConfig
    steps: PositiveInt
