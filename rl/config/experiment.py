"""An experiment: config.yaml + claims.yaml, resolved for one profile into arms x seeds of runs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, JsonValue, model_validator

from rl.config.claims import Claims
from rl.config.overrides import Overrides, apply_overrides, check_varies
from rl.config.programs import program_config
from rl.config.rollout import sampled_by
from rl.config.run import DecoderRunConfig, ProgramConfig
from rl.config.schema import Strict, closest, read_yaml, validate
from rl.digests import json_sha256
from rl.errors import UserError

ProfileName = Literal["smoke", "laptop", "gpu", "paper"]
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
    """Overrides by dotted path; `seeds`, `seeds_of` and `arms` where the profile runs fewer or
    more."""

    set: Overrides
    seeds: Seeds | None = None
    seeds_of: dict[str, Seeds] | None = None
    arms: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    budget_minutes: Annotated[float, Field(gt=0)] | None = None


class ExperimentConfig(Strict):
    """config.yaml as written.

    All arms change one `run`; or, where an experiment has several worlds, each names one of `runs`
    by its key `run`, and paths of the profiles and of SET begin with that name. `seeds_of` gives a
    run of `runs` seeds of its own.
    """

    number: Annotated[int, Field(ge=1, le=99)]
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    question: str
    varies: tuple[str, ...]
    seeds: Seeds
    seeds_of: Annotated[dict[str, Seeds], Field(default_factory=dict)]
    run: dict[str, JsonValue] | None = None
    runs: Annotated[dict[ArmName, dict[str, JsonValue]], Field(min_length=1)] | None = None
    arms: Annotated[dict[ArmName, Overrides], Field(min_length=1)]
    profiles: Annotated[dict[ProfileName, ProfileConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.run is None) == (self.runs is None):
            raise ValueError("expected either `run` or `runs`, got both or neither; state one")
        for where, seeds_of in [
            ("seeds_of", self.seeds_of),
            *((f"profiles.{n}.seeds_of", p.seeds_of or {}) for n, p in self.profiles.items()),
        ]:
            for name in seeds_of:
                if name not in (self.runs or {}):
                    raise ValueError(
                        f"{where}: no run {name!r}; {closest(name, list(self.runs or {}))}"
                    )
        return self


@dataclass(frozen=True)
class RunSpec:
    """One arm and seed, ready to run."""

    arm: str
    seed: int
    config: ProgramConfig


@dataclass(frozen=True)
class Experiment:
    """One experiment under one profile. `arms` holds every arm of the profile, resolved;
    `arm_seeds` the seeds of those that do not run `seeds`; `overrides` what SET and ROLLOUT
    changed."""

    directory: Path
    label: str
    number: int
    name: str
    question: str
    profile: str
    overrides: dict[str, Any]
    budget_minutes: float | None
    seeds: tuple[int, ...]
    arm_seeds: dict[str, tuple[int, ...]]
    arms: dict[str, ProgramConfig]
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
        chosen = [arm for arm in self.arms if arms is None or arm in arms]
        planned = list(dict.fromkeys(seed for arm in chosen for seed in self.seeds_of(arm)))
        for seed in seeds or ():
            if seed not in planned:
                raise UserError(f"SEEDS: seed {seed} is not planned; planned: {tuple(planned)}")
        return [
            RunSpec(arm, seed, self.arms[arm])
            for seed in planned
            if seeds is None or seed in seeds
            for arm in chosen
            if seed in self.seeds_of(arm)
        ]

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """The seeds that the profile plans for an arm."""
        return self.arm_seeds.get(arm, self.seeds)

    def decoder(self, arm: str) -> DecoderRunConfig:
        """The settings of an arm that trains a decoder.

        Raises:
            UserError: it runs another program.
        """
        config = self.arms[arm]
        if not isinstance(config, DecoderRunConfig):
            raise UserError(f"{self.name}: arm {arm} runs {config.program}, which has no decoder")
        return config


def find_experiment(number: int, root: Path = Path("experiments")) -> Path:
    """The directory of experiment `number`."""
    found = sorted(root.glob(f"{number:02d}-*"))
    if len(found) != 1:
        known = ", ".join(sorted(path.name for path in root.glob("[0-9][0-9]-*"))) or "none"
        raise UserError(f"expected one experiment {number:02d} under {root}/, known: {known}")
    return found[0]


def profiles_of(directory: Path) -> tuple[ProfileName, ...]:
    """The profiles that an experiment's config.yaml has.

    Raises:
        UserError: any fault of the file.
    """
    source = directory / "config.yaml"
    return tuple(validate(ExperimentConfig, read_yaml(source), str(source)).profiles)


def load_experiment(
    directory: Path, profile: str, overrides: dict[str, Any] | None = None, rollout: str = ""
) -> Experiment:
    """Read, resolve and cross-check one experiment.

    Order of precedence, last wins: `run`, the profile's `set`, the arm, `overrides`, and for
    rollout.sampler of all arms that have a decoder `rollout`, if it is not empty.

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
    arms, arm_seeds = {}, {}
    seeds = chosen.seeds or written.seeds
    seeds_of = {} if chosen.seeds else written.seeds_of
    seeds_of = seeds_of if chosen.seeds_of is None else chosen.seeds_of
    changed = overrides or {}
    tree = apply_overrides(_tree(written), chosen.set, f"{source}: profiles.{profile}.set")
    _check_set(changed, tree, several=written.run is None)
    for name in names:
        where = f"{source}: arms.{name}"
        run, own = _run_of(written, name, where)
        check_varies(where, own, written.varies)
        data = apply_overrides(tree[run] if run else tree, own, where)
        ours = _paths_under(run, changed) if run else changed
        data = apply_overrides(data, ours, "SET")
        arms[name] = program_config(data, f"{source}, profile {profile}, arm {name}")
        if seeds_of.get(run, seeds) != seeds:
            arm_seeds[name] = seeds_of[run]
    sampled = sampled_by(rollout, arms, directory.name) if rollout else arms
    if moved := sampled != arms:
        changed = {**changed, "ROLLOUT": rollout}
    claims_file = directory / "claims.yaml"
    claims = validate(Claims, read_yaml(claims_file), str(claims_file))
    claims.check_against(
        {name: config.program for name, config in arms.items()},
        set(written.arms),
        str(claims_file),
    )
    _check_pairs(claims, arms, arm_seeds, seeds, str(claims_file))
    return Experiment(
        directory=directory,
        label=_label(profile, overrides or {}) + (f"+rollout={rollout}" if moved else ""),
        number=written.number,
        name=directory.name,
        question=written.question,
        profile=profile,
        overrides=dict(changed),
        budget_minutes=chosen.budget_minutes,
        seeds=seeds,
        arm_seeds=arm_seeds,
        arms=sampled,
        claims=claims,
        claims_sha256=hashlib.sha256(claims_file.read_bytes()).hexdigest(),
    )


