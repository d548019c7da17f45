"""One KL estimator in every part that it may play, measured where the truth is known.

As a value: its bias and spread on two normal distributions and on language models whose responses
are listed. As a loss: the gradient that it has on average, on responses of the policy itself or of
an older one, beside those of KL(pi || ref) and KL(ref || pi). As a field: where it moves each
policy of three actions. The arithmetic is in rl.tabular.estimators.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import KLEstimatorsConfig
from rl.seeding import derive, uniforms
from rl.tabular.build import random_tree
from rl.tabular.estimators import (
    Penalty,
    estimates,
    flow,
    forward_gradient,
    loss_gradient,
    normal_estimate,
    normal_moments,
    reverse_gradient,
    value_moments,
)
from rl.tabular.exact import divergences
from rl.tabular.gradients import Batch, cosine, listed, relative_gap
from rl.tabular.pairs import at_distance, normal_direction
from rl.tabular.policy import draw_groups
from rl.tabular.worlds import World, tree_contexts, tree_world

Levels = dict[str, dict[float, float]]


def measure_kl_estimators(
    config: KLEstimatorsConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Measure in all parts; logs kl/* at step 0 and returns the tokens sampled."""
    penalty = Penalty(config.estimator, config.level, config.weighted)
    world, logit_KV = random_tree(
        **config.world.model_dump(), seed=derive("kl-estimators-world", seed)
    )
    # A reference, and an older policy, are the policy moved along a direction of their own.
    ref_at, old_at = (
        partial(
            at_distance,
            world,
            logit_KV,
            normal_direction(world, seed=derive(f"kl-estimators-{name}", seed)),
        )
        for name in ("reference", "old")
    )
    batch = listed(world)
    found: Levels = {}
    _normal(config, derive("kl-estimators-normal", seed), found)
    for distance in config.trees.distances:
        ref_KV = ref_at(distance=distance)
        value = _value(config, world, batch, penalty, logit_KV, ref_KV, seed)
        loss = _compare(world, batch, penalty, logit_KV, ref_KV, logit_KV)
        _put(found, "value", distance, value)
        _put(found, "loss", distance, loss)
    ref_KV = ref_at(distance=config.trees.reference)
    for distance in config.trees.stale:
        old_KV = old_at(distance=distance)
        _put(found, "stale", distance, _compare(world, batch, penalty, logit_KV, ref_KV, old_KV))
    _by_place(world, batch, penalty, logit_KV, ref_KV, found)
    _field(config, penalty, found)
    log.log(0, found)
    report(config.steps, 0.0)
    drawn = len(config.trees.distances) * config.trees.samples * world.prompts * world.length
    return drawn + len(config.normal.kls) * config.normal.samples


def _put(found: Levels, part: str, level: float, values: dict[str, float]) -> None:
    for name, value in values.items():
        found.setdefault(f"kl/{part}_{name}", {})[level] = value


def _normal(config: KLEstimatorsConfig, seed: int, found: Levels) -> None:
    """On two normal distributions, the same draws at every distance."""
    samples = config.normal.samples
    uniform_N = torch.from_numpy(uniforms([seed], samples))[0]
    x_N = torch.special.ndtri(uniform_N.clamp(min=torch.finfo(torch.float64).tiny))
    for kl in config.normal.kls:
        exact = normal_moments(config.estimator, kl=kl)
        value_N = normal_estimate(config.estimator, x_N, kl=kl)
        values = {
            "bias": exact.mean / kl - 1,
            "std": exact.std / kl,
            "sampled_bias": float(value_N.mean()) / kl - 1,
            "sampled_std": float(value_N.std()) / kl,
        }
        _put(found, "normal", kl, values)


