"""rl.tabular.moments: numbers worked by hand, and every group of a tiny world listed."""

import itertools

import pytest
import torch

from rl.advantages import advantages
from rl.tabular.exact import (
    list_responses,
    response_logps,
    scores,
    squared_scores,
    values,
)
from rl.tabular.moments import (
    BASELINE_NAMES,
    Baseline,
    baseline,
    covariance_traces,
    moments,
    optimal_offset,
)
from rl.tabular.worlds import tree_contexts, tree_world

PLAIN = {"none", "batch_mean", "group_mean", "leave_one_out"}  # rl.advantages works them out itself
CONSTANT, LEARNED = 0.4, torch.tensor([0.7, -0.3], dtype=torch.float64)


def two_actions(chance, rewards):
    """The two-state example's policy: one logit, actions 1 and 2 with chances p and 1 - p.

    d log pi(1) = 1 - p and d log pi(2) = -p.
    """
    p = torch.tensor([[chance, 1 - chance]], dtype=torch.float64)
    r = torch.tensor([rewards], dtype=torch.float64)
    s = torch.tensor([[1 - chance, -chance]], dtype=torch.float64)
    return moments(p, r, s.square(), (p * r * s).sum(dim=1, keepdim=True))


def variance_of_one(found, name):
    """The variance of a single response's term: G times that of a group of constants."""
    rule = baseline(name, found, group_size=2, constant=0.0, learned_P=torch.zeros(1).double())
    return 2 * float(covariance_traces(found, rule, group_size=2))


@pytest.mark.parametrize(
    ("chance", "rewards", "none", "value"),
    [
        (0.5, [11.0, 9.0], 25.0, 0.0),  # r s = 5.5 or -4.5
        (0.5, [0.0, 2.0], 0.25, 0.0),  # r s = 0 or -1
        (0.1, [0.0, 2.0], 0.0036, 0.2304),  # r s = 0 or -.2; (r - 1.8) s = -1.62 or -.02
    ],
)
def test_the_value_can_be_a_worse_baseline_than_none(chance, rewards, none, value):
    found = two_actions(chance, rewards)
    assert variance_of_one(found, "none") == pytest.approx(none, rel=1e-12)
    assert variance_of_one(found, "exact_value") == pytest.approx(value, rel=1e-12, abs=1e-12)
    # Any policy of two actions and one logit: b* = (1 - p) r_1 + p r_2 leaves no variance.
    first, second = rewards
    assert float(optimal_offset(found)) == pytest.approx((1 - chance) * first + chance * second)
    assert variance_of_one(found, "optimal") == pytest.approx(0.0, abs=1e-12)


def test_leave_one_out_by_hand():
    # p = .5, r in {0, 1}, s = r - 1/2. Of two responses, one right and one wrong (chance 1/2) give
    # (1 * .5 + (-1) * (-.5)) / 2 = .5, else 0: mean 1/4, variance 1/8 - 1/16.
    found = two_actions(0.5, [1.0, 0.0])
    rule = baseline(
        "leave_one_out", found, group_size=2, constant=0.0, learned_P=torch.zeros(1).double()
    )
    assert rule.mean_factor(2) == 1.0
    assert float(covariance_traces(found, rule, group_size=2)) == pytest.approx(1 / 16, rel=1e-12)


def tiny_world(reward_PN):
    """Two prompts, two tokens, two places: four responses each."""
    world = tree_world(reward_PN, torch.tensor([0, 3]), vocabulary=2, length=2)
    logits = torch.tensor([[0.3, -0.8], [1.1, 0.0], [-0.4, 0.9]], dtype=torch.float64)
    logp_KV = torch.cat([logits, 1.7 * logits.flip(0)]).log_softmax(dim=1)
    return world, logp_KV


BINARY = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
DENSE = torch.tensor([[2.0, -1.0, 0.5, 0.0], [1.0, 3.0, -2.0, 0.25]], dtype=torch.float64)


def everything(reward_PN):
    """probability_PN, reward_PN, score_PND and the moments of the tiny world."""
    world, logp_KV = tiny_world(reward_PN)
    listing = list_responses(world)
    own = tree_contexts(vocabulary=2, length=2)
    probability_PN = response_logps(listing, logp_KV).exp()
    score_PND = torch.stack(
        [scores(listing, logp_KV, prompt=p, first=p * own, count=own) for p in (0, 1)]
    )
    gradient_PD = torch.einsum("pn,pn,pnd->pd", probability_PN, reward_PN, score_PND)
    found = moments(probability_PN, reward_PN, squared_scores(listing, logp_KV), gradient_PD)
    return probability_PN, score_PND, gradient_PD, found


def advantage_of(name, rewards_PG, found):
    """The same by the code that trains."""
    if name in PLAIN:
        return advantages(rewards_PG, baseline=name, scale="none", ddof=0, eps=0.0)
    offset_P = {
        "constant": torch.full((2,), CONSTANT, dtype=torch.float64),
        "running_mean": found.value_P.mean().expand(2),
        "learned_value": LEARNED,
        "exact_value": found.value_P,
        "optimal": optimal_offset(found),
    }[name]
    return advantages(
        rewards_PG - offset_P[:, None], baseline="none", scale="none", ddof=0, eps=0.0
    )


