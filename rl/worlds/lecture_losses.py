"""The losses of CS336's lecture 17, as printed there and as repaired. To be minimised.

Axis letters: P prompts, G responses of one prompt, T positions. All log-probabilities are in nats.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

LectureLoss = Callable[[Tensor, Tensor, Tensor, float | None], Tensor]


def policy_loss(
    logp_PGT: Float[Tensor, "P G T"],
    logp_old_PGT: Float[Tensor, "P G T"],
    advantage_PG: Float[Tensor, "P G"],
    *,
    name: str,
    clip: float | None,
) -> Float[Tensor, ""]:
    """Mean over prompts, responses and positions of the loss that LOSSES has under `name`.

    Args:
        logp_PGT: under the policy being trained; carries the gradient.
        logp_old_PGT: under the policy that drew the responses; never carries one.
        advantage_PG: one advantage a response.
        name: key of LOSSES.
        clip: a ratio w becomes min(w A, clamp(w, 1 - clip, 1 + clip) A) (PPO, 1707.06347, eq. 7);
            None leaves it as it is. The lecture has .01.

    Returns:
        A scalar.

    Raises:
        ValueError: an unknown name, shapes that do not fit, a clip outside (0, 1), or a clip for
            `naive`, which has no ratio.
    """
    if (
        logp_PGT.ndim != 3
        or logp_old_PGT.shape != logp_PGT.shape
        or advantage_PG.shape != logp_PGT.shape[:2]
    ):
        raise ValueError(
            f"expected logp and logp_old [P, G, T] and advantage [P, G], got "
            f"{tuple(logp_PGT.shape)}, {tuple(logp_old_PGT.shape)} and {tuple(advantage_PG.shape)}"
        )
    if name not in LOSSES:
        raise ValueError(f"name: expected one of {', '.join(LOSSES)}, got {name!r}")
    if clip is not None and (name == "naive" or not 0 < clip < 1):
        raise ValueError(
            f"clip: expected None, or a number in (0, 1) for a loss with a ratio, got {clip} for "
            f"{name!r}"
        )
    advantage_PG1 = advantage_PG[:, :, None].to(logp_PGT.dtype)
    return LOSSES[name](logp_PGT, logp_old_PGT.detach(), advantage_PG1, clip).mean()


def _naive(logp: Tensor, _logp_old: Tensor, advantage: Tensor, _clip: float | None) -> Tensor:
    """-A log pi (Williams 1992): right for fresh responses, with no word of their age."""
    return -advantage * logp


def _ratio_of_logs(logp: Tensor, logp_old: Tensor, advantage: Tensor, clip: float | None) -> Tensor:
    """-A (log pi / log pi_old), as the lecture's code has it.

    A fault: log pi_old < 0, so that the gradient is (A / |log pi_old|) grad log pi and a step
    down it makes good responses less likely, bad ones more.
    """
    return _surrogate(logp / logp_old, advantage, clip)


def _importance(logp: Tensor, logp_old: Tensor, advantage: Tensor, clip: float | None) -> Tensor:
    """-A w with the importance ratio w = exp(log pi - log pi_old) = pi / pi_old."""
    return _surrogate(torch.exp(logp - logp_old), advantage, clip)


def _surrogate(ratio: Tensor, advantage: Tensor, clip: float | None) -> Tensor:
    if clip is None:
        return -ratio * advantage
    bounded = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantage, bounded * advantage)  # 1707.06347, eq. 7


LOSSES: Mapping[str, LectureLoss] = {
    "naive": _naive,
    "ratio_of_logs": _ratio_of_logs,
    "importance": _importance,
}


def undefined(logp_old_PGT: Float[Tensor, "P G T"], *, name: str) -> bool:
    """Whether the loss divides by 0: a ratio of logs with a token that was certain, log pi_old = 0.

    It was as likely as float32 can tell; near that the gradient, A / log pi_old, has no bound.
    """
    return name == "ratio_of_logs" and bool((logp_old_PGT == 0).any())


def kl_penalty(
    logp_PGT: Float[Tensor, "P G T"], logp_ref_PGT: Float[Tensor, "P G T"], *, estimator: str
) -> Float[Tensor, ""]:
    """KL(pi || ref) of a response, from responses of pi: a sum over positions, mean over responses.

    With d = log pi(y_t) - log ref(y_t):

        k1  d                  value without bias; its gradient has expectation 0
        k2  d^2 / 2            biased value; its gradient is that of KL(pi || ref)
        k3  exp(-d) - 1 + d    value without bias; its gradient is that of KL(ref || pi)

    The gradients are meant for responses of pi itself, and k2's is right position by position
    because the positions of this policy do not depend on each other (2506.09477 has the general
    case). The lecture has k3.

    Args:
        logp_PGT: under the policy being trained; carries the gradient.
        logp_ref_PGT: under the reference; never carries one.
        estimator: key of ESTIMATORS.

    Raises:
        ValueError: an unknown estimator or shapes that differ.
    """
    if logp_PGT.ndim != 3 or logp_ref_PGT.shape != logp_PGT.shape:
        raise ValueError(
            f"expected logp and logp_ref [P, G, T], got {tuple(logp_PGT.shape)} and "
            f"{tuple(logp_ref_PGT.shape)}"
        )
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator: expected one of {', '.join(ESTIMATORS)}, got {estimator!r}")
    return ESTIMATORS[estimator](logp_PGT - logp_ref_PGT.detach()).sum(dim=2).mean()


ESTIMATORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "k1": lambda d: d,
    "k2": lambda d: d**2 / 2,
    "k3": lambda d: torch.exp(-d) - 1 + d,
}
