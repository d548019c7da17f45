"""Losses that keep close, by hand and by enumeration.

Where each line of the conventions on losses and penalties is pinned:

    PPO's clip, both signs and sides; no-op on-policy     test_policy_losses, test_policy_update
    dual clip, off unless configured                      test_dual_clip_*
    CISPO: upper side, absolute bound, stop-gradient      test_cispo_*, test_a_bound_is_a_ratio
    GSPO's ratio and its gradient                         test_gspo_*
    ratio of logarithms; gradient through both policies   test_policy_losses, test_lecture_losses
    importance sampling of responses                      test_sequence_is_*, test_truncated_is_*
    one mask in numerator and denominator                 test_aggregate, test_what_stands_off_*
    nothing is clamped in silence                         test_no_log_ratio_is_clamped, test_kl
    k1, k2, k3: values, bias, spread, gradients           test_kl_estimators
    closed forms of the optimum; best of N                test_kl_estimators
"""

import itertools
import math

import pytest
import torch

from rl.losses import BOUNDED, LOSSES, aggregate, policy_loss

CLIP = {"clip_low": 0.2, "clip_high": 0.3}  # ratio within [.8, 1.3]
NAN, INF = math.nan, math.inf


def slopes(name, log_ratios, advantage, *, bound=None, mode="constant"):
    """Values [T] of one response with log pi = -1 at every token, and the gradient [T]."""
    logp = torch.full((1, len(log_ratios)), -1.0, dtype=torch.float64, requires_grad=True)
    old = -1.0 - torch.tensor([log_ratios], dtype=torch.float64)
    mask = torch.ones_like(old, dtype=torch.bool)
    weight = torch.tensor([advantage], dtype=torch.float64)
    value = policy_loss(logp, old, weight, mask, name=name, bound=bound, **CLIP)
    totals = {"sequences": 1, "tokens": len(log_ratios), "max_length": 1}
    aggregate(value, mask, mode=mode, **totals).backward()
    return value.detach()[0].tolist(), logp.grad[0].tolist()


def near(*numbers):
    return pytest.approx(list(numbers), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (2.9, -2.0, 5.8, 5.8),  # above the clip, below c = 3: pushed back as hard as w
        (4.0, -2.0, 6.0, 0.0),  # c |A|, and no longer
        (1.2, -2.0, 2.4, 2.4),
        (0.5, -2.0, 1.6, 0.0),  # the clip's own bound
        (4.0, 2.0, -2.6, 0.0),  # a good response knows no c
        (0.5, 2.0, -1.0, -1.0),
    ],
)
def test_dual_clip_at_three(ratio, advantage, loss, gradient):
    found = slopes("dual_clip", [math.log(ratio)], advantage, bound=3.0)
    assert found == (near(loss), near(gradient))


def test_dual_clip_is_off_unless_configured():
    assert slopes("clipped", [math.log(4.0)], -2.0) == (near(8.0), near(8.0))
    with pytest.raises(ValueError, match=r"and None for all others, got 3\.0 for clipped"):
        slopes("clipped", [0.0], 1.0, bound=3.0)


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("bound", [0.2, 0.999, NAN, None, -5.0])
def test_a_bound_is_a_ratio_and_not_the_width_of_a_clip(name, bound):
    """A bound of .2, the width that a clip has, would make every weight .2."""
    with pytest.raises(ValueError, match="bound: expected a ratio of 1 or more"):
        slopes(name, [0.0], 1.0, bound=bound)


def test_dual_clip_at_one_would_cut_fresh_responses():
    with pytest.raises(ValueError, match="over 1 for dual_clip"):
        slopes("dual_clip", [0.0], -1.0, bound=1.0)
    assert slopes("cispo", [0.0], -1.0, bound=1.0) == (near(-1.0), near(1.0))


