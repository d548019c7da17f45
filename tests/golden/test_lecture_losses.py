"""The lecture's losses by hand: what its ratio of logarithms does, and what the repairs do."""

import inspect
import itertools
import math

import pytest
import torch

from rl.worlds.lecture_losses import ESTIMATORS, LOSSES, kl_penalty, policy_loss, undefined
from rl.worlds.lecture_sorting import kl_per_prompt, response_logps


def slope(name, logp, logp_old, advantage, clip=None):
    """d loss / d log pi of one token."""
    x = torch.tensor([[[logp]]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[[logp_old]]], dtype=torch.float64)
    weight = torch.tensor([[advantage]], dtype=torch.float64)
    value = policy_loss(x, old, weight, name=name, clip=clip)
    (gradient,) = torch.autograd.grad(value, x)
    return value.item(), gradient.item()


@pytest.mark.parametrize(
    ("name", "value", "gradient"),
    [
        ("naive", 3.0, -1.5),  # -A logp, -A
        ("ratio_of_logs", -1.5, 0.75),  # -A (-2 / -2), -A / -2
        ("importance", -1.5, -1.5),  # -A exp(0), -A
    ],
)
def test_on_policy_values_and_slopes(name, value, gradient):
    assert slope(name, -2.0, -2.0, 1.5) == pytest.approx((value, gradient))


@pytest.mark.parametrize("advantage", [-2.0, 0.5])
@pytest.mark.parametrize("logp_old", [-3.0, -0.1])
def test_the_ratio_of_logs_pushes_the_wrong_way(advantage, logp_old):
    """Going down the loss, log pi must move with the sign of the advantage; here it does not."""
    moves = {name: -slope(name, logp_old, logp_old, advantage)[1] for name in LOSSES}
    assert math.copysign(1, moves["naive"]) == math.copysign(1, advantage)
    assert math.copysign(1, moves["importance"]) == math.copysign(1, advantage)
    assert moves["ratio_of_logs"] == pytest.approx(-advantage / abs(logp_old))


def test_a_certain_token_has_no_ratio_of_logs():
    certain, free = torch.tensor([[[-1.0, 0.0]]]), torch.tensor([[[-1.0, -1e-7]]])
    assert undefined(certain, name="ratio_of_logs")
    assert not undefined(free, name="ratio_of_logs")
    assert not undefined(certain, name="importance")


def test_off_policy_importance_weighs_and_naive_does_not():
    """pi = .4 where the responses were drawn at .2: the ratio is 2."""
    old, new = math.log(0.2), math.log(0.4)
    assert slope("importance", new, old, 1.5) == pytest.approx((-3.0, -3.0))
    assert slope("naive", new, old, 1.5)[1] == pytest.approx(-1.5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "pulls"),
    [
        (1.05, 2.0, -2.02, False),  # past 1.01 on the good side: cut
        (1.05, -2.0, 2.1, True),
        (0.95, 2.0, -1.9, True),
        (0.95, -2.0, 1.98, False),
        (1.005, 2.0, -2.01, True),
    ],
)
def test_clipping_at_the_lectures_bound(ratio, advantage, value, pulls):
    """-min(w A, clamp(w, .99, 1.01) A), for both kinds of ratio."""
    found, gradient = slope("importance", math.log(ratio) - 1, -1.0, advantage, clip=0.01)
    assert found == pytest.approx(value)
    assert gradient == pytest.approx(-ratio * advantage if pulls else 0.0)
    found, gradient = slope("ratio_of_logs", -2 * ratio, -2.0, advantage, clip=0.01)
    assert found == pytest.approx(value)
    assert gradient == pytest.approx(advantage / 2 if pulls else 0.0)


