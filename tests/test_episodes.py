"""Training in worlds of episodes: unbiased updates, every baseline, exact resumption, the log."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rl.advantages import RunningMean
from rl.artifacts import SAME, RunWriter, read_lines
from rl.bandit import gradient_moments, optimal_baseline, state_value
from rl.config import EngineConfig, program_config
from rl.config.episodes import EpisodesConfig
from rl.errors import UserError
from rl.metrics import METRICS
from rl.models.networks import new_network
from rl.trainers import episodes
from rl.trainers.episode_play import Played, drawn, make_world, play
from rl.trainers.episode_update import (
    BASELINES,
    Known,
    ValueNetwork,
    policy_loss,
    policy_table,
    returns_and_advantages,
)
from rl.trainers.episodes import exact_update, policy_update, train_episodes
from rl.trainers.parts import engine_for
from rl.worlds import GuessNumber, TwoStateBandit
from tests.tiny import OPTIM, changed

torch.set_num_threads(1)

ADAM = {**OPTIM, "lr": 0.1, "betas": [0.9, 0.999]}
# So large an eps makes Adam plain gradient descent with the learning rate lr / eps.
DESCENT = {**ADAM, "lr": 1e6, "eps": 1e6, "betas": [0.0, 0.0]}
REWARDS = [[11.0, 9.0], [0.0, 2.0]]
RUN: dict[str, Any] = {
    "program": "episodes",
    "world": {"name": "bandit", "rewards": REWARDS},
    "steps": 6,
    "episodes": 8,
    "gradient": "sampled",
    "policy": {"hidden": [], "activation": "tanh"},
    "returns": {"discount": 1.0, "reward_to_go": True, "discount_from": "action"},
    "baseline": "none",
    "constant": 0.0,
    "normalise": {"scope": "none", "ddof": 1, "eps": 1e-7},
    "value": {
        "network": {"hidden": [8], "activation": "tanh"},
        "scale": 10.0,
        "updates": 2,
        "optim": ADAM,
    },
    "optim": ADAM,
    "eval": {"every": 2, "episodes": 4, "seed": 7},
    "solved": 6.0,
    "stop_when_solved": False,
}
KEY = {"name": "early_key", "keys": 2, "length": 3, "bonus": 0.25}
GUESS = {"name": "guess_number", "numbers": 3, "turns": 2}
GRID = {"name": "grid", "layout": ["S.", "BM"], "horizon": 6}


def config(changes: dict[str, Any] | None = None) -> EpisodesConfig:
    found = program_config(changed(RUN, changes), "test")
    assert isinstance(found, EpisodesConfig)
    return found


def table(weights: Any) -> nn.Sequential:
    """A linear policy with these weights [A, D]."""
    weight = torch.tensor(weights, dtype=torch.float32)
    network = new_network(
        features=weight.shape[1], outputs=len(weight), hidden=(), activation="tanh", seed=0
    )
    with torch.no_grad():
        next(network.parameters()).copy_(weight)
    return network


def known(policy: nn.Sequential, changes: dict[str, Any] | None = None, **given: Any) -> Known:
    world = make_world(config(changes).world)
    return Known(
        **{
            "running": RunningMean(2.5, 4),
            "value": None,
            "mdp": world.mdp(),
            "policy": policy,
            "horizon": world.horizon,
            **given,
        }
    )


FACTS: dict[str, Any] = {**dict.fromkeys(SAME, "the same"), "arm": "a", "seed": 1, "started": "now"}


def train(
    directory: Path, changes: dict[str, Any], seed: int = 1, every_s: float = 1e9
) -> list[dict[str, Any]]:
    """A whole run; returns its lines of metrics."""
    with RunWriter(directory, FACTS, checkpoint_seconds=every_s) as log:
        played = train_episodes(config(changes), seed=seed, log=log, report=lambda *_: None)
        log.finish({"tokens": played})
    return read_lines(directory / "metrics.jsonl")


def column(lines: list[dict[str, Any]], name: str) -> list[Any]:
    return [line["values"][name] for line in lines if name in line["values"]]


def test_actions_fall_where_the_uniform_number_does() -> None:
    """Odds 1 : 2 : 1, so that the cumulative probabilities are 1/4, 3/4, 1."""
    logits = np.log(np.array([[1.0, 2.0, 1.0]] * 6)) + 50
    uniform = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 2**-53])
    assert drawn(logits, uniform).tolist() == [0, 0, 1, 1, 2, 2]


def test_play_follows_the_policy() -> None:
    world = TwoStateBandit(rewards=REWARDS)
    policy = table([[np.log(3.0), 0.0, 0.0], [0.0, 0.0, 0.0]])  # P(a1) is 3/4, 1/2
    batch = play(world, policy, world_seeds=range(2000), action_seeds=range(5000, 7000))
    first = batch.observation_NTD[:, 0, 0] == 1
    for state, p in ((first, 0.75), (~first, 0.5)):
        share = float((batch.action_NT[state, 0] == 0).mean())
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / state.sum())
    greedy = play(world, policy, world_seeds=range(10), action_seeds=None)
    assert (greedy.action_NT == 0).all()  # the first of equals in state 2
    assert greedy.returns.tolist() == [11.0 if row[0, 0] else 0.0 for row in greedy.observation_NTD]


@pytest.mark.parametrize("world", [KEY, GUESS, GRID], ids=lambda world: world["name"])
def test_an_episode_depends_on_its_own_seeds(world: dict[str, Any]) -> None:
    made = make_world(config({"world": world}).world)
    policy = new_network(
        features=made.features, outputs=made.actions, hidden=(4,), activation="relu", seed=1
    )
    many = play(made, policy, world_seeds=[1, 2, 3], action_seeds=[4, 5, 6])
    alone = play(made, policy, world_seeds=[2], action_seeds=[5])
    length = int(alone.length_N[0])
    assert many.length_N[1] == length
    np.testing.assert_array_equal(many.action_NT[1, :length], alone.action_NT[0])
    np.testing.assert_array_equal(many.reward_NT[1, :length], alone.reward_NT[0])
    assert (many.reward_NT[1, length:] == 0).all()
    assert many.observations().shape == (many.length_N.sum(), made.features)
    assert many.actions().shape == (many.length_N.sum(),)


def test_policy_loss_by_hand() -> None:
    """Two episodes of three steps in all: -(2 log(1/4) - 3 log(3/4) + 1 log(1/2)) / 2."""
    logp = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75], [0.5, 0.5]]))
    found = policy_loss(logp, torch.tensor([0, 1, 0]), torch.tensor([2.0, -3.0, 1.0]), episodes=2)
    expected = -(2 * np.log(0.25) - 3 * np.log(0.75) + np.log(0.5)) / 2
    assert float(found) == pytest.approx(expected, rel=1e-6)


def bandit_batch(policy: nn.Sequential, count: int = 4000) -> Played:
    world = TwoStateBandit(rewards=REWARDS)
    return play(world, policy, world_seeds=range(count), action_seeds=range(10**6, 10**6 + count))


LOGITS = [[-1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
P1 = (1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-0.5)))


@pytest.mark.parametrize("baseline", ["none", "constant", "running_mean", "exact_value", "optimal"])
def test_sampled_gradients_have_the_exact_mean_and_variance(baseline: str) -> None:
    """Per state of the bandit, against rl.bandit: mean within four standard errors."""
    policy = table(LOGITS)
    batch = bandit_batch(policy)
    chosen = config({"baseline": baseline, "constant": 5.5})
    _, advantage_NT = returns_and_advantages(chosen, batch, known(policy))
    for state, (p, (r1, r2)) in enumerate(zip(P1, REWARDS, strict=True)):
        rewards = {"reward_1": r1, "reward_2": r2}
        b = {
            "none": 0.0,
            "constant": 5.5,
            "running_mean": 2.5,
            "exact_value": state_value(p, **rewards),
            "optimal": optimal_baseline(p, **rewards),
        }[baseline]
        here = batch.observation_NTD[:, 0, state] == 1
        score_N = np.where(batch.action_NT[here, 0] == 0, 1 - p, -p)
        sample_N = score_N * advantage_NT[here, 0]
        exact = gradient_moments(p, baseline=b, **rewards)
        error = np.sqrt(exact.variance / here.sum())
        assert abs(sample_N.mean() - exact.mean) <= 4 * error + 1e-6
        assert sample_N.var() == pytest.approx(exact.variance, rel=0.15, abs=1e-9)


def test_the_loss_of_a_batch_has_that_gradient() -> None:
    """Minus the mean over episodes of A (e_a - pi), in the row of the state."""
    policy = table(LOGITS)
    batch = bandit_batch(policy, 50)
    _, advantage_NT = returns_and_advantages(config(), batch, known(policy))
    logp_MA = policy(batch.observations()).log_softmax(dim=1)
    advantage_M = torch.from_numpy(advantage_NT[batch.taken]).float()
    policy_loss(logp_MA, batch.actions(), advantage_M, episodes=50).backward()
    expected = np.zeros((2, 3))
    for n in range(50):
        state = int(batch.observation_NTD[n, 0].argmax())
        p = np.array([P1[state], 1 - P1[state]])
        expected[:, state] -= advantage_NT[n, 0] * (np.eye(2)[batch.action_NT[n, 0]] - p) / 50
    (weight,) = policy.parameters()
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.numpy(), expected, atol=1e-5)


def enumerated_dialogues(policy: nn.Sequential) -> tuple[list[tuple[float, Played]], torch.Tensor]:
    """Every dialogue of GUESS with its chance; and the exact success rate, for autograd.

    The user's answers are certain given the secret, and the three secrets are equally likely.
    """
    world = GuessNumber(numbers=3, turns=2)
    found, rate = [], torch.zeros(())
    seed_of: dict[int, int] = {}
    for seed in range(60):
        world.reset([seed])
        story = world.story(0)
        assert story is not None
        seed_of.setdefault(int(story.answer), seed)
    for seed, first in product(seed_of.values(), range(3)):
        for second in range(3):
            observations, actions, rewards = [world.reset([seed])], [first], []
            step = world.step(np.array([first]))
            rewards.append(step.reward_N)
            if step.done_N.all() and second:
                continue  # the dialogue was over: one of it is enough
            if not step.done_N.all():
                observations.append(step.observation_ND)
                actions.append(second)
                rewards.append(world.step(np.array([second])).reward_N)
            logp = policy(torch.from_numpy(np.concatenate(observations))).log_softmax(dim=1)
            chance = torch.stack([logp[t, a] for t, a in enumerate(actions)]).sum().exp() / 3
            rate = rate + chance * float(sum(rewards).sum())
            batch = Played(
                observation_NTD=np.stack(observations, axis=1),
                action_NT=np.array([actions]),
                reward_NT=np.stack(rewards, axis=1),
                length_N=np.array([len(actions)]),
                truncated_N=np.array([False]),
            )
            found.append((float(chance.detach()), batch))
    return found, rate


@pytest.mark.parametrize("reward_to_go", [False, True])
def test_a_dialogue_moves_the_policy_by_its_own_turns_only(reward_to_go: bool) -> None:
    """The expected update over all dialogues is the gradient of the exact success rate."""
    changes = {"world": GUESS, "returns.reward_to_go": reward_to_go}
    generator = torch.Generator().manual_seed(0)
    policy = table(torch.randn((3, 10), generator=generator).tolist())
    dialogues, rate = enumerated_dialogues(policy)
    assert sum(chance for chance, _ in dialogues) == pytest.approx(1.0, abs=1e-6)
    (exact,) = torch.autograd.grad(rate, list(policy.parameters()))
    total = torch.zeros_like(exact)
    for chance, batch in dialogues:
        _, advantage_NT = returns_and_advantages(config(changes), batch, known(policy, changes))
        logp_MA = policy(batch.observations()).log_softmax(dim=1)
        advantage_M = torch.from_numpy(advantage_NT[batch.taken]).float()
        loss = policy_loss(logp_MA, batch.actions(), advantage_M, episodes=1)
        total -= chance * torch.autograd.grad(loss, list(policy.parameters()))[0]
    torch.testing.assert_close(total, exact, rtol=1e-4, atol=1e-6)
    assert float(exact.abs().max()) > 0.01


def test_baselines_by_hand() -> None:
    """Early key: returns to go of a right and a wrong first token, discounted by a half."""
    world = make_world(config({"world": KEY}).world)
    policy = table(np.zeros((2, 6)))
    batch = play(world, policy, world_seeds=range(20), action_seeds=range(40, 60))
    right = batch.reward_NT[:, 2] == 1
    assert 0 < right.sum() < 20
    changes = {"world": KEY, "returns.discount": 0.5}
    return_NT, plain = returns_and_advantages(config(changes), batch, known(policy, changes))
    expected = np.where(right[:, None], [0.25, 0.5, 1.0], [0.25, 0.0, 0.0])
    np.testing.assert_array_equal(return_NT, expected)
    np.testing.assert_array_equal(plain, expected)
    for baseline, b in (("constant", 3.0), ("running_mean", 2.5), ("batch_mean", expected.mean())):
        chosen = config({**changes, "baseline": baseline, "constant": 3.0})
        _, advantage_NT = returns_and_advantages(chosen, batch, known(policy, changes))
        np.testing.assert_allclose(advantage_NT, expected - b, atol=1e-12)
    fake: Callable[[np.ndarray], np.ndarray] = lambda x: x[..., 5] + 10.0  # noqa: E731
    chosen = config({**changes, "baseline": "learned_value"})
    _, advantage_NT = returns_and_advantages(chosen, batch, known(policy, changes, value=fake))
    held = np.where(right[:, None], [0, 1, 1], 0)  # seen from the second token on
    np.testing.assert_allclose(advantage_NT, expected - 10 - held, atol=1e-6)
    assert set(BASELINES) == {
        *("none", "constant", "running_mean", "batch_mean"),
        *("learned_value", "exact_value", "optimal"),
    }


def test_the_mean_of_whole_episodes_counts_each_once() -> None:
    changes = {"world": GUESS, "returns.reward_to_go": False, "baseline": "batch_mean"}
    world = make_world(config(changes).world)
    policy = table(np.zeros((3, 10)))
    batch = play(world, policy, world_seeds=range(20), action_seeds=range(40, 60))
    assert len(set(batch.length_N.tolist())) == 2
    _, advantage_NT = returns_and_advantages(config(changes), batch, known(policy, changes))
    np.testing.assert_allclose(advantage_NT[:, 0], batch.returns - batch.returns.mean())


def test_a_value_network_learns_the_mean_return() -> None:
    """In units of the return: targets 3 and -1 are fitted at scale 10; its loss is told squared."""
    chosen = config({"value.updates": 200}).value
    assert chosen is not None
    value = ValueNetwork(chosen, features=2, seed=0, batches=1)
    states = np.eye(2, dtype=np.float32)
    before = value(states)
    loss = value.fit(torch.from_numpy(states), torch.tensor([3.0, -1.0]))
    assert loss == pytest.approx(((before - [3, -1]) ** 2).mean(), rel=1e-4)
    np.testing.assert_allclose(value(states), [3.0, -1.0], atol=0.05)
    value.engine.close()


def test_exact_updates_climb_the_expected_reward() -> None:
    """Plain descent moves a logit by lr d(s) pi(a|s) (R - V): at the start +-1/4 in each state."""
    policy = table(np.zeros((2, 3)))
    engine = engine_for(policy, config({"optim": DESCENT}).optim, EngineConfig(), 1)
    mdp = TwoStateBandit(rewards=REWARDS).mdp()
    updated = exact_update(engine, mdp, discount=1.0, horizon=1)
    engine.close()
    (weight,) = policy.parameters()
    expected = [[0.25, -0.25, 0.0], [-0.25, 0.25, 0.0]]
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-5)
    assert updated.grad_norm == pytest.approx(0.5)
    assert updated.loss == pytest.approx(-5.5)
    p = policy_table(policy, mdp).numpy()
    assert p[0, 0] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-5)


def test_an_update_follows_the_sampled_gradient() -> None:
    policy = table(np.zeros((2, 3)))
    engine = engine_for(policy, config({"optim": DESCENT}).optim, EngineConfig(), 1)
    batch = bandit_batch(policy, 20)
    _, advantage_NT = returns_and_advantages(config(), batch, known(policy))
    values = policy_update(engine, batch, advantage_NT)
    engine.close()
    expected = np.zeros((2, 3))
    for n in range(20):
        state = int(batch.observation_NTD[n, 0].argmax())
        expected[:, state] += advantage_NT[n, 0] * (np.eye(2)[batch.action_NT[n, 0]] - 0.5) / 20
    (weight,) = policy.parameters()
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-4)
    assert values["episodes/entropy"] == pytest.approx(np.log(2))
    assert values["episodes/grad_norm"] == pytest.approx(np.linalg.norm(expected), rel=1e-4)


def test_a_run_logs_what_is_documented(tmp_path: Path) -> None:
    changes = {"baseline": "learned_value", "steps": 30, "solved": 5.6}
    lines = train(tmp_path / "run", changes)
    assert [line["step"] for line in lines if "episodes/count" in line["values"]] == [*range(30)]
    evaluated = [line["step"] for line in lines if "episodes/greedy_return" in line["values"]]
    assert evaluated == [*range(0, 31, 2)]
    names = {name for line in lines for name in line["values"]}
    absent = {"episodes/p_action_2", "episodes/p_action_3"}
    assert names == {name for name in METRICS if METRICS[name].program == "episodes"} - absent
    assert column(lines, "episodes/count") == [8.0 * (k + 1) for k in range(30)]
    assert column(lines, "episodes/optimal_value") == [6.5] * 16
    values = column(lines, "episodes/value")
    assert values[0] == 5.5
    assert column(lines, "episodes/shortfall")[-1] == pytest.approx((6.5 - values[-1]) / 6.5)
    assert values[-1] > 6.0
    first = column(lines, "episodes/p_action_0")[0]
    assert first == {"0.0": 0.5, "1.0": 0.5, "2.0": 0.5}
    samples = read_lines(tmp_path / "run" / "samples.jsonl")
    assert [sample["step"] for sample in samples] == [0, 30]
    assert samples[-1]["text"].startswith("action")


def test_solving_is_counted_in_episodes_and_can_end_a_run(tmp_path: Path) -> None:
    """Every return of the early key is .25 or 1: a line of .25 is reached after 100 episodes."""
    easy = {"world": KEY, "steps": 20, "solved": 0.25}
    lines = train(tmp_path / "easy", {**easy, "stop_when_solved": True})
    assert column(lines, "episodes/solved") == [0.0] * 12 + [1.0, 1.0]
    assert column(lines, "episodes/to_solve") == [*range(8, 97, 8), 100, 100]
    assert column(lines, "episodes/count")[-1] == 104.0  # thirteen batches of eight
    assert lines[-1]["step"] == 20
    lines = train(tmp_path / "on", easy)
    assert column(lines, "episodes/solved") == [0.0] * 12 + [1.0] * 9
    assert column(lines, "episodes/to_solve")[-1] == 100.0
    assert column(lines, "episodes/count")[-1] == 160.0
    lines = train(tmp_path / "never", {**easy, "solved": 1.5})
    assert column(lines, "episodes/to_solve")[-1] == 160.0
    assert column(lines, "episodes/solved") == [0.0] * 21


def test_exact_training_samples_nothing_and_reaches_the_best_path(tmp_path: Path) -> None:
    changes = {"world": GRID, "gradient": "exact", "steps": 40, "returns.discount": 0.9}
    lines = train(tmp_path / "run", changes)
    assert not column(lines, "episodes/count")
    assert not column(lines, "episodes/to_solve")
    assert column(lines, "episodes/optimal_value")[-1] == pytest.approx(90.0)  # right, down
    assert column(lines, "episodes/greedy_value")[-1] == pytest.approx(90.0)
    assert column(lines, "episodes/greedy_return")[-1] == 100.0
    assert column(lines, "episodes/shortfall")[-1] < 0.1
    with_seed = train(tmp_path / "other", changes, seed=2)
    assert column(with_seed, "episodes/value") == column(lines, "episodes/value")


@pytest.mark.parametrize("stops", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, stops: int) -> None:
    """Two networks, two optimisers, the running mean and the returns so far come back."""
    changes = {"baseline": "learned_value", "policy.hidden": [4]}
    whole = tmp_path / "whole"
    train(whole, changes)

    def stop(step: int, _: float) -> None:
        if step > stops:
            raise KeyboardInterrupt

    cut = tmp_path / "cut"
    with (
        pytest.raises(KeyboardInterrupt),
        RunWriter(cut, FACTS, checkpoint_seconds=0) as log,
    ):
        train_episodes(config(changes), seed=1, log=log, report=stop)
    with RunWriter(cut, FACTS, checkpoint_seconds=1e9) as log:
        assert log.checkpoint is not None
        train_episodes(config(changes), seed=1, log=log, report=lambda *_: None)
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_seeds_make_the_run(tmp_path: Path) -> None:
    one, same, other = (
        column(train(tmp_path / name, {}, seed=seed), "episodes/return")
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"baseline": "learned_value", "value": None}, "settings of `value`, got null"),
        ({"baseline": "exact_value", "world": KEY}, "bandit, grid"),
        ({"baseline": "optimal", "world": GRID}, "expected world bandit"),
        ({"gradient": "exact", "world": GUESS}, "gradient exact: expected a world"),
        ({"gradient": "exact", "baseline": "constant"}, "no use for a baseline"),
        ({"gradient": "exact", "normalise.scope": "batch"}, "no use for a baseline"),
        ({"world.name": "bandits"}, "world"),
        ({"returns.discount": 1.5}, "returns.discount"),
        ({"world": {"name": "cartpole", "horizon": 5}}, "world.cartpole.horizon: unknown key"),
    ],
)
def test_settings_that_do_not_fit_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(changes)


@pytest.mark.parametrize(
    "engine", [{"zero_stage": 1}, {"precision": "bf16"}, {"compile": True}], ids=json.dumps
)
def test_one_plain_process_is_asked_for(engine: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="one process plays"):
        program_config({**RUN, "engine": engine}, "test")


def test_the_window_is_of_a_hundred_episodes() -> None:
    assert episodes.WINDOW == 100
