"""An experiment: config.yaml + claims.yaml, resolved for one profile into arms x seeds of runs."""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue

from rl.config.claims import Claims
from rl.config.run import RunConfig
from rl.config.schema import Strict, closest, plain, read_yaml, validate
from rl.errors import UserError

ProfileName = Literal["smoke", "laptop", "gpu", "paper"]
Overrides = dict[str, JsonValue]
# Arms name directories, whose names are short, and stand between commas in ARMS.
ArmName = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=100)]


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """A seed that stood twice would be two runs in one directory."""
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"expected distinct seeds, got {seeds}; keep one of each")
    return seeds


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(min_length=1), AfterValidator(_once)
]


class ProfileConfig(Strict):
    """Overrides by dotted path; `seeds` and `arms` where the profile runs fewer or more."""

    set: Overrides
    seeds: Seeds | None = None
    arms: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    budget_minutes: Annotated[float, Field(gt=0)] | None = None


class ExperimentConfig(Strict):
    """config.yaml as written."""

    number: Annotated[int, Field(ge=1, le=99)]
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    question: str
    varies: tuple[str, ...]
    seeds: Seeds
    run: dict[str, JsonValue]
    arms: Annotated[dict[ArmName, Overrides], Field(min_length=1)]
    profiles: Annotated[dict[ProfileName, ProfileConfig], Field(min_length=1)]


@dataclass(frozen=True)
class RunSpec:
    """One arm and seed, ready to run."""

    arm: str
    seed: int
    config: RunConfig


@dataclass(frozen=True)
class Experiment:
    """One experiment under one profile. `arms` holds every arm of the profile, resolved."""

    directory: Path
    label: str
    number: int
    name: str
    question: str
    profile: str
    overrides: dict[str, Any]
    budget_minutes: float | None
    seeds: tuple[int, ...]
    arms: dict[str, RunConfig]
    claims: Claims
    claims_sha256: str

    def select(self, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> list[RunSpec]:
        """The runs to do, seed by seed, so that an early stop leaves whole comparisons.

        Raises:
            UserError: an arm or seed that the profile does not plan.
        """
        for arm in arms or ():
            if arm not in self.arms:
                raise UserError(f"ARMS: no arm {arm!r}; {closest(arm, list(self.arms))}")
        for seed in seeds or ():
            if seed not in self.seeds:
                raise UserError(f"SEEDS: seed {seed} is not planned; planned: {self.seeds}")
        chosen = [arm for arm in self.arms if arms is None or arm in arms]
        return [
            RunSpec(arm, seed, self.arms[arm])
            for seed in self.seeds
            if seeds is None or seed in seeds
            for arm in chosen
        ]


def find_experiment(number: int, root: Path = Path("experiments")) -> Path:
    """The directory of experiment `number`."""
    found = sorted(root.glob(f"{number:02d}-*"))
    if len(found) != 1:
        known = ", ".join(sorted(path.name for path in root.glob("[0-9][0-9]-*"))) or "none"
        raise UserError(f"expected one experiment {number:02d} under {root}/, known: {known}")
    return found[0]


def load_experiment(
    directory: Path, profile: str, overrides: dict[str, Any] | None = None
) -> Experiment:
    """Read, resolve and cross-check one experiment.

    Order of precedence, last wins: `run`, the profile's `set`, the arm, `overrides`.

    Raises:
        UserError: any fault, with the key, what was expected and what came.
    """
    source = directory / "config.yaml"
    written = validate(ExperimentConfig, read_yaml(source), str(source))
    if directory.name != f"{written.number:02d}-{written.name}":
        raise UserError(
            f"{source}: number and name say {written.number:02d}-{written.name}, but the "
            f"directory is {directory.name}; make them agree"
        )
    if profile not in written.profiles:
        raise UserError(
            f"PROFILE: {directory.name} has no profile {profile!r}; "
            f"{closest(profile, list(written.profiles))}"
        )
    chosen = written.profiles[profile]  # checked above
    names = list(written.arms) if chosen.arms is None else list(chosen.arms)
    for name in names:
        if name not in written.arms:
            raise UserError(
                f"{source}: profiles.{profile}.arms: no arm {name!r}; "
                f"{closest(name, list(written.arms))}"
            )
    arms = {}
    for name in names:
        where = f"{source}: arms.{name}"
        _check_varies(where, written.arms[name], written.varies)
        data = _apply(written.run, chosen.set, f"{source}: profiles.{profile}.set")
        data = _apply(data, written.arms[name], where)
        data = _apply(data, overrides or {}, "SET")
        arms[name] = validate(RunConfig, data, f"{source}, profile {profile}, arm {name}")
    claims_file = directory / "claims.yaml"
    claims = validate(Claims, read_yaml(claims_file), str(claims_file))
    claims.check_against(
        {name: config.program for name, config in arms.items()},
        set(written.arms),
        str(claims_file),
    )
    return Experiment(
        directory=directory,
        label=_label(profile, overrides or {}),
        number=written.number,
        name=directory.name,
        question=written.question,
        profile=profile,
        overrides=dict(overrides or {}),
        budget_minutes=chosen.budget_minutes,
        seeds=chosen.seeds or written.seeds,
        arms=arms,
        claims=claims,
        claims_sha256=hashlib.sha256(claims_file.read_bytes()).hexdigest(),
    )


def config_digest(config: BaseModel) -> str:
    """Content hash of a resolved configuration."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def _label(profile: str, overrides: dict[str, Any]) -> str:
    """A directory name that tells the profile and the overrides; a long one ends in a digest."""
    changes = "".join(f"+{path}={json.dumps(value)}" for path, value in overrides.items())
    label = profile + "".join(
        c if c.isascii() and (c.isalnum() or c in "+=._-") else "_" for c in changes
    )
    if len(label) > 120:
        label = f"{label[:100]}...{hashlib.sha256(changes.encode()).hexdigest()[:16]}"
    return label


def _check_varies(where: str, overrides: Overrides, varies: tuple[str, ...]) -> None:
    for path in overrides:
        if path not in varies:
            raise UserError(
                f"{where}: varies {path!r}, which the experiment does not declare under `varies` "
                f"({', '.join(map(plain, varies)) or 'nothing'}); declare it or drop it"
            )


def _apply(base: dict[str, Any], overrides: Overrides, where: str) -> dict[str, Any]:
    """A copy of `base` with every dotted path replaced. A path must exist already."""
    data = deepcopy(base)
    for path, value in overrides.items():
        *parents, last = path.split(".")
        node: Any = data
        for depth, part in enumerate([*parents, last]):
            prefix = plain(".".join([*parents, last][:depth]))
            if not isinstance(node, dict):
                raise UserError(
                    f"{where}: no setting {path!r}: {prefix} is a value, not a section; "
                    f"set {prefix} itself"
                )
            if part not in node:
                known = list(node)
                raise UserError(
                    f"{where}: no setting {path!r}: {part!r} is unknown"
                    f"{f' under {prefix}' if prefix else ''}; {closest(part, known)}"
                )
            if depth == len(parents):
                node[last] = deepcopy(value)
            else:
                node = node[part]
    return data
