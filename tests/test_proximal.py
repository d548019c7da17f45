"""The trainer of tabular policies that reuses its samples: by equalities and by what it reaches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import ProximalConfig, program_config
from rl.errors import UserError
from rl.tabular.build import random_tree
from rl.tabular.exact import list_responses, response_logps
from rl.tabular.policy import TabularPolicy
from rl.trainers import proximal
from rl.trainers.proximal import batch_loss, train_proximal
from rl.trainers.proximal_batch import State, make_batch
from tests.goes_on import whole_and_cut
from tests.tiny import OPTIM, changed

RUN: dict[str, Any] = {
    "program": "proximal",
    "steps": 4,
    "world": {
        "name": "tree",
        "prompts": 3,
        "vocabulary": 3,
        "length": 2,
        "entropy": 0.8,
        "rewards": "normal",
    },
    "group_size": 8,
    "reward": {"kl": 0.0},
    "advantage": {"baseline": "leave_one_out"},
    "loss": {
        "name": "clipped",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "bound": None,
        "epochs": 1,
        "penalty": 0.0,
        "penalty_target": None,
    },
    "kl": {
        "loss": 0.0,
        "estimator": "k1",
        "level": "token",
        "weighted": False,
        "refresh": None,
        "target": None,
    },
    "trust_region": None,
    "optim": {**OPTIM, "lr": 0.1},
    "eval_every": 1,
}
ALL = {"group_size": None, "advantage.baseline": "exact_value"}
Steps = dict[int, dict[str, Any]]


def config(changes: dict[str, Any] | None = None) -> ProximalConfig:
    found = program_config(changed(RUN, changes), "test")
    assert isinstance(found, ProximalConfig)
    return found


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Metrics by step, without their prefix, and the weights before and after."""

    def run(changes: dict[str, Any] | None = None, seed: int = 0) -> tuple[Steps, Any, Any]:
        made: list[Any] = []

        class Watched(TabularPolicy):
            def __init__(self, logit_KV: torch.Tensor) -> None:
                super().__init__(logit_KV)
                made.extend([self.logit_KV, self.logit_KV.detach().clone()])

        monkeypatch.setattr(proximal, "TabularPolicy", Watched)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with RunWriter(folder, {"arm": "a", "seed": seed}) as log:
            train_proximal(config(changes), seed=seed, log=log, report=lambda *_: None)
        steps = {
            record["step"]: {k.removeprefix("proximal/"): v for k, v in record["values"].items()}
            for record in read_lines(folder / "metrics.jsonl")
        }
        return steps, made[1], made[0].detach().clone()

    return run


@pytest.mark.parametrize("drawn", [ALL, {}])
def test_one_update_a_batch_knows_no_clip(train: Any, drawn: dict[str, Any]) -> None:
    _, start, clipped = train(drawn)
    for name, bound in [("unclipped", None), ("reinforce", None), ("dual_clip", 3.0)]:
        steps, _, after = train({**drawn, "loss.name": name, "loss.bound": bound})
        assert torch.equal(after, clipped), name
        assert steps[4]["reward"] > steps[0]["reward"]
    assert not torch.equal(start, clipped)
    _, _, apart = train({**drawn, "loss.epochs": 8, "loss.name": "clipped"})
    _, _, other = train({**drawn, "loss.epochs": 8, "loss.name": "unclipped"})
    assert not torch.equal(apart, other)


def test_gspo_has_the_gradient_of_whole_responses_at_first(train: Any) -> None:
    """Summed over a response's tokens, its ratio's 1/T is taken out."""
    one, _, _ = train({"loss.name": "gspo"})
    other, _, _ = train({"loss.name": "reinforce"})
    assert one[0]["grad_norm"] == pytest.approx(other[0]["grad_norm"], rel=1e-6)
    assert one[0]["cosine_first"] == pytest.approx(other[0]["cosine_first"], rel=1e-6)


def test_the_broken_losses(train: Any) -> None:
    steps, start, after = train({"loss.name": "no_stop_gradient"})
    assert torch.equal(start, after)
    assert steps[0]["cosine_first"] == 0.0
    assert steps[0]["grad_norm"] == 0.0
    steps, _, _ = train({**ALL, "loss.name": "log_over_log"})
    assert steps[4]["reward"] < steps[0]["reward"]
    assert steps[0]["cosine_first"] < 0


