"""What a decoder is rewarded for."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import OptimConfig
from rl.config.learned import LearnedRewardConfig
from rl.config.scalars import NonNegative, PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict

# Which rewards say something in which world, by rl.tasks and rl.rewards.
REWARDS_OF: Mapping[str, tuple[str, ...]] = {
    "chain_sum": ("answer", "solution"),
    "answer_first": ("answer", "solution"),
    "sorting": ("exact", "position", "inclusion_ordering", "multiset_ordering"),
    "copy": ("exact",),
    "parity": ("answer", "solution"),
    "poem": ("exact", "lines"),
    "not_offensive": ("exact", "classifier"),
    "tiny_programs": ("exact", "share_of_tests"),
    "gsm8k": ("answer",),
    "math": ("answer",),
}


class ClassifierConfig(Strict):
    """How the classifier of rl.rewards.learned is trained: on texts like those that the base model
    learned from, labelled by the rule of the world, each label turned with the chance
    `label_noise`. It counts n-grams up to `order`; every update takes all `texts`."""

    seed: Seed
    texts: PositiveInt
    label_noise: Annotated[float, Field(ge=0, lt=0.5)]
    order: Annotated[int, Field(ge=1, le=3)]
    steps: PositiveInt
    optim: OptimConfig


class RewardConfig(Strict):
    """`scale` times the reward, less `kl` times how far the response is from a reference.

    Which fits which world, REWARDS_OF says. 1 for right and 0 for wrong: `answer`, by the stated
    answer; `solution`, by every step as well; `exact`, by all that was asked for. Of sorting, in
    part: `position`, `inclusion_ordering`, `multiset_ordering` (rl.rewards.sorting). Of a poem:
    `lines`, minus the distance of their number from five. `classifier` is trained by `classifier`.
    Of a tiny program: `share_of_tests`, the share of hidden unit tests that it passes; what says
    whether it passes them, `programs` states: the `interpreter`, which is safe by construction, or
    `python`, the program written out in Python and run isolated (rl.rewards.sandbox), which the
    machine must be able to do and which takes a sixth of a second a program. `learned` is the
    score of a reward model that `learned` trains first, on pairs that its gold reward judged; it is
    centred on them.

    `kl` is the coefficient, and the run's `kl` says what it multiplies; without that it is
    sum_t log pi(o_t) - log pi_base(o_t), nats a response (k1 of rl.kl).
    """

    name: Literal[
        "answer",
        "solution",
        "exact",
        "position",
        "inclusion_ordering",
        "multiset_ordering",
        "lines",
        "classifier",
        "share_of_tests",
        "learned",
    ]
    scale: PositiveFloat
    kl: NonNegative
    classifier: ClassifierConfig | None = None
    learned: LearnedRewardConfig | None = None
    programs: Literal["interpreter", "python"] | None = None

    @model_validator(mode="after")
    def _trained(self) -> Self:
        if (self.name == "classifier") != (self.classifier is not None):
            raise ValueError(
                "reward.classifier: expected with reward.name classifier, and only with it; state "
                "how the classifier is trained, or leave it out"
            )
        if (self.name == "learned") != (self.learned is not None):
            raise ValueError(
                "reward.learned: expected with reward.name learned, and only with it; state how "
                "the reward model is trained, or leave it out"
            )
        return self
