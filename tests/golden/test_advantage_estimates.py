"""GAE beside the exact advantage: by hand, and by loops over three tokens of two kinds."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import StudyCriticConfig, program_config
from rl.errors import UserError
from rl.studies import advantage_estimates as study
from rl.tabular.advantages import action_values, expected, given_token, visits
from rl.tabular.exact import values
from rl.tabular.worlds import chain_world, tree_world
from tests.tiny import changed

torch.set_num_threads(1)  # another number of threads sums in another order

# One prompt. After each prefix: the chance of token 0, and what the critic says. The prefixes stand
# in the order of the world's contexts.
CHANCE = {
    (): 0.6, (0,): 0.3, (1,): 0.8, (0, 0): 0.5, (0, 1): 0.9, (1, 0): 0.25, (1, 1): 0.7,
}  # fmt: skip
CRITIC = {
    (): 0.4, (0,): -0.2, (1,): 0.9, (0, 0): 1.1, (0, 1): 0.3, (1, 0): -0.5, (1, 1): 0.8,
}  # fmt: skip
RESPONSES = list(itertools.product((0, 1), repeat=3))
REWARD = dict(zip(RESPONSES, (1.0, 0.0, 0.5, 2.0, -1.0, 0.0, 0.3, 1.5), strict=True))
PREFIXES = list(CHANCE)


def chance(prefix, token):
    return CHANCE[prefix] if token == 0 else 1 - CHANCE[prefix]


def follows(y, since):
    """Chance of what a response says from place `since` on."""
    return math.prod(chance(y[:t], y[t]) for t in range(since, 3))


def mean_after(start, x):
    """E[x(y)] over the responses that begin like this."""
    return sum(follows(y, len(start)) * x(y) for y in RESPONSES if y[: len(start)] == start)


def true_advantage(prefix, token):
    return mean_after((*prefix, token), REWARD.get) - mean_after(prefix, REWARD.get)


def a_hat(y, t, discount, trace, critic):
    """sum_k (gamma lambda)^k d_{t+k}, d_t = r_t + gamma V_{t+1} - V_t."""
    reward = (0.0, 0.0, REWARD[y])
    value = [critic[y[:k]] for k in range(3)] + [0.0]
    error = [reward[k] + discount * value[k + 1] - value[k] for k in range(3)]
    return sum((discount * trace) ** (k - t) * error[k] for k in range(t, 3))


def by_hand(discount, trace, critic):
    """What the study makes of one estimate, in plain loops."""
    out = dict.fromkeys(("square", "bias", "token", "variance", "recovered"), 0.0)
    found, exact = [0.0] * 14, [0.0] * 14
    for i, prefix in enumerate(PREFIXES):
        t = len(prefix)
        come = math.prod(chance(prefix[:k], prefix[k]) for k in range(t))
        mean = [
            mean_after((*prefix, v), lambda y, t=t: a_hat(y, t, discount, trace, critic))
            for v in (0, 1)
        ]
        bias = [mean[v] - true_advantage(prefix, v) for v in (0, 1)]
        common = sum(chance(prefix, v) * bias[v] for v in (0, 1))
        for v in (0, 1):
            visit, true = come * chance(prefix, v) / 3, true_advantage(prefix, v)
            spread = mean_after(
                (*prefix, v),
                lambda y, t=t, m=mean[v]: (a_hat(y, t, discount, trace, critic) - m) ** 2,
            )
            out["square"] += visit * true**2
            out["bias"] += visit * bias[v] ** 2
            out["token"] += visit * (bias[v] - common) ** 2
            out["variance"] += visit * spread
            out["recovered"] += visit * mean[v] * true
            for u in (0, 1):
                score = (u == v) - chance(prefix, u)
                found[2 * i + u] += 3 * visit * mean[v] * score
                exact[2 * i + u] += 3 * visit * true * score
    raw = sum(
        follows(y, 0)
        * sum(
            (a_hat(y, t, discount, trace, critic) * ((u == y[t]) - chance(y[:t], u))) ** 2
            for t in range(3) for u in (0, 1)
        )
        for y in RESPONSES
    )  # fmt: skip
    dot = sum(a * b for a, b in zip(found, exact, strict=True))
    square_found, square_exact = (sum(x * x for x in each) for each in (found, exact))
    off = sum((a - b) ** 2 for a, b in zip(found, exact, strict=True))
    return {
        "bias": math.sqrt(out["bias"] / out["square"]),
        "token_bias": math.sqrt(out["token"] / out["square"]),
        "variance": out["variance"] / out["square"],
        "recovered": out["recovered"] / out["square"],
        "gradient_cosine": dot / math.sqrt(square_found * square_exact),
        "gradient_bias": math.sqrt(off / square_exact),
        "gradient_variance": (raw - square_found) / square_exact,
    }


def truth_of(chances, rewards):
    world = tree_world(
        torch.tensor([list(rewards)], dtype=torch.float64),
        torch.tensor([0]),
        vocabulary=2,
        length=3,
    )
    probability_KV = torch.tensor([[p, 1 - p] for p in chances], dtype=torch.float64)
    return study.exact_truth(world, probability_KV.log())


def three_tokens():
    return truth_of(CHANCE.values(), REWARD.values())


CRITIC_K = torch.tensor(list(CRITIC.values()), dtype=torch.float64)
GRID = [(1.0, 1.0), (1.0, 0.0), (1.0, 0.7), (0.8, 1.0), (0.9, 0.6), (0.0, 0.5)]


@pytest.mark.parametrize(("discount", "trace"), GRID)
def test_moments_by_enumeration(discount, trace):
    truth = three_tokens()
    seen = study.estimate(truth, CRITIC_K, discount=discount, trace=trace)
    expected_values = by_hand(discount, trace, CRITIC)
    assert study.moments(truth, seen) == pytest.approx(expected_values, rel=1e-11, abs=1e-12)


def test_the_truth_by_enumeration():
    truth = three_tokens()
    exact = [[true_advantage(prefix, v) for v in (0, 1)] for prefix in PREFIXES]
    assert truth.advantage_KV.tolist() == [pytest.approx(row) for row in exact]
    assert float(truth.visit_KV.sum()) == pytest.approx(1.0)
    # The first token's contexts are a third of all visits; after (0, 1) comes one of .6 x .7.
    assert truth.visit_KV[0].tolist() == pytest.approx([0.6 / 3, 0.4 / 3])
    assert truth.visit_KV[4].tolist() == pytest.approx([0.42 * 0.9 / 3, 0.42 * 0.1 / 3])
    # The gradient that the exact advantage gives is that of the expected reward.
    logit_KV = truth.logp_KV.clone().requires_grad_()
    values(truth.world, logit_KV.log_softmax(dim=1), truth.world.reward_KV).mean().backward()
    torch.testing.assert_close(truth.gradient(truth.advantage_KV), logit_KV.grad)


def test_a_constant_critic_by_hand():
    """All eight responses as likely, (0, 0, 0) alone right; critic 1/2, lambda 1/2, gamma 1.

    A_hat of the first token is (r - 1/2) / 4. After a first 0 r is 1 in a quarter, else never: its
    mean is -1/16 where A is 1/8, and its variance 3/16 / 16. After a first 1 it is -1/8, as A is.
    """
    truth = truth_of([0.5] * 7, [1.0] + [0.0] * 7)
    assert truth.advantage_KV[0].tolist() == pytest.approx([1 / 8, -1 / 8])
    seen = study.estimate(truth, torch.full((7,), 0.5).double(), discount=1.0, trace=0.5)
    assert seen.advantage_BT[0].tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 2])
    assert seen.advantage_BT[1].tolist() == pytest.approx([-1 / 8, -1 / 4, -1 / 2])
    assert seen.mean_KV[0].tolist() == pytest.approx([-1 / 16, -1 / 8])
    assert seen.variance_KV[0].tolist() == pytest.approx([3 / 256, 0.0])
    # After (0,): A is +-1/4, r is 1 in a half after another 0; (r - 1/2) / 2.
    assert seen.mean_KV[1].tolist() == pytest.approx([0.0, -1 / 4])
    assert seen.variance_KV[1].tolist() == pytest.approx([1 / 16, 0.0])
    # At the last token the reward is there at once.
    assert seen.mean_KV[3].tolist() == pytest.approx([1 / 2, -1 / 2])
    assert float(seen.variance_KV[3:].abs().max()) == 0.0
    shares = {place: values["recovered"] for place, values in study.by_place(truth, seen)}
    assert shares == pytest.approx({1: 1 / 4, 2: 1 / 2, 3: 1.0})


@pytest.mark.parametrize("trace", [0.0, 0.4, 1.0])
def test_with_the_exact_critic_later_advantages_are_all_the_noise(trace):
    """A_hat_t is then sum_k lambda^k A_{t+k}, of which only A_t is known with the token, and the
    rest has mean 0 and no correlations: the variance is sum_{k >= 1} lambda^(2k) E[A_{t+k}^2]."""
    truth = three_tokens()
    value_K = expected(truth.logp_KV, action_values(truth.world, truth.logp_KV, discount=1.0))
    seen = study.estimate(truth, value_K, discount=1.0, trace=trace)
    torch.testing.assert_close(seen.mean_KV, truth.advantage_KV)
    for i, prefix in enumerate(PREFIXES):
        for v in (0, 1):
            t, start = len(prefix), (*prefix, v)
            noise = sum(
                trace ** (2 * (k - t))
                * mean_after(start, lambda y, k=k: true_advantage(y[:k], y[k]) ** 2)
                for k in range(t + 1, 3)
            )
            assert float(seen.variance_KV[i, v]) == pytest.approx(noise, abs=1e-14)


@pytest.mark.parametrize("discount", [0.0, 0.7, 1.0])
def test_values_of_actions_by_loops(discount):
    """With rewards at every token: three tokens ahead at most, two tokens and two prompts."""
    world = tree_world(
        torch.zeros(2, 8).double(), torch.tensor([0, 0]), vocabulary=2, length=3
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    table_KV, logit_KV = torch.randn(2, 14, 2, generator=generator, dtype=torch.float64)
    world = type(world)(**{**vars(world), "reward_KV": table_KV})
    probability = logit_KV.softmax(dim=1).tolist()

    def q(prompt, prefix, v):
        k = 7 * prompt + PREFIXES.index(prefix)
        ahead = 0.0
        if len(prefix) < 2:
            there = (*prefix, v)
            row = probability[7 * prompt + PREFIXES.index(there)]
            ahead = sum(row[u] * q(prompt, there, u) for u in (0, 1))
        return float(table_KV[k, v]) + discount * ahead

    found = action_values(world, logit_KV.log_softmax(dim=1), discount=discount)
    wanted = [[q(p, prefix, v) for v in (0, 1)] for p in (0, 1) for prefix in PREFIXES]
    assert found.tolist() == [pytest.approx(row) for row in wanted]


def test_what_is_no_tree_or_no_discount_is_refused():
    chain = chain_world(prompts=1, good=2, lost=1, length=3)
    with pytest.raises(ValueError, match="expected a tree of 13 contexts"):
        action_values(chain, torch.zeros(3, 3).double(), discount=1.0)
    truth = three_tokens()
    with pytest.raises(ValueError, match=r"discount in \[0, 1\], got 1.1"):
        action_values(truth.world, truth.logp_KV, discount=1.1)


def test_critics():
    truth = three_tokens()
    noise_K = torch.arange(7).double()

    def says(name, *, discount=1.0):
        config = StudyCriticConfig(name=name, error=0.2, constant=0.7)
        return study.critic(truth, config, noise_K, discount=discount).tolist()

    reward = {prefix: mean_after(prefix, REWARD.get) for prefix in PREFIXES}
    assert says("exact") == pytest.approx(list(reward.values()))
    ahead = [0.5 ** (2 - len(prefix)) * reward[prefix] for prefix in PREFIXES]
    assert says("exact", discount=0.5) == pytest.approx(ahead)
    assert says("noisy") == pytest.approx([x + 0.2 * i for i, x in enumerate(reward.values())])
    assert says("prompt", discount=0.5) == pytest.approx([reward[()]] * 7)
    assert says("constant") == [0.7] * 7


def test_samples_by_hand():
    truth = three_tokens()
    seen = study.estimate(truth, CRITIC_K, discount=1.0, trace=0.5)
    pick = [0, 3, 3, 6]
    square = sum(
        follows(y, 0) * true_advantage(y[:t], y[t]) ** 2 / 3 for y in RESPONSES for t in range(3)
    )

    def along(y):
        return sum(
            a_hat(y, t, 1.0, 0.5, CRITIC) * true_advantage(y[:t], y[t]) / (3 * square)
            for t in range(3)
        )

    exact = sum(follows(y, 0) * along(y) for y in RESPONSES)
    spread = sum(follows(y, 0) * (along(y) - exact) ** 2 for y in RESPONSES)
    mean = sum(along(RESPONSES[i]) for i in pick) / 4
    found = study.sampled(truth, seen, torch.tensor([pick]))
    assert found["sampled_recovered"] == pytest.approx(mean)
    assert found["sampled_z"] == pytest.approx((mean - exact) / math.sqrt(spread / 4))


def test_conditional_means_add_up():
    truth = three_tokens()
    one_BT = torch.ones(8, 3, dtype=torch.float64)
    ones_KV = given_token(truth.batch, truth.logp_KV, one_BT)
    torch.testing.assert_close(ones_KV, torch.ones(7, 2).double())
    torch.testing.assert_close(visits(truth.batch, truth.logp_KV), truth.visit_KV)


RUN: dict[str, Any] = {
    "program": "advantage_estimates",
    "steps": 1,
    "world": {"prompts": 3, "vocabulary": 3, "length": 3, "entropy": 0.8, "rewards": "graded"},
    "critic": {"name": "noisy", "error": 0.2, "constant": 0.0},
    "traces": [0.0, 0.5, 0.95, 1.0],
    "discounts": [0.5, 0.9, 1.0],
    "discount": 1.0,
    "trace": 0.95,
    "signal": {"lengths": [8, 32, 128], "back": [0, 100]},
    "samples": 1000,
}


def measured(directory: Path, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    config = program_config(changed(RUN, changes), "test")
    folder = directory / str(len(list(directory.iterdir())))
    with RunWriter(folder, {"arm": "a", "seed": 3}) as log:
        study.measure_advantage_estimates(
            config, seed=3, log=log, report=lambda _step, _value: None
        )  # fmt: skip
    (record,) = read_lines(folder / "metrics.jsonl")
    return {name.removeprefix("advantage/"): x for name, x in record["values"].items()}


def test_what_the_study_logs(tmp_path: Path) -> None:
    noisy = measured(tmp_path)
    assert set(noisy["trace_bias"]) == {"0.0", "0.5", "0.95", "1.0"}
    assert set(noisy["discount_bias"]) == {"0.5", "0.9", "1.0"}
    assert noisy["trace_token_bias"]["1.0"] < 1e-12 < 0.01 < noisy["trace_token_bias"]["0.5"]
    assert noisy["trace_gradient_bias"]["1.0"] < 1e-12
    # With lambda = 1 the critic is a baseline: what all tokens share is its error, no more.
    assert noisy["trace_bias"]["1.0"] == pytest.approx(noisy["critic_error"])
    assert set(noisy["trace_over_discount"]) == {"0.5"}
    ratio = noisy["trace_token_bias"]["0.5"] / noisy["discount_token_bias"]["0.5"]
    assert noisy["trace_over_discount"]["0.5"] == ratio
    for family in ("trace", "discount"):
        assert max(map(abs, noisy[f"{family}_sampled_z"].values())) < 4
    exact = measured(tmp_path, {"critic.name": "exact"})
    assert max(exact["trace_bias"].values()) < 1e-12
    assert exact["trace_variance"]["0.0"] < 1e-12 < 0.1 < exact["trace_variance"]["1.0"]
    assert exact["critic_error"] == 0.0


def test_what_arrives_of_a_terminal_reward(tmp_path: Path) -> None:
    prompt = measured(tmp_path, {"critic.name": "prompt"})
    shares = {str(place): 0.95 ** (3 - place) for place in (1, 2, 3)}
    assert prompt["place_recovered"] == pytest.approx(shares)
    assert prompt["signal_first"] == pytest.approx({str(n): 0.95 ** (n - 1) for n in (8, 32, 128)})
    assert prompt["signal_back"] == pytest.approx({"0": 1.0, "100": 0.95**100})
    assert prompt["signal_back"]["100"] == pytest.approx(0.006, abs=5e-4)
    mean = {str(n): (1 - 0.95**n) / (n * 0.05) for n in (8, 32, 128)}
    assert prompt["signal_mean"] == pytest.approx(mean)


def test_one_token_is_judged_alike_at_every_lambda(tmp_path: Path) -> None:
    one = measured(tmp_path, {"world.length": 1})
    for family, name in itertools.product(
        ("trace", "discount"), ("bias", "token_bias", "variance", "gradient_variance")
    ):
        assert len(set(one[f"{family}_{name}"].values())) == 1
    assert one["trace_token_bias"]["0.0"] < 1e-12 < 0.05 < one["trace_bias"]["0.0"]
    assert one["trace_variance"]["0.0"] == 0.0
    assert "trace_over_discount" not in one


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"traces": [0.5, 0.5]}, "traces: expected distinct levels"),
        ({"discounts": [0.5, 0.5]}, "discounts: expected distinct levels"),
        ({"signal.back": [128]}, "signal.back: expected numbers of tokens below"),
        ({"trace": 1.5}, "less than or equal to 1"),
        ({"critic.name": "learned"}, "critic.name"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        program_config(changed(RUN, changes), "test")