def _value(
    config: KLEstimatorsConfig,
    world: World,
    batch: Batch,
    penalty: Penalty,
    logit_KV: Tensor,
    ref_KV: Tensor,
    seed: int,
) -> dict[str, float]:
    """Of fresh responses, whose importance ratio is 1; in units of the exact divergence."""
    logp_KV, logp_ref_KV = (each.log_softmax(dim=1) for each in (logit_KV, ref_KV))
    kl = float(divergences(world, logp_KV, logp_ref_KV).mean())
    exact = value_moments(batch, penalty, logit_KV, ref_KV)
    pick = draw_groups(
        world,
        logp_KV.exp(),
        count=config.trees.samples,
        stream="kl-estimators-draws",
        parts=(seed,),
    )
    drawn = Batch(*pick, world.prompts)
    value_B = estimates(drawn, penalty, logp_KV, logp_ref_KV, logp_KV)
    # Prompts have their own means: the spread within them is that of the mean over prompts.
    spread = float(value_B.view(world.prompts, -1).var(dim=1).mean().sqrt())
    return {
        "bias": exact.mean / kl - 1,
        "std": exact.std / kl,
        "sampled_bias": float(value_B.mean()) / kl - 1,
        "sampled_error": spread / math.sqrt(len(value_B)) / kl,
    }


def _compare(
    world: World,
    batch: Batch,
    penalty: Penalty,
    logit_KV: Tensor,
    ref_KV: Tensor,
    old_KV: Tensor,
) -> dict[str, float]:
    """The loss's mean gradient on responses of pi_old, beside both exact ones."""
    found_KV = loss_gradient(batch, penalty, logit_KV, ref_KV, old_KV)
    reverse_KV = reverse_gradient(world, logit_KV, ref_KV)
    forward_KV = forward_gradient(world, logit_KV, ref_KV)
    return {
        "norm": float(found_KV.norm() / reverse_KV.norm()),
        "reverse_cosine": cosine(found_KV, reverse_KV),
        "reverse_gap": relative_gap(found_KV, reverse_KV),
        "forward_cosine": cosine(found_KV, forward_KV),
        "forward_gap": relative_gap(found_KV, forward_KV),
    }


def _by_place(
    world: World,
    batch: Batch,
    penalty: Penalty,
    logit_KV: Tensor,
    ref_KV: Tensor,
    found: Levels,
) -> None:
    """The same on fresh responses, by the place of the token whose logits they are; 1 the first."""
    found_KV = loss_gradient(batch, penalty, logit_KV, ref_KV, logit_KV)
    reverse_KV = reverse_gradient(world, logit_KV, ref_KV)
    forward_KV = forward_gradient(world, logit_KV, ref_KV)
    # A prompt's contexts are its prefixes, shortest first.
    upto = [
        tree_contexts(vocabulary=world.vocabulary, length=place)
        for place in range(world.length + 1)
    ]
    for place in range(world.length):
        own, reverse, forward = (
            each_KV.view(world.prompts, -1, world.vocabulary)[:, upto[place] : upto[place + 1]]
            for each_KV in (found_KV, reverse_KV, forward_KV)
        )
        values = {
            "reverse_gap": relative_gap(own, reverse),
            "forward_gap": relative_gap(own, forward),
        }
        _put(found, "place", place + 1, values)


def _field(config: KLEstimatorsConfig, penalty: Penalty, found: Levels) -> None:
    """Three actions: where one unit of gradient flow moves each policy of a triangular grid."""
    reward_PN, target_P = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    world = tree_world(reward_PN, target_P, vocabulary=3, length=1)
    batch = listed(world)
    ref_KV = torch.tensor([config.field.reference], dtype=torch.float64).log()
    for point, probability_V in enumerate(_grid(config.field.cells)):
        logit_KV = probability_V.log()[None]
        gradients = {
            "flow": loss_gradient(batch, penalty, logit_KV, ref_KV, logit_KV),
            "reverse": reverse_gradient(world, logit_KV, ref_KV),
            "forward": forward_gradient(world, logit_KV, ref_KV),
        }
        values = {"p_0": float(probability_V[0]), "p_1": float(probability_V[1])}
        for name, gradient_KV in gradients.items():
            moved_V = flow(probability_V, gradient_KV[0])
            values |= {f"{name}_{action}": float(moved_V[action]) for action in (0, 1)}
        _put(found, "field", point, values)


def _grid(cells: int) -> list[Tensor]:
    """(i, j, k) / cells with i, j, k >= 1 that sum to it."""
    return [
        torch.tensor([i, j, cells - i - j], dtype=torch.float64) / cells
        for i in range(1, cells - 1)
        for j in range(1, cells - i)
    ]
