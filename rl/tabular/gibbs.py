"""The policy that is best for E[r] - beta KL(pi || reference), in closed form, and that objective.

Axis letters: P prompts, K contexts, V tokens, T places, N = V^T responses.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.tabular.exact import divergences, values
from rl.tabular.worlds import World


def gibbs_responses(
    logp_ref_PN: Float[Tensor, "P N"], reward_PN: Float[Tensor, "P N"], *, beta: float
) -> tuple[Float[Tensor, "P N"], Float[Tensor, " P"]]:
    """log pi*(y) = log pi_ref(y) + r(y) / beta - log Z, with Z = sum_y pi_ref(y) exp(r(y) / beta).

    It maximises E[r] - beta KL(pi || pi_ref) over all distributions of responses (2305.18290,
    eq. 4), and the largest value is beta log Z.

    Args:
        logp_ref_PN: log-probability of each response under the reference [P, N], nats.
        reward_PN: [P, N].
        beta: reward a nat, over 0.

    Returns:
        (log pi* [P, N], log Z [P]), nats.

    Raises:
        ValueError: a beta that is not over 0.
    """
    _check(beta)
    tilted_PN = logp_ref_PN + reward_PN / beta
    log_z_P = tilted_PN.logsumexp(dim=1)
    return tilted_PN - log_z_P[:, None], log_z_P


def gibbs_policy(
    world: World,
    logp_ref_KV: Float[Tensor, "K V"],
    reward_KV: Float[Tensor, "K V"],
    *,
    beta: float,
) -> tuple[Float[Tensor, "K V"], Float[Tensor, " P"]]:
    """The same policy token by token, by backward induction in a tree:

    U(k) = beta log sum_v pi_ref(v | k) exp((r(k, v) + U(next(k, v))) / beta), 0 after the end;
    log pi*(v | k) = log pi_ref(v | k) + (r(k, v) + U(next(k, v)) - U(k)) / beta.

    Args:
        world: a tree.
        logp_ref_KV: the reference's log-probabilities [K, V], nats.
        reward_KV: reward of a context and token [K, V].
        beta: reward a nat, over 0.

    Returns:
        (log pi* [K, V], log Z [P] = U(start) / beta), nats.

    Raises:
        ValueError: a beta that is not over 0, or a world whose contexts do not have one place each.
    """
    _check(beta)
    place_K = places(world)
    best_KV = torch.zeros_like(logp_ref_KV)
    value_K = torch.zeros_like(logp_ref_KV[:, 0])
    for place in reversed(range(world.length)):
        tilted_KV = logp_ref_KV + (reward_KV + value_K[world.next_KV]) / beta
        log_z_K1 = tilted_KV.logsumexp(dim=1, keepdim=True)
        here_K = place_K == place
        best_KV = torch.where(here_K[:, None], tilted_KV - log_z_K1, best_KV)
        value_K = torch.where(here_K, beta * log_z_K1[:, 0], torch.zeros_like(value_K))
    return best_KV, value_K[world.start_P] / beta


def regularised(
    world: World,
    logp_KV: Float[Tensor, "K V"],
    logp_ref_KV: Float[Tensor, "K V"],
    reward_KV: Float[Tensor, "K V"],
    *,
    beta: float,
) -> Float[Tensor, " P"]:
    """J = E[r] - beta KL(pi || reference) of whole responses, for every prompt [P].

    What it lacks of the largest value is beta KL(pi || pi*).
    """
    kl_P = divergences(world, logp_KV, logp_ref_KV)
    return values(world, logp_KV, reward_KV) - beta * kl_P


def places(world: World) -> Int[Tensor, " K"]:
    """The place, from 0, that a context belongs to.

    Raises:
        ValueError: a context that stands in several places or in none, as in a chain.
    """
    place_K = torch.full((world.contexts,), -1)
    context_N = world.start_P
    for place in range(world.length):
        if bool((place_K[context_N] >= 0).any()):
            raise ValueError(
                "expected a tree, whose contexts have one place each, got a context with several"
            )
        place_K[context_N] = place
        context_N = world.next_KV[context_N].flatten()
    if bool((place_K < 0).any()):
        raise ValueError("expected a tree, got a context that no prompt leads to")
    return place_K


def _check(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta: expected a number over 0, got {beta}")
