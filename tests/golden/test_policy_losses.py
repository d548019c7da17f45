"""rl.losses.policy by hand: ratios, both sides of the clip, and what on-policy means."""

import math

import pytest
import torch

from rl.logprobs import token_logps
from rl.losses import LOSSES, aggregate, clip_fraction

CLIP = {"clip_low": 0.2, "clip_high": 0.3}  # ratio within [.8, 1.3]


def at_ratio(name, ratio, advantage):
    """Loss and its gradient with respect to logp, at one token with the given ratio."""
    logp = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    old = torch.full_like(logp, -1.0).detach()
    loss = LOSSES[name](logp, old, torch.tensor([advantage], dtype=torch.float64), **CLIP)
    loss.sum().backward()
    return float(loss.detach()), float(logp.grad)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "cut"),
    [
        # A > 0: the gain stops above 1.3; below .8 it still pulls back.
        (0.5, 2.0, -1.0, -1.0, False),
        (0.9, 2.0, -1.8, -1.8, False),
        (1.2, 2.0, -2.4, -2.4, False),
        (1.5, 2.0, -2.6, 0.0, True),
        # A < 0: the gain stops below .8; above 1.3 it still pushes back.
        (0.5, -2.0, 1.6, 0.0, True),
        (0.9, -2.0, 1.8, 1.8, False),
        (1.2, -2.0, 2.4, 2.4, False),
        (1.5, -2.0, 3.0, 3.0, False),
        (1.5, 0.0, 0.0, 0.0, False),
        (0.5, 0.0, 0.0, 0.0, False),
    ],
)
def test_clipped_on_both_sides_for_both_signs(ratio, advantage, loss, gradient, cut):
    found, slope = at_ratio("clipped", ratio, advantage)
    assert found == pytest.approx(loss, rel=1e-12, abs=1e-12)
    assert slope == pytest.approx(gradient, rel=1e-12, abs=1e-12)
    share = clip_fraction(
        torch.tensor([[math.log(ratio)]]),
        torch.zeros(1, 1),
        torch.tensor([advantage]),
        torch.ones(1, 1, dtype=torch.bool),
        **CLIP,
    )
    assert float(share) == float(cut)


@pytest.mark.parametrize(("ratio", "advantage"), [(1.25, 1.0), (0.75, -1.0)])
def test_a_ratio_on_the_bound_itself_is_not_cut(ratio, advantage):
    logp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old, advantage_B = torch.zeros_like(logp).detach(), torch.tensor([advantage]).double()
    width = abs(float(logp.detach().exp()) - 1)  # exact, and so is 1 + width or 1 - width
    bounds = {"clip_low": width, "clip_high": width}
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert float(clip_fraction(logp.detach(), old, advantage_B, mask, **bounds)) == 0.0
    LOSSES["clipped"](logp, old, advantage_B, **bounds).sum().backward()
    assert float(logp.grad) == pytest.approx(-advantage * ratio)


def test_clip_fraction_counts_masked_tokens_only():
    logp = torch.log(torch.tensor([[1.5, 1.5, 1.0, 1.5], [0.5, 1.5, 0.5, 0.5]]))
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    advantage = torch.tensor([1.0, -1.0])
    share = clip_fraction(logp, torch.zeros(2, 4), advantage, mask, **CLIP)
    assert float(share) == pytest.approx(3 / 5)  # two above in the first row, one below
    none = clip_fraction(logp, torch.zeros(2, 4), advantage, torch.zeros_like(mask), **CLIP)
    assert float(none) == 0.0


def test_reinforce_is_minus_a_times_logp():
    logp = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    loss = LOSSES["reinforce"](logp, torch.zeros(2, 2), torch.tensor([2.0, -0.5]), **CLIP)
    assert loss.tolist() == [[2.0, 4.0], [-1.5, -2.0]]
    loss.sum().backward()
    assert logp.grad.tolist() == [[-2.0, -2.0], [0.5, 0.5]]


def test_every_loss_is_pinned_here():
    assert set(LOSSES) == {"reinforce", "clipped"}


def test_a_right_answer_becomes_more_likely():
    for name in LOSSES:
        assert at_ratio(name, 1.0, 1.0)[1] < 0 < at_ratio(name, 1.0, -1.0)[1]


def test_the_ratio_of_logarithms_learns_the_wrong_way():
    logp = torch.tensor(-0.7, requires_grad=True)
    gain = logp / logp.detach()  # the printed "ratio"; 1 on-policy, and its slope is 1 / logp < 0
    gain.backward()
    assert float(gain.detach()) == 1.0
    assert float(logp.grad) == pytest.approx(1 / -0.7)
    right = -at_ratio("clipped", 1.0, 1.0)[1]  # d gain / d logp of the true ratio
    assert right == pytest.approx(1.0)
    assert float(logp.grad) * right < 0


def test_the_gradient_stops_at_the_old_policy():
    # p = sigmoid(2): d/dw [p / sg(p)] = 1 - p, and through both it is 0.
    w = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    logp = torch.nn.functional.logsigmoid(w)
    one = torch.ones(1, dtype=torch.float64)
    gain = -LOSSES["clipped"](logp, logp, one, **CLIP).sum()
    (slope,) = torch.autograd.grad(gain, w, retain_graph=True)
    assert float(gain.detach()) == 1.0
    assert float(slope) == pytest.approx(0.1192, abs=5e-5)
    (through_both,) = torch.autograd.grad(torch.exp(logp - logp).sum(), w)
    assert float(through_both) == 0.0


@pytest.mark.parametrize("mode", ["sequence_mean", "token_mean", "constant"])
def test_one_on_policy_step_is_reinforce_bit_for_bit(mode):
    random = torch.Generator().manual_seed(3)
    inputs = torch.randn(6, 5, 8, generator=random)
    tokens = torch.randint(0, 7, (6, 5), generator=random)
    advantage = torch.randn(6, generator=random)
    mask = torch.arange(5) < torch.tensor([2, 5, 3, 1, 4, 5])[:, None]
    start = torch.randn(8, 7, generator=random)

    def step(name):
        weight = start.clone().requires_grad_()
        logp = token_logps(inputs @ weight, tokens, temperature=0.7)
        value = LOSSES[name](logp, logp.detach(), advantage, **CLIP)
        aggregate(value, mask, mode=mode, sequences=6, tokens=20, max_length=5).backward()
        assert float(clip_fraction(logp, logp, advantage, mask, **CLIP)) == 0.0
        return weight.grad

    assert step("reinforce").abs().max() > 0.01
    assert torch.equal(step("clipped"), step("reinforce"))


@pytest.mark.parametrize(
    "clip",
    [
        {"clip_low": 0.0, "clip_high": 0.2},
        {"clip_low": 1.0, "clip_high": 0.2},
        {"clip_low": 0.2, "clip_high": 0.0},
        {"clip_low": -0.2, "clip_high": 0.2},
    ],
)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_clip_bounds_out_of_range_are_refused(name, clip):
    rows = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="0 < clip_low < 1 and clip_high > 0"):
        LOSSES[name](rows, rows, torch.zeros(2), **clip)
    with pytest.raises(ValueError, match="0 < clip_low < 1 and clip_high > 0"):
        clip_fraction(rows, rows, torch.zeros(2), rows == 0, **clip)
