"""Hotelling's test of a vector's mean, and the directions along which it is looked at.

Axis letters: N estimates, D parameters, K directions.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor


@dataclass(frozen=True)
class Hotelling:
    """T^2, the same scaled to F(K, N - K), and the chance of as large a value without bias."""

    t_squared: float
    f: float
    p_value: float


def hotelling(sample_NK: Float[Tensor, "N K"], mean_K: Float[Tensor, " K"]) -> Hotelling:
    """T^2 = N (x_bar - mu)' S^-1 (x_bar - mu) (Hotelling 1931), S with ddof 1.

    For normal x, and by the central limit theorem for means of many, F = T^2 (N-K) / (K (N-1))
    follows F(K, N-K).

    Args:
        sample_NK: independent estimates of a vector [N, K], N > K.
        mean_K: mu, the mean that is tested.

    Raises:
        ValueError: too few estimates, or estimates that do not vary in some direction.
    """
    count, width = sample_NK.shape
    if mean_K.shape != (width,) or not count > width >= 1:
        raise ValueError(
            f"expected more estimates than directions and a mean a direction, got "
            f"{tuple(sample_NK.shape)} and {tuple(mean_K.shape)}"
        )
    distance_K = sample_NK.mean(dim=0) - mean_K
    covariance_KK = torch.atleast_2d(torch.cov(sample_NK.T))
    if int(torch.linalg.matrix_rank(covariance_KK, hermitian=True)) < width:
        raise ValueError("the estimates do not vary in some direction; choose fewer directions")
    t_squared = count * float(distance_K @ torch.linalg.solve(covariance_KK, distance_K))
    f = t_squared * (count - width) / (width * (count - 1))
    return Hotelling(t_squared, f, float(stats.f.sf(f, width, count - width)))


def directions(gradient_D: Float[Tensor, " D"], *, count: int, seed: int) -> Float[Tensor, "D K"]:
    """K orthonormal directions: the gradient's own, then random ones at right angles to it.

    A shrunken gradient lies along the first; the others look for what no one expects.

    Raises:
        ValueError: a zero gradient, or more directions than parameters.
    """
    length = float(gradient_D.norm())
    if not 0 < length < math.inf or not 1 <= count <= len(gradient_D):
        raise ValueError(
            f"expected a gradient of finite length > 0 and 1 to {len(gradient_D)} directions, got "
            f"length {length} and {count}"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(gradient_D), count, generator=generator, dtype=torch.float64)
    drawn[:, 0] = gradient_D
    basis_DK: Tensor = torch.linalg.qr(drawn).Q
    sign = 1.0 if float(basis_DK[:, 0] @ gradient_D) > 0 else -1.0
    return sign * basis_DK
