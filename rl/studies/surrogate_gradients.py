"""What a policy loss does to a policy that is not the one that drew the responses, exactly.

pi_old is a random language model with full context (rl.tabular) and pi another one, at each of the
distances KL(pi_old || pi). One estimate is what a training step would take from one fresh response
of pi_old to every prompt, with the advantage A = r - E_old[r], which no draw enters:

    g_hat = -(1/P) sum_p grad sum_t l_pt,    l by rl.losses.policy_loss, y_p from pi_old.

All responses have T tokens, so that every normaliser of rl.losses.aggregate divides this by a
constant; the sum over tokens is the one under which `sequence_is` estimates the policy gradient
itself. Enumeration gives E[g_hat] by autograd through the expectation, to be compared with
g = grad (1/P) sum_p E_pi[r], and the trace of g_hat's covariance.

Axis letters: P prompts, N responses, T places, B = P * N rows, K contexts, V tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import SurrogateGradientsConfig, SurrogateLossConfig
from rl.losses import policy_loss, ratio_shares
from rl.seeding import derive
from rl.tabular.build import random_tree
from rl.tabular.exact import divergences, values
from rl.tabular.gradients import Batch, cosine, listed, relative_gap
from rl.tabular.pairs import at_distance, normal_direction
from rl.tabular.policy import draw_listed
from rl.tabular.worlds import World

SHARES = ("above_positive", "above_negative", "below_positive", "below_negative")


@dataclass(frozen=True)
class Rows:
    """Every response to every prompt, as pi_old draws and values them."""

    batch: Batch
    chance_B: Tensor  # under pi_old, over P
    advantage_B: Tensor  # r - E_old[r]


def measure_surrogate_gradients(
    config: SurrogateGradientsConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Measure at every distance; logs surrogate/* at step 0 and returns the tokens sampled."""
    world, old_KV = random_tree(**config.world.model_dump(), seed=derive("surrogate-world", seed))
    direction_KV = normal_direction(world, seed=derive("surrogate-direction", seed))
    rows = list_rows(world, old_KV)
    drawn_B = drawn_shares(rows, world.prompts, config.samples, derive("surrogate-draws", seed))
    found: dict[str, dict[float, float]] = {}
    for index, distance in enumerate(config.distances):
        logit_KV = at_distance(world, old_KV, direction_KV, distance=distance)
        for name, value in measure(
            world, rows, old_KV, logit_KV, config.loss, drawn_B=drawn_B
        ).items():
            found.setdefault(f"surrogate/{name}", {})[distance] = value
        done = (index + 1) * config.steps // len(config.distances)
        report(done, found["surrogate/bias"][distance])
    log.log(0, found)
    return config.samples * world.prompts * world.length


def list_rows(world: World, old_KV: Tensor) -> Rows:
    """Every response, with its chance and its advantage under the policy that draws."""
    batch, logp_old_KV = listed(world), old_KV.log_softmax(dim=1)
    reward_PN = batch.logps(world.reward_KV).sum(dim=1).view(world.prompts, -1)
    value_P = values(world, logp_old_KV, world.reward_KV)
    advantage_PN = reward_PN - value_P[:, None]
    return Rows(batch, batch.chances(logp_old_KV), advantage_PN.flatten())


def drawn_shares(rows: Rows, prompts: int, samples: int, seed: int) -> Tensor:
    """What stands for `chance_B` in a sample of `samples` responses to every prompt [B]."""
    probability_PN = rows.chance_B.view(prompts, -1)
    pick_PS = draw_listed(probability_PN, count=samples, stream="rows", parts=(seed,))
    one_PS = torch.ones_like(pick_PS, dtype=probability_PN.dtype)
    count_PN = torch.zeros_like(probability_PN).scatter_add_(1, pick_PS, one_PS)
    return (count_PN / (samples * prompts)).flatten()


def measure(
    world: World,
    rows: Rows,
    old_KV: Tensor,
    logit_KV: Tensor,
    loss: SurrogateLossConfig,
    *,
    drawn_B: Tensor,
) -> dict[str, float]:
    """All numbers of one pair of policies, given by their logits; rl.metrics says what they are."""
    logp_old_KV, logp_KV = (each.log_softmax(dim=1) for each in (old_KV, logit_KV))
    exact_KV = exact_gradient(world, logit_KV)
    mean_KV = mean_gradient(rows, old_KV, logit_KV, loss, rows.chance_B)
    plain = loss.model_copy(update={"name": "reinforce", "bound": None})
    reinforce_KV = mean_gradient(rows, old_KV, logit_KV, plain, rows.chance_B)
    sampled_KV = mean_gradient(rows, old_KV, logit_KV, loss, drawn_B)
    norm, square = float(exact_KV.norm()), float(exact_KV.square().sum())
    trace = covariance_trace(world, rows, old_KV, logit_KV, loss)
    return {
        "kl": float(divergences(world, logp_old_KV, logp_KV).mean()),
        "kl_back": float(divergences(world, logp_KV, logp_old_KV).mean()),
        "cosine": cosine(mean_KV, exact_KV),
        "bias": relative_gap(mean_KV, exact_KV),
        "norm_ratio": float(mean_KV.norm()) / norm,
        "recovered": float((mean_KV * exact_KV).sum()) / square,
        "sampled_recovered": float((sampled_KV * exact_KV).sum()) / square,
        "from_reinforce": float((mean_KV - reinforce_KV).norm()) / norm,
        "trace": trace,
        "noise": trace / square,
        "effective_samples": effective_samples(world, rows, old_KV, logit_KV),
        **clip_shares(rows, logp_old_KV, logp_KV, loss),
    }


