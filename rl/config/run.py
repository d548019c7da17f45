"""The settings of one run of a decoder. Scientific settings have no defaults; operational may."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.kl import KLConfig
from rl.config.scalars import Fraction, NonNegative, PositiveFloat, PositiveInt, Seed
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


class DecoderConfig(Strict):
    """A from-scratch decoder in a stock transformers architecture."""

    architecture: Literal["qwen2", "llama"]
    hidden_size: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    intermediate_size: PositiveInt
    tie_embeddings: bool

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"expected hidden_size to divide by heads and heads by kv_heads, got "
                f"{self.hidden_size}, {self.heads}, {self.kv_heads}"
            )
        if self.hidden_size // self.heads % 2:
            raise ValueError(
                f"expected an even head size (rotary positions turn pairs), got hidden_size / "
                f"heads = {self.hidden_size} / {self.heads}"
            )
        return self


class TaskConfig(Strict):
    """Prompts of several symbols, as many as `digits` lists, `modulus` different ones.

    Of digits, `chain_sum` adds them up modulo `modulus` and then answers, `answer_first` answers
    before it works, `parity` adds up without restating them, `sorting` puts them in order, `copy`
    says them again. Of letters, `poem` makes lines that begin with
    them, `not_offensive` says them again where that does not offend.

    `tiny_programs` has prompts that differ otherwise: `digits` are the kinds of them, 1 to 6, and
    their numbers are below `modulus` (rl.tasks.tiny_programs).
    """

    name: Literal[
        "chain_sum",
        "answer_first",
        "sorting",
        "copy",
        "parity",
        "poem",
        "not_offensive",
        "tiny_programs",
    ]
    modulus: Annotated[int, Field(ge=2, le=10)]
    digits: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.digits)) != len(self.digits):
            raise ValueError(f"task.digits: expected distinct difficulties, got {self.digits}")
        return self


class TextConfig(Strict):
    """Pretraining text. `solved` maps a prompt's digits to the share of texts that are right
    throughout; `filler` is the chance of one more filler token (geometric), where the task allows
    them, or, in a poem, of one more letter in a line."""

    solved: Annotated[dict[str, Fraction], Field(min_length=1)]
    filler: Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Strict):
    """AdamW under linear warm-up, then `schedule`. Clipping is by the global gradient norm."""

    lr: PositiveFloat
    betas: tuple[Fraction, Fraction]
    eps: PositiveFloat
    weight_decay: NonNegative
    warmup_steps: Annotated[int, Field(ge=0, lt=2**63)]
    schedule: Literal["constant", "linear", "cosine"]
    grad_clip: NonNegative


class BaseConfig(Strict):
    """How the base model comes to be: everything here enters its cache key."""

    seed: Seed
    model: DecoderConfig
    digits: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    text: TextConfig
    steps: PositiveInt
    batch_size: PositiveInt
    optim: OptimConfig

    @model_validator(mode="after")
    def _covers(self) -> Self:
        missing = sorted({str(digits) for digits in self.digits} - set(self.text.solved))
        if missing:
            raise ValueError(
                f"text.solved: no share given for prompts of {', '.join(missing)} digits, which "
                f"base.digits asks for"
            )
        return self


def check_seen(task: TaskConfig, base: BaseConfig) -> None:
    """Whether the base model learned from prompts of every length that the task has.

    Raises:
        ValueError: it did not.
    """
    unknown = sorted(set(task.digits) - set(base.digits))
    if unknown:
        raise ValueError(
            f"task.digits: the base model never saw prompts of {unknown} digits; add them to "
            f"base.digits or choose from {base.digits}"
        )


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
