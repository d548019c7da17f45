"""What a claim measures: one number per arm and seed, out of what a run logs."""

import sys
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from rl.config.schema import Strict, closest
from rl.metrics import METRICS


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


class Band(Strict):
    """The logged steps at which a metric without levels lies in [from, to], both included."""

    model_config = ConfigDict(serialize_by_alias=True)

    metric: str
    low: Annotated[float, Field(alias="from")]
    high: Annotated[float, Field(alias="to")]

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.metric not in METRICS:
            told = closest(self.metric, list(METRICS))
            raise ValueError(f"metric {self.metric!r} is never logged; {told}")
        if METRICS[self.metric].level is not None:
            raise ValueError(f"metric {self.metric!r} has levels; a band is of one without")
        if not self.low < self.high:
            raise ValueError(f"expected from < to, got {self.low} and {self.high}")
        return self


class Measure(Strict):
    """One number per arm and seed.

    `where`: of a run's logged steps those alone at which another metric lies in a band, so that
    arms are compared at one reward, say, and not at one step; `steps` then chooses among these. A
    run that never comes into the band leaves the claim incomplete.

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
    # Left out of what is written where there is none, as of the claims that never knew of it.
    where: Annotated[Band | None, Field(exclude_if=lambda band: band is None)] = None

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
