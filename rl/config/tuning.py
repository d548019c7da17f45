"""tuning.yaml: what an experiment's arms were tuned over, on seeds that it does not use."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator

from rl.config.experiment import ArmName, Experiment, Seeds, load_experiment
from rl.config.overrides import apply_overrides
from rl.config.programs import program_config
from rl.config.schema import Strict, closest, read_yaml, validate
from rl.errors import UserError
from rl.metrics import METRICS

FIRST_PILOT = 100  # seeds below belong to planned runs


class TuningConfig(Strict):
    """`grids`: of each arm one setting, by dotted path, and the values that it was tried with, as
    many for every arm. `metrics` are those of the last step; the value with the highest mean of the
    first over `seeds` is taken."""

    seeds: Seeds
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    grids: Annotated[dict[ArmName, dict[str, tuple[JsonValue, ...]]], Field(min_length=1)]

    @model_validator(mode="after")
    def _fair(self) -> Self:
        if min(self.seeds) < FIRST_PILOT:
            raise ValueError(
                f"seeds: expected seeds from {FIRST_PILOT} up, which no planned run uses, got "
                f"{self.seeds}"
            )
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"metrics: {name!r} is never logged; {closest(name, [*METRICS])}")
        sizes = {}
        for arm, grid in self.grids.items():
            if len(grid) != 1:
                raise ValueError(f"grids.{arm}: expected one setting, got {len(grid)}")
            sizes[arm] = len(next(iter(grid.values())))
        if len(set(sizes.values())) != 1 or 0 in sizes.values():
            raise ValueError(f"grids: expected as many values for every arm, got {sizes}")
        return self


@dataclass(frozen=True)
class GridPoint:
    """One value of one arm's setting; `name` is that of its runs."""

    arm: str
    setting: str
    value: JsonValue
    name: str


def load_tuning(directory: Path, profile: str) -> tuple[TuningConfig, list[GridPoint], Experiment]:
    """The grids of an experiment, and an experiment whose arms are their points.

    Raises:
        UserError: any fault in the files, or an arm that the profile does not have.
    """
    source = str(directory / "tuning.yaml")
    written = validate(TuningConfig, read_yaml(directory / "tuning.yaml"), source)
    experiment = load_experiment(directory, profile)
    points = list(_points(written))
    arms = {}
    for point in points:
        if point.arm not in experiment.arms:
            told = closest(point.arm, list(experiment.arms))
            raise UserError(f"{source}: grids: no arm {point.arm!r}; {told}")
        where = f"{source}: {point.name}"
        data = experiment.arms[point.arm].model_dump(mode="json")
        arms[point.name] = program_config(
            apply_overrides(data, {point.setting: point.value}, where), where
        )
    grid = replace(
        experiment,
        label=f"{profile}+tuning",
        seeds=written.seeds,
        arm_seeds={},
        arms=arms,
        budget_minutes=None,
    )
    return written, points, grid


def _points(written: TuningConfig) -> Iterator[GridPoint]:
    for arm, grid in written.grids.items():
        for setting, values in grid.items():
            for number, value in enumerate(values):
                yield GridPoint(arm, setting, value, f"{arm}_at_{number}")
