"""Greedy play, and what can be said exactly where a world is small enough to enumerate."""

import numpy as np
import torch
from torch import Tensor, nn

from rl.artifacts import RunWriter
from rl.config.episodes import EpisodesConfig
from rl.mdp import FiniteMDP, greedy_policy, policy_value, value_iteration
from rl.seeding import derive
from rl.trainers.episode_play import Played, play
from rl.trainers.episode_update import policy_table
from rl.worlds import Environment

Values = dict[str, float | dict[float, float]]


def evaluate(
    config: EpisodesConfig, world: Environment, policy: nn.Sequential, log: RunWriter, step: int
) -> int:
    """Play greedily and log; returns the number of steps played.

    The episodes are the same for every arm, seed and step.
    """
    streams = [derive("episode-eval", config.eval.seed, i) for i in range(config.eval.episodes)]
    batch = play(world, policy, world_seeds=streams, action_seeds=None)
    values: Values = {
        "episodes/greedy_return": float(batch.returns.mean()),
        "episodes/greedy_length": float(batch.length_N.mean()),
    }
    mdp = world.mdp()
    if mdp is not None:
        policy_SA = policy_table(policy, mdp)
        values |= exact_measures(
            mdp, policy_SA, discount=config.returns.discount, horizon=world.horizon
        )
    log.log(step, values)
    if step in (0, config.steps):
        _log_story(log, world, batch, step)
    return int(batch.length_N.sum())


def exact_measures(mdp: FiniteMDP, policy_SA: Tensor, *, discount: float, horizon: int) -> Values:
    """Values from the start of the policy, of its greedy version and of the best one."""

    def worth(table_SA: Tensor) -> float:
        value_S = policy_value(mdp, table_SA, discount=discount, horizon=horizon)
        return float(mdp.start_S @ value_S.numpy())

    best = float(mdp.start_S @ value_iteration(mdp, discount=discount, tolerance=1e-9))
    value = worth(policy_SA)
    greedy = worth(torch.from_numpy(greedy_policy(policy_SA.numpy())))
    actions: Values = {
        f"episodes/p_action_{action}": {float(s): float(p) for s, p in enumerate(column_S)}
        for action, column_S in enumerate(np.ascontiguousarray(policy_SA.numpy().T))
    }
    return {
        "episodes/value": value,
        "episodes/greedy_value": greedy,
        "episodes/optimal_value": best,
        "episodes/shortfall": (best - value) / abs(best),
        **actions,
    }


def _log_story(log: RunWriter, world: Environment, batch: Played, step: int) -> None:
    """The first episode, in worlds that can be told: chosen by place, not by merit."""
    story = world.story(0)
    if story is None:
        return
    log.sample(
        {
            "step": step,
            "problem_id": 0,
            "difficulty": 0,
            "prompt": story.prompt,
            "answer": story.answer,
            "text": story.text,
            "reward": float(batch.returns[0]),
            "finish_reason": "length" if batch.truncated_N[0] else "stop",
            "tokens": int(batch.length_N[0]),
        }
    )
