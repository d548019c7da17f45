"""What holds for any input: an experiment or one message. Each law says how often it saw what."""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from rl.cli import main
from rl.config import Experiment, RunConfig, config_digest, load_experiment
from rl.errors import UserError
from tests.config.generated import Drawn, experiments
from tests.config.spoiled import bytewise, entries, written
from tests.config.typed import command_lines

SECONDS = 10.0  # of this process; a load takes some hundredths of one
VARIABLES = ("SET: ", "SEEDS: ", "ARMS: ", "JOBS: ", "PROFILE: ", "experiment")


def check_message(message: str, names: tuple[str, ...]) -> None:
    """One short message in plain lines that begins with a name of what is at fault."""
    lines = message.split("\n")
    assert message.startswith(names), message
    assert len(lines) <= 30, message
    assert all(len(line) <= 500 for line in lines), message
    assert all(line.isprintable() for line in lines), message
    assert not any(line.startswith("error: ") for line in lines[1:]), message


def outcome(act: Callable[[], object], directory: Path) -> str:
    """`parsed`, or the file or variable that the one message names. Other errors go through."""
    began = time.process_time()
    try:
        act()
    except UserError as error:
        message = str(error)
    else:
        message = ""
    assert time.process_time() - began < SECONDS
    if not message:
        return "parsed"
    check_message(message, (f"{directory}/config.yaml", f"{directory}/claims.yaml", *VARIABLES))
    named = message.removeprefix(f"{directory}/").split(":")[0]
    return named.split(",")[0]


def load(directory: Path, config: bytes, claims: bytes) -> str:
    """The outcome of loading two texts."""
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_bytes(config)
    (directory / "claims.yaml").write_bytes(claims)
    return outcome(lambda: load_experiment(directory, "laptop"), directory)


def many(examples: int, cases: st.SearchStrategy[Any], law: Callable[[Any], str]) -> Counter[str]:
    """Try the law on that many cases; how often it had which outcome."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(cases)
    def check(case: Any) -> None:
        seen[law(case)] += 1

    check()
    assert seen.total() >= examples
    return seen


def spoiled_entries(
    directory: Path, examples: int, config: dict[str, Any], claims: dict[str, Any]
) -> Counter[str]:
    """Valid data with one to five changes."""

    def law(texts: dict[str, str]) -> str:
        one, two = (text.encode("utf-8", "surrogatepass") for text in texts.values())
        return load(directory, one, two)

    return many(examples, entries(config, claims), law)


def spoiled_bytes(
    directory: Path, examples: int, config: dict[str, Any], claims: dict[str, Any]
) -> Counter[str]:
    """Valid text with one to four changes, half of the examples for either file."""
    one, two = written(config).encode(), written(claims).encode()
    half = (examples + 1) // 2
    return many(half, bytewise(one), lambda text: load(directory, text, two)) + many(
        half, bytewise(two), lambda text: load(directory, one, text)
    )


def valid(directory: Path, examples: int) -> Counter[str]:
    """Experiments from scratch load, arms resolved; digests do not depend on the text's form."""

    def law(drawn: Drawn) -> str:
        directory.mkdir(exist_ok=True)
        profile = sorted(drawn.config["profiles"])[-1]
        loaded = []
        for form in (written, json.dumps):
            for name, data in (("config.yaml", drawn.config), ("claims.yaml", drawn.claims)):
                (directory / name).write_text(form(data), encoding="utf-8")
            loaded.append(load_experiment(directory, profile))
        check_resolved(loaded[0], drawn, profile)
        assert [digests(one) for one in loaded] == [digests(loaded[0])] * 2
        return "parsed"

    return many(examples, experiments(), law)


def check_resolved(experiment: Experiment, drawn: Drawn, profile: str) -> None:
    """Nothing that was written is lost or changed."""
    expected = drawn.resolved(profile)
    chosen = drawn.config["profiles"][profile]
    arms = {name: config.model_dump(mode="json") for name, config in experiment.arms.items()}
    assert arms == expected
    assert list(arms) == list(expected)
    assert experiment.question == drawn.config["question"]
    assert list(experiment.seeds) == chosen.get("seeds", drawn.config["seeds"])
    assert experiment.budget_minutes == chosen.get("budget_minutes")
    assert len(experiment.select(None, None)) == len(arms) * len(experiment.seeds)
    for config in experiment.arms.values():
        assert RunConfig.model_validate_json(config.model_dump_json()) == config
    for claim, stated in zip(experiment.claims.claims, drawn.claims["claims"], strict=True):
        kept = claim.model_dump(mode="json", exclude_unset=True)
        assert kept == stated


def digests(experiment: Experiment) -> tuple[dict[str, str], dict[str, str]]:
    """Of each arm and of each claim."""
    arms = {name: config_digest(config) for name, config in experiment.arms.items()}
    return arms, experiment.claims.digests()


def commands(directory: Path, examples: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """`rl run` calls the runner with what is planned, or tells one error with status 2."""
    called: list[Experiment] = []

    def run_experiment(
        experiment: Experiment, *, arms: Any, seeds: Any, jobs: int, **_: Any
    ) -> bool:
        assert type(jobs) is int
        assert experiment.select(arms, seeds)
        called.append(experiment)
        return True

    monkeypatch.setattr("rl.runner.run_experiment", run_experiment)
    monkeypatch.chdir(directory.parent.parent)
    names = (f"experiments/{directory.name}/config.yaml", "expected one experiment", *VARIABLES)

    def law(arguments: list[str]) -> str:
        called.clear()
        with redirect_stderr(StringIO()) as err, redirect_stdout(StringIO()) as out:
            status = main(["run", *arguments])
        assert out.getvalue() == ""
        if status == 0:
            assert err.getvalue() == ""
            assert len(called) == 1
            return "parsed"
        assert status == 2
        assert not called
        first, _, message = err.getvalue().removesuffix("\n").partition("error: ")
        assert first == ""
        check_message(message, names)
        return message.split(" ")[0].strip(":,")

    return many(examples, command_lines(), law)