def config_digest(config: BaseModel) -> str:
    """Content hash of a resolved configuration, whatever the order of its fields."""
    return json_sha256(config.model_dump(mode="json"))


def _label(profile: str, overrides: dict[str, Any]) -> str:
    """A directory name that tells the profile and the overrides; a long one ends in a digest."""
    changes = "".join(f"+{path}={json.dumps(value)}" for path, value in overrides.items())
    label = profile + "".join(
        c if c.isascii() and (c.isalnum() or c in "+=._-") else "_" for c in changes
    )
    if len(label) > 120:
        label = f"{label[:100]}...{hashlib.sha256(changes.encode()).hexdigest()[:16]}"
    return label


def _tree(written: ExperimentConfig) -> dict[str, Any]:
    """The settings that a profile's paths begin in."""
    return {**(written.run or {}), **(written.runs or {})}


def _check_set(changed: Overrides, tree: dict[str, Any], *, several: bool) -> None:
    """Every path of SET exists, if only in a run whose arms are not asked for."""
    for path in changed if several else ():
        if "." not in path:
            raise UserError(
                f"SET: {path!r}: expected a setting of one run, such as {next(iter(tree))}.steps=10"
            )
    apply_overrides(tree, changed, "SET")


def _run_of(written: ExperimentConfig, arm: str, where: str) -> tuple[str, Overrides]:
    """The name of an arm's run, empty where there is one for all, and the arm's own changes."""
    own = dict(written.arms[arm])
    if written.runs is None:
        return "", own
    run, known = own.pop("run", None), list(written.runs)
    if not isinstance(run, str) or run not in written.runs:
        raise UserError(
            f"{where}: run: expected the name of one of `runs`, got {run!r}; "
            f"{closest(str(run), known)}"
        )
    return run, own


def _paths_under(run: str, overrides: Overrides) -> Overrides:
    """The overrides of one of several runs, without its name."""
    ours = {path: value for path, value in overrides.items() if path.startswith(f"{run}.")}
    return {path.removeprefix(f"{run}."): value for path, value in ours.items()}


def _check_pairs(
    claims: Claims,
    arms: Mapping[str, ProgramConfig],
    arm_seeds: Mapping[str, tuple[int, ...]],
    seeds: tuple[int, ...],
    source: str,
) -> None:
    """Arms that a claim compares are paired by seed, but for the kinds that take them apart."""
    for claim in claims.claims:
        if not claim.paired:
            continue
        planned = {arm: set(arm_seeds.get(arm, seeds)) for arm in claim.arms() if arm in arms}
        if len({frozenset(each) for each in planned.values()}) > 1:
            raise UserError(
                f"{source}: claim {claim.id}: {' and '.join(planned)} are compared seed by seed, "
                f"but plan other seeds; give their runs the same under seeds_of"
            )
