"""From a batch of episodes to updates: baselines, the policy's loss, the value network.

Axis letters: N episodes, T steps, S states, A actions, M all steps of all episodes in a row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rl.advantages import RunningMean
from rl.config.episodes import EpisodesConfig, NetworkConfig, ValueConfig
from rl.config.run import EngineConfig
from rl.mdp import FiniteMDP, policy_value
from rl.models.networks import frozen, new_network
from rl.returns import discounted_returns, normalised, values_of_batch
from rl.seeding import derive
from rl.trainers.episode_play import Played
from rl.trainers.parts import engine_for


def make_network(
    config: NetworkConfig, *, features: int, outputs: int, stream: str, seed: int
) -> nn.Sequential:
    """The network that `config` describes; `stream` names its first weights."""
    return new_network(
        features=features,
        outputs=outputs,
        hidden=config.hidden,
        activation=config.activation,
        seed=derive(stream, seed),
    )


class ValueNetwork:
    """V(observation) = scale * network, with an engine and an optimiser of its own."""

    def __init__(self, config: ValueConfig, *, features: int, seed: int, batches: int) -> None:
        """Random weights, for a run of `batches` batches."""
        self._config = config
        self._network = make_network(
            config.network, features=features, outputs=1, stream="value-weights", seed=seed
        )
        self.engine = engine_for(
            self._network, config.optim, EngineConfig(), batches * config.updates
        )

    def __call__(self, observation_NTD: np.ndarray) -> np.ndarray:
        """Values [N, T], float64, in units of the return."""
        value_NT1 = frozen(self._network)(observation_NTD).astype(np.float64)
        return self._config.scale * value_NT1[..., 0]

    def fit(self, observation_MD: Tensor, return_M: Tensor) -> float:
        """The updates of one batch; returns the mean squared error before the first of them."""
        target_M = return_M / self._config.scale

        def loss() -> Tensor:
            value_M1: Tensor = self.engine.model(observation_MD)
            return ((value_M1[:, 0] - target_M) ** 2).mean()

        losses = [self.engine.update([loss]).loss for _ in range(self._config.updates)]
        return losses[0] * self._config.scale**2


@dataclass(frozen=True)
class Known:
    """What a baseline may look at; None where the run has no such thing."""

    running: RunningMean
    value: ValueNetwork | None
    mdp: FiniteMDP | None
    policy: nn.Sequential
    horizon: int


def returns_and_advantages(
    config: EpisodesConfig, batch: Played, known: Known
) -> tuple[np.ndarray, np.ndarray]:
    """Returns [N, T], and what multiplies the score of each action [N, T]."""
    return_NT = discounted_returns(batch.reward_NT, batch.length_N, **config.returns.model_dump())
    baseline_NT = BASELINES[config.baseline](config, batch, return_NT, known)
    advantage_NT = normalised(
        return_NT - baseline_NT, batch.length_N, **config.normalise.model_dump()
    )
    return return_NT, advantage_NT


def levels(config: EpisodesConfig, batch: Played, return_NT: np.ndarray) -> np.ndarray:
    """The numbers that a batch's mean, and the running mean, are means of."""
    return values_of_batch(return_NT, batch.length_N, reward_to_go=config.returns.reward_to_go)


def policy_loss(logp_MA: Tensor, action_M: Tensor, advantage_M: Tensor, *, episodes: int) -> Tensor:
    """-(1/N) sum_m A_m log pi(a_m | s_m): a sum over steps, a mean over episodes.

    With returns for A its gradient is minus that of the expected return (Williams 1992).
    """
    logp_M = logp_MA.gather(1, action_M[:, None])[:, 0]
    return -(advantage_M * logp_M).sum() / episodes


def policy_table(policy: nn.Sequential, mdp: FiniteMDP) -> Tensor:
    """Probabilities [S, A], float64, of a policy in a world whose states are unit vectors."""
    logit_SA = frozen(policy)(np.eye(len(mdp.start_S), dtype=np.float32))
    return torch.from_numpy(logit_SA).double().softmax(dim=1)


Baseline = Callable[[EpisodesConfig, Played, np.ndarray, Known], np.ndarray | float]


def _none(_c: EpisodesConfig, _b: Played, _r: np.ndarray, _k: Known) -> float:
    return 0.0


def _constant(config: EpisodesConfig, _b: Played, _r: np.ndarray, _k: Known) -> float:
    return config.constant


def _running_mean(_c: EpisodesConfig, _b: Played, _r: np.ndarray, known: Known) -> float:
    """Of earlier batches: no bias, as it does not depend on this one."""
    return known.running.mean


def _batch_mean(config: EpisodesConfig, batch: Played, return_NT: np.ndarray, _k: Known) -> float:
    """Of this batch, the action's own episode included: shrinks the expected gradient a little."""
    return float(levels(config, batch, return_NT).mean())


def _learned_value(_c: EpisodesConfig, batch: Played, _r: np.ndarray, known: Known) -> np.ndarray:
    """By a network that has not seen this batch."""
    if known.value is None:
        raise ValueError("baseline learned_value: expected a value network, got None")
    return known.value(batch.observation_NTD)


def _exact_value(config: EpisodesConfig, batch: Played, _r: np.ndarray, known: Known) -> np.ndarray:
    """V_pi of the state, enumerated."""
    mdp, policy_SA = _enumerated(known)
    value_S = policy_value(
        mdp, policy_SA, discount=config.returns.discount, horizon=known.horizon
    ).numpy()
    found_NT: np.ndarray = value_S[batch.observation_NTD.argmax(axis=2)]
    return found_NT


def _optimal(_c: EpisodesConfig, batch: Played, _r: np.ndarray, known: Known) -> np.ndarray:
    """b*(s) = sum_a (1 - pi(a | s)) R(s, a) of two actions and one step; see rl.bandit."""
    mdp, policy_SA = _enumerated(known)
    best_S = ((1 - policy_SA.numpy()) * mdp.reward_SA).sum(axis=1)
    found_NT: np.ndarray = best_S[batch.observation_NTD.argmax(axis=2)]
    return found_NT


def _enumerated(known: Known) -> tuple[FiniteMDP, Tensor]:
    if known.mdp is None:
        raise ValueError("expected a world that can be enumerated, got one that cannot")
    return known.mdp, policy_table(known.policy, known.mdp)


BASELINES: dict[str, Baseline] = {
    "none": _none,
    "constant": _constant,
    "running_mean": _running_mean,
    "batch_mean": _batch_mean,
    "learned_value": _learned_value,
    "exact_value": _exact_value,
    "optimal": _optimal,
}
