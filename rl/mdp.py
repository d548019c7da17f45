"""Finite Markov decision processes, worked out exactly: what sampled policies are held against.

Axis letters: S states, A actions. A terminal state is one that leads to itself with reward 0.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class FiniteMDP:
    """Chances of the next state, expected rewards, chances of the first state."""

    next_SAS: Float64[np.ndarray, "S A S"]
    reward_SA: Float64[np.ndarray, "S A"]
    start_S: Float64[np.ndarray, " S"]

    def __post_init__(self) -> None:
        """Refuse chances that do not add up.

        Raises:
            ValueError: shapes that disagree, or chances that are no distribution.
        """
        states, actions = self.reward_SA.shape
        if self.next_SAS.shape != (states, actions, states) or self.start_S.shape != (states,):
            raise ValueError(
                f"expected next_SAS {(states, actions, states)} and start_S {(states,)} to fit "
                f"reward_SA {(states, actions)}, got {self.next_SAS.shape} and {self.start_S.shape}"
            )
        for name, chance in (("next_SAS", self.next_SAS), ("start_S", self.start_S)):
            if chance.min() < 0 or not np.allclose(chance.sum(axis=-1), 1.0, rtol=0, atol=1e-9):
                raise ValueError(f"{name}: expected chances >= 0 that add up to 1")


def policy_value(mdp: FiniteMDP, policy_SA: Tensor, *, discount: float, horizon: int) -> Tensor:
    """V_pi(s) [S], the expected discounted return of `horizon` steps under a fixed policy.

        V_0 = 0;  V_h(s) = sum_a pi(a|s) (r(s, a) + gamma sum_s' P(s'|s, a) V_{h-1}(s'))

    (Sutton and Barto 2018, eq. 4.5, from zero and cut off as the sampled episodes are, so that a
    mean of samples has this expectation exactly.) Autograd goes through it, so that
    start . V_pi is the exact objective of policy-gradient training.

    Args:
        mdp: the process.
        policy_SA: probabilities [S, A], float64.
        discount: gamma in [0, 1].
        horizon: steps after which an episode is cut off.

    Raises:
        ValueError: a discount or horizon out of range, or a policy of another shape.
    """
    _check(discount, horizon)
    if tuple(policy_SA.shape) != mdp.reward_SA.shape:
        raise ValueError(
            f"policy_SA: expected shape {mdp.reward_SA.shape}, got {tuple(policy_SA.shape)}"
        )
    next_SAS, reward_SA = torch.from_numpy(mdp.next_SAS), torch.from_numpy(mdp.reward_SA)
    reward_S = (policy_SA * reward_SA).sum(dim=1)
    next_SS = torch.einsum("sa,sat->st", policy_SA, next_SAS)
    value_S = torch.zeros_like(reward_S)
    for _ in range(horizon):
        value_S = reward_S + discount * next_SS @ value_S
    return value_S


def start_value(mdp: FiniteMDP, policy_SA: Tensor, *, discount: float, horizon: int) -> Tensor:
    """J(pi) = sum_s start(s) V_pi(s), a scalar."""
    value_S = policy_value(mdp, policy_SA, discount=discount, horizon=horizon)
    return torch.from_numpy(mdp.start_S) @ value_S


def action_value(
    mdp: FiniteMDP, value_S: Float64[np.ndarray, " S"], *, discount: float
) -> Float64[np.ndarray, "S A"]:
    """Q(s, a) = r(s, a) + gamma sum_s' P(s'|s, a) V(s')."""
    action_SA: np.ndarray = mdp.reward_SA + discount * mdp.next_SAS @ value_S
    return action_SA


def value_iteration(
    mdp: FiniteMDP, *, discount: float, tolerance: float, most: int = 100_000
) -> Float64[np.ndarray, " S"]:
    """V*(s) [S]: V <- max_a Q(s, a) from zero until no entry moves by more than `tolerance`.

    (Sutton and Barto 2018, eq. 4.10.) For gamma < 1 the result is within
    tolerance gamma / (1 - gamma) of V*.

    Raises:
        ValueError: it does not settle within `most` sweeps, as with gamma = 1 and a loop that pays.
    """
    _check(discount, most)
    value_S: np.ndarray = np.zeros(len(mdp.start_S))
    for _ in range(most):
        new_S = action_value(mdp, value_S, discount=discount).max(axis=1)  # eq. 4.10
        moved = float(np.abs(new_S - value_S).max())
        value_S = new_S
        if moved <= tolerance:
            return value_S
    raise ValueError(
        f"value iteration still moves by {moved} after {most} sweeps; expected a discount below 1 "
        f"or no loop that pays, got discount {discount}"
    )


def greedy_policy(score_SA: Float64[np.ndarray, "S A"]) -> Float64[np.ndarray, "S A"]:
    """Probability 1 on the action of the largest score; the first one, where several have it."""
    policy_SA: np.ndarray = np.eye(score_SA.shape[1])[score_SA.argmax(axis=1)]
    return policy_SA


def likeliest_path(
    mdp: FiniteMDP, policy_SA: Float64[np.ndarray, "S A"], *, most: int
) -> list[int]:
    """States from the likeliest start by the likeliest action and its likeliest outcome, until
    one leads to itself or `most` steps are done."""
    path = [int(mdp.start_S.argmax())]
    while len(path) <= most:
        after = int(mdp.next_SAS[path[-1], policy_SA[path[-1]].argmax()].argmax())
        if after == path[-1]:
            break
        path.append(after)
    return path


def _check(discount: float, steps: int) -> None:
    if not 0 <= discount <= 1:
        raise ValueError(f"discount: expected a number in [0, 1], got {discount}")
    if steps < 1:
        raise ValueError(f"expected 1 step or more, got {steps}")
