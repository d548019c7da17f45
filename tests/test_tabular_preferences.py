"""Learning from preferences with tabular policies: by closed forms, equalities, what it reaches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import TabularPreferencesConfig, program_config
from rl.data.labels import Labelling
from rl.errors import UserError
from rl.losses.preference import Pairs, preference_loss
from rl.tabular.frontier import reward_and_kl
from rl.tabular.gibbs import gibbs_responses
from rl.tabular.texts import text_logps
from rl.trainers import preference_updates as updates
from rl.trainers.preference_metrics import problem_metrics, sweep_metrics
from rl.trainers.preference_problem import all_pairs, make_problem
from rl.trainers.tabular_preferences import train_tabular_preferences
from tests.goes_on import whole_and_cut
from tests.tiny import OPTIM, changed

RUN: dict[str, Any] = {
    "program": "tabular_preferences",
    "steps": 200,
    "world": {
        "prompts": 2,
        "vocabulary": 3,
        "length": 2,
        "spread": 0.7,
        "additive": 0.5,
        "quality": 0.0,
    },
    "pairs": {
        "count": None,
        "coverage": {"share": 1.0, "first": "likeliest"},
        "scale": 1.0,
        "flip": 0.0,
    },
    "reward_model": {"features": "response", "l2": 1e-6},
    "method": {
        "name": "dpo",
        "reward": None,
        "gamma": None,
        "group_size": None,
        "epochs": 1,
        "clip": 0.2,
    },
    "levels": [0.5, 1.0],
    "kls": [0.1, 0.5],
    "optim": {**OPTIM, "lr": 0.1, "schedule": "linear"},
    "eval_every": 100,
}
BY_GOLD = {"method.name": "ppo", "method.reward": "gold"}
GROUPS = {"method.reward": "learned", "method.group_size": 8}
Steps = dict[int, dict[str, Any]]


def config(changes: dict[str, Any] | None = None) -> TabularPreferencesConfig:
    found = program_config(changed(RUN, changes), "test")
    assert isinstance(found, TabularPreferencesConfig)
    return found


@pytest.fixture
def train(tmp_path: Path) -> Any:
    """Metrics by step, without their prefix."""

    def run(changes: dict[str, Any] | None = None, seed: int = 0) -> Steps:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with RunWriter(folder, {"arm": "a", "seed": seed}) as log:
            train_tabular_preferences(config(changes), seed=seed, log=log, report=lambda *_: None)
        return {
            record["step"]: {k.removeprefix("preferences/"): v for k, v in record["values"].items()}
            for record in read_lines(folder / "metrics.jsonl")
        }

    return run


def best(changes: dict[str, Any], beta: float, seed: int = 0) -> tuple[float, float]:
    """(gold, KL) of the Gibbs policy."""
    problem = make_problem(config(changes), seed)
    best_PN, _ = gibbs_responses(problem.ref_PN, problem.gold_PN, beta=beta)
    return tuple(float(x) for x in reward_and_kl(best_PN, problem.ref_PN, problem.gold_PN))  # type: ignore[return-value]


@pytest.mark.parametrize("coverage", [1.0, 0.6])
@pytest.mark.parametrize("count", [None, 40])
def test_the_pairs_are_those_that_were_asked_for(count: int | None, coverage: float) -> None:
    settings = config({"pairs.count": count, "pairs.coverage.share": coverage})
    problem = make_problem(settings, 0)
    pairs = problem.pairs
    assert float(pairs.weight_M.sum()) == pytest.approx(1.0)
    assert bool((pairs.chosen_M != pairs.rejected_M).all())
    covered = 7 if coverage == 1.0 else 5  # of 7 texts
    assert int(problem.seen_PN.sum(dim=1).max()) <= covered
    if count is None:
        assert problem.seen_PN.sum(dim=1).tolist() == [covered, covered]
    for prompt in range(2):
        one = pairs.prompt_M == prompt
        assert float(pairs.weight_M[one].sum()) == pytest.approx(0.5)
    likely_PN = problem.ref_PN.argsort(dim=1, descending=True)[:, :covered]
    assert bool(problem.seen_PN.scatter(1, likely_PN, False).logical_not().all())


def test_the_worst_are_covered_first() -> None:
    some = {"pairs.coverage.share": 0.6, "pairs.coverage.first": "worst"}
    problem = make_problem(config(some), 0)
    best_P1 = problem.gold_PN.argmax(dim=1, keepdim=True)
    worst_P1 = problem.gold_PN.argmin(dim=1, keepdim=True)
    assert not bool(problem.seen_PN.gather(1, best_P1).any())
    assert bool(problem.seen_PN.gather(1, worst_P1).all())


def test_a_pairs_chance_is_that_of_two_draws() -> None:
    """Of (.5, .3, .2): P(0, 1) = .15 / (1 - .38), in either order, times sigmoid(r_0 - r_1)."""
    chance_PN, gold_PN = torch.tensor([[0.5, 0.3, 0.2]]).double(), torch.tensor([[1.0, 0.0, 2.0]])
    found = all_pairs(chance_PN, gold_PN.double(), Labelling(scale=1.0, flip=0.1))
    at = (found.chosen_M == 0) & (found.rejected_M == 1)
    first = float(torch.sigmoid(torch.tensor(1.0)).double())
    told = 2 * 0.15 / 0.62 * (0.9 * first + 0.1 * (1 - first))
    assert float(found.weight_M[at]) == pytest.approx(told, rel=1e-6)


def test_a_better_reference_is_the_tilted_base() -> None:
    base, better = make_problem(config(), 0), make_problem(config({"world.quality": 1.5}), 0)
    assert torch.equal(base.gold_PN, better.gold_PN)
    assert torch.allclose(base.gold_PN.mean(dim=1), torch.zeros(2).double(), atol=1e-12)
    assert torch.allclose(base.gold_PN.square().mean(dim=1), torch.ones(2).double())
    tilted_PN = (base.ref_PN + 1.5 * base.gold_PN).log_softmax(dim=1)
    assert torch.allclose(better.ref_PN, tilted_PN, rtol=0, atol=1e-12)


def test_the_learned_reward_of_endless_pairs_is_gold_up_to_a_constant() -> None:
    problem = make_problem(config({"reward_model.l2": 1e-9}), 0)
    apart_PN = problem.learned_PN - problem.gold_PN
    assert torch.allclose(apart_PN, apart_PN[:, :1].expand_as(apart_PN), atol=1e-4)
    # Hard labels keep the order alone, and are steeper the smaller the ridge.
    hard = make_problem(config({"pairs.scale": None, "reward_model.l2": 1e-4}), 0)
    assert torch.equal(hard.learned_PN.argsort(dim=1), hard.gold_PN.argsort(dim=1))
    assert float(hard.learned_PN.std()) > 2 * float(hard.gold_PN.std())


def test_a_reward_of_tokens_can_tell_of_texts_unseen() -> None:
    """Where gold is a sum over tokens; where it is not, it cannot tell even of those seen."""
    world = {"world.vocabulary": 4, "world.length": 3, "reward_model.features": "token"}
    part = {"pairs.coverage.share": 0.7, "pairs.coverage.first": "random"}
    told = make_problem(config({**world, **part, "world.additive": 1.0}), 0)
    assert not bool(told.seen_PN.all())
    apart_PN = told.learned_PN - told.gold_PN
    assert torch.allclose(apart_PN, apart_PN[:, :1].expand_as(apart_PN), atol=1e-2)
    blind = make_problem(
        config({**world, **part, "world.additive": 1.0, "reward_model.features": "response"}), 0
    )
    found, other = problem_metrics(told), problem_metrics(blind)
    assert found["preferences/learned_accuracy_unseen"] == 1.0
    assert other["preferences/learned_accuracy"] < 1.0
    assert other["preferences/learned_accuracy_unseen"] < 0.9
    mixed = make_problem(config({**world, "world.additive": 0.5}), 0)
    assert problem_metrics(mixed)["preferences/learned_accuracy"] < 0.95


def test_dpo_of_endless_pairs_comes_to_the_gibbs_policy(train: Any) -> None:
    """As does the exact policy gradient of gold; hard labels go on past it."""
    dpo, exact = train()[200], train(BY_GOLD)[200]
    for beta in ("0.5", "1.0"):
        reward, kl = best({}, float(beta))
        for found in (dpo, exact):
            assert found["reward"][beta] == pytest.approx(reward, abs=2e-3)
            assert found["kl"][beta] == pytest.approx(kl, abs=5e-3)
            assert 0 <= found["regret"][beta] < 1e-3
            told = found["reward"][beta] - float(beta) * found["kl"][beta]
            assert found["objective"][beta] == pytest.approx(told)
    hard = train({"pairs.scale": None})[200]
    assert hard["kl"]["1.0"] > 2 * dpo["kl"]["1.0"]
    assert hard["implicit_accuracy"]["1.0"] > 0.99
    assert dpo["implicit_accuracy"]["1.0"] > 0.99
    assert dpo["unseen_mass"]["1.0"] == 0.0
    assert 0.5 < dpo["area_share"] <= 1


def test_online_dpo_labelled_by_chances_comes_there_too(train: Any) -> None:
    found = train({"method.name": "online_dpo", "method.reward": "learned"})[200]
    for beta in ("0.5", "1.0"):
        reward, kl = best({}, float(beta))
        assert found["reward"][beta] == pytest.approx(reward, abs=2e-3)
        assert found["kl"][beta] == pytest.approx(kl, abs=5e-3)


@pytest.mark.parametrize("name", ["ppo", "rloo", "grpo", "dpo_mean", "ipo", "simpo", "online_dpo"])
def test_every_method_raises_gold_and_none_beats_the_frontier(train: Any, name: str) -> None:
    changes: dict[str, Any] = {"method.name": name, "steps": 40, "levels": [0.1]}
    if name in ("ppo", "rloo", "grpo"):
        changes |= GROUPS
    if name in ("ppo", "grpo"):
        changes |= {"method.epochs": 2}
    changes |= {"method.reward": "gold"} if name == "online_dpo" else {}
    changes |= {"method.gamma": 0.3} if name == "simpo" else {}
    steps = train(changes)
    start = steps[0]["reward"]["0.1"]
    assert start == pytest.approx(steps[0]["reference_reward"], abs=1e-6)
    assert steps[0]["kl"]["0.1"] == pytest.approx(0.0, abs=1e-9)
    assert steps[40]["reward"]["0.1"] > start + 0.2
    assert steps[40]["proxy_gain"]["0.1"] > 0.1
    assert steps[40]["regret"]["0.1"] > -1e-6
    assert min(steps[40]["swept_regret"].values()) > -1e-6


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_a_larger_coefficient_keeps_closer(train: Any, name: str) -> None:
    found = train({"method.name": name, **GROUPS, "steps": 40, "levels": [0.1, 5.0]})
    assert found[40]["kl"]["5.0"] < 0.3 * found[40]["kl"]["0.1"]


def test_what_is_not_trained(train: Any) -> None:
    sft = train({"method.name": "sft"})
    assert list(sft) == [200]
    assert sft[200]["area_share"] == 0.0
    best_of = {"method.name": "best_of_n", "method.reward": "gold", "levels": [1, 4, 16]}
    found = train(best_of)[200]
    assert found["kl"]["1.0"] == pytest.approx(0.0, abs=1e-12)
    assert pytest.approx(found["reward"]["1.0"] - sft[200]["reference_reward"], abs=1e-12) == 0
    assert found["reward"]["16.0"] > found["reward"]["4.0"] > found["reward"]["1.0"]
    assert found["kl"]["16.0"] < 1.84  # log 16 - 15/16
    assert found["implicit_accuracy"]["4.0"] == pytest.approx(1.0)


def test_levels_do_not_touch_each_other(train: Any) -> None:
    """Each trains as if alone, whatever the others are."""
    method = {"method.name": "ppo", **GROUPS, "steps": 10}
    both, alone = train({**method, "levels": [0.5, 5.0]}), train({**method, "levels": [0.5]})
    assert both[10]["reward"]["0.5"] == pytest.approx(alone[10]["reward"]["0.5"], rel=1e-6)
    assert both[10]["kl"]["0.5"] == pytest.approx(alone[10]["kl"]["0.5"], rel=1e-5)


def test_the_gradient_of_a_whole_batch_is_that_of_the_objective() -> None:
    """At pi_old, of E[r] - beta KL; grpo's penalty has no gradient at the reference."""
    settings = config({**BY_GOLD, "levels": [0.7]})
    problem = make_problem(settings, 1)
    noise = torch.Generator().manual_seed(0)
    start_SKV = problem.ref_KV[None] + torch.randn(
        problem.ref_KV[None].shape, generator=noise, dtype=torch.float64
    )
    logit_SKV = start_SKV.clone().requires_grad_()
    logp_SKV = logit_SKV.log_softmax(dim=-1)
    batch = updates.make_batch(settings, problem, logp_SKV.detach(), seed=0, step=0)
    # The critic is exact: advantages are 0 on average.
    mean_SP = (batch.weight_SPG * batch.advantage_SPG).mean(dim=-1)
    assert torch.allclose(mean_SP, torch.zeros_like(mean_SP), atol=1e-12)
    loss = updates.batch_loss(settings, problem, batch, logp_SKV)
    (found,) = torch.autograd.grad(loss, logit_SKV, retain_graph=True)
    reward_S, kl_S = reward_and_kl(
        text_logps(problem.texts, logp_SKV), problem.ref_PN, problem.gold_PN
    )
    (exact,) = torch.autograd.grad((reward_S - 0.7 * kl_S).sum(), logit_SKV)
    assert torch.allclose(found, -exact, rtol=0, atol=1e-12)


