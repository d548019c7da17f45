"""Worlds of episodes: what each pays by hand, what all of them promise, what their text says."""

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch

from rl.mdp import policy_value
from rl.worlds import (
    CartPole,
    EarlyKey,
    Environment,
    GridWorld,
    GuessNumber,
    Step,
    TwoStateBandit,
)
from rl.worlds.cartpole import SOLVED

LAYOUT = ("ST.M", ".B..", "....", "....")
LEFT, RIGHT, UP, DOWN = range(4)
WORLDS: dict[str, Environment] = {
    "bandit": TwoStateBandit(rewards=((11.0, 9.0), (0.0, 2.0))),
    "grid": GridWorld(layout=LAYOUT, horizon=12),
    "cartpole": CartPole(),
    "early_key": EarlyKey(keys=3, length=4, bonus=0.2),
    "guess_number": GuessNumber(numbers=7, turns=3),
}
every_world = pytest.mark.parametrize("name", WORLDS)


def at_random(world: Environment, seeds: Sequence[int], steps: int) -> list[Step]:
    """Every episode with actions of its own seed."""
    world.reset(seeds)
    drawn = [np.random.Generator(np.random.Philox(key=s)).integers(0, 2, steps) for s in seeds]
    return [world.step(np.array([row[t] for row in drawn])) for t in range(steps)]


@every_world
def test_finished_episodes_stay_put(name: str) -> None:
    steps = at_random(WORLDS[name], range(12), 80)
    assert steps[0].observation_ND.shape == (12, WORLDS[name].features)
    assert steps[0].observation_ND.dtype == np.float32
    for before, after in pairwise(steps):
        over = before.done_N
        assert (after.done_N >= over).all()
        assert (after.reward_N[over] == 0).all()
        assert not after.truncated_N[over].any()
        np.testing.assert_array_equal(after.observation_ND[over], before.observation_ND[over])
    if name != "cartpole":
        assert steps[-1].done_N.all()


@every_world
def test_an_episode_does_not_see_its_neighbours(name: str) -> None:
    together = at_random(WORLDS[name], [3, 4, 5], 12)
    alone = at_random(WORLDS[name], [4], 12)
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.observation_ND[0], many.observation_ND[1])
        assert one.reward_N[0] == many.reward_N[1]
        assert one.done_N[0] == many.done_N[1]


@every_world
def test_a_wrong_number_of_actions_and_an_unknown_one_are_told(name: str) -> None:
    world = WORLDS[name]
    world.reset([0, 1])
    with pytest.raises(ValueError, match="expected 2 actions"):
        world.step(np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match=f"from 0 to {world.actions - 1}"):
        world.step(np.array([0, world.actions]))
    with pytest.raises(ValueError, match="one seed or more"):
        world.reset([])


def test_bandit_pays_by_state_and_action() -> None:
    world = WORLDS["bandit"]
    for action, pays in enumerate([(11, 0), (9, 2)]):
        first = world.reset(range(400))
        step = world.step(np.full(400, action))
        assert first[:, 2].sum() == 0
        assert 150 < first[:, 0].sum() < 250
        assert step.reward_N.tolist() == [pays[0] if row[0] else pays[1] for row in first]
        assert step.done_N.all()
        assert not step.truncated_N.any()
        assert (step.observation_ND[:, 2] == 1).all()
    story = world.story(0)
    assert story is not None
    assert story.text == "action 2"
    assert (story.prompt, story.answer) in {("state 1", "action 1"), ("state 2", "action 2")}


