"""Playing episodes with a policy network, many at a time.

Axis letters: N episodes, T steps, D features, A actions, M all steps of all episodes in a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rl.config.episodes import (
    BanditConfig,
    CartPoleConfig,
    EarlyKeyConfig,
    GridConfig,
    WorldConfig,
)
from rl.models.networks import frozen
from rl.returns import taken_steps
from rl.seeding import uniforms
from rl.worlds import (
    CartPole,
    EarlyKey,
    Environment,
    GridWorld,
    GuessNumber,
    TwoStateBandit,
)


@dataclass(frozen=True)
class Played:
    """Whole episodes. What stands after an episode's length is not to be read."""

    observation_NTD: np.ndarray  # float32, before the action
    action_NT: np.ndarray  # int64
    reward_NT: np.ndarray  # float64, after the action
    length_N: np.ndarray  # int64
    truncated_N: np.ndarray  # bool, cut off by the horizon

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted sums of rewards, float64."""
        total: np.ndarray = self.reward_NT.sum(axis=1)
        return total

    @property
    def taken(self) -> np.ndarray:
        """Which entries are steps of their episode."""
        return taken_steps(self.length_N, width=self.action_NT.shape[1])

    def observations(self) -> Tensor:
        """Observations of all steps, episode by episode."""
        return torch.from_numpy(self.observation_NTD[self.taken])

    def actions(self) -> Tensor:
        """Actions in the same order."""
        return torch.from_numpy(self.action_NT[self.taken])


def make_world(config: WorldConfig) -> Environment:
    """The world that `config` names."""
    if isinstance(config, BanditConfig):
        return TwoStateBandit(rewards=config.rewards)
    if isinstance(config, GridConfig):
        return GridWorld(layout=config.layout, horizon=config.horizon)
    if isinstance(config, CartPoleConfig):
        return CartPole()
    if isinstance(config, EarlyKeyConfig):
        return EarlyKey(keys=config.keys, length=config.length, bonus=config.bonus)
    return GuessNumber(numbers=config.numbers, turns=config.turns)


def play(
    world: Environment,
    policy: nn.Sequential,
    *,
    world_seeds: Sequence[int],
    action_seeds: Sequence[int] | None,
) -> Played:
    """One episode a seed, to the end of each.

    Action t of an episode is where the t-th uniform number of its action seed falls among the
    policy's cumulative probabilities; without action seeds it is the likeliest, the first of
    equals. An episode therefore depends on its seeds and the weights, not on its neighbours.
    """
    logits = frozen(policy)
    observation_ND = world.reset(world_seeds)
    count = len(world_seeds)
    uniform_TN = None if action_seeds is None else uniforms(action_seeds, world.horizon).T
    done_N = np.zeros(count, dtype=bool)
    length_N = np.zeros(count, dtype=np.int64)
    truncated_N = np.zeros(count, dtype=bool)
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    rewards: list[np.ndarray] = []
    while not done_N.all():
        logit_NA = logits(observation_ND)
        if uniform_TN is None:
            action_N = logit_NA.argmax(axis=1)
        else:
            action_N = drawn(logit_NA, uniform_TN[len(actions)])
        step = world.step(action_N)
        observations.append(observation_ND)
        actions.append(action_N)
        rewards.append(step.reward_N)
        length_N += ~done_N
        truncated_N |= step.truncated_N
        observation_ND, done_N = step.observation_ND, step.done_N
    return Played(
        observation_NTD=np.stack(observations, axis=1),
        action_NT=np.stack(actions, axis=1),
        reward_NT=np.stack(rewards, axis=1),
        length_N=length_N,
        truncated_N=truncated_N,
    )


def drawn(logit_NA: np.ndarray, uniform_N: np.ndarray) -> np.ndarray:
    """Actions by inversion: the number of cumulative softmax probabilities at or below u."""
    weight_NA = np.exp(logit_NA.astype(np.float64) - logit_NA.max(axis=1, keepdims=True))
    cumulative_NA = weight_NA.cumsum(axis=1)
    mark_N1 = uniform_N[:, None] * cumulative_NA[:, -1:]
    action_N: np.ndarray = (mark_N1 >= cumulative_NA[:, :-1]).sum(axis=1)
    return action_N
