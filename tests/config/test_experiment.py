"""config.yaml: what loads, in which order of precedence, and what is refused with which words."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pydantic
import pytest

from rl.config import config_digest, find_experiment, load_experiment
from rl.errors import UserError


def test_a_valid_experiment_loads(files: Any) -> None:
    experiment = files.load()
    assert experiment.number == 3
    assert experiment.name == "03-small"
    assert experiment.label == "laptop"
    assert list(experiment.arms) == ["none", "group_std", "weight"]
    assert experiment.arms["none"].optim.lr == 3e-4
    assert experiment.arms["none"].optim.betas == (0.9, 0.95)
    assert experiment.arms["group_std"].advantage.scale == "group_std"
    assert experiment.arms["weight"].program == "gradient_weight"
    assert experiment.seeds == (0, 1)


def test_precedence_is_run_profile_arm_set(files: Any) -> None:
    files.config["arms"]["none"] = {}
    files.config["arms"]["group_std"] = {"steps": 20}
    assert files.load("laptop").arms["none"].steps == 4
    smoke = files.load("smoke")
    assert smoke.arms["none"].steps == 2
    assert smoke.arms["group_std"].steps == 20
    assert smoke.seeds == (0,)
    both = files.load("smoke", {"steps": 30})
    assert both.arms["none"].steps == 30
    assert both.arms["group_std"].steps == 30
    assert both.label == "smoke+steps=30"
    assert both.overrides == {"steps": 30}


def test_arms_share_nothing(files: Any) -> None:
    files.config["arms"] = {"none": {}, "long": {"steps": 9}, "group_std": {}}
    files.put("profiles.laptop.set", {"task.digits": [2]})
    arms = files.load().arms
    assert [arms[name].steps for name in arms] == [4, 9, 4]
    assert arms["none"].task.digits == (2,)
    assert config_digest(arms["none"]) == config_digest(arms["group_std"])
    assert config_digest(arms["none"]) != config_digest(arms["long"])


def test_what_is_loaded_is_frozen(files: Any) -> None:
    experiment = files.load()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        experiment.arms["none"].steps = 5
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        experiment.arms["none"].optim.lr = 1.0
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        experiment.claims.claims[0].min_effect = 0.0
    with pytest.raises(FrozenInstanceError):
        experiment.profile = "gpu"


def test_select_gives_seed_by_seed(files: Any) -> None:
    experiment = files.load()
    runs = [(run.seed, run.arm) for run in experiment.select(["weight", "none"], None)]
    assert runs == [(0, "none"), (0, "weight"), (1, "none"), (1, "weight")]
    assert [run.seed for run in experiment.select(None, [1])] == [1, 1, 1]
    with pytest.raises(UserError, match=r"ARMS: no arm 'group_sdt'; did you mean 'group_std'\?"):
        experiment.select(["group_sdt"], None)
    with pytest.raises(UserError, match=r"SEEDS: seed 5 is not planned; planned: \(0, 1\)"):
        experiment.select(None, [5])


def several(files: Any) -> Any:
    """The experiment with two runs, the second of them with seeds of its own."""
    run = files.config.pop("run")
    files.config["runs"] = {"short": run, "long": {**run, "steps": 9}}
    files.config["seeds_of"] = {"long": [5, 6, 7]}
    files.config["arms"] = {
        "none": {"run": "short"},
        "group_std": {"run": "short", "advantage.scale": "group_std"},
        "slow": {"run": "long"},
    }
    files.config["profiles"]["smoke"]["set"] = {"short.steps": 2}
    return files


def test_arms_change_one_of_several_runs(files: Any) -> None:
    experiment = several(files).load()
    assert [experiment.arms[arm].steps for arm in experiment.arms] == [4, 4, 9]
    assert experiment.arms["group_std"].advantage.scale == "group_std"
    assert [experiment.seeds_of(arm) for arm in experiment.arms] == [(0, 1), (0, 1), (5, 6, 7)]
    runs = [(run.seed, run.arm) for run in experiment.select(None, None)]
    assert runs == [
        *[(0, "none"), (0, "group_std"), (1, "none"), (1, "group_std")],
        *[(5, "slow"), (6, "slow"), (7, "slow")],
    ]
    with pytest.raises(UserError, match=r"SEEDS: seed 6 is not planned; planned: \(0, 1\)"):
        experiment.select(["none"], [6])


def test_profiles_and_set_name_one_of_several_runs(files: Any) -> None:
    smoke = several(files).load("smoke")
    assert [smoke.arms[arm].steps for arm in smoke.arms] == [2, 2, 9]
    # A profile with seeds of its own gives them to every run, unless it says otherwise.
    assert [smoke.seeds_of(arm) for arm in smoke.arms] == [(0,), (0,), (0,)]
    files.config["profiles"]["smoke"]["seeds_of"] = {"long": [8]}
    assert files.load("smoke").seeds_of("slow") == (8,)
    changed = files.load("laptop", {"long.steps": 30})
    assert [changed.arms[arm].steps for arm in changed.arms] == [4, 4, 30]
    assert changed.label == "laptop+long.steps=30"


# What is changed in an experiment of several runs, with SET, and what is told.
BAD_RUNS: list[tuple[str, Any, dict[str, Any], str]] = [
    (
        "arms.slow",
        {"run": "lnog"},
        {},
        "arms.slow: run: expected the name of one of `runs`, got 'l",
    ),
    ("arms.slow", {}, {}, "arms.slow: run: expected the name of one of `runs`, got None"),
    ("seeds_of", {"lnog": [1]}, {}, "seeds_of: no run 'lnog'; did you mean 'long'?"),
    ("run", {}, {}, "expected either `run` or `runs`, got both or neither; state one"),
    (
        "seeds",
        [0, 1],
        {"steps": 3},
        "SET: 'steps': expected a setting of one run, such as short.st",
    ),
    ("seeds", [0, 1], {"lnog.steps": 3}, "'lnog' is unknown; did you mean 'long'?"),
    (
        "arms.slow",
        {"run": "long", "optim.lr": 1.0},
        {},
        "varies 'optim.lr', which the experiment d",
    ),
    ("arms.group_std", {"run": "long"}, {}, "are compared seed by seed, but plan other seeds"),
]


@pytest.mark.parametrize(("path", "value", "changed", "told"), BAD_RUNS)
def test_a_fault_in_one_of_several_runs_is_told(
    files: Any, path: str, value: Any, changed: dict[str, Any], told: str
) -> None:
    several(files).put(path, value)
    assert told in files.fault(overrides=changed)


def test_arms_that_are_not_paired_may_have_other_seeds(files: Any) -> None:
    written = several(files).claims["claims"][0]
    written |= {"treatment": "slow", "kind": "log_rank", "reaches": 0.9, "event": "at_least"}
    written |= {"measure": {"metric": "eval/accuracy", "steps": "all"}, "min_effect": 1.0}
    experiment = files.load()
    assert experiment.seeds_of("slow") != experiment.seeds_of("none")
    written |= {"kind": "mcnemar", "min_effect": 0.0}
    del written["event"]
    assert "slow and none are compared seed by seed, but plan other seeds" in files.fault()


def test_an_unknown_program_is_told(files: Any) -> None:
    files.put("run.program", "polcy")
    assert "program: expected the name of a program, got 'polcy'; did you mean" in files.fault()
    del files.config["run"]["program"]
    assert "program: missing; every scientific setting must be stated" in files.fault()


# Where in config.yaml, what is written there, and the whole fault line that is told.
BAD_SETTINGS: list[tuple[str, Any, str]] = [
    ("run.optim.lrr", 1e-3, "optim.lrr: unknown key; did you mean 'lr'?"),
    ("run.base.model.layer", 2, "base.model.layer: unknown key; did you mean 'layers'?"),
    ("run.zzz", 2, "zzz: unknown key; known: advantage, base, engine, eval, kl, loss, opt"),
    ("run.optim.lr", "fast", "optim.lr: input should be a valid number, got 'fast'"),
    ("run.optim.lr", True, "optim.lr: input should be a valid number, got True"),
    ("run.optim.lr", 0, "optim.lr: input should be greater than 0, got 0"),
    ("run.optim.lr", 10**400, "optim.lr: input should be a finite number, got 1000"),
    ("run.optim.lr", float("nan"), "optim.lr: input should be a valid number, got '.nan'"),
    ("run.steps", 2.5, "steps: input should be a valid integer, got 2.5"),
    ("run.steps", None, "steps: input should be a valid integer, got None"),
    ("run.optim.schedule", "linaer", "input should be 'constant', 'linear' or 'cosine', got 'lin"),
    ("run.optim.betas", [0.9], "optim.betas.1: missing"),
    ("run.optim", 3, "optim: input should be an object, got 3"),
    ("run.task.digits", [], "task.digits: tuple should have at least 1 item after validation, no"),
    ("run.task.digits", [2, 2], "task.digits: expected distinct difficulties, got (2, 2)"),
    (
        "run.task.digits",
        [2, 4, 9],
        "task.digits: the base model never saw prompts of [4, 9] digits",
    ),
    (
        "run.base.digits",
        [2, 3, 4, 9],
        "text.solved: no share given for prompts of 4, 9 digits, which base.digits asks for",
    ),
    (
        "run.rollout.group_size",
        1,
        "rollout.group_size: a group of one has nothing to be compared with; expected 2 or more",
    ),
    (
        "run.loss.minibatches",
        5,
        "minibatches: 12 responses (rollout.prompts x rollout.group_size) do not divide into 5; ch",
    ),
    (
        "run.study.samples",
        10,
        "study.samples: 10 samples do not divide into groups of 4; choose a multiple of 4",
    ),
    ("run.base.model.heads", 3, "expected hidden_size to divide by heads and heads by kv_heads"),
    ("run.base.model.hidden_size", 6, "expected an even head size (rotary positions turn pairs)"),
]


@pytest.mark.parametrize(("path", "value", "told"), BAD_SETTINGS)
def test_a_bad_setting_is_one_message(files: Any, path: str, value: Any, told: str) -> None:
    files.put(path, value)
    first, *faults = files.fault().split("\n")
    assert first == f"{files.directory}/config.yaml, profile laptop, arm none: 1 fault(s)"
    (fault,) = faults
    assert told in fault


@pytest.mark.parametrize("path", ["run.optim.lr", "run.rollout", "run.base.text.solved"])
def test_a_missing_setting_is_named(files: Any, path: str) -> None:
    *parents, last = path.split(".")
    node = files.config
    for part in parents:
        node = node[part]
    del node[last]
    place = path.removeprefix("run.")
    assert f"\n  {place}: missing; every scientific setting must be stated" in files.fault()


def test_a_quoted_number_is_text(files: Any) -> None:
    files.load()
    path = files.directory / "config.yaml"
    text = path.read_text(encoding="utf-8")
    for written, kept in (("3e-4", True), ("'3e-4'", False)):
        path.write_text(text.replace("lr: 0.0003", f"lr: {written}"), encoding="utf-8")
        if kept:
            assert load_experiment(files.directory, "laptop").arms["none"].optim.lr == 3e-4
        else:
            with pytest.raises(
                UserError, match=r"optim\.lr: input should be a valid number, got '3e-4'"
            ):
                load_experiment(files.directory, "laptop")


def test_every_fault_is_told_at_once(files: Any) -> None:
    files.put("run.steps", 0)
    files.put("run.eval.evry", 5)
    text = files.fault()
    assert "2 fault(s)" in text
    assert "steps: input should be greater than 0, got 0" in text
    assert "eval.evry: unknown key; did you mean 'every'?" in text


@pytest.mark.parametrize(
    ("baseline", "scale"), [("batch_mean", "none"), ("none", "batch_std"), ("none", "group_std")]
)
def test_one_response_cannot_be_compared(files: Any, baseline: str, scale: str) -> None:
    files.put("run.rollout.prompts", 1)
    files.put("run.rollout.group_size", 1)
    files.put("run.advantage.baseline", baseline)
    files.put("run.advantage.scale", scale)
    del files.config["arms"]["group_std"]
    files.claims["claims"][0]["treatment"] = "weight"
    assert "of one has nothing to be compared with; expected 2 or more" in files.fault()


def test_an_arm_may_vary_declared_settings_only(files: Any) -> None:
    files.put("arms.none", {"optim.lr": 1e-3})
    assert files.fault() == (
        f"{files.directory}/config.yaml: arms.none: varies 'optim.lr', which the experiment does "
        f"not declare under `varies` (advantage.scale, program, steps); declare it or drop it"
    )


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"optim.lrr": 1}, "SET: no setting 'optim.lrr': 'lrr' is unknown under optim; did you"),
        ({"optm.lr": 1}, "SET: no setting 'optm.lr': 'optm' is unknown; did you mean 'optim'?"),
        ({"": 1}, "SET: no setting '': '' is unknown; known: advantage, base"),
        ({"optim.lr.x": 1}, "SET: no setting 'optim.lr.x': optim.lr is a value, not a section"),
        ({"optim.lr": "x"}, "optim.lr: input should be a valid number, got 'x'"),
    ],
)
def test_an_override_of_an_unknown_path(files: Any, overrides: dict[str, Any], told: str) -> None:
    assert told in files.fault("laptop", overrides)


def test_a_profile_sets_known_paths_only(files: Any) -> None:
    files.put("profiles.laptop.set", {"step": 3})
    told = "config.yaml: profiles.laptop.set: no setting 'step': 'step' is unknown; did you mean"
    assert told in files.fault()


BAD_FRAMES: list[tuple[str, Any, str]] = [
    ("seeds", [0, 0], "seeds: expected distinct seeds, got (0, 0); keep one of each"),
    ("seeds", [], "seeds: tuple should have at least 1 item"),
    ("seeds", [-1], "seeds.0: input should be greater than or equal to 0, got -1"),
    ("profiles.smoke.seeds", [1, 1], "profiles.smoke.seeds: expected distinct seeds"),
    ("arms", {}, "arms: dictionary should have at least 1 item"),
    ("arms", {"a/b": {}}, "arms.a/b.[key]: string should match pattern"),
    ("arms", {"a,b": {}}, "arms.a,b.[key]: string should match pattern"),
    ("varys", [], "varys: unknown key; did you mean 'varies'?"),
    ("profiles.laptop.sett", {}, "profiles.laptop.sett: unknown key; did you mean 'set'?"),
    ("profiles.desktop", {"set": {}}, "profiles.desktop.[key]: input should be 'smoke', 'laptop',"),
    ("number", "3", "number: input should be a valid integer, got '3'"),
    ("number", 4, "number and name say 04-small, but the directory is 03-small; make them agree"),
    ("profiles.laptop.arms", ["nome"], "profiles.laptop.arms: no arm 'nome'; did you mean 'none'?"),
]


@pytest.mark.parametrize(("path", "value", "told"), BAD_FRAMES)
def test_a_bad_frame_is_one_message(files: Any, path: str, value: Any, told: str) -> None:
    files.put(path, value)
    text = files.fault()
    assert text.startswith(f"{files.directory}/config.yaml: ")
    assert told in text


def test_an_absent_profile_is_told(files: Any) -> None:
    assert files.fault("paper") == (
        "PROFILE: 03-small has no profile 'paper'; known: laptop, smoke"
    )
    assert files.fault("labtop").endswith("did you mean 'laptop'?")


def test_a_long_override_still_names_a_directory(files: Any) -> None:
    values = [2 + index for index in range(120)]
    solved = {str(digits): 0.5 for digits in values}
    one = files.load("laptop", {"base.text.solved": solved, "base.digits": values})
    other = files.load("laptop", {"base.text.solved": solved, "base.digits": values[:-1]})
    assert len(one.label) <= 120
    assert one.label.startswith("laptop+base.text.solved=")
    assert one.label != other.label


@pytest.mark.parametrize("name", ["config.yaml", "claims.yaml"])
def test_files_that_cannot_be_read(files: Any, name: str) -> None:
    files.load()
    path = files.directory / name
    spoil: list[tuple[Callable[[], object], str]] = [
        (lambda: path.write_bytes(b"\xff\xfe\x00a"), "expected UTF-8 text"),
        (lambda: path.write_text(""), "empty; expected a mapping of keys to values"),
        (lambda: path.write_text("# nothing\n"), "empty; expected a mapping of keys to values"),
        (lambda: path.write_text("- 1\n"), "expected a mapping of keys to values, got [1]"),
        (lambda: path.write_text("a: [1"), "not readable as YAML"),
        (path.unlink, "no such file"),
        (path.mkdir, "cannot be read: Is a directory"),
    ]
    for act, told in spoil:
        act()
        with pytest.raises(UserError) as caught:
            load_experiment(files.directory, "laptop")
        assert str(caught.value).startswith(f"{path}: ")
        assert told in str(caught.value)


def test_find_experiment(tmp_path: Path) -> None:
    (tmp_path / "03-small").mkdir()
    assert find_experiment(3, tmp_path) == tmp_path / "03-small"
    with pytest.raises(UserError, match=r"expected one experiment 99 under .*, known: 03-small"):
        find_experiment(99, tmp_path)
    (tmp_path / "03-other").mkdir()
    with pytest.raises(UserError, match="known: 03-other, 03-small"):
        find_experiment(3, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (
            "reward.name",
            "answer",
            "a problem must have one right response; expected reward.name so",
        ),
        (
            "base.text.filler",
            0.5,
            "base.text.filler 0 and rollout.ignore_eos false, got solut",
        ),
        ("advantage.scale", "batch_std", "the weight is a function of p only if the advantage is"),
        ("advantage.baseline", "running_mean", "expected baseline none, group_mean or leave_one"),
    ],
)
def test_a_study_that_would_measure_something_else(
    files: Any, path: str, value: Any, told: str
) -> None:
    *parents, last = path.split(".")
    node = files.config["run"]
    for part in parents:
        node = node[part]
    node[last] = value
    assert told in files.fault()


def test_weights_that_are_cut_up_are_not_compiled(files: Any) -> None:
    files.config["run"]["engine"] = {"zero_stage": 3, "compile": True}
    assert "engine: expected compile false with zero_stage 3" in files.fault()
