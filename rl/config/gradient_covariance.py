"""Settings of the study of baselines on a policy whose responses can be listed."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.run import ProgramConfig
from rl.config.scalars import Fraction, PositiveFloat, PositiveInt
from rl.config.schema import Strict

# A table of scores has responses x contexts x tokens numbers for each prompt.
MOST_SCORES = 10**7

Baseline = Literal[
    "none",
    "constant",
    "running_mean",
    "batch_mean",
    "group_mean",
    "leave_one_out",
    "learned_value",
    "exact_value",
    "optimal",
]


class TreeSize(Strict):
    """`prompts` P, `vocabulary` V tokens, `length` T: every prompt has V^T responses."""

    prompts: PositiveInt
    vocabulary: Annotated[int, Field(ge=2, le=1000)]
    length: Annotated[int, Field(ge=1, le=20)]

    @property
    def responses(self) -> int:
        """N = V^T."""
        return int(self.vocabulary**self.length)

    @property
    def parameters(self) -> int:
        """Logits of one prompt: V times the prefixes of 0 to T - 1 tokens."""
        prefixes = sum(int(self.vocabulary**place) for place in range(self.length))
        return self.vocabulary * prefixes

    def check_entropy(self, entropy: float) -> None:
        """Nats a token that V tokens can have.

        Raises:
            ValueError: more than that.
        """
        if entropy >= math.log(self.vocabulary):
            raise ValueError(
                f"expected an entropy below log({self.vocabulary}) = "
                f"{math.log(self.vocabulary):.4f} nats a token, got {entropy}"
            )


class CovarianceWorldConfig(TreeSize):
    """Random language models, one for each of the `entropies` in nats a token, with 0/1 rewards:
    `graded` prompts of rising success rate, a `single` right response, or the `likeliest`."""

    entropies: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    rewards: Literal["graded", "single", "likeliest"]


class CovarianceAdvantageConfig(Strict):
    """The baseline; `constant` is what `constant` takes off, and `learned_value` is the mean of
    `value_samples` earlier rewards of the prompt."""

    baseline: Baseline
    constant: Fraction
    value_samples: PositiveInt


class GradientCovarianceConfig(ProgramConfig):
    """`estimates` gradients, each of one group of `group_size` responses to every prompt, are
    compared with the exact gradient along `directions` directions."""

    program: Literal["gradient_covariance"]
    world: CovarianceWorldConfig
    advantage: CovarianceAdvantageConfig
    group_size: Annotated[int, Field(ge=2, lt=2**31)]
    estimates: PositiveInt
    directions: PositiveInt

    @model_validator(mode="after")
    def _fits(self) -> Self:
        world = self.world
        if len(set(world.entropies)) != len(world.entropies):
            raise ValueError(f"world.entropies: expected distinct levels, got {world.entropies}")
        for entropy in world.entropies:
            world.check_entropy(entropy)
        if world.responses * world.parameters * world.prompts > MOST_SCORES:
            raise ValueError(
                f"world: {world.prompts} prompts x {world.responses} responses x "
                f"{world.parameters} logits are more than {MOST_SCORES} scores; choose a shorter "
                "length or a smaller vocabulary"
            )
        most = min(self.estimates - 1, world.prompts * world.parameters)
        if self.directions > most:
            raise ValueError(
                f"directions: expected fewer than the estimates and at most one a logit, {most} "
                f"here, got {self.directions}"
            )
        if world.rewards != "graded" and self.directions > world.prompts:
            raise ValueError(
                f"directions: where one response is right, estimates without a baseline vary along "
                f"one direction a prompt; expected at most {world.prompts}, got {self.directions}"
            )
        return self
