"""Mean and covariance trace of a group's policy gradient, exactly, for baselines linear in rewards.

For one prompt let G independent responses have scores s_i = grad log pi(y_i) and rewards r_i. Every
estimator here is

    g_hat = f (1/G) sum_i (r_i - a r_bar - c) s_i,        r_bar = (1/G) sum_j r_j,

with a scale f, a share a of the group's own mean, and an offset c that does not depend on the
group. As E[s] = 0, E[r_bar s_i] = g / G and E[c s_i] = 0, so that with g = E[r s]

    E[g_hat] = f (1 - a/G) g.

For the covariance write r_bar sum_i s_i / G = X - M, where X = (1/G) sum_i r_i s_i and M is the
estimator with the group mean. Then g_hat / f = A + a M with A = (1/G) sum_i h(y_i) and
h = ((1 - a) r - c) s. M is (1 - 1/G) times the U-statistic U of the kernel
(r_1 - r_2)(s_1 - s_2) / 2, which is leave-one-out (2402.14740). Hoeffding's decomposition (1948)
of U gives, with V = E[r], W = E[|s|^2 (r - V)^2] and F = E[|s|^2],

    tr Cov(U)    = [(G-1) W - (G-2) |g|^2 + F Var(r)] / (G (G-1))
    tr Cov(A, U) = [E[|s|^2 ((1-a) r - c)(r - V)] - (1-a) |g|^2] / G
    tr Cov(A)    = [E[|s|^2 ((1-a) r - c)^2] - (1-a)^2 |g|^2] / G

and the trace is f^2 (tr Cov(A) + 2 a (1-1/G) tr Cov(A, U) + a^2 (1-1/G)^2 tr Cov(U)). A random c
enters by its mean and, as E[g_hat | c] is the same for all c, by f^2 Var(c) F / G.

Axis letters: P prompts, N responses, D parameters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """One response's moments, a prompt each: all that the traces need. s score, r reward."""

    value_P: Tensor  # V = E[r]
    variance_P: Tensor  # Var(r)
    fisher_P: Tensor  # F = E[|s|^2]
    fisher_reward_P: Tensor  # E[|s|^2 r]
    fisher_square_P: Tensor  # E[|s|^2 r^2]
    slope_P: Tensor  # |g|^2, g = E[r s]


@dataclass(frozen=True)
class Baseline:
    """f, a and c of the module's formula, for each prompt."""

    scale: float
    own_share: float
    offset_P: Tensor
    offset_variance_P: Tensor

    def mean_factor(self, group_size: int) -> float:
        """E[g_hat] = factor * g."""
        return self.scale * (1 - self.own_share / group_size)


def moments(
    probability_PN: Float[Tensor, "P N"],
    reward_PN: Float[Tensor, "P N"],
    squared_score_PN: Float[Tensor, "P N"],
    gradient_PD: Float[Tensor, "P D"],
) -> Moments:
    """The moments of one response by enumeration.

    Args:
        probability_PN: of each response to each prompt [P, N]; rows sum to 1.
        reward_PN: [P, N], any unit.
        squared_score_PN: |s|^2 [P, N].
        gradient_PD: g = E[r s] [P, D].

    Raises:
        ValueError: probabilities that do not sum to 1.
    """
    total_P = probability_PN.sum(dim=1)
    if not torch.allclose(total_P, torch.ones_like(total_P), rtol=0, atol=1e-9):
        raise ValueError(f"probability_PN: expected rows that sum to 1, got {total_P.tolist()}")

    def mean(value_PN: Tensor) -> Tensor:
        return (probability_PN * value_PN).sum(dim=1)

    value_P = mean(reward_PN)
    return Moments(
        value_P=value_P,
        variance_P=mean((reward_PN - value_P[:, None]).square()),
        fisher_P=mean(squared_score_PN),
        fisher_reward_P=mean(squared_score_PN * reward_PN),
        fisher_square_P=mean(squared_score_PN * reward_PN.square()),
        slope_P=gradient_PD.square().sum(dim=1),
    )


