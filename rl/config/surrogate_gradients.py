"""Settings of the study of policy losses off their own policy, where every response is listed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.gradient_covariance import TreeSize
from rl.config.run import ProgramConfig
from rl.config.scalars import NonNegative, PositiveFloat, PositiveInt
from rl.config.schema import Strict
from rl.config.update import LossName, check_bound

# Listed responses of all prompts together.
MOST_RESPONSES = 10**5

Distances = Annotated[tuple[NonNegative, ...], Field(min_length=1)]


class StudyTreeConfig(TreeSize):
    """A random language model whose responses are listed, at an `entropy` in nats a token.
    `rewards`: see rl.tabular.rewards."""

    entropy: PositiveFloat
    rewards: Literal["graded", "single", "likeliest", "normal"]

    @model_validator(mode="after")
    def _small(self) -> Self:
        self.check_entropy(self.entropy)
        if self.prompts * self.responses > MOST_RESPONSES:
            raise ValueError(
                f"expected at most {MOST_RESPONSES} listed responses, got {self.prompts} prompts x "
                f"{self.responses}; choose a shorter length or a smaller vocabulary"
            )
        return self


class SurrogateLossConfig(Strict):
    """A policy loss of rl.losses with its bounds."""

    name: LossName
    clip_low: Annotated[float, Field(gt=0, lt=1)]
    clip_high: PositiveFloat
    bound: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _bound(self) -> Self:
        check_bound("loss", self.name, self.bound)
        return self


class SurrogateGradientsConfig(ProgramConfig):
    """The policy stands at each of the `distances`, KL(pi_old || pi) in nats a response, from the
    one that drew the responses; `samples` responses a prompt check what enumeration says."""

    program: Literal["surrogate_gradients"]
    world: StudyTreeConfig
    loss: SurrogateLossConfig
    distances: Distances
    samples: PositiveInt

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct("distances", self.distances)
        return self


def check_distinct(where: str, levels: tuple[float, ...]) -> None:
    """Levels name what is logged.

    Raises:
        ValueError: one of them stands twice.
    """
    if len(set(levels)) != len(levels):
        raise ValueError(f"{where}: expected distinct levels, got {levels}; keep one of each")
