"""Bias and covariance of a policy gradient under one baseline, where both are known exactly.

A random language model with full context (rl.tabular) answers P prompts of different difficulty
with 0/1 rewards. Its exact gradient g of the mean success rate comes from listing all responses.
One estimate is what a training step would take: a group of G responses to every prompt, advantages
by rl.advantages, and g_hat = (1/P) sum_p (1/G) sum_i A_pi grad log pi(y_pi). Many estimates give
its mean and the trace of its covariance; rl.tabular.moments gives that trace exactly, and listing
how many responses of a group are right gives the bias of the very code that trains. The listing
takes a response for one action; rl.mdp_views takes its tokens for actions, and both have one g.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rl.advantages import advantages
from rl.artifacts import RunWriter
from rl.config import GradientCovarianceConfig
from rl.exact import expected_weight
from rl.mdp_views import token_gradient
from rl.seeding import derive
from rl.tabular.build import random_tree
from rl.tabular.exact import (
    entropies,
    list_responses,
    response_logps,
    scores,
    squared_scores,
)
from rl.tabular.hotelling import directions, hotelling
from rl.tabular.moments import Moments, baseline, covariance_traces, moments
from rl.tabular.policy import draw_listed


@dataclass(frozen=True)
class _Model:
    """Everything about one random language model. D parameters a prompt."""

    probability_PN: Tensor
    reward_PN: Tensor
    score_PND: Tensor
    gradient_PD: Tensor  # of each prompt's own success rate
    token_gradient_PD: Tensor  # the same, by states and actions that are prefixes and tokens
    moments: Moments
    entropy: float


def measure_gradient_covariance(
    config: GradientCovarianceConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Measure at every entropy; logs covariance/* at step 0 and returns the tokens sampled."""
    world = config.world
    found: dict[str, dict[float, float]] = {}
    for index, entropy in enumerate(world.entropies):
        model = _model(config, entropy, seed)
        measured = _measure(config, model, derive("covariance-draws", seed, index))
        for name, value in measured.items():
            found.setdefault(f"covariance/{name}", {})[entropy] = value
        report(
            (index + 1) * config.steps // len(world.entropies),
            found["covariance/success"][entropy],
        )
    log.log(0, found)
    responses = world.prompts * config.group_size * config.estimates
    return responses * world.length * len(world.entropies)


def _measure(config: GradientCovarianceConfig, model: _Model, seed: int) -> dict[str, float]:
    """All numbers at one entropy; `seed` is that of its samples and directions."""
    name, size, prompts = config.advantage.baseline, config.group_size, config.world.prompts
    learned_P = _learned_values(model, config.advantage.value_samples, seed)
    rule, best = (
        baseline(
            each,
            model.moments,
            group_size=size,
            constant=config.advantage.constant,
            learned_P=learned_P,
        )
        for each in (name, "optimal")
    )
    # Prompts have parameters of their own, and each is 1/P of the objective.
    trace, least = (
        float(covariance_traces(model.moments, each, group_size=size).sum()) / prompts**2
        for each in (rule, best)
    )
    offset_P = rule.offset_P if rule.own_share == 0 else torch.zeros(prompts).double()
    gradient_D = model.gradient_PD.flatten() / prompts
    mean_D = (_weights(model, name, offset_P, size)[:, None] * model.gradient_PD).flatten()
    bias_D = mean_D / prompts - gradient_D

    token_D = model.token_gradient_PD.flatten() / prompts

    estimate_ED = _estimates(config, model, offset_P, seed)
    measured = float(estimate_ED.var(dim=0).sum())
    basis_DK = directions(gradient_D, count=config.directions, seed=derive("directions", seed))
    test = hotelling(estimate_ED @ basis_DK, gradient_D @ basis_DK)
    unbiased = rule.mean_factor(size) ** 2  # the square of what makes the mean the gradient
    return {
        "entropy": model.entropy,
        "success": float(model.moments.value_P.mean()),
        "gradient_norm": float(gradient_D.norm()),
        "trace": measured,
        "trace_exact": trace,
        "over_exact": measured / trace,
        "rescaled": measured / unbiased,
        "rescaled_exact": trace / unbiased,
        "over_optimal": trace / unbiased / least,
        "bias": float(bias_D.norm() / gradient_D.norm()),
        "views_gap": float((token_D - gradient_D).norm() / gradient_D.norm()),
        "recovered": float(estimate_ED.mean(dim=0) @ gradient_D / gradient_D.square().sum()),
        "t_squared": test.t_squared,
        "f": test.f,
        "p_value": test.p_value,
    }


