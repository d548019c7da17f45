"""How far a policy has gone from another, estimated on its own samples (Schulman's k1, k2, k3).

With d = log pi - log pi_ref of a sample from pi: k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d.

As a VALUE of KL(pi || pi_ref), k1 and k3 have no bias and k2 has one. As a LOSS on fresh samples
their gradients, which leave out that pi draws the samples, are on average 0, that of the reverse
KL(pi || pi_ref), and that of the forward KL(pi_ref || pi) (2506.09477). With the importance ratio
pi / pi_old as a factor that carries a gradient, each has the gradient of its mean.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.masks import last_tokens


def k1(d: Tensor) -> Tensor:
    """d."""
    return d


def k2(d: Tensor) -> Tensor:
    """d^2 / 2."""
    return d.square() / 2


def k3(d: Tensor) -> Tensor:
    """exp(-d) - 1 + d, which is never negative."""
    return torch.expm1(-d) + d


ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
LEVELS = ("token", "sequence")


def kl_penalty(
    logp_BT: Float[Tensor, "B T"],
    logp_ref_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    estimator: str,
    level: str,
    logp_old_BT: Float[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T"]:
    """An estimate a token; a response's sum is that of KL(pi || pi_ref) of whole responses.

    By token every token has its own estimate, of d_t = log pi(o_t) - log pi_ref(o_t). By sequence
    the response has one, of d = sum_t d_t, which stands on its last token. The two are the same for
    k1. By token, the gradient of an estimate leaves out that a token decides what comes after it.

    Args:
        logp_BT: log-probabilities of the tokens under the policy [B, T], nats; their gradient
            is that of the result.
        logp_ref_BT: the same under the reference; carries none.
        mask_BT: True on response tokens; what stands elsewhere is ignored.
        estimator: key of ESTIMATORS.
        level: one of LEVELS.
        logp_old_BT: the same under the policy that drew the responses, carrying none. With it an
            estimate is multiplied by the importance ratio of its token, or by that of the
            response, which carries a gradient.

    Returns:
        Nats [B, T], 0 off the response.

    Raises:
        ValueError: an unknown estimator or level, shapes that differ, or a mask that is not bool.
    """
    if estimator not in ESTIMATORS or level not in LEVELS:
        raise ValueError(
            f"expected an estimator of {', '.join(ESTIMATORS)} and a level of "
            f"{', '.join(LEVELS)}, got {estimator!r} and {level!r}"
        )
    others = [logp_ref_BT, mask_BT] + ([] if logp_old_BT is None else [logp_old_BT])
    if logp_BT.ndim != 2 or any(other.shape != logp_BT.shape for other in others):
        raise ValueError(
            "expected log-probabilities and a mask of one shape [B, T], got "
            f"{', '.join(str(tuple(x.shape)) for x in (logp_BT, *others))}"
        )
    if mask_BT.dtype != torch.bool:
        raise ValueError(f"expected a bool mask, got {mask_BT.dtype}")

    def log_ratio(other_BT: Tensor) -> Tensor:
        apart_BT = (logp_BT - other_BT.detach()).masked_fill(~mask_BT, 0.0)
        return apart_BT if level == "token" else apart_BT.sum(dim=1, keepdim=True)

    value = ESTIMATORS[estimator](log_ratio(logp_ref_BT))
    if logp_old_BT is not None:
        value = log_ratio(logp_old_BT).exp() * value
    if level == "token":
        return value
    return value.masked_fill(~last_tokens(mask_BT), 0.0)


def adapted(coefficient: float, kl: float, *, target: float) -> float:
    """The coefficient after a batch: halved where kl < target / 1.5, doubled where kl > 1.5 target.

    The adaptive penalty of PPO (1707.06347, section 4). `kl` and `target` in the same unit.
    """
    if kl < target / 1.5:
        return coefficient / 2
    return coefficient * 2 if kl > 1.5 * target else coefficient
