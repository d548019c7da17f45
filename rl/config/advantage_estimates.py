"""Settings of the study of generalised advantage estimation where every response is listed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.run import ProgramConfig
from rl.config.scalars import Fraction, NonNegative, PositiveInt
from rl.config.schema import Strict
from rl.config.surrogate_gradients import StudyTreeConfig, check_distinct

Shares = Annotated[tuple[Fraction, ...], Field(min_length=1)]


class StudyCriticConfig(Strict):
    """What stands for V before each token. `exact`: the expected discounted reward to come.
    `noisy`: the same plus `error` times a standard normal number a context, drawn once. `prompt`:
    the expected reward of the prompt, at all of its tokens. `constant`: the number `constant`."""

    name: Literal["exact", "noisy", "prompt", "constant"]
    error: NonNegative
    constant: float


class SignalConfig(Strict):
    """Responses of `lengths` tokens with one reward at their end; what comes `back` so many tokens
    before the end is looked at in the longest."""

    lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    back: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class AdvantageEstimatesConfig(ProgramConfig):
    """lambda goes through `traces` at gamma = `discount`, and gamma through `discounts` at lambda =
    1; places and the signal are looked at with `discount` and `trace`. `samples` responses a prompt
    check what enumeration says."""

    program: Literal["advantage_estimates"]
    world: StudyTreeConfig
    critic: StudyCriticConfig
    traces: Shares
    discounts: Shares
    discount: Fraction
    trace: Fraction
    signal: SignalConfig
    samples: PositiveInt

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for where, levels in (
            ("traces", self.traces),
            ("discounts", self.discounts),
            ("signal.lengths", self.signal.lengths),
            ("signal.back", self.signal.back),
        ):
            check_distinct(where, levels)
        if max(self.signal.back) >= max(self.signal.lengths):
            raise ValueError(
                "signal.back: expected numbers of tokens below the longest of signal.lengths, "
                f"{max(self.signal.lengths)}, got {max(self.signal.back)}"
            )
        return self
