"""Figures and frames of small worlds, with numbers by hand where there is a number."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots, plots_arms, plots_worlds, worlds
from rl.config import Exact, LogRank
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence
from tests.analysis.pictures import check_readable

Row = tuple[str, int, int, str, float, float]
NAN = math.nan


def evidence(rows: list[Row], steps: int = 10, **plans: Any) -> Evidence:
    """Evidence whose arms are those of `rows`, each complete at every seed there is."""
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    arms = {arm: {"steps": steps, **plans.get(arm, {})} for arm in dict.fromkeys(frame["arm"])}
    seeds = sorted(frame["seed"].unique().tolist())
    manifests = [{"arm": a, "seed": s, "status": "complete"} for a in arms for s in seeds]
    return Evidence({"arms": arms, "seeds": seeds, "profile": "laptop"}, manifests, frame, [])


def bands(column: str, *means: float) -> pd.DataFrame:
    """Bands of means -+ 0.1 at 0, 1, 2..."""
    mean = np.array(means)
    places = np.arange(len(means), dtype=float)
    return pd.DataFrame({column: places, "mean": mean, "low": mean - 0.1, "high": mean + 0.1})


# --- time to an event -----------------------------------------------------------------------------


def test_survival_by_hand() -> None:
    """Five seeds: events at 2, 4 and 4, one cut off at 2, one at 6. At 2 five are at risk and one
    has the event; the one cut off there is gone by 4, where two of three have it."""
    seeds = pd.DataFrame({"time": [2, 2, 4, 4, 6], "censored": [False, True, False, False, True]})
    times, left = plots_worlds.survival(seeds)
    assert times.tolist() == [0, 2, 4, 6]
    assert left.tolist() == pytest.approx([1, 4 / 5, 4 / 5 / 3, 4 / 5 / 3])


def test_without_censoring_it_is_the_share_left() -> None:
    times, left = plots_worlds.survival(pd.DataFrame({"time": [3, 1, 2, 4], "censored": False}))
    assert times.tolist() == [0, 1, 2, 3, 4]
    assert left.tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_crosses_stand_on_their_line() -> None:
    seeds = pd.DataFrame({"time": [1.0, 2.0], "censored": [False, True]})
    (axes,) = plots_worlds.time_to({"": {"a": seeds}}, "episodes", "share").axes
    line, crosses = axes.lines
    assert line.get_xydata().tolist() == [[0, 1], [1, 0.5], [2, 0.5]]
    assert crosses.get_xydata().tolist() == [[2, 0.5]]


def log_rank(treatment: str, control: str, reaches: float) -> LogRank:
    return LogRank.model_validate(
        {
            "id": "x",
            "role": "primary",
            "text": "t",
            "source": "s",
            "kind": "log_rank",
            "treatment": treatment,
            "control": control,
            "reaches": reaches,
            "measure": {"metric": "episodes/solved", "steps": "all"},
            "event": "at_least",
            "time_metric": "episodes/to_solve",
            "direction": "greater",
            "min_effect": 1.5,
        },
        strict=False,
    )


def test_races_of_claims_that_share_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """a solves it after 30 episodes, b is cut off at 40; another threshold is another race."""
    stated = (log_rank("b", "a", 1.0), log_rank("c", "a", 1.0), log_rank("b", "c", 0.5))
    monkeypatch.setattr(worlds, "claims", lambda *_: stated)
    rows: list[Row] = []
    for arm, solved, episodes in (("a", 1.0, 30.0), ("b", 0.0, 40.0), ("c", 1.0, 20.0)):
        rows += [(arm, 0, 9, "episodes/solved", NAN, solved)]
        rows += [(arm, 0, 9, "episodes/to_solve", NAN, episodes)]
    races = worlds.races(1, evidence(rows), ["c", "b", "a"])
    assert list(races) == ["episodes/solved >= 1", "episodes/solved >= 0.5"]
    assert list(races["episodes/solved >= 1"]) == ["a", "b", "c"]
    assert list(races["episodes/solved >= 0.5"]) == ["b", "c"]
    told = {arm: seeds.iloc[0].to_dict() for arm, seeds in races["episodes/solved >= 1"].items()}
    assert (told["a"]["time"], told["a"]["censored"]) == (30, False)
    assert (told["b"]["time"], told["b"]["censored"]) == (40, True)
    assert list(worlds.races(1, evidence(rows), ["c"])["episodes/solved >= 1"]) == ["c"]
    with pytest.raises(UserError, match="no log-rank claim about pole"):
        worlds.races(1, evidence(rows), ["pole"])


# --- frames ---------------------------------------------------------------------------------------


def test_a_run_that_stopped_goes_on_with_its_last_value() -> None:
    """Seed 0 stops at 5 with the value 8; at 10 the mean is that of 8 and 4, not 4."""
    rows: list[Row] = [("a", 0, 0, "m", NAN, 0.0), ("a", 0, 5, "m", NAN, 8.0)]
    rows += [("a", 1, step, "m", NAN, value) for step, value in ((0, 2.0), (5, 2.0), (10, 4.0))]
    got = worlds.carried(evidence(rows), "m", ["a"])
    assert got["step"].tolist() == [0, 5, 10]
    assert got["mean"].tolist() == [1, 5, 6]
    assert got["n"].tolist() == [2, 2, 2]


def test_what_each_run_logged_last() -> None:
    rows: list[Row] = [("a", seed, step, "m", 1.0, 10 * seed + step) for seed, step in
                       ((0, 0), (0, 5), (1, 0), (1, 9))]  # fmt: skip
    assert worlds.last(evidence(rows), "m", ["a"])["mean"].tolist() == [(5 + 19) / 2]


def test_window_means_average_each_seed_first() -> None:
    """In the last quarter of 8 steps are 6 and 8; seed 1 was logged at 8 only."""
    rows: list[Row] = [("a", 0, step, "m", 0.0, step) for step in (0, 5, 6, 8)]
    rows.append(("a", 1, 8, "m", 0.0, 1.0))
    got = worlds.window_means(evidence(rows, steps=8), "m", ["a"], (0.75, 1.0))
    assert got["mean"].tolist() == [(7 + 1) / 2]


def test_numbers_that_the_source_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"role": "primary", "text": "t", "source": "s", "kind": "exact", "treatment": "a"}
    stated = tuple(
        Exact.model_validate(
            {
                **said,
                "id": f"c{i}",
                "control": control,
                "factor": 2.0,
                "tolerance": 0.1,
                "measure": {"metric": metric, "steps": steps},
            },
            strict=False,
        )
        for i, (metric, steps, control) in enumerate(
            [
                ("sorting/reward", "first", 1.5),
                ("sorting/reward", [0.3, 0.3], 2.0),
                ("sorting/reward", "last", 3.0),
                ("sorting/reward", "first", "b"),
                ("sorting/loss", "first", 9.0),
            ]
        )
    )
    monkeypatch.setattr(worlds, "claims", lambda *_: stated)
    rows: list[Row] = [("a", 5, step, "sorting/reward", NAN, 0.0) for step in range(10)]
    got = worlds.published(1, evidence(rows), "sorting/reward")
    assert got.to_numpy().tolist() == [["a", 0, 3.0], ["a", 3, 4.0], ["a", 9, 6.0]]


def test_the_square_has_the_better_actions_on_its_axes() -> None:
    rows: list[Row] = []
    for action in (0, 1):
        for state, chance in ((0.0, 0.9), (1.0, 0.2), (2.0, 0.5)):
            value = chance if action == 0 else 1 - chance
            rows.append(("a", 0, 3, f"episodes/p_action_{action}", state, value))
    (point,) = worlds.square(evidence(rows), "a").to_dict("records")
    assert (point["seed"], point["step"], point["x"], point["y"]) == (0, 3, 0.9, 0.8)


def test_ratios_and_pairs_of_metrics() -> None:
    rows: list[Row] = [(arm, seed, 0, "m", 1.0, value) for arm, seed, value in
                       (("a", 0, 6.0), ("a", 1, 8.0), ("b", 0, 2.0), ("b", 1, 4.0))]  # fmt: skip
    got = worlds.ratios_to(evidence(rows), "m", ["a", "b"], "b")
    assert dict(zip(got["arm"], got["mean"], strict=True)) == {"a": 2.5, "b": 1.0}
    two: list[Row] = [("a", 0, step, metric, NAN, step + shift) for step in (0, 4)
                      for metric, shift in (("x", 0), ("y", 10))]  # fmt: skip
    joined = worlds.against(evidence(two), "x", "y", "a")
    assert joined[["step", "mean", "mean_y"]].to_numpy().tolist() == [[0, 0, 10], [4, 4, 14]]


def test_arms_are_found_by_name_and_by_task() -> None:
    rows: list[Row] = [(arm, 0, 0, "m", NAN, 0.0) for arm in ("x_b", "x_a", "y")]
    found = evidence(rows, y={"task": {"name": "poem"}})
    assert worlds.arms_of(found, "m", "x_") == ["x_b", "x_a"]
    assert worlds.arms_in(found, "poem") == ["y"]
    with pytest.raises(UserError, match=r"no arm z\.\.\. with m in the evidence"):
        worlds.arms_of(found, "m", "z")


SAMPLE = {"arm": "a", "seed": 0, "step": 9, "prompt": "112=", "answer": "112"}


@pytest.mark.parametrize(
    ("rule", "records", "expected"),
    [
        ("position", [("112", 1.0, False)], ["right"]),
        ("position", [("122", 0.67, False)], ["wrong"]),
        # The first sample stands twice: once by its place, once as the first that was hacked.
        ("leaky", [("012", 1.0, False), ("012", 1.0, True), ("120", 1.0, True)], ["hacked"] * 2),
        ("lines", [("a/a/a/b/a/", -0.0, False), ("a/", -4.0, False)], ["right", "wrong"]),
        ("classifier", [("", 0.99, True), ("112", 0.7, False)], ["hacked", "right"]),
        ("classifier", [("1.12", 0.7, False)], ["other"]),
    ],
)
def test_verdicts_on_samples(
    rule: str, records: list[tuple[str, float, bool]], expected: list[str]
) -> None:
    found = evidence([("a", 0, 0, "m", NAN, 0.0)], a={"reward": {"name": rule}})
    early = {**SAMPLE, "step": 0, "text": "early", "reward": 1.0}
    samples: list[dict[str, Any]] = [early]
    for text, reward, hacked in records:
        samples.append({**SAMPLE, "text": text, "reward": reward, "hacked": hacked})
    got = worlds.judged_samples(replace(found, samples=samples), ["a"], 0, 3)
    assert got["verdict"].tolist() == expected
    assert "-0.0" not in [str(reward) for reward in got["reward"]]
    shown = dict.fromkeys(text or "(empty)" for text, _, _ in records)
    assert got["completion"].tolist() == list(shown)
    with pytest.raises(UserError, match="no samples in the evidence of a, seed 1"):
        worlds.judged_samples(replace(found, samples=samples), ["a"], 1, 3)


# --- pictures -------------------------------------------------------------------------------------

LAYOUT = ["S.", "BM"]
MOVES = [(state, action, 0.25) for state in range(4) for action in range(4)]
UNIFORM = pd.DataFrame(MOVES, columns=["state", "action", "p"])


@pytest.mark.parametrize(("action", "turn"), [(0, (-1, 0)), (1, (1, 0)), (2, (0, -1)), (3, (0, 1))])
def test_arrows_point_where_moves_go(action: int, turn: tuple[int, int]) -> None:
    """Left, right, up, down; the vertical axis counts rows downwards."""
    sure = pd.DataFrame({"state": [1], "action": [action], "p": [0.5]})
    (((x, y), head, chance),) = plots_worlds.arrows(LAYOUT, sure)
    assert ((x, y), chance) == ((1, 0), 0.5)
    assert head == pytest.approx((1 + turn[0] * 0.22, turn[1] * 0.22))
    (axes,) = plots_worlds.policy_maps({"": (LAYOUT, sure)}).axes
    assert axes.yaxis_inverted()


def test_the_end_has_no_arrows() -> None:
    tails = [tail for tail, _, _ in plots_worlds.arrows(LAYOUT, UNIFORM)]
    assert set(tails) == {(0, 0), (1, 0), (0, 1)}
    assert len(tails) == 12


def test_a_path_ends_where_its_last_step_is() -> None:
    rows = pd.DataFrame({"seed": 0, "step": [5, 0], "x": [0.9, 0.5], "y": [0.8, 0.4]})
    (axes,) = plots_worlds.paths({"a": rows}, "x", "y").axes
    line, end, start = (part.get_xydata().tolist() for part in axes.lines)
    assert line == [[0.5, 0.4], [0.9, 0.8]]
    assert (start, end) == ([[0.5, 0.4]], [[0.9, 0.8]])


def test_points_have_their_intervals() -> None:
    figure = Figure()
    axes = figure.subplots()
    rows = pd.DataFrame({"mean": [2.0, 5.0], "low": [1.0, NAN], "high": [4.0, NAN]})
    plots.points_at(axes, pd.Series([0.0, 1.0]), rows, 0)
    (container,) = axes.containers
    (bars,) = container[2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[1, 4], [5, 5]]


def test_bars_stand_at_their_arm() -> None:
    rows = pd.DataFrame(
        {"arm": ["a", "b"], "mean": [1.0, 2.0], "low": [0.5, NAN], "high": [3.0, NAN]}
    )
    figure = plots_arms.arm_bars({"one": rows}, ["b", "a"], "x", exact={"one": rows})
    (axes,) = figure.axes
    drawn = [part.get_xydata().tolist() for part in axes.lines]
    assert drawn[0] == [[2, 0], [2, 0]]  # one seed has no interval
    assert drawn[3] == [[0.5, 1], [3, 1]]
    assert drawn[4] == drawn[5] == [[1, 1]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "a"]


def test_printed_numbers_lie_where_they_are_printed() -> None:
    run = pd.DataFrame({"step": [0, 1], "value": [2.0, 3.0]})
    (axes,) = plots_arms.printed_curves({"a": (run, run[1:])}, "x", "y").axes
    assert axes.lines[1].get_xydata().tolist() == [[1, 3]]


def test_the_reward_is_across_and_what_was_meant_is_up() -> None:
    rows = bands("step", 0.2, 0.9).assign(mean_y=[0.1, 0.3], low_y=0.0, high_y=0.5)
    (axes,) = plots_arms.one_against_other({"": {"a": rows}}, "x", "y").axes
    assert axes.lines[1].get_xydata().tolist() == [[0.2, 0.1], [0.9, 0.3]]
    assert axes.lines[2].get_xydata().tolist() == [[0.9, 0.3]]


LONG = [f"covariance_of_arm_{i}" for i in range(9)]
SEEDS = pd.DataFrame({"time": [10.0, 20.0, 30.0], "censored": [False, False, True]})
NAMES = ["none", "group_mean", "leave_one_out", "running_mean", "exact_value"]
PICTURES: dict[str, Callable[[], Figure]] = {
    "paths": lambda: plots_worlds.paths(
        {f"bandit_{i}": bands("step", 0.2, 0.8).assign(seed=0, x=0.5, y=0.2) for i in range(5)},
        "chance of the better action, first state",
        "better action, second state",
    ),
    "policy_maps": lambda: plots_worlds.policy_maps(
        {f"grid_{i}": (LAYOUT, UNIFORM) for i in range(4)}
    ),
    "time_to": lambda: plots_worlds.time_to(
        {f"accuracy >= 0.{i}": dict.fromkeys(NAMES, SEEDS) for i in (1, 5)}, "steps", "share left"
    ),
    "arm_bars": lambda: plots_arms.arm_bars(
        {f"{i} nats a token": bands("step", *range(1, 10)).assign(arm=LONG) for i in range(4)},
        LONG,
        "variance, over that of the optimal baseline",
        log=True,
    ),
    "shared_lines": lambda: plots_arms.shared_lines(
        {f"world {i}": dict.fromkeys(NAMES, bands("step", 1, 2)) for i in range(4)},
        "step",
        "optimiser step",
        "reward above the demonstrations (points)",
    ),
    "printed_curves": lambda: plots_arms.printed_curves(
        dict.fromkeys("abc", (bands("step", 1, 2).rename(columns={"mean": "value"}),) * 2),
        "epoch",
        "mean reward of the responses (points)",
    ),
    "one_against_other": lambda: plots_arms.one_against_other(
        {
            title: {"leaky": bands("step", 0, 1).assign(mean_y=0.5, low_y=0.4, high_y=0.6)}
            for title in ("group mean", "none", "best only")
        },
        "mean reward",
        "exact match (share right)",
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_can_be_read(name: str) -> None:
    check_readable(PICTURES[name]())


def test_an_eighth_line_is_refused() -> None:
    many = {f"arm {i}": SEEDS for i in range(8)}
    with pytest.raises(ValueError, match="at most 7 lines of one figure, got 8"):
        plots_worlds.time_to({"": many}, "x", "y")


def test_pictures_are_the_same_bytes_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(png=[], svg=[])
    for name in ("one", "two"):
        monkeypatch.setenv("RL_FIGURES", str(tmp_path / name))
        saved = plots.save(PICTURES["policy_maps"](), 1, "map")
        found.png.append(saved.png.read_bytes())
        found.svg.append(saved.png.with_suffix(".svg").read_bytes())
    assert found.png[0] == found.png[1]
    assert found.svg[0] == found.svg[1]
