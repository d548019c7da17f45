"""From rewards to advantages: a baseline is taken off, then a scale is divided out.

Axis letters: P prompts, G samples of one prompt (its group). Rewards that are all equal are found
by max == min, not left to eps: a mean of equal floats need not equal them, and the rounding error
divided by a tiny std would become a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class RunningMean:
    """Mean of all rewards of earlier batches; 0 before the first."""

    mean: float = 0.0
    count: int = 0

    def update(self, rewards_PG: Tensor) -> "RunningMean":
        """The mean with one more batch in it: m' = m + (n / (N + n)) (mean(r) - m)."""
        new = rewards_PG.numel()
        if new == 0:
            raise ValueError("RunningMean.update: expected at least one reward, got an empty batch")
        count = self.count + new
        batch = float(rewards_PG.double().mean())
        return RunningMean(self.mean + new / count * (batch - self.mean), count)


def advantages(
    rewards_PG: Float[Tensor, "P G"],
    *,
    baseline: str,
    scale: str,
    ddof: int,
    eps: float,
    running_mean: float = 0.0,
) -> Float[Tensor, "P G"]:
    """A = (r - b) / s, with the baseline b and the scale s named in BASELINES and SCALES.

    Group mean over group std is GRPO (DeepSeek-R1, 2501.12948, eq. 3); group mean without a scale
    is Dr. GRPO (2503.20783, section 3.1); leave_one_out without a scale is RLOO (2402.14740).

    All-equal rewards: a group (batch) without spread gets advantage 0 from a baseline that
    compares within the group (batch), and from group_std (batch_std) after any baseline. The
    baselines none, running_mean and *_max_only without a scale keep their reward.

    Args:
        rewards_PG: rewards [P, G], any unit, floating point, finite.
        baseline: key of BASELINES.
        scale: key of SCALES; the std is that of the rewards, before the baseline.
        ddof: 0 divides squared deviations by n (population), 1 by n - 1 (sample).
        eps: added to the std, in units of the reward.
        running_mean: mean reward of earlier batches, read by the baseline running_mean only.

    Returns:
        Advantages [P, G] in the dtype of the rewards, worked out in float64.

    Raises:
        ValueError: an unknown name, a wrong shape or dtype, rewards that are not finite, or a
            group (for batch_std: batch) too small to be compared with itself.
    """
    if rewards_PG.ndim != 2 or rewards_PG.numel() == 0:
        raise ValueError(
            f"rewards_PG: expected [prompts, samples] with one or more of each, got shape "
            f"{tuple(rewards_PG.shape)}"
        )
    if not rewards_PG.is_floating_point():
        raise ValueError(f"rewards_PG: expected a floating-point tensor, got {rewards_PG.dtype}")
    if baseline not in BASELINES:
        raise ValueError(f"baseline: expected one of {', '.join(BASELINES)}, got {baseline!r}")
    if scale not in SCALES:
        raise ValueError(f"scale: expected one of {', '.join(SCALES)}, got {scale!r}")
    if ddof not in (0, 1):
        raise ValueError(f"ddof: expected 0 (population) or 1 (sample), got {ddof}")
    if not eps >= 0:
        raise ValueError(f"eps: expected a number >= 0, got {eps}")
    if rewards_PG.shape[1] == 1 and (
        baseline in ("group_mean", "leave_one_out") or scale == "group_std"
    ):
        raise ValueError(
            f"a group of one has nothing to be compared with: baseline {baseline!r} with scale "
            f"{scale!r} needs 2 or more samples a prompt, got shape {tuple(rewards_PG.shape)}"
        )
    if scale == "batch_std" and ddof == 1 and rewards_PG.numel() == 1:
        raise ValueError("batch_std with ddof=1 needs 2 or more rewards in the batch, got 1")
    if not bool(torch.isfinite(rewards_PG).all()):
        raise ValueError("rewards_PG: expected finite rewards, got NaN or infinity")
    exact_PG = rewards_PG.double()
    delta_PG = BASELINES[baseline](exact_PG, running_mean)
    return SCALES[scale](delta_PG, exact_PG, ddof, eps).to(rewards_PG.dtype)


