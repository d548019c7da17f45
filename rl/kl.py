"""How far a policy has gone from another, estimated on its own samples."""

from jaxtyping import Bool, Float
from torch import Tensor


def sequence_k1(
    logp_BT: Float[Tensor, "B T"],
    logp_ref_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
) -> Float[Tensor, " B"]:
    """k1 of each response: sum_t log pi(o_t | o_<t) - log pi_ref(o_t | o_<t).

    Its mean over responses of pi is KL(pi || pi_ref), without bias; one response's may be negative.
    Taken off the reward with a coefficient beta, it makes the policy gradient that of
    E[r] - beta KL (2506.09477; the estimator's name is Schulman's).

    Args:
        logp_BT: log-probabilities of the tokens under the policy [B, T], nats.
        logp_ref_BT: the same under the reference.
        mask_BT: True on response tokens; what stands elsewhere is ignored.

    Returns:
        Nats a response [B], in the dtype of the log-probabilities.
    """
    return (logp_BT - logp_ref_BT).masked_fill(~mask_BT, 0.0).sum(dim=1)