@pytest.mark.parametrize(
    ("moves", "rewards"),
    [
        ([RIGHT, RIGHT, RIGHT], [-10, 0, 100]),
        ([DOWN, RIGHT, RIGHT, RIGHT, UP], [0, -1, 0, 0, 100]),
        ([LEFT, UP, RIGHT, UP], [0, 0, -10, -10]),  # off the grid: stays, and pays the cell again
        ([DOWN, UP, DOWN, DOWN, DOWN, DOWN], [0] * 6),
    ],
)
def test_grid_by_hand(moves: list[int], rewards: list[float]) -> None:
    world = WORLDS["grid"]
    assert world.reset([0]).argmax() == 0
    steps = [world.step(np.array([move])) for move in moves]
    assert [step.reward_N[0] for step in steps] == rewards
    assert [bool(step.done_N[0]) for step in steps] == [False] * (len(moves) - 1) + [
        rewards[-1] == 100
    ]
    story = world.story(0)
    assert story is not None
    assert len(story.text.split()) == len(moves)
    assert story.prompt == "\n".join(LAYOUT)


def test_grid_cuts_off_at_its_horizon() -> None:
    world = WORLDS["grid"]
    world.reset([0])
    steps = [world.step(np.array([LEFT])) for _ in range(12)]
    assert [bool(step.truncated_N[0]) for step in steps] == [False] * 11 + [True]
    assert steps[-1].done_N.all()


def test_grid_played_at_random_pays_what_its_process_says() -> None:
    """The mean of 2,000 episodes lies within four standard errors of the exact value."""
    world = WORLDS["grid"]
    count = 2000
    world.reset(range(count))
    drawn = np.random.Generator(np.random.Philox(key=1)).integers(0, 4, (12, count))
    returns = sum(0.9**t * world.step(drawn[t]).reward_N for t in range(12))
    mdp = world.mdp()
    assert mdp is not None
    uniform = torch.full((16, 4), 0.25, dtype=torch.float64)
    exact = float(policy_value(mdp, uniform, discount=0.9, horizon=12)[0])
    assert abs(returns.mean() - exact) < 4 * returns.std() / np.sqrt(count)


@pytest.mark.parametrize(
    "layout", [["S.", "M"], ["S.", ".."], ["SS", "M."], ["SX", "M."], []], ids=str
)
def test_a_map_that_is_none_is_told(layout: list[str]) -> None:
    with pytest.raises(ValueError, match="layout: expected"):
        GridWorld(layout=layout, horizon=5)


def balance(observation_ND: np.ndarray) -> np.ndarray:
    """Push towards where the pole falls: never falls itself."""
    return (observation_ND[:, 2] + 0.5 * observation_ND[:, 3] > 0).astype(np.int64)


@pytest.mark.parametrize("how", ["balance", "left"])
def test_cartpole_is_gymnasiums(how: str) -> None:
    """Step by step the single environment that gymnasium makes, its own ends included."""
    gymnasium = pytest.importorskip("gymnasium")
    world = CartPole()
    observation_ND = world.reset([7])
    assert np.abs(observation_ND).max() <= 0.05
    single = gymnasium.make("CartPole-v1")
    single.reset(seed=0)
    single.unwrapped.state = tuple(world._state_4N[:, 0].tolist())
    done = False
    count = 0
    while not done:
        action_N = balance(observation_ND) if how == "balance" else np.zeros(1, dtype=np.int64)
        step = world.step(action_N)
        observation, reward, terminated, truncated, _ = single.step(int(action_N[0]))
        np.testing.assert_allclose(step.observation_ND[0], observation, rtol=1e-4, atol=1e-5)
        assert step.reward_N[0] == reward
        assert bool(step.done_N[0]) == (terminated or truncated)
        assert bool(step.truncated_N[0]) == truncated
        observation_ND, done = step.observation_ND, bool(step.done_N[0])
        count += 1
    assert (count == 500) == (how == "balance")


def test_cartpole_settings_are_gymnasiums() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    spec = gymnasium.spec("CartPole-v1")
    assert spec.reward_threshold == SOLVED
    assert spec.max_episode_steps == CartPole.horizon


