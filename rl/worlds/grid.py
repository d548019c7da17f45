"""A grid of cells to walk through: brooms and bathtubs to step around, meat at the end."""

from collections.abc import Mapping, Sequence

import numpy as np

from rl.mdp import FiniteMDP
from rl.worlds.environment import Actions, Flags, Observations, Rewards, Story, World, unit_vectors

CELLS: Mapping[str, float] = {"S": 0.0, ".": 0.0, "B": -1.0, "T": -10.0, "M": 100.0}
MOVES: Mapping[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "down": (1, 0),
}


class GridWorld(World):
    """k x k cells as rows of text: S start, `.` empty (0), B broom (-1), T bathtub (-10), M meat
    (+100, and the end). A move pays what the cell that it ends in is worth; one that would leave
    the grid stays in its cell and pays that again. State s is row * k + column."""

    def __init__(self, *, layout: Sequence[str], horizon: int) -> None:
        """The map, and after how many steps an episode is cut off.

        Raises:
            ValueError: a map that is not square, has unknown cells, or not one start and some meat.
        """
        size = len(layout)
        cells = "".join(layout)
        if not size or any(len(row) != size for row in layout) or set(cells) - set(CELLS):
            raise ValueError(
                f"layout: expected k rows of k cells out of {' '.join(CELLS)}, got {list(layout)}"
            )
        if cells.count("S") != 1 or "M" not in cells:
            raise ValueError(f"layout: expected one S and an M or more, got {list(layout)}")
        self.features = len(cells)
        self.actions = len(MOVES)
        self.horizon = horizon
        self._layout = tuple(layout)
        self._start = cells.index("S")
        self._final_S = np.array([cell == "M" for cell in cells])
        worth_S = np.array([CELLS[cell] for cell in cells])
        self._next_SA = np.array(
            [[_moved(state, move, size) for move in MOVES.values()] for state in range(len(cells))]
        )
        self._next_SA[self._final_S] = np.flatnonzero(self._final_S)[:, None]
        self._reward_SA = np.where(self._final_S[:, None], 0.0, worth_S[self._next_SA])

    def _begin(self, seeds: Sequence[int]) -> None:
        self._state_N = np.full(len(seeds), self._start)

    def _advance(self, action_N: Actions, live_N: Flags) -> tuple[Rewards, Flags]:
        action_N = np.where(live_N, action_N, 0)
        reward_N = self._reward_SA[self._state_N, action_N]
        moved_N = self._next_SA[self._state_N, action_N]
        self._state_N = np.where(live_N, moved_N, self._state_N)
        return reward_N, live_N & self._final_S[self._state_N]

    def _observe(self) -> Observations:
        return unit_vectors(self._state_N, self.features)

    def story(self, row: int) -> Story:
        """The map and the moves."""
        names = list(MOVES)
        return Story(
            prompt="\n".join(self._layout),
            answer="M",
            text=" ".join(names[action] for action in self._actions_of(row)),
        )

    def mdp(self) -> FiniteMDP:
        """Every move is certain, and every episode starts in one cell."""
        chance = np.eye(self.features)
        return FiniteMDP(
            next_SAS=chance[self._next_SA],
            reward_SA=self._reward_SA,
            start_S=chance[self._start],
        )


def _moved(state: int, move: tuple[int, int], size: int) -> int:
    row, column = state // size + move[0], state % size + move[1]
    inside = 0 <= row < size and 0 <= column < size
    return row * size + column if inside else state