def optimal_offset(moments: Moments) -> Float[Tensor, " P"]:
    """b* = E[|s|^2 r] / E[|s|^2] [P], which makes the trace least among constant baselines.

    The trace depends on b as E[|s|^2 (r - b)^2] (Greensmith, Bartlett and Baxter 2004).
    """
    return moments.fisher_reward_P / moments.fisher_P


def baseline(
    name: str, moments: Moments, *, group_size: int, constant: float, learned_P: Tensor
) -> Baseline:
    """The named baseline for a batch of one group of `group_size` responses to every prompt.

    `running_mean` is taken where it has settled, at the mean reward of all prompts. `batch_mean`
    sees 1/P of its own group's mean; the rest comes from other groups.

    Args:
        name: key of BASELINE_NAMES.
        moments: of the prompts.
        group_size: G, 2 or more.
        constant: what `constant` takes off.
        learned_P: what `learned_value` takes off, any function of the prompt [P].

    Raises:
        ValueError: an unknown name or a group of one.
    """
    if name not in BASELINE_NAMES:
        raise ValueError(f"baseline: expected one of {', '.join(BASELINE_NAMES)}, got {name!r}")
    if group_size < 2:
        raise ValueError(f"group_size: expected 2 or more, got {group_size}")
    value_P = moments.value_P
    zero_P = torch.zeros_like(value_P)
    prompts = len(value_P)
    if name == "group_mean":
        return Baseline(1.0, 1.0, zero_P, zero_P)
    if name == "leave_one_out":
        return Baseline(group_size / (group_size - 1), 1.0, zero_P, zero_P)
    if name == "batch_mean":
        others_P = (value_P.sum() - value_P) / prompts
        spread_P = (moments.variance_P.sum() - moments.variance_P) / (prompts**2 * group_size)
        return Baseline(1.0, 1 / prompts, others_P, spread_P)
    offsets = {
        "none": zero_P,
        "constant": torch.full_like(zero_P, constant),
        "running_mean": value_P.mean().expand(prompts),
        "learned_value": learned_P,
        "exact_value": value_P,
        "optimal": optimal_offset(moments),
    }
    return Baseline(1.0, 0.0, offsets[name], zero_P)


BASELINE_NAMES = (
    *("none", "constant", "running_mean", "batch_mean", "group_mean", "leave_one_out"),
    *("learned_value", "exact_value", "optimal"),
)


def covariance_traces(
    moments: Moments, baseline: Baseline, *, group_size: int
) -> Float[Tensor, " P"]:
    """tr Cov(g_hat) of one group, for each prompt [P]; the formulas stand at the module's top.

    Raises:
        ValueError: a group of one.
    """
    if group_size < 2:
        raise ValueError(f"group_size: expected 2 or more, got {group_size}")
    size, share, offset_P = group_size, baseline.own_share, baseline.offset_P
    rest = 1 - share
    value_P, fisher_P, slope_P = moments.value_P, moments.fisher_P, moments.slope_P
    first_P, second_P = moments.fisher_reward_P, moments.fisher_square_P
    own_P = second_P - 2 * value_P * first_P + value_P.square() * fisher_P  # W
    group_P = ((size - 1) * own_P - (size - 2) * slope_P + fisher_P * moments.variance_P) / (
        size * (size - 1)
    )
    # E[|s|^2 ((1-a) r - c)(r - V)] - (1-a) |g|^2
    cross_P = (
        rest * second_P
        - (offset_P + rest * value_P) * first_P
        + offset_P * value_P * fisher_P
        - rest * slope_P
    ) / size
    # E[|s|^2 ((1-a) r - c)^2] - (1-a)^2 |g|^2, c random
    square_P = offset_P.square() + baseline.offset_variance_P
    single_P = (
        rest**2 * (second_P - slope_P) - 2 * rest * offset_P * first_P + square_P * fisher_P
    ) / size
    shrink = 1 - 1 / size
    total_P = single_P + 2 * share * shrink * cross_P + (share * shrink) ** 2 * group_P
    return baseline.scale**2 * total_P
