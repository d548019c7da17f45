"""Whole runs on two ranks are those of one; a killed run goes on with more ranks or fewer."""

from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import read_lines, run_status
from rl.files import read_json
from tests.engines.ranks import whole_runs
from tests.engines.ranks.conftest import Cases

pytestmark = pytest.mark.engines
# fp32 sums in another order, over up to four updates.
CLOSE = {"rel": 1e-4, "abs": 1e-5}
Lines = list[dict[str, Any]]


def lines(directory: Path) -> Lines:
    return read_lines(directory / "metrics.jsonl")


def same(one: Lines, two: Lines) -> None:
    """The same steps, names and levels, and values within CLOSE."""
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for ours, theirs in zip(one, two, strict=True):
        expected, found = ours["values"], theirs["values"]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, **CLOSE), f"step {ours['step']}: {name}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every program by one rank at stage 0."""
    root = tmp_path_factory.mktemp("alone")
    names = ("policy", "ppo", "reward_model", "dpo", "learned")
    for name in names:
        whole_runs.train(root / name, name, 0)
    return {name: root / name for name in names}


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        *(("policy", stage) for stage in (0, 1, 2, 3)),
        *(("ppo", 0), ("ppo", 3), ("reward_model", 0), ("reward_model", 2)),
        *(("dpo", 0), ("dpo", 3), ("learned", 0)),
    ],
)
def test_a_whole_run(
    name: str, stage: int, alone: dict[str, Path], tmp_path: Path, on_two_ranks: Cases
) -> None:
    directory = tmp_path / "run"
    [(tokens, _), (others, _)] = on_two_ranks(whole_runs.train, directory, name, stage)
    same(lines(alone[name]), lines(directory))
    assert run_status(directory) == "complete"
    manifest, expected = (read_json(d / "manifest.json") for d in (directory, alone[name]))
    assert tokens == others == manifest["tokens"] == expected["tokens"]
    assert (manifest["ranks"], expected["ranks"]) == ([2], [1])
    assert manifest.get("state_bytes") == expected.get("state_bytes")
    one, two = (read_lines(d / "samples.jsonl") for d in (directory, alone[name]))
    for ours, theirs in zip(one, two, strict=True):
        assert ours.pop("reward") == pytest.approx(theirs.pop("reward"), **CLOSE)
        assert ours == theirs
    assert {path.name for path in directory.iterdir()} == {
        *("manifest.json", "metrics.jsonl", "samples.jsonl")
    }


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("first", [1, 2])
def test_a_killed_run_goes_on_with_more_ranks_or_fewer(
    first: int, stage: int, alone: dict[str, Path], tmp_path: Path, on_two_ranks: Cases
) -> None:
    """Stopped after two of four steps, with the schedule, the moments and a reference under way."""
    directory = tmp_path / "run"
    if first == 1:
        whole_runs.train(directory, "policy", stage, until=2)
        found = [found for _, found in on_two_ranks(whole_runs.train, directory, "policy", stage)]
    else:
        on_two_ranks(whole_runs.train, directory, "policy", stage, until=2)
        found = [whole_runs.train(directory, "policy", stage)[1]]
    assert all(found)
    same(lines(alone["policy"]), lines(directory))
    manifest = read_json(directory / "manifest.json")
    assert (manifest["status"], manifest["resumed"]) == ("complete", ["now"])
    assert manifest["ranks"] == [first, 3 - first]


@pytest.mark.parametrize(("name", "stage"), [("ppo", 3), ("reward_model", 1), ("dpo", 2)])
def test_other_programs_go_on_with_more_ranks(
    name: str, stage: int, alone: dict[str, Path], tmp_path: Path, on_two_ranks: Cases
) -> None:
    whole_runs.train(tmp_path / "run", name, stage, until=1)
    assert all(found for _, found in on_two_ranks(whole_runs.train, tmp_path / "run", name, stage))
    same(lines(alone[name]), lines(tmp_path / "run"))
