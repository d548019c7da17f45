"""Policy-gradient training in worlds of episodes.

episodes -> returns -> baseline -> normalisation -> one update of the policy (and of a value net)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl.advantages import RunningMean
from rl.artifacts import RunWriter
from rl.config.episodes import EpisodesConfig
from rl.engine import Engine, Update
from rl.mdp import FiniteMDP, start_value
from rl.returns import first_solved
from rl.seeding import derive
from rl.trainers.episode_evaluation import Values, evaluate
from rl.trainers.episode_play import Played, make_world, play
from rl.trainers.episode_update import (
    Known,
    ValueNetwork,
    levels,
    make_network,
    policy_loss,
    returns_and_advantages,
)
from rl.trainers.parts import engine_for

Report = Callable[[int, float], None]
WINDOW = 100  # episodes of the mean by which a world counts as solved
SOLVED = "episodes/solved"


def train_episodes(config: EpisodesConfig, *, seed: int, log: RunWriter, report: Report) -> int:
    """Train a policy by `config`, log every step, and return the number of steps played.

    Metrics of step k are of the policy before its update; greedy play and the exact measures,
    every `eval.every` steps, likewise. What is logged last, of the trained policy, stands at step
    `config.steps`, also of a run that stopped when its world was solved.

    A learned value has a network, an engine and an optimiser of its own. It judges a batch before
    it learns from it, so that the baseline does not depend on the batch's own actions.
    """
    world = make_world(config.world)
    mdp = world.mdp()
    policy = make_network(
        config.policy,
        features=world.features,
        outputs=world.actions,
        stream="policy-weights",
        seed=seed,
    )
    engine = engine_for(policy, config.optim, config.engine, config.steps)
    engines = {"policy": engine}
    value = None
    if config.baseline == "learned_value" and config.value is not None:
        value = ValueNetwork(config.value, features=world.features, seed=seed, batches=config.steps)
        engines["value"] = value.engine
    running, returns = RunningMean(), list[float]()
    first, played, reached = 0, 0, 0.0
    if log.checkpoint is not None:
        state = _load(log.checkpoint, engines)
        running, returns = RunningMean(**state["running"]), state["returns"]
        first, played = state["step"], state["played"]

    for step in range(first, config.steps):
        if config.stop_when_solved and time_to_solve(returns, line=config.solved)[SOLVED]:
            break
        if step % config.eval.every == 0:
            played += evaluate(config, world, policy, log, step)
        if config.gradient == "exact" and mdp is not None:
            updated = exact_update(
                engine, mdp, discount=config.returns.discount, horizon=world.horizon
            )
            values: Values = {"episodes/grad_norm": updated.grad_norm}
            reached = -updated.loss
        else:
            batch = play(
                world,
                policy,
                world_seeds=_seeds(config, "episode-world", seed, step),
                action_seeds=_seeds(config, "episode-actions", seed, step),
            )
            returns += batch.returns.tolist()
            played += int(batch.length_N.sum())
            known = Known(running, value, mdp, policy, world.horizon)
            return_NT, advantage_NT = returns_and_advantages(config, batch, known)
            running = running.update(torch.from_numpy(levels(config, batch, return_NT)))
            values = batch_metrics(batch, advantage_NT, returns)
            values |= time_to_solve(returns, line=config.solved)
            values |= policy_update(engine, batch, advantage_NT)
            if value is not None:
                return_M = torch.from_numpy(return_NT[batch.taken]).float()
                values["episodes/value_loss"] = value.fit(batch.observations(), return_M)
            reached = float(batch.returns.mean())
        log.log(step, values)
        state = {
            "step": step + 1,
            "played": played,
            "running": asdict(running),
            "returns": returns,
        }
        log.keep(step + 1, partial(_save, engines=engines, state=state))
        report(step + 1, reached)

    played += evaluate(config, world, policy, log, config.steps)
    if config.gradient == "sampled":
        log.log(config.steps, time_to_solve(returns, line=config.solved))
    report(config.steps, reached)
    for opened in engines.values():
        opened.close()
    return played


def policy_update(engine: Engine, batch: Played, advantage_NT: np.ndarray) -> Values:
    """One update on all steps of a batch; its gradient norm, and the entropy before it."""
    observation_MD, action_M = batch.observations(), batch.actions()
    advantage_M = torch.from_numpy(advantage_NT[batch.taken]).float()
    entropies: list[float] = []

    def loss() -> Tensor:
        logp_MA = engine.model(observation_MD).log_softmax(dim=1)
        entropies.append(float(-(logp_MA.exp() * logp_MA).sum(dim=1).mean().detach()))
        return policy_loss(logp_MA, action_M, advantage_M, episodes=len(batch.length_N))

    updated = engine.update([loss])
    return {"episodes/grad_norm": updated.grad_norm, "episodes/entropy": entropies[0]}


def exact_update(engine: Engine, mdp: FiniteMDP, *, discount: float, horizon: int) -> Update:
    """One update by the gradient of the expected discounted return, with nothing sampled."""

    def loss() -> Tensor:
        logit_SA = engine.model(torch.eye(len(mdp.start_S)))
        policy_SA = logit_SA.double().softmax(dim=1)
        return -start_value(mdp, policy_SA, discount=discount, horizon=horizon)

    return engine.update([loss])


def batch_metrics(batch: Played, advantage_NT: np.ndarray, returns: Sequence[float]) -> Values:
    """What a batch says before any update; `returns` are of all episodes so far, its own too."""
    return {
        "episodes/return": float(batch.returns.mean()),
        "episodes/return_last_100": float(np.mean(returns[-WINDOW:])),
        "episodes/count": float(len(returns)),
        "episodes/length": float(batch.length_N.mean()),
        "episodes/truncated": float(batch.truncated_N.mean()),
        "episodes/advantage_std": float(advantage_NT[batch.taken].std()),
    }


def time_to_solve(returns: Sequence[float], *, line: float) -> Values:
    """Whether the world was solved by now, and after how many episodes: the event of a run and its
    time, or how long it was followed without."""
    at = first_solved(returns, window=WINDOW, line=line)
    return {
        SOLVED: float(at is not None),
        "episodes/to_solve": float(len(returns) if at is None else at),
    }


def _seeds(config: EpisodesConfig, stream: str, seed: int, step: int) -> list[int]:
    return [derive(stream, seed, step, episode) for episode in range(config.episodes)]


def _save(folder: Path, *, engines: Mapping[str, Engine], state: dict[str, Any]) -> None:
    for name, engine in engines.items():
        engine.save(folder / name, state)


def _load(folder: Path, engines: Mapping[str, Engine]) -> dict[str, Any]:
    """Restore every engine; the state is saved with each of them, and the same."""
    states = [engine.load(folder / name) for name, engine in engines.items()]
    return states[0]