def test_all_responses_give_the_exact_gradient(train: Any) -> None:
    """And the mean of many samples comes near it."""
    exact, _, _ = train(ALL)
    assert exact[0]["cosine_first"] == pytest.approx(1.0, abs=1e-9)
    assert exact[4]["samples"] == 0
    assert "sampled_kl_se" not in exact[0]
    for baseline in ("none", "exact_value", "leave_one_out", "group_mean"):
        many, _, _ = train({"group_size": 4000, "advantage.baseline": baseline, "steps": 1})
        assert many[0]["grad_norm"] == pytest.approx(exact[0]["grad_norm"], rel=0.1)
        assert many[0]["cosine_first"] > 0.98


def test_a_batch_and_its_loss_by_the_list_of_responses() -> None:
    """Advantage r - beta d - V, V its mean under pi_old; a penalty adds KL(pi_old || pi)."""
    settings = config({**ALL, "reward.kl": 0.5, "loss.penalty": 2.0})
    size = settings.world.model_dump(exclude={"name"})
    world, logit_KV = random_tree(**size, seed=1)
    listing = list_responses(world)
    generator = torch.Generator().manual_seed(0)
    nudge_KV = torch.randn(logit_KV.shape, generator=generator, dtype=torch.float64)
    reference_KV, old_KV = logit_KV.log_softmax(dim=1), (logit_KV + nudge_KV).log_softmax(dim=1)
    new_KV = (logit_KV - nudge_KV).log_softmax(dim=1)
    state = State(0, 0, 1.0, 2.0, reference_KV)
    batch = make_batch(settings, world, listing, old_KV, state, seed=0, step=0)

    old_PN, reference_PN, new_PN = (
        response_logps(listing, logp_KV) for logp_KV in (old_KV, reference_KV, new_KV)
    )
    given_PN = listing.reward_PN - 0.5 * (old_PN - reference_PN)
    value_P1 = (old_PN.exp() * given_PN).sum(dim=1, keepdim=True)
    assert torch.allclose(batch.advantage_B.view_as(old_PN), given_PN - value_P1, atol=1e-12)
    assert torch.allclose(batch.weight_B.view_as(old_PN), 9 * old_PN.exp(), atol=1e-12)

    losses = [
        float(batch_loss(settings, world, batch, replace(state, penalty=penalty), new_KV))
        for penalty in (0.0, 2.0)
    ]
    kl = float((old_PN.exp() * (old_PN - new_PN)).sum(dim=1).mean())
    assert losses[1] - losses[0] == pytest.approx(2.0 * kl, rel=1e-12)


GIBBS = {**ALL, "steps": 200, "eval_every": 200, "optim.lr": 0.1, "optim.schedule": "linear"}


def test_k1_in_the_reward_reaches_the_best_policy_there_is(train: Any) -> None:
    steps, _, _ = train({**GIBBS, "reward.kl": 0.5})
    assert steps[0]["gibbs_kl"] > 0.1
    assert steps[200]["gibbs_kl"] < 1e-3
    for step in steps.values():
        assert step["regret"] == pytest.approx(0.5 * step["gibbs_kl"], abs=1e-9)
    free, _, _ = train(GIBBS)
    assert free[200]["kl_from_start"] > 1.5 * steps[200]["kl_from_start"]
    assert "gibbs_kl" not in free[0]


def test_in_the_loss_k2_of_responses_reaches_it_and_k3_does_not(train: Any) -> None:
    found = {}
    for estimator in ("k2", "k3"):
        kl = {"kl.loss": 0.5, "kl.estimator": estimator, "kl.level": "sequence"}
        steps, _, _ = train({**GIBBS, **kl})
        found[estimator] = steps[200]["gibbs_kl"]
    assert found["k2"] < 1e-3
    assert found["k3"] > 0.05


def test_a_reference_renewed_at_every_step_is_none(train: Any) -> None:
    _, _, without = train({"steps": 8})
    steps, _, renewed = train({"steps": 8, "reward.kl": 0.5, "kl.refresh": 1})
    assert torch.equal(without, renewed)
    assert steps[3]["sampled_kl"] == 0.0
    steps, _, kept = train({"steps": 8, "reward.kl": 0.5})
    assert not torch.equal(without, kept)
    assert steps[0]["kl_from_reference"] == 0.0
    assert steps[7]["sampled_kl"] != 0.0
    assert steps[7]["sampled_kl_se"] > 0
    seldom, _, _ = train({"steps": 8, "reward.kl": 0.5, "kl.refresh": 3})
    at_start = [step for step in range(8) if seldom[step]["kl_from_reference"] == 0.0]
    assert at_start == [0, 3, 6]


def test_a_penalty_for_the_step_shortens_it(train: Any) -> None:
    many = {**ALL, "loss.name": "unclipped", "loss.epochs": 8}
    free, _, _ = train(many)
    held, _, _ = train({**many, "loss.penalty": 10.0})
    assert 0 < held[0]["step_kl"] < free[0]["step_kl"] / 2
    assert held[3]["coefficient"] == 10.0


