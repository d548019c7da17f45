"""The settings of one run of a decoder. Scientific settings have no defaults; operational may."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import (
    BaseConfig,
    OptimConfig,
    TaskConfig,
    check_seen,
)
from rl.config.kl import KLConfig
from rl.config.learned import Gold
from rl.config.reward import REWARDS_OF, RewardConfig
from rl.config.scalars import PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict
from rl.config.update import AdvantageConfig, LossConfig

SamplerName = Literal["local", "vllm", "vllm_worker"]


class VllmConfig(Strict):
    """Operational: how vLLM holds the model. `kv_cache_mib` is its cache of keys and values on a
    CPU; on a GPU it takes the share `gpu_memory` of the card for all that it holds. `eager` leaves
    out CUDA graphs. `tensor_parallel` is for a process of its own."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    kv_cache_mib: PositiveInt = 256
    gpu_memory: Annotated[float, Field(gt=0, lt=1)] = 0.4
    tensor_parallel: PositiveInt = 1
    eager: bool = True


class RolloutConfig(Strict):
    """`prompts` P and `group_size` G: one step samples B = P*G responses. With `ignore_eos` each
    has max_new_tokens tokens, and its text ends at the first EOS.

    Operational: `sampler` says who draws them, rollouts and evaluations alike: the trainer's own
    process (`local`), vLLM in it (`vllm`) or vLLM in another (`vllm_worker`). The distribution is
    the same up to rounding; the draws of a seed are the sampler's own.
    """

    prompts: PositiveInt
    group_size: PositiveInt
    temperature: PositiveFloat
    max_new_tokens: PositiveInt
    ignore_eos: bool
    sampler: SamplerName = "local"
    vllm: VllmConfig = VllmConfig()

    @model_validator(mode="after")
    def _parallel_apart(self) -> Self:
        if self.sampler == "vllm" and self.vllm.tensor_parallel > 1:
            raise ValueError(
                "vllm.tensor_parallel: a run's process has no children of its own; expected "
                f"sampler vllm_worker with it, or 1, got {self.vllm.tensor_parallel} and vllm"
            )
        return self


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
