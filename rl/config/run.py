"""The settings of one run of a decoder. Scientific settings have no defaults; operational may."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import (
    BaseConfig,
    OptimConfig,
    TaskConfig,
    check_seen,
)
from rl.config.kl import KLConfig
from rl.config.scalars import NonNegative, PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict
from rl.config.update import AdvantageConfig, LossConfig

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
}


class RolloutConfig(Strict):
    """`prompts` P and `group_size` G: one step samples B = P*G responses. With `ignore_eos` each
    has max_new_tokens tokens, and its text ends at the first EOS."""

    prompts: PositiveInt
    group_size: PositiveInt
    temperature: PositiveFloat
    max_new_tokens: PositiveInt
    ignore_eos: bool


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
    machine must be able to do and which takes a sixth of a second a program.

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
    ]
    scale: PositiveFloat
    kl: NonNegative
    classifier: ClassifierConfig | None = None
    programs: Literal["interpreter", "python"] | None = None

    @model_validator(mode="after")
    def _trained(self) -> Self:
        if (self.name == "classifier") != (self.classifier is not None):
            raise ValueError(
                "reward.classifier: expected with reward.name classifier, and only with it; state "
                "how the classifier is trained, or leave it out"
            )
        return self


class EvalConfig(Strict):
    """Held-out evaluation: the same prompts for every arm, seed and step."""

    every: PositiveInt
    problems_per_difficulty: PositiveInt
    samples: PositiveInt
    temperature: PositiveFloat
    seed: Seed


class GradientWeightConfig(Strict):
    """Settings of rl.studies.gradient_weight, per difficulty."""

    problems_per_difficulty: PositiveInt
    direction_samples: PositiveInt
    samples: PositiveInt


class EngineConfig(Strict):
    """Operational: how DeepSpeed carries out a step. What is computed stays the same up to
    rounding, which bf16 makes coarse.

    A micro-batch has `micro_batch_tokens` at most, padding included (`auto`: by the rule of
    rl.trainers.parts, for CPU caches). `compile` runs the model through torch.compile, which takes
    up to minutes at the start.
    """

    zero_stage: Literal[0, 1, 2, 3] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    micro_batch_tokens: PositiveInt | Literal["auto"] = "auto"
    compile: bool = False


class BaseModelConfig(Strict):
    """All that makes a base model. What a run's settings say of it stands under the same names at
    their top (rl.digests.base_settings)."""

    task: TaskConfig
    base: BaseConfig
    engine: EngineConfig


class ProgramConfig(Strict):
    """What every kind of run states: which program does it, and how many steps it reports."""

    shown: ClassVar[str] = "reward"  # what it reports of a step, for people

    program: str
    steps: PositiveInt
    engine: EngineConfig = EngineConfig()

    def base_model(self) -> BaseModelConfig | None:
        """The base model that a run starts from; None for none."""
        return None

    def check_table(self) -> None:
        """Whether the engine can train a table of logits.

        Raises:
            ValueError: it cannot.
        """
        if self.engine.precision != "fp32" or self.engine.compile or self.engine.zero_stage == 3:
            raise ValueError(
                "engine: a table needs precision fp32, compile false and zero_stage 0, 1 or 2"
            )


class DecoderRunConfig(ProgramConfig):
    """What every run of a decoder states, whatever is done with it."""

    task: TaskConfig
    base: BaseConfig
    rollout: RolloutConfig
    reward: RewardConfig
    optim: OptimConfig
    eval: EvalConfig

    def base_model(self) -> BaseModelConfig:
        """See ProgramConfig."""
        return BaseModelConfig(task=self.task, base=self.base, engine=self.engine)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.engine.zero_stage == 3:
            raise ValueError(
                "engine.zero_stage: the sampler in the trainer's process needs whole weights; "
                "expected 0, 1 or 2, got 3"
            )
        if self.reward.name not in REWARDS_OF[self.task.name]:
            raise ValueError(
                f"reward.name: {self.reward.name} says nothing of task {self.task.name}; expected "
                f"one of {', '.join(REWARDS_OF[self.task.name])}"
            )
        if (self.task.name == "tiny_programs") != (self.reward.programs is not None):
            raise ValueError(
                "reward.programs: expected with task.name tiny_programs, and only with it; state "
                "interpreter or python, or leave it out"
            )
        check_seen(self.task, self.base)
        return self

    def check_minibatches(self, minibatches: int) -> None:
        """Whether a batch divides into so many.

        Raises:
            ValueError: it does not.
        """
        batch = self.rollout.prompts * self.rollout.group_size
        if batch % minibatches:
            raise ValueError(
                f"loss.minibatches: {batch} responses (rollout.prompts x rollout.group_size) do "
                f"not divide into {minibatches}; choose a divisor of {batch}"
            )


class RunConfig(DecoderRunConfig):
    """Everything that one run of a decoder by a plain policy gradient needs, its base model
    included."""

    program: Literal["policy", "gradient_weight"]
    advantage: AdvantageConfig
    loss: LossConfig
    study: GradientWeightConfig
    kl: KLConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        batch = self.rollout.prompts * self.rollout.group_size
        compares = self.advantage.baseline in ("group_mean", "leave_one_out")
        if self.rollout.group_size == 1 and (compares or self.advantage.scale == "group_std"):
            raise ValueError(
                "rollout.group_size: a group of one has nothing to be compared with; expected 2 "
                "or more for a group baseline or group_std, got 1"
            )
        compares = self.advantage.baseline == "batch_mean" or self.advantage.scale == "batch_std"
        if batch == 1 and compares:
            raise ValueError(
                "rollout: a batch of one has nothing to be compared with; expected 2 or more "
                "responses for batch_mean or batch_std, got prompts 1 x group_size 1"
            )
        self.check_minibatches(self.loss.minibatches)
        if self.study.samples % self.rollout.group_size:
            raise ValueError(
                f"study.samples: {self.study.samples} samples do not divide into groups of "
                f"{self.rollout.group_size}; choose a multiple of {self.rollout.group_size}"
            )
        return self

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.program == "gradient_weight":
            self._one_right_response()
        if self.kl is not None and self.kl.target and not (self.kl.loss or self.reward.kl):
            raise ValueError(
                "kl.target: there is no coefficient to be adapted; expected kl.loss or reward.kl "
                "over 0 with it"
            )
        return self

    def _one_right_response(self) -> None:
        """What rl.studies.gradient_weight takes for granted."""
        if self.reward.name != "solution" or self.base.text.filler != 0 or self.rollout.ignore_eos:
            raise ValueError(
                "program gradient_weight: a problem must have one right response; expected "
                "reward.name solution, base.text.filler 0 and rollout.ignore_eos false, got "
                f"{self.reward.name}, {self.base.text.filler} and {self.rollout.ignore_eos}"
            )
        if self.reward.kl or self.kl is not None or self.loss.name not in ("reinforce", "clipped"):
            raise ValueError(
                "program gradient_weight: the weight is that of 0/1 rewards, on-policy; expected "
                "reward.kl 0, no kl and loss.name reinforce or clipped, got "
                f"{self.reward.kl}, {self.kl} and {self.loss.name}"
            )
        within_group = self.advantage.baseline in ("none", "group_mean", "leave_one_out")
        if not within_group or self.advantage.scale == "batch_std":
            raise ValueError(
                "program gradient_weight: the weight is a function of p only if the advantage is "
                "one of its own group's rewards; expected baseline none, group_mean or "
                "leave_one_out and scale none or group_std, got "
                f"{self.advantage.baseline} and {self.advantage.scale}"
            )
