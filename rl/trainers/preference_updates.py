"""The losses of methods that learn from preferences, of all levels' policies at once.

Axis letters: S levels, P prompts, N responses, G of a prompt's batch, K contexts, V tokens, M
pairs, B = S * P * G.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rl.advantages import advantages
from rl.config import TabularPreferencesConfig
from rl.data.labels import Labelling
from rl.kl import kl_penalty
from rl.losses import aggregate, policy_loss
from rl.losses.preference import WITHOUT_REFERENCE, Pairs, preference_loss
from rl.seeding import derive, uniforms
from rl.tabular.texts import text_logps
from rl.trainers.preference_problem import Problem, WeightedPairs, all_pairs

GROUP_EPS = 1e-6  # beside a group's standard deviation (2402.03300 divides by the latter alone)
# A learned reward is in nats of the log-odds already.
LEARNED = Labelling(scale=1.0, flip=0.0)


@dataclass(frozen=True)
class Batch:
    """Responses to every prompt for every level, with what is said of them before the first update.

    `weight_SPG` is 1 for samples, and N pi_old(y) where all N responses stand.
    """

    response_SPG: Tensor  # int64
    weight_SPG: Tensor
    advantage_SPG: Tensor
    old_SKV: Tensor


def pair_loss(config: TabularPreferencesConfig, problem: Problem, logp_SKV: Tensor) -> Tensor:
    """Sum over levels of the mean loss of the pairs: the data's, or of `online_dpo` all pairs of
    the policy as it is."""
    name, loss = config.method.name, torch.zeros((), dtype=torch.float64)
    for beta, logp_PN in zip(config.levels, text_logps(problem.texts, logp_SKV), strict=True):
        pairs = problem.pairs
        if name == "online_dpo":
            pairs = own_pairs(config, problem, logp_PN)
        value_M = preference_loss(
            pair_logps(problem, logp_PN, pairs, reference=name not in WITHOUT_REFERENCE),
            name="dpo" if name == "online_dpo" else name,
            beta=beta,
            label_smoothing=0.0,
            gamma=config.method.gamma,
        )
        loss = loss + (pairs.weight_M * value_M).sum()
    return loss


def own_pairs(config: TabularPreferencesConfig, problem: Problem, logp_PN: Tensor) -> WeightedPairs:
    """All pairs of a policy, labelled by the gold judge or by the learned reward's chances."""
    labelling = problem.labelling if config.method.reward == "gold" else LEARNED
    return all_pairs(logp_PN.exp(), reward_of(config, problem), labelling)


def pair_logps(
    problem: Problem, logp_PN: Tensor, pairs: WeightedPairs, *, reference: bool
) -> Pairs:
    """What rl.losses.preference reads."""
    chosen, rejected = (pairs.prompt_M, pairs.chosen_M), (pairs.prompt_M, pairs.rejected_M)
    length_N = problem.texts.lengths
    return Pairs(
        chosen_B=logp_PN[chosen],
        rejected_B=logp_PN[rejected],
        ref_chosen_B=problem.ref_PN[chosen] if reference else None,
        ref_rejected_B=problem.ref_PN[rejected] if reference else None,
        chosen_length_B=length_N[pairs.chosen_M],
        rejected_length_B=length_N[pairs.rejected_M],
    )


def reward_of(config: TabularPreferencesConfig, problem: Problem) -> Tensor:
    """The reward that the method is given, of every response [P, N]."""
    return problem.gold_PN if config.method.reward == "gold" else problem.learned_PN


def make_batch(
    config: TabularPreferencesConfig, problem: Problem, old_SKV: Tensor, *, seed: int, step: int
) -> Batch:
    """Responses of pi_old with their advantages; those of ppo and rloo are of r - beta k1."""
    method = config.method
    old_SPN = text_logps(problem.texts, old_SKV)
    levels, prompts, responses = old_SPN.shape
    if method.group_size is None:
        response_SPG = torch.arange(responses).expand(levels, prompts, -1)
        weight_SPG = responses * old_SPN.exp()
    else:
        seeds = [derive("preferences-rollout", seed, step, prompt) for prompt in range(prompts)]
        uniform_PG = torch.from_numpy(uniforms(seeds, method.group_size))
        response_SPG = drawn(old_SPN.exp(), uniform_PG)
        weight_SPG = torch.ones(response_SPG.shape, dtype=torch.float64)
    reward_SPN = reward_of(config, problem).expand(levels, -1, -1)
    if method.name != "grpo":
        beta_S11 = torch.tensor(config.levels, dtype=torch.float64)[:, None, None]
        reward_SPN = reward_SPN - beta_S11 * (old_SPN - problem.ref_PN)
    given_SPG = reward_SPN.gather(2, response_SPG)
    if method.name == "ppo":
        value_SP1 = (old_SPN.exp() * reward_SPN).sum(dim=2, keepdim=True)
        advantage_SPG = given_SPG - value_SP1
    else:
        grouped = method.name == "grpo"
        advantage_SPG = advantages(
            given_SPG.flatten(0, 1),
            baseline="group_mean" if grouped else "leave_one_out",
            scale="group_std" if grouped else "none",
            ddof=0,
            eps=GROUP_EPS,
        ).view_as(given_SPG)
    return Batch(response_SPG, weight_SPG, advantage_SPG, old_SKV)


def drawn(chance_SPN: Tensor, uniform_PG: Tensor) -> Tensor:
    """Responses [S, P, G] by inversion; the same numbers serve all levels."""
    upto_SPN = chance_SPN.cumsum(dim=2)
    at_SPG = uniform_PG * upto_SPN[:, :, -1:]
    found_SPG = torch.searchsorted(upto_SPN, at_SPG.contiguous(), right=True)
    return found_SPG.clamp(max=chance_SPN.shape[2] - 1)


def batch_loss(
    config: TabularPreferencesConfig, problem: Problem, batch: Batch, logp_SKV: Tensor
) -> Tensor:
    """Sum over levels of the clipped policy loss, in grpo with beta k3 by token."""
    texts, method = problem.texts, config.method
    levels, prompts, size = batch.response_SPG.shape
    context_SPGT = texts.context_PNT[torch.arange(prompts)[:, None], batch.response_SPG]
    token_SPGT = texts.token_NT[batch.response_SPG]
    level_S111 = torch.arange(levels)[:, None, None, None]
    mask_BT = texts.written_NT[batch.response_SPG].flatten(0, 2)

    def of(table_SKV: Tensor) -> Tensor:
        return table_SKV[level_S111, context_SPGT, token_SPGT].flatten(0, 2)

    logp_BT = of(logp_SKV)
    value_BT = policy_loss(
        logp_BT,
        of(batch.old_SKV),
        batch.advantage_SPG.flatten(),
        mask_BT,
        name="clipped",
        clip_low=method.clip,
        clip_high=method.clip,
        bound=None,
    )
    if method.name == "grpo":
        beta_B = torch.tensor(config.levels, dtype=torch.float64).repeat_interleave(prompts * size)
        value_BT = value_BT + beta_B[:, None] * kl_penalty(
            logp_BT,
            of(problem.ref_KV.expand(levels, -1, -1)),
            mask_BT,
            estimator="k3",
            level="token",
        )
    return aggregate(
        batch.weight_SPG.flatten()[:, None] * value_BT,
        mask_BT,
        mode="constant",
        sequences=prompts * size,
        tokens=int(mask_BT.sum()),
        max_length=1,  # the sum over a response's tokens, not divided by a length
    )
