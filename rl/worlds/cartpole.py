"""CartPole-v1 of gymnasium, all episodes in one array, each with a seed of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rl.seeding import uniforms
from rl.worlds.environment import Actions, Flags, Observations, Rewards, World

SOLVED = 475.0  # gymnasium.spec("CartPole-v1").reward_threshold
SPREAD = 0.05  # first states are uniform in [-SPREAD, SPREAD], all four numbers


class CartPole(World):
    """A pole on a cart, pushed left (0) or right (1), pays 1 a step until it falls, the cart
    leaves the track, or 500 steps are done, which cuts the episode off.

    The physics are gymnasium's own, in its vectorised class. Of that class two things are kept
    off: it draws all first states from one generator, and starts a finished episode again.
    """

    features, actions, horizon = 4, 2, 500

    def _begin(self, seeds: Sequence[int]) -> None:
        # Here, as the import takes a second that no other world needs.
        from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

        self._physics: Any = CartPoleVectorEnv(
            num_envs=len(seeds), max_episode_steps=self.horizon + 1
        )
        self._physics.reset(seed=0)  # it refuses to step before a reset
        self._state_4N = (2 * uniforms(seeds, 4).T - 1) * SPREAD

    def _advance(self, action_N: Actions, live_N: Flags) -> tuple[Rewards, Flags]:
        physics = self._physics
        physics.state, physics.prev_done[:] = self._state_4N, False
        _, reward_N, over_N, _, _ = physics.step(np.where(live_N, action_N, 0))
        self._state_4N = np.where(live_N, physics.state, self._state_4N)
        return reward_N.astype(np.float64), live_N & over_N

    def _observe(self) -> Observations:
        return self._state_4N.T.astype(np.float32)