@pytest.mark.parametrize("advantage", [2.0, -2.0])
@pytest.mark.parametrize(
    ("ratio", "weight"),
    [(0.01, 0.01), (0.5, 0.5), (1.0, 1.0), (4.9, 4.9), (5.1, 5.0), (50.0, 5.0)],
)
def test_cispo_bounds_above_only_and_never_cuts_a_gradient(ratio, weight, advantage):
    """log pi = -1: l = w A, and its slope -w A, as no gradient goes through w."""
    found = slopes("cispo", [math.log(ratio)], advantage, bound=5.0)
    assert found == (near(weight * advantage), near(-weight * advantage))


def test_gspo_has_one_ratio_a_response():
    """exp((.2 - .4 + .5) / 3) = exp(.1) at every token, whose slope is a third of the whole's."""
    s = math.exp(0.1)
    values, gradient = slopes("gspo", [0.2, -0.4, 0.5], 2.0, mode="sequence_mean")
    assert values == near(*[-2 * s] * 3)
    assert gradient == near(*[-2 * s / 3] * 3)  # (1 / |o|) s A a token


@pytest.mark.parametrize(
    ("log_ratios", "advantage", "value", "pulls"),
    [
        # Each has a token beyond the bound; what counts is the mean, .3 and -.3.
        ([0.9, -0.1, 0.1], 1.0, -1.3, False),
        ([0.9, -0.1, 0.1], -1.0, math.exp(0.3), True),
        ([-0.9, 0.1, -0.1], -1.0, 0.8, False),
        ([-0.9, 0.1, -0.1], 1.0, -math.exp(-0.3), True),
        ([0.9, -0.9, 0.15], 1.0, -math.exp(0.05), True),
    ],
)
def test_gspo_clips_whole_responses(log_ratios, advantage, value, pulls):
    values, gradient = slopes("gspo", log_ratios, advantage, mode="sequence_mean")
    assert values == near(*[value] * 3)
    assert gradient == near(*[value / 3 if pulls else 0.0] * 3)


def test_gspo_counts_the_tokens_of_the_response_only():
    logp = torch.tensor([[9.0, -1.0, -1.0, 9.0], [9.0, 9.0, 9.0, 9.0]])
    old = torch.tensor([[0.0, -1.1, -1.3, 0.0], [0.0] * 4])
    mask = torch.tensor([[False, True, True, False], [False] * 4])
    value = policy_loss(logp, old, torch.tensor([1.0, 1.0]), mask, name="gspo", **CLIP)
    assert value[0, 1:3].tolist() == pytest.approx([-math.exp(0.2)] * 2)  # (.1 + .3) / 2
    assert torch.isfinite(value).all()


def test_sequence_is_and_truncated_is_by_hand():
    """W = 2 * 4 * .5 = 4; log pi = -1: l = W A, slope -W A, the truncated one with 3."""
    ratios = [math.log(2), math.log(4), math.log(0.5)]
    assert slopes("sequence_is", ratios, 1.5) == (near(6, 6, 6), near(-6, -6, -6))
    found = slopes("truncated_is", ratios, 1.5, bound=3.0)
    assert found == (near(4.5, 4.5, 4.5), near(-4.5, -4.5, -4.5))
    assert slopes("truncated_is", [-3.0, 0.0], -1.0, bound=3.0)[1] == near(*[math.exp(-3)] * 2)


