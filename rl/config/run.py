"""The settings of one run of a decoder. Scientific settings have no defaults; operational may."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from rl.config.base import (
    BaseConfig,
    OptimConfig,
    TaskConfig,
    check_seen,
)
from rl.config.kl import KLConfig
from rl.config.learned import Gold
from rl.config.published import (
    AnyBaseConfig,
    AnyTaskConfig,
    PublishedBaseConfig,
    PublishedTaskConfig,
)
from rl.config.reward import REWARDS_OF, RewardConfig
from rl.config.sampling import RolloutConfig
from rl.config.scalars import PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict
from rl.config.update import AdvantageConfig, LossConfig


class EvalConfig(Strict):
    """Held-out evaluation: the same prompts for every arm, seed and step.

    With `gold` the mean of that reward is logged beside the one that is trained for; with
    `base_kl` the responses' mean log pi / pi_base.
    """

    every: PositiveInt
    problems_per_difficulty: PositiveInt
    samples: PositiveInt
    temperature: PositiveFloat
    seed: Seed
    gold: Gold | None = None
    base_kl: bool = False


class GradientWeightConfig(Strict):
    """Settings of rl.studies.gradient_weight, per difficulty."""

    problems_per_difficulty: PositiveInt
    direction_samples: PositiveInt
    samples: PositiveInt


class EngineConfig(Strict):
    """Operational: how DeepSpeed carries out a step. What is computed stays the same up to
    rounding, which bf16 makes coarse.

    ZeRO stages share memory among ranks, 1 that of the optimiser's state, 2 of gradients too, 3 of
    weights too; there a sampler in the trainer's process has a copy of its own. In bf16 stage 0 is
    done as stage 1. A micro-batch has `micro_batch_tokens` at most, padding included (`auto`: by
    the rule of rl.trainers.parts, for CPU caches); several ranks have as many of them as there are
    ranks, as a rule. `compile` runs the model through torch.compile, which takes up to minutes at
    the start. `gradient_checkpointing` keeps of each block its input alone and computes the rest
    again on the way back: less memory, more time.
    """

    zero_stage: Literal[0, 1, 2, 3] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    micro_batch_tokens: PositiveInt | Literal["auto"] = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _whole_where_compiled(self) -> Self:
        if self.zero_stage == 3 and self.compile:
            raise ValueError(
                "engine: expected compile false with zero_stage 3, which puts weights together "
                "between the parts of a compiled model"
            )
        return self


Published = tuple[PublishedTaskConfig, PublishedBaseConfig]


class BaseModelConfig(Strict):
    """All that makes a base model. What a run's settings say of it stands under the same names at
    their top (rl.digests.base_settings)."""

    task: TaskConfig
    base: BaseConfig
    engine: EngineConfig


class ProgramConfig(Strict):
    """What every kind of run states: which program does it, and how many steps it reports."""

    shown: ClassVar[str] = "reward"  # what it reports of a step, for people
    shared: ClassVar[bool] = False  # whether several ranks have something to share in a run

    program: str
    steps: PositiveInt
    engine: EngineConfig = EngineConfig()

    def base_model(self) -> BaseModelConfig | None:
        """The base model that a run starts from, to be trained first; None for none."""
        return None

    def published(self) -> Published | None:
        """The published problems and checkpoint that a run is about; None for none."""
        return None

    @property
    def by_vllm(self) -> bool:
        """Whether vLLM samples for it."""
        return False

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

    shared: ClassVar[bool] = True

    task: AnyTaskConfig
    base: AnyBaseConfig
    rollout: RolloutConfig
    reward: RewardConfig
    optim: OptimConfig
    eval: EvalConfig

    @property
    def generated(self) -> BaseModelConfig:
        """Task and base model, where both are made here.

        Raises:
            TypeError: they are published ones.
        """
        task, base = self.task, self.base
        if isinstance(task, PublishedTaskConfig) or isinstance(base, PublishedBaseConfig):
            raise TypeError(f"{task.name}: no generated world")
        return BaseModelConfig(task=task, base=base, engine=self.engine)

    def base_model(self) -> BaseModelConfig | None:
        """See ProgramConfig; a published one is fetched."""
        return None if isinstance(self.base, PublishedBaseConfig) else self.generated

    @property
    def by_vllm(self) -> bool:
        """See ProgramConfig."""
        return self.rollout.sampler != "local"

    def published(self) -> Published | None:
        """See ProgramConfig."""
        task, base = self.task, self.base
        if isinstance(task, PublishedTaskConfig) and isinstance(base, PublishedBaseConfig):
            return task, base
        return None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self._belong_together()
        learned = self.reward.learned
        for where, name in (
            ("reward.learned.data.gold", learned.data.gold)
            if learned
            else ("reward.name", self.reward.name),
            ("eval.gold", self.eval.gold),
        ):
            if name is not None and name not in REWARDS_OF[self.task.name]:
                raise ValueError(
                    f"{where}: {name} says nothing of task {self.task.name}; expected one of "
                    f"{', '.join(REWARDS_OF[self.task.name])}"
                )
        if self.eval.base_kl and self.eval.temperature != self.rollout.temperature:
            raise ValueError(
                "eval.base_kl: both policies are those at the temperature of training; expected "
                f"eval.temperature {self.rollout.temperature}, got {self.eval.temperature}"
            )
        if (self.task.name == "tiny_programs") != (self.reward.programs is not None):
            raise ValueError(
                "reward.programs: expected with task.name tiny_programs, and only with it; state "
                "interpreter or python, or leave it out"
            )
        if self.published() is None:
            check_seen(self.generated.task, self.generated.base)
        return self

    def _belong_together(self) -> None:
        """Published problems come with a published checkpoint, and with what is made for them."""
        task, base = self.task, self.base
        if isinstance(task, PublishedTaskConfig) != isinstance(base, PublishedBaseConfig):
            named = base.name if isinstance(base, PublishedBaseConfig) else "one to be trained"
            raise ValueError(
                f"task, base: a published task is for a published checkpoint, and a generated "
                f"one for the base model that learns its tokens; expected both published or "
                f"neither, got task {task.name} and base {named}"
            )
        if not isinstance(base, PublishedBaseConfig):
            return
        if self.program != "policy":
            raise ValueError(
                f"program: {self.program} needs a generated world; expected policy with task "
                f"{task.name}"
            )
        if self.reward.name != "answer" or self.eval.gold is not None or self.rollout.ignore_eos:
            raise ValueError(
                f"task {task.name}: all that is known of a response is its answer, where it ends; "
                f"expected reward.name answer, no eval.gold and rollout.ignore_eos false, got "
                f"{self.reward.name}, {self.eval.gold} and {self.rollout.ignore_eos}"
            )
        if self.rollout.max_new_tokens >= base.context:
            raise ValueError(
                f"rollout.max_new_tokens: prompt and response share base.context, {base.context} "
                f"tokens; expected fewer, got {self.rollout.max_new_tokens}"
            )

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
        filler = self.generated.base.text.filler
        if self.reward.name != "solution" or filler != 0 or self.rollout.ignore_eos:
            raise ValueError(
                "program gradient_weight: a problem must have one right response; expected "
                "reward.name solution, base.text.filler 0 and rollout.ignore_eos false, got "
                f"{self.reward.name}, {filler} and {self.rollout.ignore_eos}"
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
