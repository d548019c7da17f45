"""The most reward at a KL from the reference, and what a sweep reaches of it.

Axis letters: P prompts, N responses, S policies. Rewards and KLs are means over prompts.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

LOG_BETAS = (-14.0, 20.0)  # where the coefficient of a KL is looked for
BISECTIONS = 45
AREA_POINTS = 101


def reward_and_kl(
    logp_PN: Float[Tensor, "*S P N"],
    logp_ref_PN: Float[Tensor, "P N"],
    reward_PN: Float[Tensor, "P N"],
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """(E[r], KL(pi || pi_ref) in nats a response), means over prompts."""
    chance_PN = logp_PN.exp()
    apart_PN = torch.where(chance_PN > 0, logp_PN - logp_ref_PN, torch.zeros_like(logp_PN))
    reward_SP = (chance_PN * reward_PN).sum(dim=-1)
    return reward_SP.mean(dim=-1), (chance_PN * apart_PN).sum(dim=-1).mean(dim=-1)


def frontier_rewards(
    logp_ref_PN: Float[Tensor, "P N"],
    reward_PN: Float[Tensor, "P N"],
    kl_S: Float[Tensor, " S"],
) -> Float[Tensor, " S"]:
    """max E[r] over all policies with KL(pi || pi_ref) <= kl, both means over prompts.

    A Gibbs policy (rl.tabular.gibbs) reaches it, of one beta for all prompts: the multiplier of
    the one constraint. KL falls in beta, so that bisection finds it; beyond the largest KL of a
    Gibbs policy it is the best reward there is.

    Args:
        logp_ref_PN: of every response, finite.
        reward_PN: of every response.
        kl_S: nats, 0 or more.

    Raises:
        ValueError: a negative KL.
    """
    if bool((kl_S < 0).any()):
        raise ValueError(f"kl_S: expected nats of 0 or more, got {kl_S.tolist()}")

    def at(log_beta_S: Tensor) -> tuple[Tensor, Tensor]:
        tilted_SPN = logp_ref_PN + reward_PN / log_beta_S.exp()[:, None, None]
        return reward_and_kl(tilted_SPN.log_softmax(dim=-1), logp_ref_PN, reward_PN)

    low_S, high_S = (torch.full_like(kl_S, bound) for bound in LOG_BETAS)
    beyond_S = at(low_S)[1] <= kl_S
    for _ in range(BISECTIONS):
        middle_S = (low_S + high_S) / 2
        far_S = at(middle_S)[1] > kl_S
        low_S = torch.where(far_S, middle_S, low_S)
        high_S = torch.where(far_S, high_S, middle_S)
    return torch.where(beyond_S, reward_PN.amax(dim=1).mean(), at(low_S)[0])


def swept_rewards(
    kl_S: Float[Tensor, " S"],
    reward_S: Float[Tensor, " S"],
    at_Q: Float[Tensor, " Q"],
    *,
    start: float,
) -> Float[Tensor, " Q"]:
    """The most reward at each KL of `at_Q` by the policies of a sweep, mixed by a coin.

    The upper concave hull of their points and of the reference's, (0, start), flat after its top:
    a mixture's reward is the mixture of the rewards, and its KL at most that of the KLs.
    """
    points = sorted([(0.0, start), *zip(kl_S.tolist(), reward_S.tolist(), strict=True)])
    hull: list[tuple[float, float]] = []
    for kl, reward in points:
        if hull and reward <= hull[-1][1]:
            continue  # more KL for no more reward
        while hull and (
            hull[-1][0] == kl or (len(hull) > 1 and _under(hull[-2], hull[-1], (kl, reward)))
        ):
            hull.pop()
        hull.append((kl, reward))
    return torch.tensor([_between(hull, kl) for kl in at_Q.tolist()], dtype=torch.float64)


def area_grid(kl: float) -> Float[Tensor, " Q"]:
    """KLs from 0 to `kl`, denser at 0, where reward grows as the square root."""
    return kl * torch.linspace(0, 1, AREA_POINTS, dtype=torch.float64).square()


def area_share(
    swept_Q: Float[Tensor, " Q"], best_Q: Float[Tensor, " Q"], kl_Q: Float[Tensor, " Q"]
) -> float:
    """Area between swept rewards and the reference's, over that of the frontier; in [0, 1].

    Both begin at the reference's reward, at a KL of 0; by trapezoids on one grid. NaN where the
    reference is as good as any.
    """
    parts = (swept_Q - swept_Q[0], best_Q - best_Q[0])
    swept, best = (float(torch.trapezoid(part_Q, kl_Q)) for part_Q in parts)
    return swept / best if best > 0 else float("nan")


def _under(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Is b on or under the line from a to c?"""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def _between(hull: list[tuple[float, float]], kl: float) -> float:
    for (kl_a, reward_a), (kl_b, reward_b) in pairwise(hull):
        if kl <= kl_b:
            return reward_a + (reward_b - reward_a) * (kl - kl_a) / (kl_b - kl_a)
    return hull[-1][1]
