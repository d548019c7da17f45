"""The program lecture_sorting: the lecture's digits, its settings, and exact resumption."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import LectureSortingConfig, program_config
from rl.errors import UserError
from rl.metrics import METRICS
from rl.trainers.lecture_grades import Grades
from rl.trainers.lecture_sorting import Draws, train_lecture_sorting
from rl.worlds.lecture_sorting import (
    PROMPTS,
    LectureSorter,
    inclusion_ordering,
    kl_per_prompt,
    response_logps,
    sample_responses,
    score,
)

torch.set_num_threads(1)  # another number of threads sums in another order

RUN: dict[str, Any] = {
    "program": "lecture_sorting",
    "steps": 4,
    "engine": {},
    "world": {"vocabulary": 5, "width": 10, "prompts": [list(p) for p in PROMPTS]},
    "stream": "derived",
    "responses": 10,
    "inner_steps": 2,
    "reward": "inclusion_ordering",
    "advantage": {"baseline": "group_mean", "scale": "none", "ddof": 1, "eps": 1e-5},
    "loss": {"name": "naive", "clip": None},
    "kl": {"coefficient": 0.0, "estimator": "k3", "refresh_every": 10},
    "optim": {
        "lr": 0.001,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup_steps": 0,
        "schedule": "constant",
        "grad_clip": 0.0,
    },
    "eval_every": 1,
}
LECTURE = {"stream": "global", "inner_steps": 10}
DELTAS = {
    "raw": {"advantage.baseline": "none"},
    "centred": {},
    "normalised": {"advantage.scale": "group_std"},
}
# Mean reward printed by the lecture for its seed, 5, by epoch.
PUBLISHED = {
    "raw": {0: 2.333, 10: 2.667, 20: 2.667, 99: 2.667},
    "centred": {0: 2.333, 10: 3.000, 20: 3.333, 39: 3.400, 99: 3.333},
    "normalised": {0: 2.333, 10: 3.033, 20: 3.333, 99: 3.333},
}


def settings(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """RUN with some entries replaced, by dotted path."""
    data = deepcopy(RUN)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node = data
        for part in parents:
            node = node[part]
        node[last] = value
    return data


def config(changes: dict[str, Any] | None = None) -> LectureSortingConfig:
    found = program_config(settings(changes), "config.yaml")
    assert isinstance(found, LectureSortingConfig)
    return found


def trained(
    directory: Path, changes: dict[str, Any] | None = None, *, seed: int = 5, **writer: Any
) -> dict[str, list[Any]]:
    """What was logged, by metric, in the order of the steps."""
    with RunWriter(directory, {"arm": "arm", "seed": seed, "started": ""}, **writer) as log:
        tokens = train_lecture_sorting(
            config(changes), seed=seed, log=log, report=lambda _step, _value: None
        )
    assert tokens == config(changes).steps * 3 * 3 * config(changes).responses
    values: dict[str, list[Any]] = {}
    for record in read_lines(directory / "metrics.jsonl"):
        for name, value in record["values"].items():
            values.setdefault(name, []).append(value)
    return values


@pytest.mark.parametrize("deltas", DELTAS)
def test_the_lectures_digits_at_first(deltas: str, tmp_path: Path) -> None:
    """Through DeepSpeed, with advantages in float64, and the digits are those that it printed."""
    changes = {**LECTURE, **DELTAS[deltas], "steps": 21, "eval_every": 21}
    found = trained(tmp_path / "run", changes)["sorting/reward"]
    printed = {epoch: value for epoch, value in PUBLISHED[deltas].items() if epoch <= 20}
    assert {epoch: round(found[epoch], 3) for epoch in printed} == printed
    assert found == [pytest.approx(round(value * 30) / 30) for value in found]


@pytest.mark.slow
@pytest.mark.parametrize("deltas", DELTAS)
def test_the_lectures_digits_to_the_end(deltas: str, tmp_path: Path) -> None:
    changes = {**LECTURE, **DELTAS[deltas], "steps": 100, "eval_every": 100}
    found = trained(tmp_path / "run", changes)["sorting/reward"]
    printed = PUBLISHED[deltas]
    assert {epoch: round(found[epoch], 3) for epoch in printed} == printed
    if deltas == "centred":
        assert max(found) == found[39]


def test_another_seed_of_the_lecture_is_another_curve(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", {**LECTURE, "steps": 2}, seed=5)
    two = trained(tmp_path / "two", {**LECTURE, "steps": 2}, seed=6)
    assert one["sorting/reward"] != two["sorting/reward"]


@pytest.mark.parametrize("baseline", ["group_mean", "running_mean"])
def test_an_epoch_by_plain_torch(baseline: str, tmp_path: Path) -> None:
    """Two epochs of two updates without the engine: the grades are the same to the last bit."""
    found = trained(tmp_path / "run", {"steps": 2, "advantage.baseline": baseline})
    draws = Draws("derived", 5)
    model = LectureSorter(vocabulary=5, width=10, length=3, generator=draws.of_weights())
    initial = deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.001)
    prompts = torch.tensor(PROMPTS)
    grades = Grades(inclusion_ordering, PROMPTS, vocabulary=5)
    losses, rewards, drifts = [], [], []
    for step in range(2):
        with torch.no_grad():
            before = model(prompts)
        drawn = sample_responses(before, count=10, generator=draws.of_epoch(step))
        reward_PG = score(inclusion_ordering, prompts, drawn)
        rewards.append(float(reward_PG.mean()))
        if baseline == "group_mean":
            reward_PG -= reward_PG.mean(dim=1, keepdim=True)
        elif step > 0:
            reward_PG -= rewards[0]
        delta = reward_PG.float()
        total = 0.0
        for _ in range(2):
            loss = -(response_logps(model(prompts), drawn) * delta[:, :, None]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        losses.append(total / 2)
        drifts.append(float(kl_per_prompt(model(prompts), before).detach().mean()))
    assert found["sorting/drift"] == drifts
    assert found["sorting/reward"] == rewards
    assert found["sorting/loss"] == pytest.approx(losses, rel=1e-6)
    last = grades.of(model, reference=initial, initial=initial)
    assert found["sorting/expected_reward"][2] == last["sorting/expected_reward"]
    assert found["sorting/kl_initial"][2] == last["sorting/kl_initial"] > 0
    with torch.no_grad():
        kl_P = kl_per_prompt(model(prompts), initial(prompts))
    assert last["sorting/kl_initial"] == pytest.approx(float(kl_P.mean()), rel=1e-4)


def test_what_is_logged_is_documented_and_complete(tmp_path: Path) -> None:
    found = trained(tmp_path / "run", {"steps": 5, "eval_every": 2})
    assert set(found) == {n for n, m in METRICS.items() if m.program == "lecture_sorting"}
    assert len(found["sorting/reward"]) == len(found["sorting/drift"]) == 5
    assert len(found["sorting/exact"]) == 3 + 1  # at 0, 2, 4 and after training
    assert list(found["sorting/heldout_exact_by_distinct"][0]) == ["1.0", "2.0", "3.0"]
    assert all(value > 0 for value in found["sorting/drift"])


@pytest.mark.parametrize(("loss", "sign"), [("naive", 1), ("importance", 1), ("ratio_of_logs", -1)])
def test_training_climbs_and_the_ratio_of_logs_falls(loss: str, sign: int, tmp_path: Path) -> None:
    """4 epochs of 10 updates: the lecture's ratio learns what scores less."""
    changes = {"steps": 4, "inner_steps": 10, "loss.name": loss, "eval_every": 4}
    first, last = trained(tmp_path / "run", changes)["sorting/expected_reward"]
    assert sign * (last - first) > 0.02


