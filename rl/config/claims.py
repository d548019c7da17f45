"""claims.yaml: what is claimed, on which metric and arms, by which test, fixed before the run."""

import hashlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rl.config.schema import Strict, closest
from rl.errors import UserError
from rl.metrics import METRICS

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Direction = Literal["greater", "less"]


def _is_number(value: Any) -> bool:
    """Told without a conversion, which fails for an integer beyond the floats."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _window(value: object) -> object:
    """One message for the whole union, where pydantic would give one an alternative."""
    is_range = isinstance(value, list | tuple) and [_is_number(x) for x in value] == [True, True]
    if value not in ("first", "last", "all") and not is_range:
        raise ValueError(
            f"expected first, last, all or [from, to] in shares of the training, got {value!r}"
        )
    return tuple(value) if isinstance(value, list) else value


Window = Annotated[Literal["first", "last", "all"] | tuple[float, float], BeforeValidator(_window)]
Levels = Annotated[tuple[float, ...], Field(min_length=1)]


class Measure(Strict):
    """One number per arm and seed.

    `steps`: first or last logged step, all, or an inclusive range [from, to] in shares of the
    run's steps, 0 the start and 1 the end, so that a claim means the same in every profile.
    `levels`: for a metric with levels, those kept (null: all); null for one without.
    `reduce`: mean of what is kept, or its least-squares slope against `step`, `level`, or the
    metric `slope_on` at the same steps and levels.
    """

    metric: str
    steps: Window
    levels: Levels | None = None
    reduce: Literal["mean", "slope_step", "slope_level", "slope_metric"] = "mean"
    slope_on: str | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        for name in (self.metric, self.slope_on):
            if name is not None and name not in METRICS:
                raise ValueError(f"metric {name!r} is never logged; {closest(name, list(METRICS))}")
        if self.levels is not None and METRICS[self.metric].level is None:
            raise ValueError(f"metric {self.metric!r} has no levels; drop `levels`")
        if (self.slope_on is not None) != (self.reduce == "slope_metric"):
            raise ValueError("slope_on goes with reduce: slope_metric, and only with it")
        if self.slope_on and METRICS[self.slope_on].level != METRICS[self.metric].level:
            raise ValueError(f"{self.slope_on!r} and {self.metric!r} are not logged by one level")
        if self.reduce == "slope_level" and METRICS[self.metric].level is None:
            raise ValueError(f"metric {self.metric!r} has no levels to take a slope over")
        if isinstance(self.steps, tuple) and not 0 <= self.steps[0] <= self.steps[1] <= 1:
            raise ValueError(f"steps: expected 0 <= from <= to <= 1, got {list(self.steps)}")
        return self


class Claim(Strict):
    """What every kind states. `source` names the paper and the place in it."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    role: Literal["primary", "secondary", "control"]
    text: str
    source: str
    measure: Measure

    def arms(self) -> tuple[str, ...]:
        """The arms that the claim needs."""
        raise AssertionError("each kind lists its arms")

    @model_validator(mode="after")
    def _two_arms(self) -> Self:
        arms = self.arms()
        if len(set(arms)) != len(arms):
            raise ValueError(f"treatment and control are both {arms[0]!r}; name two arms")
        return self


class Difference(Claim):
    """Effect d = treatment - control, paired by seed. `greater`/`less`: d beyond `min_effect` in
    that direction. `not_greater`/`not_less`: one-sided, d not beyond `min_effect` that way."""

    kind: Literal["difference"]
    treatment: str
    control: str
    direction: Literal["greater", "less", "not_greater", "not_less"]
    min_effect: NonNegative

    def arms(self) -> tuple[str, ...]:
        return (self.treatment, self.control)


class Equivalence(Claim):
    """Effect d = treatment - control (an arm, or a number); claimed to lie in (-margin, margin)."""

    kind: Literal["equivalence"]
    treatment: str
    control: str | float
    margin: Positive

    def arms(self) -> tuple[str, ...]:
        return (
            (self.treatment, self.control) if isinstance(self.control, str) else (self.treatment,)
        )


class Trend(Claim):
    """Effect d = the measure's slope in one arm, per seed, beyond `min_effect` in `direction`."""

    kind: Literal["trend"]
    arm: str
    direction: Direction
    min_effect: NonNegative

    @model_validator(mode="after")
    def _slope(self) -> Self:
        if self.measure.reduce == "mean":
            raise ValueError("a trend needs a measure that reduces to a slope")
        return self

    def arms(self) -> tuple[str, ...]:
        return (self.arm,)


class Interaction(Claim):
    """Effect d = (treatment - control at `high`) - (treatment - control at `low`), per seed."""

    kind: Literal["interaction"]
    treatment: str
    control: str
    low: Levels
    high: Levels
    direction: Direction
    min_effect: NonNegative

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if METRICS[self.measure.metric].level is None or self.measure.levels is not None:
            raise ValueError(
                "an interaction needs a metric with levels and states them as low, high"
            )
        if set(self.low) & set(self.high):
            raise ValueError(f"low and high share a level: {self.low}, {self.high}")
        return self

    def arms(self) -> tuple[str, ...]:
        return (self.treatment, self.control)


class Exact(Claim):
    """On every seed: treatment = factor * control (an arm or a number), within `tolerance` relative
    to the larger of the two magnitudes."""

    kind: Literal["exact"]
    treatment: str
    control: str | float
    factor: float
    tolerance: NonNegative

    def arms(self) -> tuple[str, ...]:
        return (
            (self.treatment, self.control) if isinstance(self.control, str) else (self.treatment,)
        )


AnyClaim = Annotated[
    Difference | Equivalence | Trend | Interaction | Exact, Field(discriminator="kind")
]


class Claims(Strict):
    """claims.yaml as written. `alpha` is the family-wise level over all claims (Holm)."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    claims: Annotated[tuple[AnyClaim, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ids = [claim.id for claim in self.claims]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"claim ids stand twice: {', '.join(twice)}")
        return self

    def digests(self) -> dict[str, str]:
        """A short content hash a claim, alpha included; it tells which claims were changed."""
        return {
            claim.id: hashlib.sha256(
                f"{self.alpha} {claim.model_dump_json()}".encode()
            ).hexdigest()[:16]
            for claim in self.claims
        }

    def check_against(self, programs: Mapping[str, str], arms: set[str], source: str) -> None:
        """Every claim's arms exist and log its metrics.

        Args:
            programs: program of each arm of the profile.
            arms: every arm of the experiment; a profile may leave some out.

        Raises:
            UserError: an unknown arm, or a metric that the arm's program never logs.
        """
        for claim in self.claims:
            for arm in claim.arms():
                if arm not in arms:
                    raise UserError(
                        f"{source}: claim {claim.id}: no arm {arm!r}; {closest(arm, sorted(arms))}"
                    )
                for name in filter(None, (claim.measure.metric, claim.measure.slope_on)):
                    program = programs.get(arm)
                    if program is not None and METRICS[name].program != program:
                        raise UserError(
                            f"{source}: claim {claim.id}: arm {arm!r} runs program {program!r}, "
                            f"which never logs {name!r} (logged by {METRICS[name].program!r})"
                        )