def test_the_old_policy_is_held_still():
    """At w = 2, d/dw of p / sg(p) with p = sigmoid(w) is 1 - p = .1192; through both it is 0."""
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    logp = torch.nn.functional.logsigmoid(w).view(1, 1, 1)
    one = torch.ones(1, 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(
        -policy_loss(logp, logp, one, name="importance", clip=None), w, retain_graph=True
    )
    assert gradient.item() == pytest.approx(0.1192, abs=5e-5)
    (through,) = torch.autograd.grad((logp - logp).exp().sum(), w)
    assert through.item() == 0.0


def test_the_mean_is_over_prompts_responses_and_positions():
    logp = -torch.arange(1.0, 13.0).view(2, 2, 3)
    advantage = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    expected = ((1 + 2 + 3) - (7 + 8 + 9) + 2 * (10 + 11 + 12)) / 12
    found = policy_loss(logp, logp, advantage, name="naive", clip=None)
    assert found.item() == pytest.approx(expected)


def test_penalties_by_hand():
    """d = log(1/2) and log 2 at the two positions of one response; the sum over positions."""
    logp = torch.tensor([[[math.log(0.25), math.log(0.5)]]])
    ref = torch.tensor([[[math.log(0.5), math.log(0.25)]]])
    half = math.log(2) ** 2 / 2
    assert kl_penalty(logp, ref, estimator="k1").item() == pytest.approx(0.0, abs=1e-7)
    assert kl_penalty(logp, ref, estimator="k2").item() == pytest.approx(2 * half)
    assert kl_penalty(logp, ref, estimator="k3").item() == pytest.approx((2 - 1) + (0.5 - 1))
    twice = kl_penalty(logp.expand(2, 3, 2), ref.expand(2, 3, 2), estimator="k2")
    assert twice.item() == pytest.approx(2 * half)  # a mean over prompts and responses


def expected_slopes(estimator):
    """E over responses of pi of the estimator's value and gradient, and the two KL's gradients."""
    generator = torch.Generator().manual_seed(4)
    logits, ref = (torch.randn(1, 2, 3, generator=generator).double() for _ in range(2))
    logits.requires_grad_()
    value, gradient = 0.0, torch.zeros_like(logits)
    for response in itertools.product(range(3), repeat=2):
        y = torch.tensor([[response]])
        chance = response_logps(logits, y).sum().exp().item()
        sampled = kl_penalty(response_logps(logits, y), response_logps(ref, y), estimator=estimator)
        (one,) = torch.autograd.grad(sampled, logits)
        value += chance * sampled.item()
        gradient += chance * one
    (reverse,) = torch.autograd.grad(kl_per_prompt(logits, ref).sum(), logits)
    (forward,) = torch.autograd.grad(kl_per_prompt(ref, logits).sum(), logits)
    return value, kl_per_prompt(logits, ref).item(), gradient, reverse, forward


def test_which_divergence_each_estimator_goes_down():
    """Over all nine responses of two positions: k1 none, k2 KL(pi||ref), k3 KL(ref||pi)."""
    for estimator in ESTIMATORS:
        value, kl, gradient, reverse, forward = expected_slopes(estimator)
        if estimator != "k2":
            assert value == pytest.approx(kl)
        right = {"k1": torch.zeros_like(reverse), "k2": reverse, "k3": forward}[estimator]
        torch.testing.assert_close(gradient, right)
    assert float((reverse - forward).norm() / reverse.norm()) > 0.2


def test_what_does_not_fit_is_refused():
    logp, advantage = torch.zeros(2, 3, 4), torch.zeros(2, 3)
    # Under pytest the annotations are checked before the functions' own errors.
    loss, penalty = inspect.unwrap(policy_loss), inspect.unwrap(kl_penalty)
    with pytest.raises(ValueError, match="expected logp and logp_old"):
        loss(logp, logp[:, :2], advantage, name="naive", clip=None)
    with pytest.raises(ValueError, match="expected logp and logp_old"):
        loss(logp, logp, advantage[:1], name="naive", clip=None)
    with pytest.raises(ValueError, match="name: expected one of naive"):
        policy_loss(logp, logp, advantage, name="ppo", clip=None)
    for name, clip in (("naive", 0.1), ("importance", 0.0), ("importance", 1.0)):
        with pytest.raises(ValueError, match="clip: expected None, or"):
            policy_loss(logp, logp, advantage, name=name, clip=clip)
    with pytest.raises(ValueError, match="expected logp and logp_ref"):
        penalty(logp, logp[:1], estimator="k2")
    with pytest.raises(ValueError, match="estimator: expected one of k1, k2, k3"):
        kl_penalty(logp, logp, estimator="k4")
