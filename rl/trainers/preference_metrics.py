"""What policies and rewards learned from preferences are, exactly; see rl.metrics, preferences/*.

Axis letters: S levels, P prompts, N responses.
"""

import torch
from torch import Tensor

from rl.config import TabularPreferencesConfig
from rl.data.labels import Labelling
from rl.losses.preference import LOSSES, WITHOUT_REFERENCE, implicit_rewards
from rl.losses.reward import accuracies
from rl.tabular.best_of_n import best_of_n_chances
from rl.tabular.frontier import (
    area_grid,
    area_share,
    frontier_rewards,
    reward_and_kl,
    swept_rewards,
)
from rl.trainers.preference_problem import Problem, WeightedPairs, all_pairs
from rl.trainers.preference_updates import pair_logps, reward_of

Metrics = dict[str, float | dict[float, float]]

HARD = Labelling(scale=float("inf"), flip=0.0)


def final_logps(config: TabularPreferencesConfig, problem: Problem, logp_SPN: Tensor) -> Tensor:
    """Of every response under each level's policy; best-of-n is none that is trained."""
    if config.method.name != "best_of_n":
        return logp_SPN
    reward_PN, chance_PN = reward_of(config, problem), problem.ref_PN.exp()
    best = [best_of_n_chances(chance_PN, reward_PN, n=int(n)) for n in config.levels]
    return torch.stack(best).log()


def sweep_metrics(config: TabularPreferencesConfig, problem: Problem, logp_SPN: Tensor) -> Metrics:
    """Of each level's policy, and of the sweep as a whole."""
    gold_PN, ref_PN = problem.gold_PN, problem.ref_PN
    reward_S, kl_S = reward_and_kl(logp_SPN, ref_PN, gold_PN)
    kl_S = kl_S.clamp(min=0.0)  # by rounding it may be under 0
    best_S = frontier_rewards(ref_PN, gold_PN, kl_S)
    level_S = torch.tensor(config.levels, dtype=torch.float64)
    proxy_S = ((logp_SPN.exp() - ref_PN.exp()) * problem.learned_PN).sum(dim=-1).mean(dim=-1)
    unseen_S = (logp_SPN.exp() * ~problem.seen_PN).sum(dim=-1).mean(dim=-1)
    by_level = {
        "reward": reward_S,
        "kl": kl_S,
        "objective": reward_S - level_S * kl_S,
        "regret": best_S - reward_S,
        "proxy_gain": proxy_S,
        "unseen_mass": unseen_S,
        "implicit_accuracy": _implicit_accuracies(config, problem, logp_SPN),
    }
    found: Metrics = {
        f"preferences/{name}": _keyed(config.levels, x) for name, x in by_level.items()
    }
    start = float(reward_and_kl(ref_PN, ref_PN, gold_PN)[0])
    at_Q = torch.tensor(config.kls, dtype=torch.float64)
    swept_Q = swept_rewards(kl_S, reward_S, at_Q, start=start)
    regret_Q = frontier_rewards(ref_PN, gold_PN, at_Q) - swept_Q
    found["preferences/swept_reward"] = _keyed(config.kls, swept_Q)
    found["preferences/swept_regret"] = _keyed(config.kls, regret_Q)
    grid_Q = area_grid(max(config.kls))
    found["preferences/area_share"] = area_share(
        swept_rewards(kl_S, reward_S, grid_Q, start=start),
        frontier_rewards(ref_PN, gold_PN, grid_Q),
        grid_Q,
    )
    return found


def problem_metrics(problem: Problem) -> Metrics:
    """Of what every method is given: the reference, the pairs and the learned reward."""
    judged = judged_pairs(problem)
    margin_M = (
        problem.learned_PN[judged.prompt_M, judged.chosen_M]
        - problem.learned_PN[judged.prompt_M, judged.rejected_M]
    )
    right_M = accuracies(margin_M)
    known_M = (
        problem.seen_PN[judged.prompt_M, judged.chosen_M]
        & problem.seen_PN[judged.prompt_M, judged.rejected_M]
    )
    found: Metrics = {
        "preferences/reference_reward": float(
            reward_and_kl(problem.ref_PN, problem.ref_PN, problem.gold_PN)[0]
        ),
        "preferences/reference_unseen_mass": float(
            (problem.ref_PN.exp() * ~problem.seen_PN).sum(dim=1).mean()
        ),
        "preferences/learned_accuracy": _mean(right_M, judged.weight_M),
    }
    if not bool(known_M.all()):
        outside_M = ~known_M
        found["preferences/learned_accuracy_unseen"] = _mean(
            right_M[outside_M], judged.weight_M[outside_M]
        )
    return found


def judged_pairs(problem: Problem) -> WeightedPairs:
    """All pairs of the reference's responses, coverage aside, the larger gold chosen."""
    return all_pairs(problem.ref_PN.exp(), problem.gold_PN, HARD)


def _implicit_accuracies(
    config: TabularPreferencesConfig, problem: Problem, logp_SPN: Tensor
) -> Tensor:
    """By what the method's loss compares; for a method with none, by log pi / pi_ref."""
    name = config.method.name if config.method.name in LOSSES else "dpo"
    judged, found = judged_pairs(problem), []
    # A policy that never says either of two tells nothing of them: the least float stands for -inf.
    logp_SPN = logp_SPN.clamp(min=torch.finfo(torch.float64).min / 4)
    for logp_PN in logp_SPN:
        pairs = pair_logps(problem, logp_PN, judged, reference=name not in WITHOUT_REFERENCE)
        chosen_M, rejected_M = implicit_rewards(pairs, name=name, beta=1.0)
        found.append(_mean(accuracies(chosen_M - rejected_M), judged.weight_M))
    return torch.tensor(found, dtype=torch.float64)


def _mean(x_M: Tensor, weight_M: Tensor) -> float:
    return float((weight_M * x_M).sum() / weight_M.sum())


def _keyed(levels: tuple[float, ...], x_S: Tensor) -> dict[float, float]:
    return dict(zip(levels, x_S.tolist(), strict=True))
