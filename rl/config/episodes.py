"""Settings of program `episodes`: a policy gradient in worlds of episodes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import OptimConfig
from rl.config.run import ProgramConfig
from rl.config.scalars import Fraction, NonNegative, PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict

Pair = tuple[float, float]


class BanditConfig(Strict):
    """Two states, equally likely; `rewards` of both actions in each."""

    name: Literal["bandit"]
    rewards: tuple[Pair, Pair]


class GridConfig(Strict):
    """Rows of S (start), . (0), B (-1), T (-10), M (+100, the end); cut off after `horizon`."""

    name: Literal["grid"]
    layout: Annotated[tuple[str, ...], Field(min_length=2, max_length=20)]
    horizon: PositiveInt


class CartPoleConfig(Strict):
    """CartPole-v1 of gymnasium, which has no settings here."""

    name: Literal["cartpole"]


class EarlyKeyConfig(Strict):
    """The first of `length` tokens decides a last reward of 1; a wrong one pays `bonus` at once."""

    name: Literal["early_key"]
    keys: Annotated[int, Field(ge=2, le=26)]
    length: Annotated[int, Field(ge=2, le=1000)]
    bonus: Annotated[float, Field(ge=0, lt=1)]


class GuessNumberConfig(Strict):
    """A number from 1 to `numbers` to be found in `turns` guesses."""

    name: Literal["guess_number"]
    numbers: Annotated[int, Field(ge=2, le=1000)]
    turns: Annotated[int, Field(ge=1, le=100)]


WorldConfig = Annotated[
    BanditConfig | GridConfig | CartPoleConfig | EarlyKeyConfig | GuessNumberConfig,
    Field(discriminator="name"),
]
FINITE = ("bandit", "grid")


class NetworkConfig(Strict):
    """Hidden layers of a network on the observation; none makes it a table, all zeros."""

    hidden: tuple[PositiveInt, ...]
    activation: Literal["relu", "tanh"]


class ReturnsConfig(Strict):
    """What weighs the score of an action; see rl.returns.discounted_returns."""

    discount: Fraction
    reward_to_go: bool
    discount_from: Literal["start", "action"]


class NormaliseConfig(Strict):
    """(A - mean) / (std + eps) over an episode or the batch; see rl.returns.normalised."""

    scope: Literal["none", "episode", "batch"]
    ddof: Literal[0, 1]
    eps: NonNegative


class ValueConfig(Strict):
    """The network behind baseline learned_value, with an optimiser of its own: `updates` steps a
    batch on the squared error of `scale` times its output. The scale is about that of returns."""

    network: NetworkConfig
    scale: PositiveFloat
    updates: PositiveInt
    optim: OptimConfig


class EpisodesEvalConfig(Strict):
    """Greedy play on the same episodes for every arm, seed and step."""

    every: PositiveInt
    episodes: PositiveInt
    seed: Seed


class EpisodesConfig(ProgramConfig):
    """One run: `steps` updates, each on `episodes` episodes of the policy as it is.

    `gradient`: `sampled` from the episodes, or `exact`: of the expected discounted return itself,
    in worlds small enough to enumerate; then nothing is sampled, and baseline and normalisation,
    which do not change an expectation, have to be none. `solved` is the mean return of 100
    episodes in a row at which the world counts as solved; with `stop_when_solved` a run ends there.
    """

    program: Literal["episodes"]
    world: WorldConfig
    episodes: PositiveInt
    gradient: Literal["sampled", "exact"]
    policy: NetworkConfig
    returns: ReturnsConfig
    baseline: Literal[
        "none",
        "constant",
        "running_mean",
        "batch_mean",
        "learned_value",
        "exact_value",
        "optimal",
    ]
    constant: float
    normalise: NormaliseConfig
    value: ValueConfig | None
    optim: OptimConfig
    eval: EpisodesEvalConfig
    solved: float
    stop_when_solved: bool

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.baseline == "learned_value" and self.value is None:
            raise ValueError("baseline learned_value: expected the settings of `value`, got null")
        if self.baseline == "exact_value" and self.world.name not in FINITE:
            raise ValueError(
                f"baseline exact_value: expected a world that can be enumerated "
                f"({', '.join(FINITE)}), got {self.world.name}"
            )
        if self.baseline == "optimal" and self.world.name != "bandit":
            raise ValueError(
                f"baseline optimal: expected world bandit, where it is known, got {self.world.name}"
            )
        if self.gradient == "exact":
            if self.world.name not in FINITE:
                raise ValueError(
                    f"gradient exact: expected a world that can be enumerated "
                    f"({', '.join(FINITE)}), got {self.world.name}"
                )
            if self.baseline != "none" or self.normalise.scope != "none":
                raise ValueError(
                    "gradient exact: an expectation has no use for a baseline; expected baseline "
                    f"none and normalise.scope none, got {self.baseline} and {self.normalise.scope}"
                )
        if self.engine.zero_stage or self.engine.precision != "fp32" or self.engine.compile:
            raise ValueError(
                "engine: one process plays the episodes and trains a network of a few weights; "
                "expected zero_stage 0, precision fp32 and compile false, got "
                f"{self.engine.zero_stage}, {self.engine.precision} and {self.engine.compile}"
            )
        return self
