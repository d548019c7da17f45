"""Settings of the study of KL estimators, as values and as losses, where all is known exactly."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.run import ProgramConfig
from rl.config.scalars import PositiveFloat, PositiveInt
from rl.config.schema import Strict
from rl.config.surrogate_gradients import Distances, StudyTreeConfig, check_distinct

KLs = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
# Beyond this the square of the ratio, exp(2 KL) on average, is nothing that could be sampled.
MOST_NORMAL_KL = 20.0


class NormalConfig(Strict):
    """N(0, 1) against N(m, 1) at each KL = m^2 / 2 of `kls`, in nats, worked out, and by `samples`
    draws."""

    kls: KLs
    samples: PositiveInt


class TreesConfig(Strict):
    """Language models `distances` nats a response away from their reference, with `samples` draws
    a prompt. At the distance `reference` the gradient is looked at by place, and from responses of
    older policies at the distances `stale`, KL(pi || pi_old)."""

    distances: KLs
    samples: PositiveInt
    reference: PositiveFloat
    stale: Distances


class FieldConfig(Strict):
    """Policies of three actions, (i, j, k) / `cells` with i, j, k >= 1, against one `reference`."""

    cells: Annotated[int, Field(ge=3, le=100)]
    reference: tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class KLEstimatorsConfig(ProgramConfig):
    """One way to penalise: `estimator` and `level` as in rl.kl; `weighted` multiplies it by the
    importance ratio, which carries a gradient."""

    program: Literal["kl_estimators"]
    world: StudyTreeConfig
    estimator: Literal["k1", "k2", "k3"]
    level: Literal["token", "sequence"]
    weighted: bool
    normal: NormalConfig
    trees: TreesConfig
    field: FieldConfig

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_distinct("normal.kls", self.normal.kls)
        check_distinct("trees.distances", self.trees.distances)
        check_distinct("trees.stale", self.trees.stale)
        if max(self.normal.kls) > MOST_NORMAL_KL:
            raise ValueError(
                f"normal.kls: expected at most {MOST_NORMAL_KL} nats, got {max(self.normal.kls)}"
            )
        if not math.isclose(sum(self.field.reference), 1, rel_tol=0, abs_tol=1e-9):
            raise ValueError(
                "field.reference: expected three probabilities that sum to 1, got "
                f"{self.field.reference}"
            )
        return self
