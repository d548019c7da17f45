"""A base model: its world, its architecture, the text that it learns from, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.scalars import Fraction, NonNegative, PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict


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
