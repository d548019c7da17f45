"""rl.losses.policy by hand: ratios, both sides of the clip, and what on-policy means."""

import math

import pytest
import torch

from rl.logprobs import token_logps
from rl.losses import BOUNDED, LOSSES, aggregate, clip_fraction, policy_loss, ratio_shares
from rl.losses.policy import Clip

CLIP = {"clip_low": 0.2, "clip_high": 0.3}  # ratio within [.8, 1.3]
BOUND = 3.0
# Whose gradient is that of `reinforce`, bit for bit, where the old policy is the present one.
SAME_ON_POLICY = ("unclipped", "clipped", "dual_clip", "cispo", "sequence_is", "truncated_is")


def losses(name, logp, old, advantage, mask=None, *, bound=BOUND, clip=CLIP):
    mask = torch.ones_like(logp, dtype=torch.bool) if mask is None else mask
    bound = bound if name in BOUNDED else None
    return policy_loss(logp, old, advantage, mask, name=name, bound=bound, **clip)


def at_ratio(name, ratio, advantage, **options):
    """Loss and its gradient with respect to logp, at one token with the given ratio."""
    logp = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    old = torch.full_like(logp, -1.0).detach()
    loss = losses(name, logp, old, torch.tensor([advantage], dtype=torch.float64), **options)
    loss.sum().backward()
    return float(loss.detach()), float(logp.grad)


def cut_off(logp, old, advantage, mask, clip=CLIP):
    return clip_fraction(ratio_shares(logp, old, advantage, mask, **clip))


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
    one = torch.ones(1, 1, dtype=torch.bool)
    logp = torch.tensor([[math.log(ratio)]])
    assert cut_off(logp, torch.zeros(1, 1), torch.tensor([advantage]), one) == float(cut)


@pytest.mark.parametrize(("ratio", "advantage"), [(1.25, 1.0), (0.75, -1.0)])
def test_a_ratio_on_the_bound_itself_is_not_cut(ratio, advantage):
    logp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old, advantage_B = torch.zeros_like(logp).detach(), torch.tensor([advantage]).double()
    width = abs(float(logp.detach().exp()) - 1)  # exact, and so is 1 + width or 1 - width
    bounds = {"clip_low": width, "clip_high": width}
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert cut_off(logp.detach(), old, advantage_B, mask, bounds) == 0.0
    losses("clipped", logp, old, advantage_B, clip=bounds).sum().backward()
    assert float(logp.grad) == pytest.approx(-advantage * ratio)


def test_shares_count_tokens_of_responses_by_side_and_sign():
    """1.25 lies within [.8, 1.3] and .75 does not; off the response and at A = 0 nothing counts."""
    ratio = [[1.5, 1.5, 1.25, 0.5, 1.5], [0.75, 0.75, 0.75, 1.5, 1.25], [1.5, 0.5, 1, 1, 1]]
    logp = torch.log(torch.tensor(ratio))
    mask = torch.arange(5) < torch.tensor([[4], [5], [3]])
    advantage = torch.tensor([1.0, -1.0, 0.0])
    shares = ratio_shares(logp, torch.zeros(3, 5), advantage, mask, **CLIP)
    assert shares == {
        "above_positive": 2 / 12,
        "above_negative": 1 / 12,
        "below_positive": 1 / 12,
        "below_negative": 3 / 12,
    }
    assert clip_fraction(shares) == pytest.approx(5 / 12)  # what the clip leaves without a gradient
    none = ratio_shares(logp, torch.zeros(3, 5), advantage, torch.zeros_like(mask), **CLIP)
    assert set(none.values()) == {0.0}


def test_reinforce_is_minus_a_times_logp():
    logp = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    loss = losses("reinforce", logp, torch.zeros(2, 2), torch.tensor([2.0, -0.5]))
    assert loss.tolist() == [[2.0, 4.0], [-1.5, -2.0]]
    loss.sum().backward()
    assert logp.grad.tolist() == [[-2.0, -2.0], [0.5, 0.5]]


def test_a_right_answer_becomes_more_likely():
    for name in set(LOSSES) - {"log_over_log", "no_stop_gradient"}:
        assert at_ratio(name, 1.0, 1.0)[1] < 0 < at_ratio(name, 1.0, -1.0)[1]


def test_the_ratio_of_logarithms_learns_the_wrong_way():
    """A / |log pi_old| with log pi_old = -1: the sign of A, where that of -A is right."""
    assert at_ratio("log_over_log", 1.0, 2.0) == pytest.approx((-2.0, 2.0))
    assert at_ratio("log_over_log", 1.0, -2.0) == pytest.approx((2.0, -2.0))
    logp = torch.tensor([[-0.7, -0.7, -0.7]], requires_grad=True)
    loss = losses("log_over_log", logp, torch.tensor([[-0.7, -0.35, 0.0]]), torch.ones(1))
    assert loss.tolist() == [pytest.approx([-1.0, -2.0, 0.0])]
    loss.sum().backward()
    assert logp.grad.tolist() == [pytest.approx([1 / 0.7, 1 / 0.35, 0.0])]


