"""What trainers ask of a world of episodes, and the bookkeeping that all of them share.

Axis letters: N episodes played side by side, D features of an observation, S states, A actions.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from rl.mdp import FiniteMDP

Actions = Int64[np.ndarray, " N"]
Observations = Float32[np.ndarray, "N D"]
Rewards = Float64[np.ndarray, " N"]
Flags = Bool[np.ndarray, " N"]


@dataclass(frozen=True)
class Step:
    """What one action of every episode led to.

    A finished episode stays where it is: its reward is 0, its observation the last one.
    `done_N`: the episode is over, by its own end or cut off. `truncated_N`: it was cut off.
    """

    observation_ND: Observations
    reward_N: Rewards
    done_N: Flags
    truncated_N: Flags


@dataclass(frozen=True)
class Story:
    """One episode as text: what was there, what would be right, what was done."""

    prompt: str
    answer: str
    text: str


class Environment(Protocol):
    """N episodes at once. An episode depends on its own seed and actions alone."""

    features: int
    actions: int
    horizon: int

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Start an episode a seed."""

    def step(self, action_N: Actions) -> Step:
        """Take one action in every episode; those of finished ones are not looked at."""

    def story(self, row: int) -> Story | None:
        """An episode so far as text, in worlds that can be told."""

    def mdp(self) -> FiniteMDP | None:
        """The whole process, where it is small: state s is observed as the unit vector e_s."""


class World(ABC):
    """Counts steps, freezes finished episodes, keeps what was done."""

    features: int
    actions: int
    horizon: int
    # Whether an episode that the horizon ends is cut off, or over by the rules of the world.
    cut_off: ClassVar[bool] = True

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Start an episode a seed.

        Raises:
            ValueError: no seeds.
        """
        if not len(seeds):
            raise ValueError("reset: expected one seed or more, got none")
        self._done_N = np.zeros(len(seeds), dtype=bool)
        self._taken: list[Actions] = []
        self._begin(seeds)
        return self._observe()

    def step(self, action_N: Actions) -> Step:
        """Take one action in every episode; those of finished ones are not looked at.

        Raises:
            ValueError: not one action an episode, or an action that is not in [0, A).
        """
        live_N = ~self._done_N
        if action_N.shape != live_N.shape:
            raise ValueError(f"step: expected {len(live_N)} actions, got shape {action_N.shape}")
        if (live_N & ((action_N < 0) | (action_N >= self.actions))).any():
            raise ValueError(
                f"step: expected actions from 0 to {self.actions - 1}, got {action_N.tolist()}"
            )
        reward_N, over_N = self._advance(action_N, live_N)
        self._taken.append(np.where(live_N, action_N, -1))
        late_N = live_N & ~over_N & (len(self._taken) >= self.horizon)
        self._done_N = self._done_N | over_N | late_N
        return Step(
            observation_ND=self._observe(),
            reward_N=np.where(live_N, reward_N, 0.0),
            done_N=self._done_N,
            truncated_N=late_N if self.cut_off else np.zeros_like(late_N),
        )

    def story(self, row: int) -> Story | None:  # noqa: ARG002 - a world of numbers has none
        """An episode so far as text, in worlds that can be told."""
        return None

    def mdp(self) -> FiniteMDP | None:
        """The whole process, where it is small."""
        return None

    def _actions_of(self, row: int) -> list[int]:
        """What was done in one episode, up to its end."""
        return [int(action_N[row]) for action_N in self._taken if action_N[row] >= 0]

    @abstractmethod
    def _begin(self, seeds: Sequence[int]) -> None:
        """Draw the first states."""

    @abstractmethod
    def _advance(self, action_N: Actions, live_N: Flags) -> tuple[Rewards, Flags]:
        """Move the live episodes, and only those; rewards, and which of them are over.

        What is returned for the others is not looked at, unless it says that they are over.
        """

    @abstractmethod
    def _observe(self) -> Observations:
        """Observations of the present states."""


def unit_vectors(index_N: Int64[np.ndarray, " N"], width: int) -> Observations:
    """Row n is 1 at index_N[n] and 0 elsewhere; all 0 where the index is negative."""
    found = np.zeros((len(index_N), width), dtype=np.float32)
    rows = np.flatnonzero(index_N >= 0)
    found[rows, index_N[rows]] = 1.0
    return found
