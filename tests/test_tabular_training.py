"""The trainer of tabular policies: its objectives, by equalities and by what they reach."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import TabularConfig, program_config
from rl.errors import UserError
from rl.tabular.policy import TabularPolicy
from rl.tabular.worlds import chain_world
from rl.trainers.tabular import demonstrations, make_world, own_samples, train_tabular
from rl.trainers.tabular_metrics import responses, sft_gaps
from tests.tiny import OPTIM, changed

RUN: dict[str, Any] = {
    "program": "tabular",
    "steps": 6,
    "world": {
        "name": "tree",
        "prompts": 3,
        "vocabulary": 3,
        "length": 2,
        "entropy": None,
        "rewards": "single",
    },
    "data": {"demonstrations": 40, "noise": 0.3, "gives_up": False},
    "objective": {"name": "reinforce", "denominator": "all", "mle_share": 0.0},
    "advantage": {"baseline": "none", "constant": 0.3, "value_rate": 0.5},
    "group_size": 16,
    "optim": {**OPTIM, "lr": 0.1},
    "eval_every": 1,
}
CHAIN = {"name": "chain", "prompts": 2, "good": 2, "lost": 6, "length": 8}
Steps = dict[int, dict[str, Any]]


def config(changes: dict[str, Any] | None = None) -> TabularConfig:
    found = program_config(changed(RUN, changes), "test")
    assert isinstance(found, TabularConfig)
    return found


def trained(folder: Path, changes: dict[str, Any] | None = None, seed: int = 0) -> Steps:
    """Metrics by step, without their prefix."""
    with RunWriter(folder, {"arm": "a", "seed": seed}) as log:
        settings = config(changes)
        tokens = train_tabular(settings, seed=seed, log=log, report=lambda *_: None)
    steps = {
        record["step"]: {k.removeprefix("tabular/"): v for k, v in record["values"].items()}
        for record in read_lines(folder / "metrics.jsonl")
    }
    assert tokens == steps[settings.steps]["samples"] * settings.world.length
    return steps


def test_reinforce_without_baseline_is_sft_on_its_own_right_samples(tmp_path: Path) -> None:
    """Over one denominator the same updates; over that of the kept ones, others."""
    reinforce = trained(tmp_path / "reinforce")
    own = trained(tmp_path / "own", {"objective.name": "sft_own"})
    kept = trained(
        tmp_path / "kept", {"objective.name": "sft_own", "objective.denominator": "kept"}
    )
    for step in range(6):
        one, other = reinforce[step], own[step]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6, abs=1e-12)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-6, abs=1e-12)
        assert one["reward"] == pytest.approx(other["reward"], rel=1e-6)
        assert one["sft_gap_all"] == pytest.approx(0.0, abs=1e-14)
        share = one["sampled_reward"]
        if share:
            assert one["sft_gap_kept"] == pytest.approx(1 / share - 1)
    assert kept[0]["loss"] == pytest.approx(reinforce[0]["loss"] / reinforce[0]["sampled_reward"])
    assert reinforce[6]["reward"] > reinforce[0]["reward"]


def test_gaps_to_sft_by_hand() -> None:
    """One right response of two: b over all is a, over those kept it is twice a."""
    world = chain_world(prompts=1, good=2, lost=1, length=1)
    logp_KV = torch.zeros(3, 3, dtype=torch.float64).log_softmax(dim=1)
    written = torch.ones(2, 1, dtype=torch.bool)
    own = responses(world, torch.tensor([[0], [0]]), torch.tensor([[1], [2]]), written)
    assert own.reward_B.tolist() == [1.0, 0.0]
    assert sft_gaps(logp_KV, own) == pytest.approx((0.0, 1.0), abs=1e-15)
    wrong = responses(world, torch.tensor([[0]]), torch.tensor([[2]]), written[:1])
    assert sft_gaps(logp_KV, wrong) == (0.0, 0.0)


@pytest.mark.parametrize(
    "name",
    ["constant", "running_mean", "batch_mean", "group_mean", "leave_one_out", "learned_value",
     "exact_value", "optimal"],
)  # fmt: skip
def test_every_baseline_learns_and_none_is_another(tmp_path: Path, name: str) -> None:
    plain = trained(tmp_path / "plain", {"steps": 12})
    found = trained(tmp_path / name, {"steps": 12, "advantage.baseline": name})
    assert found[12]["reward"] > found[0]["reward"] + 0.02
    assert found[0]["sampled_reward"] == plain[0]["sampled_reward"]  # the same uniform numbers
    assert found[12]["reward"] != plain[12]["reward"]


def test_the_exact_gradient_is_that_of_the_reward(tmp_path: Path) -> None:
    """Its norm against a difference quotient along itself, and no sample is drawn."""
    steps = trained(tmp_path / "exact", {"objective.name": "exact_pg"})
    assert steps[6]["samples"] == 0
    assert steps[0]["loss"] == pytest.approx(-steps[0]["reward"])
    world, logit_KV = make_world(config(), 0)
    # Even chances, one right response of nine: d p / d logit = p (1[v] - 1/3) at both places.
    p = 1 / 9
    norm = (3 * 2 * (p / 3) ** 2 * ((2 / 3) ** 2 + 2 * (1 / 3) ** 2)) ** 0.5
    assert torch.equal(logit_KV, torch.zeros(12, 3).double())
    assert world.prompts == 3
    assert steps[0]["grad_norm"] == pytest.approx(norm, rel=1e-6)


def test_imitation_stays_at_its_data_and_greedy_decoding_goes_beyond(tmp_path: Path) -> None:
    changes = {"steps": 150, "eval_every": 150, "data.demonstrations": 200}
    mle = trained(tmp_path / "mle", {**changes, "objective.name": "mle"})[150]
    assert mle["data_reward"] == pytest.approx(0.49, abs=0.06)  # .7 right at both places
    assert mle["above_data"] == pytest.approx(0.0, abs=0.01)
    assert mle["greedy_reward"] == 1.0
    assert mle["greedy_above_data"] == pytest.approx(1 - mle["data_reward"])
    assert mle["samples"] == 0
    kept = trained(tmp_path / "kept", {**changes, "objective.name": "sft_correct"})[150]
    assert kept["reward"] > 0.95
    reward = trained(tmp_path / "rl", {**changes, "objective.name": "exact_pg"})[150]
    assert reward["reward"] > 0.95


def test_lost_where_no_demonstration_goes_on_after_a_slip(tmp_path: Path) -> None:
    """The same imitator holds its ground where demonstrators recover."""
    changes = {
        "world": CHAIN,
        "steps": 120,
        "eval_every": 120,
        "objective.name": "mle",
        "data.noise": 0.1,
        "data.demonstrations": 100,
    }
    lost = trained(tmp_path / "lost", {**changes, "data.gives_up": True})[120]
    found = trained(tmp_path / "found", changes)[120]
    for steps in (lost, found):
        assert steps["forced_reward"]["1"] == pytest.approx(0.9, abs=0.03)
        assert steps["forced_reward"]["8"] == pytest.approx(0.9, abs=0.03)
        assert steps["own_reward"]["1"] == pytest.approx(0.9, abs=0.03)
    assert lost["own_reward"]["8"] < 0.75
    assert found["own_reward"]["8"] == pytest.approx(0.9, abs=0.05)
    repaired = trained(
        tmp_path / "repaired",
        {
            **changes,
            "data.gives_up": True,
            "objective.name": "reinforce",
            "objective.mle_share": 0.5,
            "advantage.baseline": "leave_one_out",
        },
    )[120]
    assert repaired["own_reward"]["8"] > lost["own_reward"]["8"] + 0.1
    assert repaired["samples"] == 60 * 2 * 16


def test_demonstrations_stop_at_the_first_slip() -> None:
    settings = config({"world": CHAIN, "data.noise": 0.5, "data.gives_up": True})
    world, _ = make_world(settings, 0)
    data = demonstrations(settings, world, 0)
    right_BT = data.token_BT == world.right_K[data.context_BT]
    for written, right, reward in zip(data.written_BT, right_BT, data.reward_B, strict=True):
        length = int(written.sum())
        assert bool(written[:length].all())
        assert bool(right[: length - 1].all())
        assert length == 8 or not bool(right[length - 1])
        assert float(reward) == pytest.approx(float(right[:length].sum()) / 8)


def test_arms_share_world_data_and_random_numbers() -> None:
    one, other = config(), config({"advantage.baseline": "optimal"})
    for seed in (0, 1):
        world, logit_KV = make_world(one, seed)
        again, _ = make_world(other, seed)
        assert torch.equal(world.reward_KV, again.reward_KV)
        logp_KV = TabularPolicy(logit_KV)().detach()
        first, second = (own_samples(c, world, logp_KV, seed, 4) for c in (one, other))
        assert torch.equal(first.token_BT, second.token_BT)
    assert not torch.equal(world.reward_KV, make_world(one, 0)[0].reward_KV)


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    changes = {"advantage.baseline": "learned_value"}
    whole = trained(tmp_path / "whole", changes)

    class Killed(Exception):  # noqa: N818 - a stop, not an error
        pass

    def kill(step: int, _: float) -> None:
        if step == 4:
            raise Killed

    folder, manifest = tmp_path / "cut", {"arm": "a", "seed": 0}
    with pytest.raises(Killed), RunWriter(folder, manifest, checkpoint_seconds=0) as log:
        train_tabular(config(changes), seed=0, log=log, report=kill)
    with RunWriter(folder, {**manifest, "started": "again"}, checkpoint_seconds=0) as log:
        assert log.checkpoint is not None
        train_tabular(config(changes), seed=0, log=log, report=lambda *_: None)
    steps = {
        record["step"]: {k.removeprefix("tabular/"): v for k, v in record["values"].items()}
        for record in read_lines(folder / "metrics.jsonl")
    }
    assert steps == whole


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"group_size": 1, "advantage.baseline": "leave_one_out"}, "a group of one"),
        ({"objective.mle_share": 0.25}, "whole updates of steps = 6, got 0.25"),
        ({"world": CHAIN, "advantage.baseline": "optimal"}, "needs a list of all responses"),
        ({"world.length": 14}, "more than 1000000"),
        ({"world.entropy": 1.2}, "entropy below log"),
        ({"engine": {"precision": "bf16"}}, "precision fp32"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes: dict[str, Any], told: str) -> None:
    if "engine" in changes:
        with pytest.raises(UserError, match=told):
            program_config({**RUN, **changes}, "test")
        return
    with pytest.raises(UserError, match=told):
        config(changes)