def test_the_gradient_stops_at_the_old_policy():
    # p = sigmoid(2): d/dw [p / sg(p)] = 1 - p, and through both it is 0.
    w = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    logp = torch.nn.functional.logsigmoid(w)
    one = torch.ones(1, dtype=torch.float64)
    for name in ("unclipped", "clipped", "dual_clip", "gspo"):
        gain = -losses(name, logp, logp, one).sum()
        (slope,) = torch.autograd.grad(gain, w, retain_graph=True)
        assert float(gain.detach()) == 1.0
        assert float(slope) == pytest.approx(0.1192, abs=5e-5)
    through_both = -losses("no_stop_gradient", logp, logp.detach() - 5.0, one).sum()
    (slope,) = torch.autograd.grad(through_both, w, retain_graph=True)
    assert (float(through_both.detach()), float(slope)) == (1.0, 0.0)
    for name in ("cispo", "sequence_is", "truncated_is", "log_over_log"):  # none through old
        old = logp.clone()
        losses(name, logp.detach().requires_grad_(), old, one).sum().backward()
    assert w.grad is None


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
        value = losses(name, logp, logp.detach(), advantage, mask)
        aggregate(value, mask, mode=mode, sequences=6, tokens=20, max_length=5).backward()
        assert cut_off(logp.detach(), logp.detach(), advantage, mask) == 0.0
        return weight.grad

    assert step("reinforce").abs().max() > 0.01
    for name in SAME_ON_POLICY:
        assert torch.equal(step(name), step("reinforce"))
    torch.testing.assert_close(step("gspo"), step("reinforce"), rtol=1e-5, atol=1e-7)
    assert not torch.allclose(step("log_over_log"), step("reinforce"), atol=1e-3)


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
        losses(name, rows, rows, torch.zeros(2), clip=clip)
    with pytest.raises(ValueError, match="0 < clip_low < 1 and clip_high > 0"):
        ratio_shares(rows, rows, torch.zeros(2), rows == 0, **clip)


def scattered(seed=0):
    """Log-probs that carry a gradient, others near them, and a mask with gaps of both kinds."""
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(3, 5, generator=generator) - 0.5
    logp = (old + 0.4 * torch.randn(3, 5, generator=generator)).requires_grad_()
    mask = torch.arange(5) < torch.tensor([[4], [5], [2]])
    return logp, old, mask


@pytest.mark.parametrize("name", LOSSES)
def test_one_advantage_a_response_is_the_same_at_every_token_of_it(name):
    """Bit for bit: and it is what each loss makes of A_i at every token."""
    advantage = torch.tensor([0.7, -1.3, 2.0])
    found = []
    for given in (advantage, advantage[:, None].repeat(1, 5)):
        logp, old, mask = scattered()
        loss = losses(name, logp, old, given, mask)
        loss[mask].sum().backward()
        found.append((loss.detach()[mask], logp.grad, ratio_shares(logp, old, given, mask, **CLIP)))
    (one, one_grad, one_shares), (two, two_grad, two_shares) = found
    assert torch.equal(one, two)
    assert torch.equal(one_grad, two_grad)
    assert one_shares == two_shares
    logp, old, mask = scattered()
    filled = [x.masked_fill(~mask, 0.0) for x in (logp.detach(), old)]
    plain = LOSSES[name](*filled, advantage[:, None], mask, Clip(0.2, 0.3, BOUND))
    assert torch.equal(one, plain[mask])


def test_a_token_goes_by_its_own_advantage():
    """Ratios 1.5 and .5 in [.8, 1.3], each under both signs; what stands off the response, a NaN
    included, is nothing to loss, gradient and shares."""
    logp = torch.tensor([[1.5, 1.5, 0.5, 0.5, 1.5]]).log().requires_grad_()
    advantage = torch.tensor([[2.0, -2.0, 2.0, -2.0, math.nan]])
    mask = torch.tensor([[True, True, True, True, False]])
    loss = losses("clipped", logp, torch.zeros(1, 5), advantage, mask)
    assert loss[mask].tolist() == pytest.approx([-2.6, 3.0, -1.0, 1.6])
    aggregate(loss, mask, mode="token_mean", sequences=1, tokens=4).backward()
    assert logp.grad.tolist()[0] == pytest.approx([0.0, 3.0 / 4, -1.0 / 4, 0.0, 0.0])
    shares = ratio_shares(logp.detach(), torch.zeros(1, 5), advantage, mask, **CLIP)
    assert set(shares.values()) == {0.25}


@pytest.mark.parametrize("shape", [(1, 4), (4,), (3, 4, 1)])
def test_an_advantage_is_one_a_response_or_one_a_token(shape):
    with pytest.raises((ValueError, TypeError)):
        losses("clipped", torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(shape))
