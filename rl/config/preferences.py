"""Settings of program `preferences`: a decoder learns from pairs, without a policy gradient."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rl.config.learned import PairsConfig, SampledPairsConfig
from rl.config.reward import REWARDS_OF
from rl.config.run import DecoderRunConfig
from rl.config.scalars import NonNegative, PositiveFloat
from rl.config.schema import Strict

COMPARING = ("dpo", "dpo_mean", "ipo", "ipo_mean", "simpo")  # by rl.losses.preference
OFFLINE = ("sft", *COMPARING)
SMOOTHED = ("dpo", "dpo_mean", "online_dpo")


class PreferenceMethodConfig(Strict):
    """What is made of pairs.

    `sft`: the mean cross-entropy of the chosen responses' tokens; the others are left aside. `dpo`,
    `dpo_mean`, `ipo`, `ipo_mean`, `simpo`: rl.losses.preference, with `beta`, `label_smoothing`
    and, of simpo, `gamma`. `online_dpo`: the loss of dpo on pairs that the policy as it is writes,
    labelled by the run's reward r: `hard`, for the larger, or `bradley_terry`, for the first with
    the chance sigmoid(reward.scale * (r_1 - r_2)). `best_of_n`: nothing is trained, and of every
    `rollout.group_size` responses to a prompt the one with the highest reward is given.
    """

    name: Literal["sft", "dpo", "dpo_mean", "ipo", "ipo_mean", "simpo", "online_dpo", "best_of_n"]
    beta: PositiveFloat | None
    gamma: NonNegative | None
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    labels: Literal["hard", "bradley_terry"] | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        with_beta = (*COMPARING, "online_dpo")
        if (self.name in with_beta) != (self.beta is not None):
            raise ValueError(
                f"method.beta: expected a number for {', '.join(with_beta)}, and null for all "
                f"others, got {self.beta} for {self.name}"
            )
        if (self.name == "simpo") != (self.gamma is not None):
            raise ValueError(
                f"method.gamma: expected a number for simpo, and null for all others, got "
                f"{self.gamma} for {self.name}"
            )
        if (self.name == "online_dpo") != (self.labels is not None):
            raise ValueError(
                "method.labels: expected hard or bradley_terry for online_dpo, and null for all "
                f"others, got {self.labels} for {self.name}"
            )
        if self.label_smoothing and self.name not in SMOOTHED:
            raise ValueError(
                f"method.label_smoothing: expected 0 for all but {', '.join(SMOOTHED)}, got "
                f"{self.label_smoothing} for {self.name}"
            )
        return self


class TrainingPairsConfig(PairsConfig):
    """The pairs that a policy learns from: those that a reward model of the same settings and seed
    learns from, in the order of its first member."""

    data: SampledPairsConfig


class PreferencesConfig(DecoderRunConfig):
    """One run: `steps` updates on pairs, from the base model, which is the reference as well.

    The run's reward is the proxy of evaluation, the judge of online_dpo and what best_of_n goes by;
    no other method learns from it. `rollout` says how many responses a step samples: a pair to each
    of `prompts` in online_dpo; elsewhere training samples none, and `prompts` is 1.
    """

    shown: ClassVar[str] = "loss"

    program: Literal["preferences"]
    method: PreferenceMethodConfig
    preferences: TrainingPairsConfig | None

    @model_validator(mode="after")
    def _has_its_pairs(self) -> Self:
        name, pairs = self.method.name, self.preferences
        if (name in OFFLINE) != (pairs is not None):
            raise ValueError(
                f"preferences: expected the pairs that {', '.join(OFFLINE)} learn from, and null "
                f"for all others, got {'pairs' if pairs else 'null'} for {name}"
            )
        if pairs is None:
            return self
        if pairs.data.gold not in REWARDS_OF[self.task.name]:
            raise ValueError(
                f"preferences.data.gold: {pairs.data.gold} says nothing of task {self.task.name}; "
                f"expected one of {', '.join(REWARDS_OF[self.task.name])}"
            )
        learned = self.reward.learned
        if learned is not None and (learned.data, learned.pairs) != (pairs.data, pairs.pairs):
            raise ValueError(
                "preferences: policy and reward model are to learn from the same pairs; expected "
                "the data and the number of pairs of reward.learned"
            )
        return self

    @model_validator(mode="after")
    def _samples_what_it_reads(self) -> Self:
        name, rollout = self.method.name, self.rollout
        size = {"online_dpo": 2, "best_of_n": rollout.group_size}.get(name, 1)
        prompts = rollout.prompts if name == "online_dpo" else 1
        if (rollout.prompts, rollout.group_size) != (prompts, size):
            raise ValueError(
                f"rollout: expected prompts {prompts} and group_size {size} with method "
                f"{name}, got {rollout.prompts} and {rollout.group_size}"
            )
        scaled = self.method.labels == "bradley_terry"
        if self.reward.kl or (self.reward.scale != 1 and not scaled):
            raise ValueError(
                "reward: what keeps the policy close is method.beta, and a scale is one of "
                "bradley_terry labels; expected kl 0 and, but for these, scale 1, got "
                f"{self.reward.kl} and {self.reward.scale}"
            )
        return self