def test_cartpole_starts_are_spread_and_its_arithmetic_stays_finite() -> None:
    world = CartPole()
    starts = world.reset(range(300))
    assert np.abs(starts).max() <= 0.05
    assert np.abs(starts.mean(axis=0)).max() < 4 * 0.05 / np.sqrt(3 * 300)
    assert starts.std(axis=0) == pytest.approx([0.05 / np.sqrt(3)] * 4, rel=0.15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(60):
            step = world.step(np.zeros(300, dtype=np.int64))
    assert step.done_N.all()
    assert np.isfinite(step.observation_ND).all()


def test_early_key_pays_late_for_the_key_and_at_once_for_others() -> None:
    world = WORLDS["early_key"]
    first = world.reset(range(60))
    key_N = first[:, 4:7].argmax(axis=1)
    assert set(key_N.tolist()) == {0, 1, 2}
    assert (first[:, 0] == 1).all()
    steps = [world.step(np.zeros(60, dtype=np.int64)) for _ in range(4)]
    rewards = np.stack([step.reward_N for step in steps], axis=1)
    expected = np.where((key_N == 0)[:, None], [0, 0, 0, 1], [0.2, 0, 0, 0])
    np.testing.assert_array_equal(rewards, expected)
    assert [step.done_N.all() for step in steps] == [False, False, False, True]
    assert not steps[-1].truncated_N.any()
    shown = steps[0].observation_ND
    assert shown[:, 4:7].sum() == 0  # the key is shown once
    np.testing.assert_array_equal(shown[:, 7], key_N == 0)
    story = world.story(0)
    assert story is not None
    assert story.text == "a a a a"
    assert story.prompt == f"key {story.answer}"


def test_guessing_by_hand() -> None:
    """Secrets 1 to 7 against the guesses 4, 6, 5."""
    world = GuessNumber(numbers=7, turns=3)
    world.reset(range(80))
    secrets = [int(story.answer) for n in range(80) if (story := world.story(n)) is not None]
    assert set(secrets) == set(range(1, 8))
    steps = [world.step(np.full(80, guess - 1)) for guess in (4, 6, 5)]
    rewards = np.stack([step.reward_N for step in steps], axis=1)
    for n, secret in enumerate(secrets):
        expected = {4: [1, 0, 0], 6: [0, 1, 0], 5: [0, 0, 1]}.get(secret, [0, 0, 0])
        assert rewards[n].tolist() == expected
    assert steps[-1].done_N.all()
    assert not steps[-1].truncated_N.any()
    n = secrets.index(5)
    story = world.story(n)
    assert story is not None
    assert story.prompt == "user: I am thinking of a number from 1 to 7."
    assert story.text == ("policy: 4\nuser: higher\npolicy: 6\nuser: lower\npolicy: 5\nuser: right")
    tokens = world.tokens(n)
    assert tokens.ids == (3, 7, 5, 8, 4, 9)  # guess g is g - 1; higher 7, lower 8, right 9
    assert tokens.policy == (True, False) * 3


def test_the_transcript_is_the_observation() -> None:
    world = GuessNumber(numbers=7, turns=3)
    assert world.reset(range(80)).sum() == 0
    secrets = [int(story.answer) for n in range(80) if (story := world.story(n)) is not None]
    n = secrets.index(5)
    world.step(np.full(80, 3))
    second = world.step(np.full(80, 5)).observation_ND[n].reshape(3, 9)
    assert second[0].nonzero()[0].tolist() == [3, 7]  # guessed 4, higher
    assert second[1].nonzero()[0].tolist() == [5, 8]  # guessed 6, lower
    assert second[2].sum() == 0


def test_halving_finds_every_number() -> None:
    world = GuessNumber(numbers=7, turns=3)
    world.reset(range(80))
    low, high = np.full(80, 0), np.full(80, 6)
    total = np.zeros(80)
    done = np.zeros(80, dtype=bool)
    for turn in range(3):
        guess = (low + high) // 2
        step = world.step(np.where(done, 0, guess))
        total += step.reward_N
        answer = step.observation_ND.reshape(80, 3, 9)[:, turn, 7:]
        low = np.where(answer[:, 0] == 1, guess + 1, low)
        high = np.where(answer[:, 1] == 1, guess - 1, high)
        done = step.done_N
    assert (total == 1).all()
