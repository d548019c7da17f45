"""How far the advantage of GAE(gamma, lambda) is off, and how much it varies, where A is known.

The policy is a random language model with full context (rl.tabular), the reward comes with the last
token, and the objective is its expectation, undiscounted. A_hat is what rl.gae makes of one
response with a critic of a stated quality (1506.02438, eq. 16). Every response is listed, so that
its mean and variance given a context and a token are sums:

    bias(k, v) = E[A_hat_t | k_t = k, v_t = v] - A(k, v),    A = Q - V at gamma = 1.

A policy gradient adds A_hat times grad log pi(v | k), whose mean over v is 0: what the bias has in
common for all tokens of a context (1506.02438, section 3, calls an estimate without the rest
gamma-just) is nothing to it, as it is with a baseline. The bias between tokens is given apart, and
the gradient itself,

    g_hat = (1/P) sum_p sum_t A_hat_pt grad log pi(v_pt | k_pt),    one response to every prompt,

is compared with g = grad (1/P) sum_p E[r]. By the logits g(k, u) = d(k) pi(u | k) A(k, u), d(k) the
chance to come to k, and E[g_hat] has in the place of A(k, u) the mean of A_hat less its mean over
the tokens.

Axis letters: P prompts, N responses, B = P * N rows, T places, K contexts, V tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.artifacts import RunWriter
from rl.config import AdvantageEstimatesConfig, StudyCriticConfig
from rl.gae import gae
from rl.seeding import derive
from rl.tabular.advantages import action_values, expected, given_token, visits
from rl.tabular.build import random_tree
from rl.tabular.exact import token_squared_scores
from rl.tabular.gradients import Batch, cosine, listed, relative_gap
from rl.tabular.policy import draw_listed
from rl.tabular.worlds import World

Levels = dict[str, dict[float, float]]


@dataclass(frozen=True)
class Truth:
    """A policy on a world whose responses are listed, and what is exact of it."""

    world: World
    batch: Batch
    logp_KV: Tensor
    visit_KV: Tensor  # sums to 1
    advantage_KV: Tensor  # A = Q - V of the undiscounted reward

    @property
    def square(self) -> float:
        """E[A^2] over visits: the unit of what is measured."""
        return float((self.visit_KV * self.advantage_KV.square()).sum())

    def gradient(self, advantage_KV: Float[Tensor, "K V"]) -> Float[Tensor, "K V"]:
        """The policy gradient by the logits [K, V] that advantages of this mean give."""
        apart_KV = advantage_KV - expected(self.logp_KV, advantage_KV)[:, None]
        return self.world.length * self.visit_KV * apart_KV


@dataclass(frozen=True)
class Estimate:
    """A_hat of every listed response, and its moments given a context and a token."""

    advantage_BT: Tensor
    mean_KV: Tensor
    variance_KV: Tensor


def measure_advantage_estimates(
    config: AdvantageEstimatesConfig,
    *,
    seed: int,
    log: RunWriter,
    report: Callable[[int, float], None],
) -> int:
    """Measure over both grids; logs advantage/* at step 0 and returns the tokens sampled."""
    settings = config.world.model_dump()
    world, logit_KV = random_tree(**settings, seed=derive("advantage-world", seed))
    truth = exact_truth(world, logit_KV)
    noise_K = _normal(world.contexts, seed=derive("advantage-critic", seed))
    pick_PC = _drawn(truth, count=config.samples, seed=derive("advantage-draws", seed))
    found: Levels = {}

    def look(*, discount: float, trace: float) -> Estimate:
        value_K = critic(truth, config.critic, noise_K, discount=discount)
        return estimate(truth, value_K, discount=discount, trace=trace)

    grid = [("trace", x, config.discount, x) for x in config.traces]
    grid += [("discount", x, x, 1.0) for x in config.discounts]
    for family, level, discount, trace in grid:
        seen = look(discount=discount, trace=trace)
        values = {**moments(truth, seen), **sampled(truth, seen, pick_PC)}
        _put(found, family, level, values)
    if world.length > 1:  # one token is judged rightly at every lambda and gamma
        for level in sorted(set(config.traces) & set(config.discounts) - {1.0}):
            by_trace, by_discount = (
                found[f"advantage/{family}_token_bias"][level] for family in ("trace", "discount")
            )
            _put(found, "trace", level, {"over_discount": by_trace / by_discount})
    for place, values in by_place(truth, look(discount=config.discount, trace=config.trace)):
        _put(found, "place", place, values)
    for family, level, value in signals(config):
        _put(found, "signal", level, {family: value})
    value_K = critic(truth, config.critic, noise_K, discount=1.0)
    off_K = value_K - expected(truth.logp_KV, action_values(world, truth.logp_KV, discount=1.0))
    error = (truth.visit_KV.sum(dim=1) * off_K.square()).sum() / truth.square
    log.log(0, {**found, "advantage/critic_error": float(error.sqrt())})
    report(config.steps, 0.0)
    return config.samples * world.prompts * world.length


def _put(found: Levels, family: str, level: float, values: dict[str, float]) -> None:
    for name, value in values.items():
        found.setdefault(f"advantage/{family}_{name}", {})[level] = value


def exact_truth(world: World, logit_KV: Float[Tensor, "K V"]) -> Truth:
    """All that is exact of a policy, given by its logits [K, V]."""
    batch, logp_KV = listed(world), logit_KV.double().log_softmax(dim=1)
    action_KV = action_values(world, logp_KV, discount=1.0)
    advantage_KV = action_KV - expected(logp_KV, action_KV)[:, None]
    return Truth(world, batch, logp_KV, visits(batch, logp_KV), advantage_KV)


def critic(
    truth: Truth, config: StudyCriticConfig, noise_K: Float[Tensor, " K"], *, discount: float
) -> Float[Tensor, " K"]:
    """What the critic says of every context [K]; `noise_K` are its errors' standard numbers."""
    world = truth.world
    if config.name == "constant":
        return torch.full((world.contexts,), config.constant, dtype=torch.float64)
    gamma = 1.0 if config.name == "prompt" else discount
    action_KV = action_values(world, truth.logp_KV, discount=gamma)
    value_K = expected(truth.logp_KV, action_KV)
    if config.name == "prompt":
        return value_K[world.start_P].repeat_interleave(world.contexts // world.prompts)
    return value_K + config.error * noise_K if config.name == "noisy" else value_K


def estimate(
    truth: Truth, value_K: Float[Tensor, " K"], *, discount: float, trace: float
) -> Estimate:
    """A_hat of every response by rl.gae, none of them cut off, with its moments."""
    batch = truth.batch
    advantage_BT, _ = gae(
        batch.logps(truth.world.reward_KV),
        value_K[batch.context_BT],
        batch.mask,
        discount=discount,
        trace=trace,
        value_after_B=None,
    )
    mean_KV = given_token(batch, truth.logp_KV, advantage_BT)
    off_BT = advantage_BT - batch.logps(mean_KV)
    return Estimate(advantage_BT, mean_KV, given_token(batch, truth.logp_KV, off_BT.square()))


def moments(truth: Truth, seen: Estimate) -> dict[str, float]:
    """All that is exact of one estimate; rl.metrics says what it is."""
    world, visit_KV, square = truth.world, truth.visit_KV, truth.square
    bias_KV = seen.mean_KV - truth.advantage_KV
    apart_KV = bias_KV - expected(truth.logp_KV, bias_KV)[:, None]
    true_KV, found_KV = truth.gradient(truth.advantage_KV), truth.gradient(seen.mean_KV)
    # The contexts along a response differ, and those of two prompts: squares add up.
    second_KV = seen.mean_KV.square() + seen.variance_KV
    length_KV = world.length * visit_KV * token_squared_scores(truth.logp_KV)
    raw = float((length_KV * second_KV).sum()) / world.prompts
    trace = raw - float(found_KV.square().sum())
    return {
        "bias": (float((visit_KV * bias_KV.square()).sum()) / square) ** 0.5,
        "token_bias": (float((visit_KV * apart_KV.square()).sum()) / square) ** 0.5,
        "variance": float((visit_KV * seen.variance_KV).sum()) / square,
        "recovered": float((visit_KV * seen.mean_KV * truth.advantage_KV).sum()) / square,
        "gradient_cosine": cosine(found_KV, true_KV),
        "gradient_bias": relative_gap(found_KV, true_KV),
        "gradient_variance": trace / float(true_KV.square().sum()),
    }


def sampled(truth: Truth, seen: Estimate, pick_PC: Tensor) -> dict[str, float]:
    """The mean of A_hat A over drawn responses, and how far it is from the exact mean."""
    prompts = truth.world.prompts
    along_BT = seen.advantage_BT * truth.batch.logps(truth.advantage_KV)
    along_PN = along_BT.mean(dim=1).view(prompts, -1) / truth.square
    chance_PN = truth.batch.chances(truth.logp_KV).view(prompts, -1) * prompts
    exact_P = (chance_PN * along_PN).sum(dim=1)
    spread_P = (chance_PN * (along_PN - exact_P[:, None]).square()).sum(dim=1)
    error = float((spread_P / pick_PC.shape[1]).sum().sqrt()) / prompts
    mean = float(along_PN.gather(1, pick_PC).mean())
    return {"sampled_recovered": mean, "sampled_z": (mean - float(exact_P.mean())) / error}


def by_place(truth: Truth, seen: Estimate) -> list[tuple[int, dict[str, float]]]:
    """Of the tokens of each place, 1 the first, all of whose contexts are its own."""
    found = []
    for place, context_B in enumerate(truth.batch.context_BT.T, start=1):
        own_K = torch.zeros(truth.world.contexts, dtype=torch.float64)
        own_K[context_B] = 1.0
        visit_KV = truth.visit_KV * own_K[:, None]
        square = float((visit_KV * truth.advantage_KV.square()).sum())
        values = {
            "recovered": float((visit_KV * seen.mean_KV * truth.advantage_KV).sum()) / square,
            "variance": float((visit_KV * seen.variance_KV).sum()) / square,
        }
        found.append((place, values))
    return found


def signals(config: AdvantageEstimatesConfig) -> list[tuple[str, int, float]]:
    """(what, level, share): of a reward of 1 with the last token of a response, by rl.gae.

    With a critic of 0; A_hat is linear in rewards and values together, so that another critic adds
    to it and takes nothing away.
    """
    found = []
    for length in config.signal.lengths:
        reward_1T = torch.zeros(1, length, dtype=torch.float64)
        reward_1T[0, -1] = 1.0
        (share_T,), _ = gae(
            reward_1T,
            torch.zeros_like(reward_1T),
            torch.ones_like(reward_1T, dtype=torch.bool),
            discount=config.discount,
            trace=config.trace,
            value_after_B=None,
        )
        found += [("first", length, float(share_T[0])), ("mean", length, float(share_T.mean()))]
        if length == max(config.signal.lengths):
            found += [("back", back, float(share_T[-1 - back])) for back in config.signal.back]
    return found


def _normal(count: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64)


def _drawn(truth: Truth, *, count: int, seed: int) -> Tensor:
    """Numbers of `count` responses to every prompt [P, C], of those that are listed."""
    chance_PN = truth.batch.chances(truth.logp_KV).view(truth.world.prompts, -1)
    return draw_listed(chance_PN, count=count, stream="advantage-rows", parts=(seed,))
