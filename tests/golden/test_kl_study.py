"""KL estimators as values and as losses: closed forms, and loops over two tokens of three kinds."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.artifacts import RunWriter, read_lines
from rl.config import program_config
from rl.errors import UserError
from rl.studies.kl_estimators import measure_kl_estimators
from rl.tabular.estimators import (
    Penalty,
    flow,
    forward_gradient,
    loss_gradient,
    normal_estimate,
    normal_moments,
    reverse_gradient,
    value_moments,
)
from rl.tabular.gradients import listed
from rl.tabular.worlds import tree_world
from tests.tiny import changed

torch.set_num_threads(1)  # another number of threads sums in another order


@pytest.mark.parametrize(
    ("kl", "spreads"),
    [
        (0.005, (20.0, 1.42, 1.42)),
        (0.5, (2.0, 1.73, 1.70)),
        (2.0, (1.0, math.sqrt(6), 3.52)),
    ],
)
def test_normal_distributions(kl, spreads):
    """With d ~ N(KL, 2 KL): k2 has a mean of KL + KL^2 / 2 and a variance of KL^2 (2 + 2 KL), and
    k3 a variance of e^(2 KL) - 1 - 2 KL."""
    k1, k2, k3 = (normal_moments(name, kl=kl) for name in ("k1", "k2", "k3"))
    assert [found.std / kl for found in (k1, k2, k3)] == pytest.approx(spreads, abs=0.005)
    assert [k1.mean, k3.mean] == pytest.approx([kl, kl], rel=1e-9)
    assert k2.mean == pytest.approx(kl + kl**2 / 2, rel=1e-9)
    assert k1.std == pytest.approx(math.sqrt(2 * kl), rel=1e-9)
    assert k2.std == pytest.approx(kl * math.sqrt(2 + 2 * kl), rel=1e-9)
    assert k3.std == pytest.approx(math.sqrt(math.exp(2 * kl) - 1 - 2 * kl), rel=1e-8)


def test_k1_and_k3_have_one_spread_at_a_kl_of_0_628():
    # e^x = 1 + 2 x at x = 1.2564, x = 2 KL.
    assert math.exp(1.256431) == pytest.approx(1 + 2 * 1.256431, abs=1e-6)
    crossing = 1.256431 / 2
    one, three = (normal_moments(name, kl=crossing).std for name in ("k1", "k3"))
    assert one == pytest.approx(three, rel=1e-6)
    for kl, better in ((0.62, "k3"), (0.64, "k1")):
        spread = {name: normal_moments(name, kl=kl).std for name in ("k1", "k3")}
        assert min(spread, key=lambda name: spread[name]) == better


def test_a_draw_of_the_normal_by_hand():
    # m = 2 at KL = 2: at x = 1.5, d = -(1.5^2) / 2 + (1.5 - 2)^2 / 2 = -1.
    x = torch.tensor([1.5], dtype=torch.float64)
    assert float(normal_estimate("k1", x, kl=2.0)) == pytest.approx(-1.0)
    assert float(normal_estimate("k2", x, kl=2.0)) == pytest.approx(0.5)
    assert float(normal_estimate("k3", x, kl=2.0)) == pytest.approx(math.e - 2)


def softmax(row):
    top = [math.exp(x) for x in row]
    return [x / sum(top) for x in top]


# Logits of pi and of ref: the first token, and the second after each first token; normal draws of
# torch's generator at seed 0, rounded.
PI = (
    (1.5410, -0.2934, -2.1788),
    ((0.5684, -1.0845, -1.3986), (0.4033, 0.8380, -0.7193), (-0.4033, -0.5966, 0.1820)),
)
REF = (
    (-0.8567, 1.1006, -1.0712),
    ((0.1227, -0.5663, 0.3731), (-0.8920, -1.5091, 0.3704), (1.4565, 0.9398, 0.7748)),
)
OLD = ((0.3, 0.5, -0.2), ((0.1, 0.9, 0.4), (-0.5, 0.2, 0.6), (0.7, -0.3, 0.0)))
FIRST, SECOND = slice(0, 3), slice(3, 12)


def tables(policy):
    return softmax(policy[0]), [softmax(row) for row in policy[1]]


def table(policy):
    return torch.tensor([policy[0], *policy[1]], dtype=torch.float64)


def world():
    rewards = torch.zeros(1, 9, dtype=torch.float64)
    return tree_world(rewards, torch.tensor([0]), vocabulary=3, length=2)


def mean_score(drawn_from, weight):
    """sum_y P(y) (c_1 grad log pi(first) + c_2 grad log pi(second)) by the 12 logits of pi, with
    (c_1, c_2) = weight(y), in plain loops."""
    first, second = tables(PI)
    draw_1, draw_2 = tables(drawn_from)
    total = [0.0] * 12
    for y in itertools.product(range(3), repeat=2):
        chance = draw_1[y[0]] * draw_2[y[0]][y[1]]
        c = weight(y)
        for token in range(3):
            total[token] += chance * c[0] * ((token == y[0]) - first[token])
            at = 3 + 3 * y[0] + token
            total[at] += chance * c[1] * ((token == y[1]) - second[y[0]][token])
    return total


def log_ratios(y, other=REF):
    """(d_1, d_2) of pi against the other policy."""
    own, others = tables(PI), tables(other)
    return (
        math.log(own[0][y[0]] / others[0][y[0]]),
        math.log(own[1][y[0]][y[1]] / others[1][y[0]][y[1]]),
    )


def both(x):
    return x, x


# d KL(pi || ref) = E_pi[d grad log pi(y)], d KL(ref || pi) = -E_ref[grad log pi(y)].
REVERSE = mean_score(PI, lambda y: both(sum(log_ratios(y))))
FORWARD = mean_score(REF, lambda _: both(-1.0))


def gradient(estimator, level, *, weighted=False, old=PI):
    found = loss_gradient(
        listed(world()), Penalty(estimator, level, weighted), table(PI), table(REF), table(old)
    )
    return found.flatten().tolist()


def close(expected):
    return pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_exact_gradients_by_enumeration():
    found = reverse_gradient(world(), table(PI), table(REF)).flatten().tolist()
    assert found == close(REVERSE)
    assert found[FIRST] == pytest.approx([0.440, -0.374, -0.065], abs=6e-4)
    assert forward_gradient(world(), table(PI), table(REF)).flatten().tolist() == close(FORWARD)


def test_losses_by_enumeration_on_fresh_responses():
    assert gradient("k1", "sequence") == pytest.approx([0.0] * 12, abs=1e-14)
    assert gradient("k1", "token") == pytest.approx([0.0] * 12, abs=1e-14)
    assert gradient("k2", "sequence") == close(REVERSE)
    assert gradient("k3", "sequence") == close(FORWARD)
    k2, k3 = gradient("k2", "token"), gradient("k3", "token")
    assert k2 == close(mean_score(PI, log_ratios))
    assert k3 == close(mean_score(PI, lambda y: [1 - math.exp(-d) for d in log_ratios(y)]))


def test_token_by_token_k2_is_right_at_the_last_place_alone_and_k3_at_the_first():
    k2, k3 = gradient("k2", "token"), gradient("k3", "token")
    assert k2[FIRST] == pytest.approx([0.493, -0.433, -0.060], abs=6e-4)
    assert k2[FIRST] != pytest.approx(REVERSE[FIRST], rel=0.05)
    assert k2[SECOND] == close(REVERSE[SECOND])
    assert k3[FIRST] == close(FORWARD[FIRST])
    assert k3[SECOND] != pytest.approx(FORWARD[SECOND], rel=0.05)
    # In every context the direction is right; what differs is how often pi and ref come there.
    pi_first, ref_first = tables(PI)[0], tables(REF)[0]
    for said in range(3):
        own, exact = k3[3 + 3 * said : 6 + 3 * said], FORWARD[3 + 3 * said : 6 + 3 * said]
        often = pi_first[said] / ref_first[said]
        assert own == close([often * x for x in exact])


def test_with_the_ratio_of_responses_k1_and_k3_are_right_whoever_drew_them():
    for old in (PI, OLD):
        for estimator in ("k1", "k3"):
            assert gradient(estimator, "sequence", weighted=True, old=old) == close(REVERSE)
        # grad of E_pi[d^2 / 2] is E_pi[(d^2 / 2 + d) grad log pi].
        own = mean_score(
            PI, lambda y: both(sum(log_ratios(y)) ** 2 / 2 + sum(log_ratios(y)))
        )  # fmt: skip
        assert gradient("k2", "sequence", weighted=True, old=old) == close(own)


def test_without_it_old_responses_bias_every_estimator():
    assert gradient("k2", "sequence", old=OLD) == close(
        mean_score(OLD, lambda y: both(sum(log_ratios(y))))
    )
    assert gradient("k2", "sequence", old=OLD) != pytest.approx(REVERSE, rel=0.05)
    assert gradient("k3", "sequence", old=OLD) != pytest.approx(FORWARD, rel=0.05)
    # A ratio a token: w_t (k3 + 1 - e^-d) = w_t d, which the prefix's ratio does not enter.
    assert gradient("k3", "token", weighted=True, old=OLD) == close(
        mean_score(
            OLD,
            lambda y: [
                math.exp(w) * d for w, d in zip(log_ratios(y, OLD), log_ratios(y), strict=True)
            ],
        )
    )


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_values_by_enumeration(estimator, level):
    one = {
        "k1": lambda d: d,
        "k2": lambda d: d * d / 2,
        "k3": lambda d: math.exp(-d) - 1 + d,
    }[estimator]
    first, second = tables(PI)
    mean = square = 0.0
    for y in itertools.product(range(3), repeat=2):
        d = log_ratios(y)
        value = sum(map(one, d)) if level == "token" else one(sum(d))
        mean += first[y[0]] * second[y[0]][y[1]] * value
        square += first[y[0]] * second[y[0]][y[1]] * value**2
    found = value_moments(
        listed(world()), Penalty(estimator, level, weighted=False), table(PI), table(REF)
    )
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.std == pytest.approx(math.sqrt(square - mean**2), rel=1e-9)


def test_flow_by_hand():
    # p = (1/2, 1/4, 1/4), logits against the gradient (2, 0, 0): mean 1, dp = p (1 - g).
    p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    moved = flow(p, torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64))
    assert moved.tolist() == pytest.approx([-0.5, 0.25, 0.25])


RUN: dict[str, Any] = {
    "program": "kl_estimators",
    "steps": 1,
    "world": {"prompts": 2, "vocabulary": 3, "length": 2, "entropy": 0.8, "rewards": "graded"},
    "estimator": "k2",
    "level": "sequence",
    "weighted": False,
    "normal": {"kls": [0.5], "samples": 4000},
    "trees": {"distances": [0.2], "samples": 2000, "reference": 0.2, "stale": [0.0, 0.3]},
    "field": {"cells": 4, "reference": [0.5, 0.3, 0.2]},
}


def measured(directory: Path, changes: dict[str, Any] | None = None) -> dict[str, dict[str, float]]:
    config = program_config(changed(RUN, changes), "test")
    folder = directory / str(len(list(directory.iterdir())))
    with RunWriter(folder, {"arm": "a", "seed": 3}) as log:
        tokens = measure_kl_estimators(
            config, seed=3, log=log, report=lambda _step, _value: None
        )  # fmt: skip
    assert tokens == 2000 * 2 * 2 + 4000
    (record,) = read_lines(folder / "metrics.jsonl")
    return {name.removeprefix("kl/"): x for name, x in record["values"].items()}


def test_what_the_study_logs(tmp_path: Path) -> None:
    k2 = measured(tmp_path)
    assert k2["normal_bias"]["0.5"] == pytest.approx(0.25, rel=1e-9)
    assert k2["normal_sampled_bias"]["0.5"] == pytest.approx(0.25, abs=0.1)
    assert k2["normal_sampled_std"]["0.5"] == pytest.approx(math.sqrt(3), abs=0.15)
    off = k2["value_sampled_bias"]["0.2"] - k2["value_bias"]["0.2"]
    assert abs(off) < 3.5 * k2["value_sampled_error"]["0.2"]
    assert k2["value_sampled_error"]["0.2"] == pytest.approx(
        k2["value_std"]["0.2"] / math.sqrt(4000), rel=0.1
    )
    assert k2["loss_reverse_gap"]["0.2"] < 1e-12
    assert k2["loss_reverse_cosine"]["0.2"] == pytest.approx(1.0)
    assert k2["loss_norm"]["0.2"] == pytest.approx(1.0)
    assert k2["loss_forward_gap"]["0.2"] > 0.05
    assert k2["stale_reverse_gap"]["0.0"] < 1e-12
    assert k2["stale_reverse_gap"]["0.3"] > 0.05
    assert set(k2["place_reverse_gap"]) == {"1", "2"}

    k3 = measured(tmp_path, {"estimator": "k3", "level": "token"})
    assert abs(k3["value_bias"]["0.2"]) < 1e-12
    assert k3["place_forward_gap"]["1"] < 1e-12
    assert k3["place_forward_gap"]["2"] > 0.01

    weighted = measured(tmp_path, {"estimator": "k3", "weighted": True})
    assert max(weighted["stale_reverse_gap"].values()) < 1e-12


def test_the_field_by_hand(tmp_path: Path) -> None:
    found = measured(tmp_path)
    # (1, 1, 2), (1, 2, 1) and (2, 1, 1) quarters; against (.5, .3, .2), at the first:
    # d = log .5, log (.25 / .3), log 2.5; dp_v = -p_v (p_v (d_v - m) - sum_u p_u^2 (d_u - m)).
    p = (0.25, 0.25, 0.5)
    d = [math.log(x / q) for x, q in zip(p, (0.5, 0.3, 0.2), strict=True)]
    m = sum(x * e for x, e in zip(p, d, strict=True))
    g = [x * (e - m) for x, e in zip(p, d, strict=True)]
    mean = sum(x * e for x, e in zip(p, g, strict=True))
    assert found["field_p_0"] == {"0": 0.25, "1": 0.25, "2": 0.5}
    assert found["field_p_1"] == {"0": 0.25, "1": 0.5, "2": 0.25}
    for action in (0, 1):
        expected = p[action] * (mean - g[action])
        assert found[f"field_reverse_{action}"]["0"] == pytest.approx(expected, rel=1e-12)
        # k2 is the reverse one everywhere; KL(ref || pi) has p - q for its gradient.
        assert found[f"field_flow_{action}"]["0"] == pytest.approx(expected, rel=1e-12)
        ahead = [x - q for x, q in zip(p, (0.5, 0.3, 0.2), strict=True)]
        expected = p[action] * (sum(x * e for x, e in zip(p, ahead, strict=True)) - ahead[action])
        assert found[f"field_forward_{action}"]["0"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"normal.kls": [0.1, 0.1]}, "normal.kls: expected distinct levels"),
        ({"normal.kls": [21.0]}, "at most 20.0 nats, got 21.0"),
        ({"trees.stale": [0.1, 0.1]}, "trees.stale: expected distinct levels"),
        ({"trees.distances": [0.0]}, "greater than 0"),
        ({"field.reference": [0.5, 0.3, 0.3]}, "sum to 1"),
        ({"estimator": "k4"}, "estimator"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        program_config(changed(RUN, changes), "test")
