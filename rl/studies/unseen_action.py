"""Three actions, and pairs of the first two alone: what DPO's loss says of the third, exactly.

Of the pairs the loss reads log pi(1) / pi(2) alone, so that its least is a line of policies, one
for each probability m of the third action (2404.10719, section 4, has the argument and an example):

    pi_m = ((1 - m) s, (1 - m) (1 - s), m),
    s / (1 - s) = (pi_ref(1) / pi_ref(2)) (q / (1 - q))^(1 / beta),

with q the chance that the first is preferred. A reward that is learned of the same pairs knows
r(1) - r(2) = log q / (1 - q) alone, too; but E[r] - beta KL has one optimum for each r(3), and its
probability of the third is at most pi_ref(3) exp((max r - min r) / beta).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import UnseenActionConfig
from rl.losses.preference import Pairs, preference_loss
from rl.tabular.gibbs import gibbs_responses


def measure_unseen_action(
    config: UnseenActionConfig,
    *,
    seed: int,  # noqa: ARG001 - nothing is drawn
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Measure at every mass; logs unseen/* at step 0 and returns the tokens sampled, none."""
    ref_A = torch.tensor(config.world.reference, dtype=torch.float64).log()
    q, beta = config.world.preferred, config.beta
    # In nats of log-odds, 0 for what no pair tells of, as a ridge leaves it.
    apart = math.log(q / (1 - q))
    reward_A = torch.tensor([apart / 2, -apart / 2, 0.0], dtype=torch.float64)
    best_A = gibbs_responses(ref_A[None], reward_A[None], beta=beta)[0][0]
    least = -q * math.log(q) - (1 - q) * math.log(1 - q)  # the labels' own entropy
    excess, gap = {}, {}
    for mass in config.masses:
        logp_A = dpo_optimum(ref_A, preferred=q, beta=beta, mass=mass)
        excess[mass] = expected_loss(logp_A, ref_A, preferred=q, beta=beta) - least
        gap[mass] = beta * float((logp_A.exp() * (logp_A - best_A)).sum())
    log.log(
        0,
        {
            "unseen/dpo_excess": excess,
            "unseen/objective_gap": gap,
            "unseen/reference_mass": float(ref_A[2].exp()),
            "unseen/optimum_mass": float(best_A[2].exp()),
        },
    )
    report(config.steps, 0.0)
    return 0


def dpo_optimum(ref_A: Tensor, *, preferred: float, beta: float, mass: float) -> Tensor:
    """log pi_m of the three actions."""
    odds = math.log(preferred / (1 - preferred)) / beta
    two = torch.stack([ref_A[0] + odds, ref_A[1]]).log_softmax(dim=0) + math.log(1 - mass)
    return torch.cat([two, torch.tensor([math.log(mass)], dtype=torch.float64)])


def expected_loss(logp_A: Tensor, ref_A: Tensor, *, preferred: float, beta: float) -> float:
    """DPO's mean loss of pairs of the first two actions, the first preferred at that rate."""
    one_B = torch.ones(2, dtype=torch.int64)
    pairs = Pairs(
        chosen_B=logp_A[[0, 1]],
        rejected_B=logp_A[[1, 0]],
        ref_chosen_B=ref_A[[0, 1]],
        ref_rejected_B=ref_A[[1, 0]],
        chosen_length_B=one_B,
        rejected_length_B=one_B,
    )
    first, second = preference_loss(pairs, name="dpo", beta=beta, label_smoothing=0.0).tolist()
    return float(preferred * first + (1 - preferred) * second)
