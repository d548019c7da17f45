"""The best of n samples, as a distribution. Axis letters: P prompts, N responses."""

import torch
from jaxtyping import Float
from torch import Tensor


def best_of_n_chances(
    chance_PN: Float[Tensor, "P N"], score_PN: Float[Tensor, "P N"], *, n: int
) -> Float[Tensor, "P N"]:
    """P(y) = pi(y) (F(s)^n - F_below(s)^n) / (F(s) - F_below(s)), s the score of y.

    F(s) is the chance of a score of at most s and F_below(s) that of a smaller one: the largest of
    n is s with F(s)^n - F_below(s)^n, and of equals the one drawn first is kept, which is each with
    its share of pi (2009.01325, section 3.1, for the procedure).

    Args:
        chance_PN: pi, summing to 1.
        score_PN: by which the best is chosen.
        n: samples, 1 or more.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n: expected 1 or more, got {n}")
    above_PNN = score_PN[:, :, None] > score_PN[:, None, :]
    equal_PNN = score_PN[:, :, None] == score_PN[:, None, :]
    below_PN = (above_PNN * chance_PN[:, None, :]).sum(dim=2)
    same_PN = (equal_PNN * chance_PN[:, None, :]).sum(dim=2)
    # (a^n - b^n) / (a - b) = sum_k a^k b^(n-1-k), without a difference of near equals.
    upto_PN, power = below_PN + same_PN, torch.arange(n)
    share_PN = (upto_PN[..., None] ** power * below_PN[..., None] ** (n - 1 - power)).sum(dim=-1)
    return chance_PN * share_PN