def test_an_undefined_ratio_takes_no_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        certain = LectureSorter(
            vocabulary=5, width=10, length=3, generator=torch.Generator().manual_seed(0)
        )
        for parameter in certain.parameters():
            parameter *= 6.0
    monkeypatch.setattr("rl.trainers.lecture_sorting.LectureSorter", lambda **_: deepcopy(certain))
    found = trained(tmp_path / "run", {"loss.name": "ratio_of_logs"})
    assert found["sorting/skipped"] == [1.0] * 4
    assert found["sorting/drift"] == [0.0] * 4
    assert "sorting/loss" not in found
    found = trained(tmp_path / "importance", {"loss.name": "importance"})
    assert found["sorting/skipped"] == [0.0] * 4


@pytest.mark.parametrize("refresh_every", [None, 2])
def test_the_reference_is_fixed_or_refreshed(refresh_every: int | None, tmp_path: Path) -> None:
    changes = {"kl.refresh_every": refresh_every, "steps": 4}
    found = trained(tmp_path / "run", changes)
    to_reference, to_initial = found["sorting/kl_reference"], found["sorting/kl_initial"]
    if refresh_every is None:
        assert to_reference == to_initial
    else:
        assert [kl == 0 for kl in to_reference] == [True, False, True, False, False]
        assert to_reference[1] == to_initial[1] < to_initial[3]


