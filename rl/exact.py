"""Exact expectations: over 0/1 rewards, by how many of a group are right, and best-of-n."""

import math
from collections.abc import Callable
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.stats import binom
from torch import Tensor

Array = npt.NDArray[np.float64]
AdvantageFn = Callable[[Float[Tensor, "P G"]], Float[Tensor, "P G"]]


@overload
def expected_weight(p: float, *, group_size: int, advantage_fn: AdvantageFn) -> float: ...
@overload
def expected_weight(p: Array, *, group_size: int, advantage_fn: AdvantageFn) -> Array: ...
def expected_weight(
    p: float | Array, *, group_size: int, advantage_fn: AdvantageFn
) -> float | Array:
    """The factor w(p) in E[update] = w(p) grad logit p, for one prompt with success probability p.

    A group of G independent responses y_i with rewards r_i in {0, 1} and a loss that sums the
    tokens of each response gives the update g = (1/G) sum_i A_i grad log pi(y_i). The advantages
    depend on the rewards alone, and given its own reward a response does not depend on the
    others. So each score may be replaced by its mean given r_i, for any policy:

        E[grad log pi(y) | r = 1] = sum_{y right} pi(y) grad log pi(y) / p = grad p / p
                                  = grad log p = (1 - p) grad logit p
        E[grad log pi(y) | r = 0] = grad log(1 - p) = -p grad logit p

    With k of the G responses right, k binomial, what remains is

        w(p) = sum_k Binom(k; G, p) (1/G) [k A_plus(k) (1 - p) - (G - k) A_minus(k) p]

    where A_plus and A_minus are the advantages of right and wrong responses. A reward without
    baseline and scale gives p (1 - p), the gradient of p itself; the group mean gives
    p (1 - p) (1 - 1/G). A length normaliser inside the loss breaks the argument, as it weighs
    responses by more than their reward.

    Args:
        p: success probability in [0, 1], a number or an array.
        group_size: G.
        advantage_fn: advantages of a 0/1 reward group [1, G]; called once for every k. Baselines
            and scales over the batch see a batch of this one group.

    Returns:
        w(p), a number or an array shaped like p, worked out in float64.

    Raises:
        ValueError: p outside [0, 1], G below 1, or an advantage_fn that changes the shape.
    """
    probability, size = _checked(p, group_size)
    total = np.zeros_like(probability)
    for right in range(size + 1):
        rewards_1G = (torch.arange(size) < right).double()[None]
        advantage_1G = advantage_fn(rewards_1G)
        if advantage_1G.shape != rewards_1G.shape:
            raise ValueError(
                f"advantage_fn: expected shape {tuple(rewards_1G.shape)}, got "
                f"{tuple(advantage_1G.shape)}"
            )
        plus = float(advantage_1G[0, :right].double().sum())  # k A_plus(k)
        minus = float(advantage_1G[0, right:].double().sum())  # (G - k) A_minus(k)
        mean = (plus * (1 - probability) - minus * probability) / size
        total = total + binom.pmf(right, size, probability) * mean
    return float(total) if np.ndim(p) == 0 else total


@overload
def mixed_group_probability(p: float, group_size: int) -> float: ...
@overload
def mixed_group_probability(p: Array, group_size: int) -> Array: ...
def mixed_group_probability(p: float | Array, group_size: int) -> float | Array:
    """P(the group has right and wrong responses) = 1 - p^G - (1 - p)^G.

    Args:
        p: success probability in [0, 1], a number or an array.
        group_size: G.

    Raises:
        ValueError: p outside [0, 1] or G below 1.
    """
    probability, size = _checked(p, group_size)
    mixed = 1 - probability**size - (1 - probability) ** size
    return float(mixed) if np.ndim(p) == 0 else mixed


def best_of_n_kl(n: int) -> float:
    """KL(best of n samples || one sample) = log n - (n - 1) / n, nats.

    Of n independent samples the one of the highest reward is kept; its quantile u has density
    n u^(n-1), whose divergence from the uniform this is (2009.01325, appendix G.3). It
    is exact where no two samples can have one reward. With ties, as of 0/1 rewards, it is an upper
    bound (2401.01879), and may be far above: with one reward for all, the divergence is 0.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n: expected 1 or more, got {n}")
    return math.log(n) - (n - 1) / n


def _checked(p: float | Array, group_size: int) -> tuple[Array, int]:
    probability = np.asarray(p, dtype=np.float64)
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise ValueError(f"p: expected probabilities in [0, 1], got {p}")
    if group_size < 1:
        raise ValueError(f"group_size: expected 1 or more, got {group_size}")
    return probability, group_size