def test_samples_are_drawn_with_their_chances() -> None:
    chance_SPN = torch.tensor([[[0.5, 0.2, 0.3]]], dtype=torch.float64)
    uniform_PG = torch.tensor([[0.0, 0.49, 0.5, 0.69, 0.7, 0.9999]], dtype=torch.float64)
    assert updates.drawn(chance_SPN, uniform_PG).tolist() == [[[0, 0, 1, 1, 2, 2]]]


def toy(chance: list[float]) -> torch.Tensor:
    return torch.tensor(chance, dtype=torch.float64).log()


def test_dpo_does_not_mind_mass_on_what_no_pair_holds() -> None:
    """Three actions, the first preferred to the second, nothing known of the third (2404.10719,
    section 4): all mass but a little on the third is as good as none to DPO, and lower than what
    prefers the first with a larger loss; E[r] - beta KL, r learned, is not deceived."""
    ref_N = toy([0.5, 0.49, 0.01])

    def dpo(policy_N: torch.Tensor) -> float:
        one = torch.ones(1, dtype=torch.int64)
        pairs = Pairs(policy_N[:1], policy_N[1:2], ref_N[:1], ref_N[1:2], one, one)
        return float(preference_loss(pairs, name="dpo", beta=1.0, label_smoothing=0.0))

    def objective(policy_N: torch.Tensor) -> float:
        reward_PN = torch.tensor([[2.0, -2.0, 0.0]], dtype=torch.float64)
        reward, kl = reward_and_kl(policy_N[None], ref_N[None], reward_PN)
        return float(reward - kl)

    astray_N, sound_N = toy([1e-3, 1e-7, 1 - 1e-3 - 1e-7]), toy([0.95, 0.03, 0.02])
    assert dpo(astray_N) < dpo(sound_N)
    assert objective(sound_N) > objective(astray_N) + 3