def expected_step(name, *, bound=None):
    """Minus the mean gradient over responses of the OLD policy, two tokens of two letters each,
    and the policy gradient of the present one: the gradient of its expected reward."""
    theta = torch.tensor([0.4, -0.9, 0.7], dtype=torch.float64, requires_grad=True)
    old_theta = torch.tensor([-0.8, 0.2, -0.6], dtype=torch.float64)
    texts = list(itertools.product((0, 1), repeat=2))
    reward = torch.tensor([0.0, 1.0, -2.0, 3.0], dtype=torch.float64)
    mask = torch.ones(4, 2, dtype=torch.bool)

    def logps(weights):
        signs = torch.tensor([[2.0 * a - 1, 2.0 * b - 1] for a, b in texts], dtype=torch.float64)
        return torch.nn.functional.logsigmoid(
            signs * torch.stack([weights[[0, 1 + a]] for a, _ in texts])
        )

    old = logps(old_theta)
    value = policy_loss(logps(theta), old, reward, mask, name=name, bound=bound, **CLIP)
    loss = (old.sum(dim=1).exp() * value.sum(dim=1)).sum()
    (step,) = torch.autograd.grad(-loss, theta)
    (true,) = torch.autograd.grad((logps(theta).sum(dim=1).exp() * reward).sum(), theta)
    return step, true


def test_sequence_is_has_no_bias_however_far_the_policy_has_gone():
    step, true = expected_step("sequence_is")
    torch.testing.assert_close(step, true, rtol=1e-12, atol=1e-14)
    assert true.norm() > 0.1


def test_all_others_have_a_bias_away_from_the_old_policy():
    for name in set(LOSSES) - {"sequence_is"}:
        step, true = expected_step(name, bound=1.5 if name in BOUNDED else None)
        assert (step - true).norm() > 0.05 * true.norm()
    step, true = expected_step("truncated_is", bound=1e3)  # a bound that is never met
    torch.testing.assert_close(step, true)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("off", [NAN, INF, -INF])
def test_what_stands_off_the_response_is_ignored(name, off):
    """In the value and in the gradient, with an empty response among them."""
    mask = torch.tensor([[False, True, True], [False, False, False], [True, False, False]])
    random = torch.Generator().manual_seed(2)
    logp, old = (-torch.rand(3, 3, generator=random) for _ in range(2))
    advantage = torch.tensor([1.0, 2.0, -1.0])
    found = []
    for there in (0.0, off):
        x = logp.masked_fill(~mask, there).requires_grad_()
        value = policy_loss(
            x,
            old.masked_fill(~mask, there),
            advantage,
            mask,
            name=name,
            bound=1.5 if name in BOUNDED else None,
            **CLIP,
        )
        loss = aggregate(value, mask, mode="sequence_mean", sequences=3, tokens=3)
        loss.backward()
        found.append((loss.detach(), x.grad))
    assert torch.isfinite(found[1][0])
    assert torch.equal(found[1][0], found[0][0])
    assert torch.equal(found[1][1], found[0][1])
    assert not found[1][1][~mask].any()
    assert name == "no_stop_gradient" or found[1][1][mask].any()


def test_no_log_ratio_is_clamped():
    """e^30 is e^30, and -30 is -30: nothing but a stated bound stops a ratio."""
    far = math.exp(30.0)
    assert slopes("unclipped", [30.0], 1.0) == (near(-far), near(-far))
    assert slopes("clipped", [30.0], -1.0) == (near(far), near(far))
    assert slopes("gspo", [30.0, 30.0], -1.0, mode="sequence_mean")[0] == near(far, far)
    assert slopes("sequence_is", [15.0, 15.0], 1.0)[1] == near(-far, -far)
    assert slopes("cispo", [30.0], 1.0, bound=1e20)[1] == near(-far)
    assert slopes("unclipped", [-30.0], 1.0)[0] == near(-math.exp(-30.0))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_old_policy_carries_no_gradient(name):
    w = torch.tensor([[-0.5, -0.7]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    bound = 1.5 if name in BOUNDED else None
    x = torch.tensor([[-0.6, -0.6]], requires_grad=True)
    loss = policy_loss(x, w * 1.0, torch.ones(1), mask, name=name, bound=bound, **CLIP)
    assert torch.autograd.grad(loss.sum(), w, allow_unused=True) == (None,)


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match=r"name: expected one of reinforce, unclipped, .*'ppo'"):
        slopes("ppo", [0.0], 1.0)