def _none(rewards_PG: Tensor, _: float) -> Tensor:
    """delta = r (Williams 1992, b = 0)."""
    return rewards_PG


def _running_mean(rewards_PG: Tensor, running_mean: float) -> Tensor:
    """delta = r - b, b from earlier batches: no bias, as b does not depend on this batch."""
    return rewards_PG - running_mean


def _batch_mean(rewards_PG: Tensor, _: float) -> Tensor:
    """delta = r - mean of the P*G rewards of the batch."""
    return (rewards_PG - rewards_PG.mean()).masked_fill(_flat_batch(rewards_PG), 0.0)


def _group_mean(rewards_PG: Tensor, _: float) -> Tensor:
    """delta_i = r_i - mean_j r_j, r_i included (2501.12948, eq. 3, numerator).

    The expected gradient is (1 - 1/G) times that of a baseline that leaves r_i out.
    """
    mean_P1 = rewards_PG.mean(dim=1, keepdim=True)
    return (rewards_PG - mean_P1).masked_fill(_flat_group(rewards_PG), 0.0)  # eq. 3, numerator


def _leave_one_out(rewards_PG: Tensor, _: float) -> Tensor:
    """delta_i = r_i - (sum_j r_j - r_i) / (G - 1) (RLOO, 2402.14740)."""
    others_PG = rewards_PG.sum(dim=1, keepdim=True) - rewards_PG
    others_mean_PG = others_PG / (rewards_PG.shape[1] - 1)
    return (rewards_PG - others_mean_PG).masked_fill(_flat_group(rewards_PG), 0.0)


def _group_max_only(rewards_PG: Tensor, _: float) -> Tensor:
    """delta_i = r_i where it equals the largest reward of its group, else 0."""
    return rewards_PG.masked_fill(rewards_PG < rewards_PG.amax(dim=1, keepdim=True), 0.0)


def _batch_max_only(rewards_PG: Tensor, _: float) -> Tensor:
    """delta_i = r_i where it equals the largest reward of the whole batch, else 0."""
    return rewards_PG.masked_fill(rewards_PG < rewards_PG.max(), 0.0)


def _no_scale(delta_PG: Tensor, _rewards_PG: Tensor, _ddof: int, _eps: float) -> Tensor:
    """A = delta."""
    return delta_PG


def _group_std(delta_PG: Tensor, rewards_PG: Tensor, ddof: int, eps: float) -> Tensor:
    """A = delta / (std of the group's rewards + eps) (2501.12948, eq. 3)."""
    std_P1 = rewards_PG.std(dim=1, correction=ddof, keepdim=True)
    return (delta_PG / (std_P1 + eps)).masked_fill(_flat_group(rewards_PG), 0.0)  # eq. 3


def _batch_std(delta_PG: Tensor, rewards_PG: Tensor, ddof: int, eps: float) -> Tensor:
    """A = delta / (std of the batch's P*G rewards + eps)."""
    std = rewards_PG.std(correction=ddof)
    return (delta_PG / (std + eps)).masked_fill(_flat_batch(rewards_PG), 0.0)


def _flat_group(rewards_PG: Tensor) -> Tensor:
    """Which groups [P, 1] have all rewards equal, exactly."""
    return rewards_PG.amax(dim=1, keepdim=True) == rewards_PG.amin(dim=1, keepdim=True)


def _flat_batch(rewards_PG: Tensor) -> Tensor:
    """Whether all rewards of the batch are equal, exactly; a bool scalar."""
    return rewards_PG.max() == rewards_PG.min()


BASELINES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "none": _none,
    "running_mean": _running_mean,
    "batch_mean": _batch_mean,
    "group_mean": _group_mean,
    "leave_one_out": _leave_one_out,
    "group_max_only": _group_max_only,
    "batch_max_only": _batch_max_only,
}

SCALES: dict[str, Callable[[Tensor, Tensor, int, float], Tensor]] = {
    "none": _no_scale,
    "group_std": _group_std,
    "batch_std": _batch_std,
}
