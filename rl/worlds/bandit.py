"""The two-state bandit: a state is drawn, one of two actions is taken, and that is the episode."""

from collections.abc import Sequence

import numpy as np

from rl.mdp import FiniteMDP
from rl.seeding import uniforms
from rl.worlds.environment import Actions, Flags, Observations, Rewards, Story, World, unit_vectors

END = 2


class TwoStateBandit(World):
    """States 0 and 1 are equally likely; state 2 is the end. Rewards are given as [S][A].

    CS336 (2025), lecture 17, has 11 and 9 in its first state, 0 and 2 in its second: without a
    baseline the worse action of the first state is pushed up by 9, four and a half times as much
    as the better one of the second.
    """

    features, actions, horizon, cut_off = 3, 2, 1, False

    def __init__(self, *, rewards: Sequence[Sequence[float]]) -> None:
        """Rewards of both actions in both states.

        Raises:
            ValueError: not two by two.
        """
        self._reward_SA = np.array(rewards, dtype=np.float64)
        if self._reward_SA.shape != (2, 2):
            raise ValueError(f"rewards: expected 2 states x 2 actions, got {rewards}")

    def _begin(self, seeds: Sequence[int]) -> None:
        self._first_N = (uniforms(seeds, 1)[:, 0] >= 0.5).astype(np.int64)
        self._state_N = self._first_N

    def _advance(self, action_N: Actions, live_N: Flags) -> tuple[Rewards, Flags]:
        reward_N = np.zeros(len(live_N))
        reward_N[live_N] = self._reward_SA[self._state_N[live_N], action_N[live_N]]
        self._state_N = np.where(live_N, END, self._state_N)
        return reward_N, live_N

    def _observe(self) -> Observations:
        return unit_vectors(self._state_N, self.features)

    def story(self, row: int) -> Story:
        """The state, its better action, the action taken; all counted from 1 as in the lecture."""
        state = int(self._first_N[row])
        return Story(
            prompt=f"state {state + 1}",
            answer=f"action {int(self._reward_SA[state].argmax()) + 1}",
            text=" ".join(f"action {action + 1}" for action in self._actions_of(row)),
        )

    def mdp(self) -> FiniteMDP:
        """Two states that lead to the end."""
        next_SAS = np.zeros((3, 2, 3))
        next_SAS[:, :, END] = 1.0
        return FiniteMDP(
            next_SAS=next_SAS,
            reward_SA=np.vstack([self._reward_SA, np.zeros((1, 2))]),
            start_S=np.array([0.5, 0.5, 0.0]),
        )