def test_dpo_can_raise_what_no_pair_holds(train: Any) -> None:
    """A likely loser's mass goes to a rare winner and to what was never seen alike."""
    unseen = {"pairs.coverage.share": 0.6, "pairs.coverage.first": "worst", "steps": 60}
    found = train({**unseen, "levels": [0.5]})
    start = found[0]["unseen_mass"]["0.5"]
    assert start == pytest.approx(found[0]["reference_unseen_mass"], abs=1e-6)
    assert abs(found[60]["unseen_mass"]["0.5"] - start) > 0.01
    assert found[60]["learned_accuracy_unseen"] < found[60]["learned_accuracy"]


def test_metrics_of_a_policy_known_by_hand() -> None:
    settings = config({"levels": [1.0], "pairs.coverage.share": 0.6})
    problem = make_problem(settings, 0)
    certain_PN = torch.full_like(problem.ref_PN, -torch.inf)
    certain_PN = certain_PN.scatter(1, problem.gold_PN.argmax(dim=1, keepdim=True), 0.0)
    found = {
        name.removeprefix("preferences/"): value
        for name, value in sweep_metrics(settings, problem, certain_PN[None]).items()
    }
    best_P, at_P = problem.gold_PN.max(dim=1)
    rows = torch.arange(2)
    assert found["reward"] == {1.0: pytest.approx(float(best_P.mean()))}
    assert found["kl"] == {1.0: pytest.approx(-float(problem.ref_PN[rows, at_P].mean()))}
    assert found["regret"] == {1.0: pytest.approx(0.0, abs=1e-9)}
    unseen = float((~problem.seen_PN[rows, at_P]).double().mean())
    assert found["unseen_mass"] == {1.0: pytest.approx(unseen)}
    proxy = float((problem.learned_PN[rows, at_P]).mean())
    proxy -= float((problem.ref_PN.exp() * problem.learned_PN).sum(dim=1).mean())
    assert found["proxy_gain"] == {1.0: pytest.approx(proxy)}


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs.count": 10},
        {"method.name": "grpo", **GROUPS, "method.epochs": 2},
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = config({**changes, "steps": 5, "eval_every": 1})
    whole, cut = whole_and_cut(tmp_path, train_tabular_preferences, settings, after=3)
    assert whole == cut


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method.reward": "gold"}, "reward: expected learned or gold for"),
        ({"method.name": "ppo"}, "reward: expected learned or gold for"),
        ({"method.name": "simpo"}, "gamma: expected a number for simpo"),
        ({"method.gamma": 0.1}, "gamma: expected a number for simpo"),
        ({**GROUPS, "method.name": "rloo", "method.group_size": 1}, "expected 2 or more, got 1"),
        ({"method.group_size": 4}, "draws no responses; expected null, got 4"),
        ({"method.epochs": 2}, "only ppo and grpo reuse a batch"),
        (
            {"method.name": "best_of_n", "method.reward": "gold", "levels": [1.5]},
            "whole numbers of samples",
        ),
        ({"levels": [1.0, 1.0]}, "levels: expected distinct levels"),
        ({"kls": [1.0, 1.0]}, "kls: expected distinct levels"),
        ({"optim.grad_clip": 1.0}, "would tie them together"),
        ({"world.vocabulary": 10, "world.length": 5}, "more than 10000"),
        ({"pairs.flip": 0.6}, "pairs.flip"),
    ],
)
def test_faults_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as fault:
        config(changes)
    assert told in str(fault.value)


def test_the_engine_must_fit_a_table() -> None:
    with pytest.raises(UserError, match="precision fp32"):
        program_config({**RUN, "engine": {"precision": "bf16"}}, "test")