def exact_gradient(world: World, logit_KV: Tensor) -> Tensor:
    """g [K, V]: d/d logits of the mean over prompts of E_pi[r], by autograd."""
    logit_KV = logit_KV.clone().requires_grad_()
    reward = values(world, logit_KV.log_softmax(dim=1), world.reward_KV).mean()
    return torch.autograd.grad(reward, logit_KV)[0]


def mean_gradient(
    rows: Rows, old_KV: Tensor, logit_KV: Tensor, loss: SurrogateLossConfig, weight_B: Tensor
) -> Tensor:
    """Minus the gradient [K, V] of sum_B weight_B sum_t l: E[g_hat] under the rows' chances."""
    logit_KV = logit_KV.clone().requires_grad_()
    loss_BT = _losses(rows, old_KV, rows.batch.logps(logit_KV.log_softmax(dim=1)), loss)
    return -torch.autograd.grad((weight_B[:, None] * loss_BT).sum(), logit_KV)[0]


def covariance_trace(
    world: World, rows: Rows, old_KV: Tensor, logit_KV: Tensor, loss: SurrogateLossConfig
) -> float:
    """tr Cov(g_hat) of one response to every prompt: (1/P^2) sum_p (E|h_p|^2 - |E h_p|^2).

    h(y) = -grad sum_t l_t = -sum_t c_t s_t, with c_t = d (sum l) / d log pi(v_t) and s_t the score
    of token t by the logits of its context. The contexts along a response differ, so that
    |h|^2 = sum_t c_t^2 |s_t|^2 with |s_t|^2 = 1 - 2 pi(v_t) + sum_u pi(u)^2.
    """
    logp_KV = logit_KV.log_softmax(dim=1)
    logp_BT = rows.batch.logps(logp_KV).requires_grad_()
    loss_BT = _losses(rows, old_KV, logp_BT, loss)
    (slope_BT,) = torch.autograd.grad(loss_BT.sum(), logp_BT)  # rows do not share an entry
    probability_KV = logp_KV.exp()
    square_KV = 1 - 2 * probability_KV + probability_KV.square().sum(dim=1, keepdim=True)
    square_B = (slope_BT.square() * rows.batch.logps(square_KV)).sum(dim=1)
    # Prompts have contexts of their own; chance_B is over P already, and so is the mean.
    second = float((rows.chance_B * square_B).sum()) / world.prompts
    mean_KV = mean_gradient(rows, old_KV, logit_KV, loss, rows.chance_B)
    return second - float(mean_KV.square().sum())


def effective_samples(world: World, rows: Rows, old_KV: Tensor, logit_KV: Tensor) -> float:
    """E[W]^2 / E[W^2] under pi_old, W = pi(y) / pi_old(y), mean over prompts: the share of the
    samples that would do as well if they came from pi (Kong 1992); E[W] = 1."""
    logp_BT, logp_old_BT = (
        rows.batch.logps(each.log_softmax(dim=1)) for each in (logit_KV, old_KV)
    )
    square_B = (2 * (logp_BT - logp_old_BT).sum(dim=1)).exp()
    chance_PN = rows.chance_B.view(world.prompts, -1) * world.prompts
    return float((1 / (chance_PN * square_B.view_as(chance_PN)).sum(dim=1)).mean())


def clip_shares(
    rows: Rows, logp_old_KV: Tensor, logp_KV: Tensor, loss: SurrogateLossConfig
) -> dict[str, float]:
    """Expected shares of tokens beyond the clip bounds, row by row through `ratio_shares`."""
    logp_BT, logp_old_BT = rows.batch.logps(logp_KV), rows.batch.logps(logp_old_KV)
    total = dict.fromkeys(SHARES, 0.0)
    for row, chance in enumerate(rows.chance_B.tolist()):
        one = slice(row, row + 1)
        shares = ratio_shares(
            logp_BT[one],
            logp_old_BT[one],
            rows.advantage_B[one],
            rows.batch.mask[one],
            clip_low=loss.clip_low,
            clip_high=loss.clip_high,
        )
        for name in SHARES:
            total[name] += chance * shares[name]
    return total


def _losses(rows: Rows, old_KV: Tensor, logp_BT: Tensor, loss: SurrogateLossConfig) -> Tensor:
    return policy_loss(
        logp_BT,
        rows.batch.logps(old_KV.log_softmax(dim=1)),
        rows.advantage_B,
        rows.batch.mask,
        name=loss.name,
        clip_low=loss.clip_low,
        clip_high=loss.clip_high,
        bound=loss.bound,
    )
