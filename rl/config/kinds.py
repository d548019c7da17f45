"""The kinds of claim: what each states, and what makes it one that could be decided."""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rl.config.measure import Levels, Measure
from rl.config.schema import Strict, closest
from rl.metrics import METRICS

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
# A ratio that matters, by how much more: the other way round it is its inverse.
Ratio = Annotated[float, Field(ge=1)]
Direction = Literal["greater", "less"]


class Claim(Strict):
    """What every kind states. `source` names the paper and the place in it; the arms of a `paired`
    kind run the same seeds."""

    paired: ClassVar[bool] = True

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    role: Literal["primary", "secondary", "control"]
    text: str
    source: str
    measure: Measure

    def arms(self) -> tuple[str, ...]:
        """The arms that the claim needs."""
        raise AssertionError("each kind lists its arms")

    def metrics(self) -> tuple[str, ...]:
        """The metrics that the claim needs of each of them."""
        measure = self.measure
        on = [measure.slope_on] if measure.slope_on else []
        return (measure.metric, *on, *([measure.where.metric] if measure.where else []))

    @model_validator(mode="after")
    def _two_arms(self) -> Self:
        arms = self.arms()
        if len(set(arms)) != len(arms):
            raise ValueError(f"treatment and control are both {arms[0]!r}; name two arms")
        return self


def _named(treatment: str, control: str | float) -> tuple[str, ...]:
    """The arms of a comparison with an arm or a number."""
    return (treatment, control) if isinstance(control, str) else (treatment,)


class Difference(Claim):
    """Effect d = treatment - control (an arm, or a number), paired by seed. `greater`/`less`: d
    beyond `min_effect` in that direction. `not_greater`/`not_less`: one-sided, d not beyond
    `min_effect` that way."""

    kind: Literal["difference"]
    treatment: str
    control: str | float
    direction: Literal["greater", "less", "not_greater", "not_less"]
    min_effect: NonNegative

    def arms(self) -> tuple[str, ...]:
        return _named(self.treatment, self.control)


class Equivalence(Claim):
    """Effect d = treatment - control (an arm, or a number); claimed to lie in (-margin, margin)."""

    kind: Literal["equivalence"]
    treatment: str
    control: str | float
    margin: Positive

    def arms(self) -> tuple[str, ...]:
        return _named(self.treatment, self.control)


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


class OverArms(Claim):
    """Effect d = sum over arms of weight * measure, per seed. Weights sum to 0, so that what is the
    same in all arms does not count; by them d is a slope over what the arms vary, say, or a bend.
    """

    weights: Annotated[dict[str, float], Field(min_length=2)]

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        if 0 in self.weights.values():
            raise ValueError("weights: expected none of 0; leave those arms out")
        if not abs(math.fsum(self.weights.values())) < 1e-9:
            raise ValueError(
                f"weights: expected a sum of 0, got {math.fsum(self.weights.values()):g}; what is "
                "the same in all arms would count"
            )
        return self

    def arms(self) -> tuple[str, ...]:
        return tuple(self.weights)


class Contrast(OverArms):
    """d beyond `min_effect` in `direction`."""

    kind: Literal["contrast"]
    direction: Direction
    min_effect: NonNegative


class ContrastEquivalence(OverArms):
    """d claimed to lie in (-margin, margin)."""

    kind: Literal["contrast_equivalence"]
    margin: Positive


class Exact(Claim):
    """On every seed: treatment = factor * control (an arm or a number), within `tolerance` relative
    to the larger of the two magnitudes."""

    kind: Literal["exact"]
    treatment: str
    control: str | float
    factor: float
    tolerance: NonNegative

    def arms(self) -> tuple[str, ...]:
        return _named(self.treatment, self.control)


class LogRank(Claim):
    """Which arm comes to an event first. The event of a run is the first logged step at which the
    measure's metric is `reaches` or more (`at_least`) or `reaches` or less (`at_most`); its time is
    that step, or there the value of `time_metric`, a count such as episodes so far. A run without
    it is censored at its last logged step. Effect: log hazard ratio, `greater` where the treatment
    comes first, beyond log `min_effect`. The arms are not paired."""

    paired: ClassVar[bool] = False

    kind: Literal["log_rank"]
    treatment: str
    control: str
    reaches: float
    event: Literal["at_least", "at_most"]
    time_metric: str | None = None
    direction: Direction
    min_effect: Ratio

    @model_validator(mode="after")
    def _follows_one_curve(self) -> Self:
        measure = self.measure
        if measure.steps != "all" or measure.reduce != "mean" or measure.where:
            raise ValueError(
                "a log_rank claim looks at every logged step: state steps: all, no reduce, no where"
            )
        if METRICS[measure.metric].level is not None and len(measure.levels or ()) != 1:
            raise ValueError(
                f"metric {measure.metric!r} has levels, and an event is of one: state levels: [x]"
            )
        if self.time_metric is not None:
            if self.time_metric not in METRICS:
                told = closest(self.time_metric, list(METRICS))
                raise ValueError(f"time_metric {self.time_metric!r} is never logged; {told}")
            if METRICS[self.time_metric].level is not None:
                raise ValueError(f"time_metric {self.time_metric!r} has levels; a time has none")
        return self

    def arms(self) -> tuple[str, ...]:
        return (self.treatment, self.control)

    def metrics(self) -> tuple[str, ...]:
        return (*super().metrics(), *([self.time_metric] if self.time_metric else []))


class VarianceRatio(Claim):
    """Effect d = log(treatment / control) of a measure above 0, per seed, beyond log `min_effect`
    in `direction`; the control is an arm or a number."""

    kind: Literal["variance_ratio"]
    treatment: str
    control: str | float
    direction: Direction
    min_effect: Ratio

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if not isinstance(self.control, str) and self.control <= 0:
            raise ValueError(f"control: expected an arm or a number above 0, got {self.control}")
        return self

    def arms(self) -> tuple[str, ...]:
        return _named(self.treatment, self.control)


class McNemar(Claim):
    """A seed succeeds in an arm where the measure is `reaches` or more. Effect: of the seeds that
    succeed in one arm alone, the share that does in the treatment, less 1/2, beyond `min_effect` in
    `direction`."""

    kind: Literal["mcnemar"]
    treatment: str
    control: str
    reaches: float
    direction: Direction
    min_effect: Annotated[float, Field(ge=0, lt=0.5)]

    def arms(self) -> tuple[str, ...]:
        return (self.treatment, self.control)


class Enumeration(Claim):
    """On every seed: treatment = control (an arm or a number), within `tolerance` in the measure's
    unit, of a metric that is computed with nothing drawn."""

    kind: Literal["enumeration"]
    treatment: str
    control: str | float
    tolerance: NonNegative

    @model_validator(mode="after")
    def _nothing_drawn(self) -> Self:
        drawn = [name for name in self.metrics() if not METRICS[name].exact]
        if drawn:
            exact = ", ".join(name for name, metric in METRICS.items() if metric.exact)
            raise ValueError(
                f"an enumeration claim needs a metric that is enumerated, and {drawn[0]!r} is "
                f"not; enumerated: {exact}; for this one state another kind"
            )
        return self

    def arms(self) -> tuple[str, ...]:
        return _named(self.treatment, self.control)


AnyClaim = Annotated[
    Difference
    | Equivalence
    | Trend
    | Interaction
    | Contrast
    | ContrastEquivalence
    | Exact
    | LogRank
    | VarianceRatio
    | McNemar
    | Enumeration
    | Contrast,
    Field(discriminator="kind"),
]