@pytest.mark.parametrize("reward_PN", [BINARY, DENSE], ids=["binary", "dense"])
@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_mean_and_trace_equal_those_of_all_batches_listed(name, reward_PN):
    size = 2
    probability_PN, score_PND, gradient_PD, found = everything(reward_PN)
    mean_PD = torch.zeros_like(gradient_PD)
    square_P = torch.zeros(2, dtype=torch.float64)
    for batch in itertools.product(range(4), repeat=2 * size):  # two groups of two
        pick_PG = torch.tensor(batch).view(2, size)
        chance = float(probability_PN.gather(1, pick_PG).prod())
        advantage_PG = advantage_of(name, reward_PN.gather(1, pick_PG), found)
        score_PGD = torch.stack([score_PND[p, pick_PG[p]] for p in (0, 1)])
        estimate_PD = (advantage_PG[:, :, None] * score_PGD).mean(dim=1)
        mean_PD += chance * estimate_PD
        square_P += chance * estimate_PD.square().sum(dim=1)

    rule = baseline(name, found, group_size=size, constant=CONSTANT, learned_P=LEARNED)
    torch.testing.assert_close(mean_PD, rule.mean_factor(size) * gradient_PD)
    trace_P = covariance_traces(found, rule, group_size=size)
    torch.testing.assert_close(trace_P, square_P - mean_PD.square().sum(dim=1))
    assert float(trace_P.min()) > 1e-3


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize(("share", "offset"), [(0.0, 0.3), (0.35, -0.2), (1.0, 0.0), (1.0, 0.5)])
def test_any_share_of_the_own_mean_in_groups_of_any_size(size, share, offset):
    probability_PN, score_PND, gradient_PD, found = everything(DENSE)
    rule = Baseline(
        1.5, share, torch.full((2,), offset, dtype=torch.float64), torch.zeros(2).double()
    )
    trace_P = covariance_traces(found, rule, group_size=size)
    for p in (0, 1):
        mean_D = torch.zeros_like(gradient_PD[p])
        square = 0.0
        for group in itertools.product(range(4), repeat=size):
            pick_G = list(group)
            chance = float(probability_PN[p, pick_G].prod())
            reward_G = DENSE[p, pick_G]
            weight_G = 1.5 * (reward_G - share * reward_G.mean() - offset)
            estimate_D = (weight_G[:, None] * score_PND[p, pick_G]).mean(dim=0)
            mean_D += chance * estimate_D
            square += chance * float(estimate_D.square().sum())
        torch.testing.assert_close(mean_D, rule.mean_factor(size) * gradient_PD[p])
        assert float(trace_P[p]) == pytest.approx(square - float(mean_D.square().sum()), rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_the_group_mean_shrinks_mean_and_spread_of_leave_one_out(size):
    *_, found = everything(DENSE)
    mean, left_out = (
        baseline(name, found, group_size=size, constant=0.0, learned_P=LEARNED)
        for name in ("group_mean", "leave_one_out")
    )
    assert mean.mean_factor(size) == pytest.approx(1 - 1 / size, rel=1e-15)
    assert left_out.mean_factor(size) == pytest.approx(1.0, rel=1e-15)
    torch.testing.assert_close(
        covariance_traces(found, mean, group_size=size),
        (1 - 1 / size) ** 2 * covariance_traces(found, left_out, group_size=size),
        rtol=1e-13,
        atol=0,
    )


def test_leave_one_out_costs_more_than_the_exact_value_by_a_known_sum():
    # (|g|^2 + F Var r) / (G (G - 1)): what the others' mean adds by being random.
    *_, found = everything(DENSE)
    left_out, value = (
        covariance_traces(
            found,
            baseline(name, found, group_size=5, constant=0.0, learned_P=LEARNED),
            group_size=5,
        )
        for name in ("leave_one_out", "exact_value")
    )
    more_P = (found.slope_P + found.fisher_P * found.variance_P) / 20
    torch.testing.assert_close(left_out - value, more_P)


def test_the_gradient_of_the_value_is_the_mean_of_reward_times_score():
    _, _, gradient_PD, found = everything(DENSE)
    world, logp_KV = tiny_world(DENSE)
    logit_KV = logp_KV.clone().requires_grad_()
    value_P = values(world, logit_KV.log_softmax(dim=1), world.reward_KV)
    torch.testing.assert_close(value_P.detach(), found.value_P)
    (slope_KV,) = torch.autograd.grad(value_P.sum(), logit_KV)
    torch.testing.assert_close(slope_KV.flatten(), gradient_PD.flatten())


def test_what_cannot_be_worked_out_is_refused():
    *_, found = everything(BINARY)
    with pytest.raises(ValueError, match="baseline: expected one of none"):
        baseline("mean", found, group_size=2, constant=0.0, learned_P=LEARNED)
    with pytest.raises(ValueError, match="group_size: expected 2 or more, got 1"):
        baseline("none", found, group_size=1, constant=0.0, learned_P=LEARNED)
    rule = baseline("none", found, group_size=2, constant=0.0, learned_P=LEARNED)
    with pytest.raises(ValueError, match="group_size: expected 2 or more, got 1"):
        covariance_traces(found, rule, group_size=1)
    with pytest.raises(ValueError, match="rows that sum to 1"):
        moments(BINARY, BINARY, BINARY, BINARY)