def _model(config: GradientCovarianceConfig, entropy: float, seed: int) -> _Model:
    world = config.world
    tree, logit_KV = random_tree(
        prompts=world.prompts,
        vocabulary=world.vocabulary,
        length=world.length,
        entropy=entropy,
        rewards=world.rewards,
        seed=derive("covariance-world", seed),
    )
    logp_KV = logit_KV.log_softmax(dim=1)
    listing = list_responses(tree)
    own = tree.contexts // tree.prompts
    score_PND = torch.stack(
        [scores(listing, logp_KV, prompt=p, first=p * own, count=own) for p in range(tree.prompts)]
    )
    probability_PN = response_logps(listing, logp_KV).exp()
    weight_PN = probability_PN * listing.reward_PN
    gradient_PD = torch.einsum("pn,pnd->pd", weight_PN, score_PND)
    return _Model(
        probability_PN,
        listing.reward_PN,
        score_PND,
        gradient_PD,
        torch.stack(
            [
                _token_gradient(logit_KV[p * own : (p + 1) * own], listing.reward_PN[p])
                for p in range(tree.prompts)
            ]
        ),
        moments(probability_PN, listing.reward_PN, squared_scores(listing, logp_KV), gradient_PD),
        float(entropies(tree, logp_KV).mean()) / tree.length,
    )


def _token_gradient(logit_CV: Tensor, reward_N: Tensor) -> Tensor:
    """d E[R] / d logits [D] of one prompt's contexts, which are numbered as in a heap: the prefixes
    of one place stand together, in the order of their digits."""
    vocabulary = logit_CV.shape[1]
    levels, first = list[Tensor](), 0
    while first < len(logit_CV):
        prefixes = vocabulary ** len(levels)
        levels.append(logit_CV[first : first + prefixes])
        first += prefixes
    return torch.cat([g_XV.flatten() for g_XV in token_gradient(levels, reward_N, user=())])


def _learned_values(model: _Model, samples: int, seed: int) -> Tensor:
    """Mean reward [P] of a few earlier responses: a value that is off, and fixed from here on."""
    pick_PB = draw_listed(
        model.probability_PN, count=samples, stream="covariance-value", parts=(seed,)
    )
    return model.reward_PN.gather(1, pick_PB).mean(dim=1)


def _advantages(name: str, rewards_PG: Tensor, offset_P: Tensor) -> Tensor:
    """By the code that trains; a baseline that is fixed beforehand is taken off the reward."""
    within = name if name in ("batch_mean", "group_mean", "leave_one_out") else "none"
    return advantages(
        rewards_PG - offset_P[:, None], baseline=within, scale="none", ddof=0, eps=0.0
    )


def _weights(model: _Model, name: str, offset_P: Tensor, group_size: int) -> Tensor:
    """c_p [P] in E[(1/G) sum_i A_i s_i] = c_p grad p, by enumeration of how many are right.

    rl.exact gives w in w grad logit p = w / (p (1 - p)) grad p. The other groups' rewards enter a
    batch mean linearly, so that each may stand at its expectation.
    """
    value_P = model.moments.value_P

    def weight(prompt: int) -> float:
        p = float(value_P[prompt])

        def own_advantages(rewards_1G: Tensor) -> Tensor:
            rewards_PG = value_P[:, None].repeat(1, group_size)
            rewards_PG[prompt] = rewards_1G[0]
            return _advantages(name, rewards_PG, offset_P)[prompt][None]

        found = expected_weight(p, group_size=group_size, advantage_fn=own_advantages)
        return float(found) / (p * (1 - p))

    return torch.tensor([weight(prompt) for prompt in range(len(value_P))], dtype=torch.float64)


def _estimates(
    config: GradientCovarianceConfig, model: _Model, offset_P: Tensor, seed: int
) -> Tensor:
    """Independent gradients [E, P * D], each of a batch of its own."""
    prompts, responses = model.probability_PN.shape
    count, size = config.estimates, config.group_size
    pick_PEG = draw_listed(
        model.probability_PN, count=count * size, stream="covariance-batch", parts=(seed,)
    ).view(prompts, count, size)
    reward_PEG = model.reward_PN.gather(1, pick_PEG.flatten(1)).view_as(pick_PEG)
    advantage_EPG = torch.stack(
        [_advantages(config.advantage.baseline, reward_PEG[:, e], offset_P) for e in range(count)]
    )
    weight_EPN = torch.zeros(count, prompts, responses, dtype=torch.float64)
    weight_EPN.scatter_add_(2, pick_PEG.transpose(0, 1), advantage_EPG)
    estimate_EPD = torch.einsum("epn,pnd->epd", weight_EPN, model.score_PND)
    return estimate_EPD.flatten(1) / (size * prompts)