@pytest.mark.parametrize("estimator", ["k2", "k3", "exact"])
def test_a_penalty_holds_the_policy_near_its_reference(estimator: str, tmp_path: Path) -> None:
    changes = {"inner_steps": 5, "kl.estimator": estimator, "kl.refresh_every": None}
    free = trained(tmp_path / "free", changes)
    held = trained(tmp_path / "held", {**changes, "kl.coefficient": 2.0})
    assert free["sorting/kl_initial"][0] == held["sorting/kl_initial"][0] == 0
    assert held["sorting/kl_initial"][-1] < 0.7 * free["sorting/kl_initial"][-1]


@pytest.mark.parametrize("stream", ["global", "derived"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "stream": stream,
        "steps": 5,
        "advantage.baseline": "running_mean",
        "kl": {"coefficient": 0.1, "estimator": "k2", "refresh_every": 2},
    }
    trained(tmp_path / "whole", changes)
    calls = 0
    real = Draws.of_epoch

    def killed(self: Draws, step: int) -> torch.Generator:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(Draws, "of_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", changes, checkpoint_seconds=0.0)
    trained(tmp_path / "cut", changes, checkpoint_seconds=0.0)
    assert calls == 4 + 2
    whole, cut = ((tmp_path / run / "metrics.jsonl").read_bytes() for run in ("whole", "cut"))
    assert whole == cut


def test_derived_draws_depend_on_seed_and_epoch_alone() -> None:
    def drawn(stream: str, seed: int, *steps: int) -> list[list[float]]:
        draws = Draws(stream, seed)
        return [torch.rand(2, generator=draws.of_epoch(step)).tolist() for step in steps]

    assert drawn("derived", 1, 0, 3)[1] == drawn("derived", 1, 3)[0]
    assert drawn("derived", 1, 3) != drawn("derived", 2, 3)
    assert drawn("derived", 1, 3) != drawn("derived", 1, 4)
    assert drawn("global", 1, 0, 3)[1] != drawn("global", 1, 3)[0]


def test_held_out_prompts_are_the_others() -> None:
    """Of 125 prompts 60 have distinct tokens; 57 of them are not trained on."""
    grades = Grades(inclusion_ordering, PROMPTS, vocabulary=5)
    assert int(grades._train_Q.sum()) == 3
    assert int(grades._heldout_Q.sum()) == 122
    assert int(grades._like_train_Q.sum()) == 57
    counts = [int((grades._distinct_Q == level).sum()) for level in (1, 2, 3)]
    assert counts == [5, 60, 60]
    prompts = grades._exam.prompt_PT.tolist()
    assert [tuple(p) for p, train in zip(prompts, grades._train_Q, strict=True) if train] == sorted(
        PROMPTS
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"world.prompts": [[1, 0, 2], [1, 0]]}, "distinct prompts of one length"),
        ({"world.prompts": [[1, 0, 2], [1, 0, 2]]}, "distinct prompts of one length"),
        ({"world.prompts": [[1, 0, 5]]}, "tokens below world.vocabulary 5, got 5"),
        ({"world.prompts": [[1, 0, 2, 3, 4]]}, "at most 1000, got 5 .. 5"),
        ({"world": {"vocabulary": 2, "width": 3, "prompts": [[1, 0], [0, 1]]}}, "left to hold out"),
        ({"responses": 1}, "a group of one"),
        ({"loss.clip": 0.1}, "naive has no ratio"),
        ({"loss": {"name": "importance", "clip": 1.0}}, "loss.importance|less than 1"),
        ({"engine.zero_stage": 1}, "expected zero_stage 0"),
        ({"engine.precision": "bf16"}, "expected zero_stage 0, precision fp32"),
        ({"reward": "sorted"}, "reward"),
        ({"kl.estimator": "k4"}, "kl.estimator"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(changes)
