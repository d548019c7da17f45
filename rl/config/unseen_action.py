"""Settings of the study of an action that no pair holds."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.run import ProgramConfig
from rl.config.scalars import PositiveFloat
from rl.config.schema import Strict
from rl.config.surrogate_gradients import check_distinct

Share = Annotated[float, Field(gt=0, lt=1)]


class ThreeActionsConfig(Strict):
    """The `reference` chooses one of three actions; all pairs are of the first two, of which the
    first is preferred with the chance `preferred`."""

    reference: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    preferred: Annotated[float, Field(gt=0.5, lt=1)]


class UnseenActionConfig(ProgramConfig):
    """What DPO at `beta` says of policies that give the third action each of the probabilities
    `masses`, beside the optimum of E[r] - beta KL."""

    program: Literal["unseen_action"]
    world: ThreeActionsConfig
    beta: PositiveFloat
    masses: Annotated[tuple[Share, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_distinct("masses", self.masses)
        if not math.isclose(sum(self.world.reference), 1, rel_tol=0, abs_tol=1e-9):
            raise ValueError(
                "world.reference: expected three probabilities that sum to 1, got "
                f"{self.world.reference}"
            )
        return self