def test_penalties_with_a_target_follow_the_rule_of_ppo(train: Any) -> None:
    steps, _, _ = train(
        {
            "steps": 8,
            "loss.name": "unclipped",
            "loss.epochs": 4,
            "loss.penalty": 1.0,
            "loss.penalty_target": 0.02,
        }
    )
    moves = set()
    for step in range(7):
        ratio = steps[step]["step_kl"] / 0.02
        move = 0.5 if ratio < 1 / 1.5 else 2.0 if ratio > 1.5 else 1.0
        assert steps[step + 1]["coefficient"] == move * steps[step]["coefficient"]
        moves.add(move)
    assert len(moves) > 1
    steps, _, _ = train({"steps": 8, "reward.kl": 0.1, "kl.target": 0.05})
    for step in range(7):
        ratio = steps[step]["sampled_kl"] / 0.05
        move = 0.5 if ratio < 1 / 1.5 else 2.0 if ratio > 1.5 else 1.0
        assert steps[step + 1]["coefficient"] == move * steps[step]["coefficient"]


def test_trust_region_steps_stay_within_their_radius(train: Any) -> None:
    region = {"radius": 0.05, "damping": 1e-3, "backtracks": 10}
    for drawn in (ALL, {}):
        steps, _, _ = train({**drawn, "loss.name": "unclipped", "trust_region": region})
        assert all(0 < steps[step]["step_kl"] <= 0.05 for step in range(4))
        assert steps[4]["reward"] > steps[0]["reward"]
        assert steps[0]["cosine_first"] == steps[0]["cosine_last"] > 0


def test_where_the_ratios_went(train: Any) -> None:
    one, _, _ = train({"optim.lr": 1e-4})
    assert one[0]["clip_fraction"] == 0.0
    many, _, _ = train({"loss.epochs": 8, "loss.name": "unclipped", "optim.lr": 0.3})
    assert many[0]["ratio_above_positive"] > 0
    assert many[0]["ratio_below_negative"] > 0
    assert many[0]["clip_fraction"] == pytest.approx(
        many[0]["ratio_above_positive"] + many[0]["ratio_below_negative"]
    )
    assert many[0]["ratio_max"] >= many[0]["ratio_quantiles"]["0.99"] > 1.2


@pytest.mark.parametrize(
    "changes",
    [
        {"reward.kl": 0.1, "kl.refresh": 2, "kl.target": 0.05, "loss.epochs": 2},
        {"loss.name": "unclipped", "loss.penalty": 1.0, "loss.penalty_target": 0.01},
        {
            "loss.name": "unclipped",
            "trust_region": {"radius": 0.05, "damping": 1e-3, "backtracks": 10},
        },
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = config(changes)
    whole, cut = whole_and_cut(tmp_path, train_proximal, settings, after=3)
    assert whole == cut


REGION = {"radius": 0.1, "damping": 1e-3, "backtracks": 10}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"group_size": None}, "expected a group_size of 2 or more with it, got None"),
        ({"group_size": 1}, "expected a group_size of 2 or more with it, got 1"),
        ({"loss.name": "cispo"}, "loss.bound: expected with"),
        ({"loss.bound": 2.0}, "loss.bound: expected with"),
        ({"loss.penalty_target": 0.1}, "expected loss.penalty over 0 with it"),
        ({"kl.target": 0.1}, "expected kl.loss or reward.kl over 0"),
        ({"kl.weighted": True}, "expected kl.loss over 0 with it"),
        ({"trust_region": REGION}, "expected loss.name unclipped, loss.epochs 1"),
        ({"trust_region": {**REGION, "radius": 0.0}}, "trust_region.radius"),
        ({"world.entropy": 2.0}, "below log(3)"),
        ({"world.length": 20}, "more than 1000000"),
    ],
)
def test_faults_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as fault:
        config(changes)
    assert told in str(fault.value)


def test_the_engine_must_fit_a_table() -> None:
    engine = {"zero_stage": 0, "precision": "bf16", "micro_batch_tokens": "auto", "compile": False}
    with pytest.raises(UserError, match="precision fp32"):
        program_config({**RUN, "engine": engine}, "test")
    engine = {**engine, "precision": "fp32", "zero_stage": 1}
    region = changed(RUN, {"loss.name": "unclipped", "trust_region": REGION})
    with pytest.raises(UserError, match="sets whole weights; expected 0, got 1"):
        program_config({**region, "engine": engine}, "test")
