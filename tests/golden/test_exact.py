"""rl.exact: published numbers of the group weights, and the derivation checked by brute force."""

import itertools
import math

import numpy as np
import pytest
import torch

from rl.advantages import advantages
from rl.exact import expected_weight, mixed_group_probability
from rl.losses import aggregate, policy_loss


def rule(baseline, scale="none", ddof=0, eps=0.0):
    return lambda rewards: advantages(rewards, baseline=baseline, scale=scale, ddof=ddof, eps=eps)


GRPO = rule("group_mean", "group_std")
DR_GRPO = rule("group_mean")


@pytest.mark.parametrize(("p", "grpo", "dr_grpo"), [(0.02, 0.050, 0.017), (0.5, 0.464, 0.219)])
def test_weights_at_eight_samples(p, grpo, dr_grpo):
    assert expected_weight(p, group_size=8, advantage_fn=GRPO) == pytest.approx(grpo, abs=5e-4)
    assert expected_weight(p, group_size=8, advantage_fn=DR_GRPO) == pytest.approx(
        dr_grpo, abs=5e-4
    )


def test_sample_std_and_eps_shrink_the_weight():
    # All mixed groups share the factor sqrt(7/8) from ddof; at G = 2, std(0, 1) = 1/2 (ddof 0).
    population = expected_weight(0.3, group_size=8, advantage_fn=GRPO)
    sample = expected_weight(
        0.3, group_size=8, advantage_fn=rule("group_mean", "group_std", ddof=1)
    )
    assert sample == pytest.approx(population * math.sqrt(7 / 8), rel=1e-12)
    # P(mixed) = .42; A = .5 / (.5 + .1) for the right one and minus that for the wrong one.
    found = expected_weight(
        0.3, group_size=2, advantage_fn=rule("group_mean", "group_std", eps=0.1)
    )
    assert found == pytest.approx(0.42 * (0.5 / 0.6 * 0.7 + 0.5 / 0.6 * 0.3) / 2, rel=1e-12)


def test_probability_of_a_mixed_group():
    assert mixed_group_probability(0.02, 8) == pytest.approx(0.149, abs=5e-4)
    assert type(mixed_group_probability(0.5, 2)) is float
    assert mixed_group_probability(0.5, 2) == pytest.approx(0.5)
    assert mixed_group_probability(0.25, 3) == pytest.approx(1 - 1 / 64 - 27 / 64)
    assert mixed_group_probability(0.3, 1) == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_allclose(mixed_group_probability(np.array([0.0, 0.5, 1.0]), 2), [0, 0.5, 0])


@pytest.mark.parametrize("size", [2, 4, 16])
def test_the_group_mean_shrinks_the_gradient_and_leaving_one_out_does_not(size):
    p = 0.3
    plain = expected_weight(p, group_size=size, advantage_fn=rule("none"))
    left_out = expected_weight(p, group_size=size, advantage_fn=rule("leave_one_out"))
    mean = expected_weight(p, group_size=size, advantage_fn=rule("group_mean"))
    assert plain == pytest.approx(p * (1 - p), rel=1e-12)  # d p / d logit p
    assert left_out == pytest.approx(plain, rel=1e-12)
    assert mean == pytest.approx((1 - 1 / size) * plain, rel=1e-12)


def test_an_array_of_p_gives_an_array():
    grid = np.array([[0.0, 0.02], [0.5, 1.0]])
    found = expected_weight(grid, group_size=8, advantage_fn=GRPO)
    each = [expected_weight(float(p), group_size=8, advantage_fn=GRPO) for p in grid.flat]
    np.testing.assert_allclose(found, np.reshape(each, (2, 2)), rtol=1e-12)
    assert found[0, 0] == found[1, 1] == 0.0
    np.testing.assert_array_equal(
        expected_weight(grid[0], group_size=8, advantage_fn=GRPO), found[0]
    )
    assert type(each[0]) is float


@pytest.mark.parametrize("advantage_fn", [GRPO, DR_GRPO, rule("leave_one_out"), rule("none")])
def test_the_weight_multiplies_the_gradient_of_logit_p_for_a_sequence_policy(advantage_fn):
    # Two tokens of two letters, first logit and second logit given the first; "right" is 01 or 11.
    theta = torch.tensor([0.4, -0.9, 0.3], dtype=torch.float64, requires_grad=True)
    size = 3

    def token_logps_of(text):
        first, second = text
        signs = torch.tensor([2 * first - 1, 2 * second - 1])
        return torch.nn.functional.logsigmoid(signs * theta[[0, 1 + first]])

    texts = list(itertools.product((0, 1), repeat=2))
    right = [float(second) for _, second in texts]
    chance = torch.stack([token_logps_of(text).sum().exp() for text in texts])
    p = (chance * torch.tensor(right, dtype=torch.float64)).sum()
    (slope,) = torch.autograd.grad(torch.logit(p), theta)
    probability = chance.detach().tolist()

    update = torch.zeros(3, dtype=torch.float64)
    for group in itertools.product(range(4), repeat=size):
        rewards = torch.tensor([[right[i] for i in group]], dtype=torch.float64)
        logp = torch.stack([token_logps_of(texts[i]) for i in group])
        mask = torch.ones(size, 2, dtype=torch.bool)
        clip = {"clip_low": 0.2, "clip_high": 0.2}
        value = policy_loss(
            logp, logp.detach(), advantage_fn(rewards)[0], mask, name="reinforce", **clip
        )
        # max_length 1: the sum of tokens, divided by G.
        loss = aggregate(
            value,
            mask,
            mode="constant",
            sequences=size,
            tokens=2 * size,
            max_length=1,
        )
        (gradient,) = torch.autograd.grad(loss, theta)
        update -= math.prod(probability[i] for i in group) * gradient

    weight = expected_weight(float(p.detach()), group_size=size, advantage_fn=advantage_fn)
    assert weight > 0.1
    torch.testing.assert_close(update, weight * slope, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("p", "size", "message"),
    [(-0.1, 4, "p: expected"), (1.1, 4, "p: expected"), (math.nan, 4, "p: expected"),
     (0.5, 0, "group_size: expected")],
)  # fmt: skip
def test_what_is_no_probability_or_no_group_is_refused(p, size, message):
    with pytest.raises(ValueError, match=message):
        expected_weight(p, group_size=size, advantage_fn=DR_GRPO)
    with pytest.raises(ValueError, match=message):
        mixed_group_probability(p, size)


def test_an_advantage_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="advantage_fn: expected shape"):
        expected_weight(0.5, group_size=4, advantage_fn=lambda rewards: rewards[:, :2])
