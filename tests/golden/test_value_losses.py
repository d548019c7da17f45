"""rl.losses.value, rl.gae, rl.whitening and rl.token_rewards by hand."""

import math

import pytest
import torch

from rl.gae import gae
from rl.kl import kl_penalty
from rl.losses.value import explained_variance, value_loss
from rl.masks import last_tokens
from rl.token_rewards import penalised_where_unended, replaced_where_unended, token_rewards
from rl.whitening import whiten

NAN, INF = math.nan, math.inf


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


EVERY = torch.ones(1, 5, dtype=torch.bool)
OLD = rows([1.0, 1.0, 1.0, 1.0, 1.0])
# Towards the return and within the range, beyond it, past the return; away from it; back to it.
VALUE = rows([1.1, 1.5, 3.5, 0.5, 1.5])
RETURN = rows([2.0, 2.0, 2.0, 2.0, 1.0])


def value_slopes(**options):
    value = VALUE.clone().requires_grad_()
    loss = value_loss(value, RETURN, EVERY, **options)
    loss.sum().backward()
    return loss.detach()[0].tolist(), value.grad[0].tolist()


def test_value_loss_by_hand():
    loss, slope = value_slopes(clip=None, value_old_BT=None)
    assert loss == pytest.approx([0.405, 0.125, 1.125, 1.125, 0.125])
    assert slope == pytest.approx([-0.9, -0.5, 1.5, -1.5, 0.5])


def test_the_clipped_value_loss_is_the_larger_of_two():
    """V' = 1.1, 1.2, 1.2, .8, 1.2 at a range of .2: the clip wins for the second token alone."""
    loss, slope = value_slopes(clip=0.2, value_old_BT=OLD)
    assert loss == pytest.approx([0.405, 0.32, 1.125, 1.125, 0.125])
    assert slope == pytest.approx([-0.9, 0.0, 1.5, -1.5, 0.5])
    assert value_slopes(clip=9.0, value_old_BT=OLD) == value_slopes(clip=None, value_old_BT=None)
    wider, _ = value_slopes(clip=0.4, value_old_BT=OLD)
    assert wider[1] == pytest.approx(0.18)  # 0.5 (1.4 - 2)^2


def test_only_the_value_has_a_gradient_and_only_under_the_mask():
    value, target, old = (rows([1.0, NAN, 5.0], [INF, 2.0, 0.0]).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, False, False], [False, True, True]])
    loss = value_loss(value, target + 1, mask, clip=0.2, value_old_BT=old)
    assert loss.tolist() == [[0.5, 0, 0], [0, 0.5, 0.5]]
    loss.sum().backward()
    assert value.grad.tolist() == [[-1, 0, 0], [0, -1, -1]]
    assert target.grad is None
    assert old.grad is None


@pytest.mark.parametrize(
    ("clip", "old"), [(0.2, None), (None, OLD), (0.0, OLD), (-0.2, OLD), (NAN, OLD)]
)
def test_a_range_comes_with_old_values(clip, old):
    with pytest.raises(ValueError, match="clip: expected a range over 0 with the old values"):
        value_loss(VALUE, RETURN, EVERY, clip=clip, value_old_BT=old)


def test_explained_variance_by_hand():
    """Returns 0, 2, 4 of variance 8/3; what stands off the mask is not seen."""
    target = rows([0.0, 2.0, 4.0, 99.0])
    mask = torch.tensor([[True, True, True, False]])

    def explained(*values):
        return explained_variance(rows([*values, NAN]), target, mask)

    assert explained(0.0, 2.0, 4.0) == 1.0
    assert explained(5.0, 7.0, 9.0) == 1.0  # a constant error cancels
    assert explained(3.0, 3.0, 3.0) == 0.0
    assert explained(4.0, 2.0, 0.0) == pytest.approx(-3.0)  # residuals -4, 0, 4: 32/3
    assert explained(0.0, 1.0, 2.0) == pytest.approx(0.75)  # residuals 0, 1, 2: 2/3
    assert explained_variance(VALUE, torch.full_like(VALUE, 0.1), EVERY) is None
    with pytest.raises(ValueError, match="expected one token or more"):
        explained_variance(VALUE, RETURN, ~EVERY)


# A prompt token, three response tokens, padding; and two response tokens at the end of a row.
REWARD = rows([NAN, 1.0, 0.0, 4.0, 9.0], [9.0, 9.0, NAN, 2.0, -1.0])
STATE = rows([7.0, 2.0, 1.0, 3.0, 7.0], [7.0, INF, 7.0, 0.5, 4.0])
MASK = torch.tensor([[False, True, True, True, False], [False, False, False, True, True]])


def estimate(discount, trace, value_after_B=None):
    return gae(REWARD, STATE, MASK, discount=discount, trace=trace, value_after_B=value_after_B)


def test_gae_by_hand():
    """At gamma = lambda = 1/2, errors 1 + .5 - 2, 1.5 - 1, 4 - 3 and 2 + 2 - .5, -1 - 4."""
    advantage, target = estimate(0.5, 0.5)
    expected = rows([0.0, -0.3125, 0.75, 1.0, 0.0], [0.0, 0.0, 0.0, 2.25, -5.0])
    assert torch.equal(advantage, expected)  # .5 + 1/4; -.5 + .75/4; 3.5 - 5/4
    assert torch.equal(target, expected + torch.where(MASK, STATE, 0.0))
    assert target.isfinite().all()


def test_a_truncated_response_is_bootstrapped_only_where_that_is_said():
    """V = 6 after the second row's last token: its error is -1 + .5 6 - 4 = -2, not -5."""
    after = torch.tensor([0.0, 6.0], dtype=torch.float64)
    advantage, _ = estimate(0.5, 0.5, after)
    assert torch.equal(advantage[0], estimate(0.5, 0.5)[0][0])
    assert advantage[1].tolist() == [0, 0, 0, 3.0, -2.0]  # 3.5 - 2/4
    # V = 2 after the first row's, whose padding takes no time: 4 + 1 - 3, .5 + 2/4, -.5 + 1/4.
    advantage, _ = estimate(0.5, 0.5, after + torch.tensor([2.0, 0.0]))
    assert advantage[0].tolist() == [0, -0.25, 1.0, 2.0, 0]


def test_gae_at_the_ends_of_lambda():
    errors, _ = estimate(0.5, 0.0)
    assert errors[0].tolist() == [0, -0.5, 0.5, 1.0, 0]
    advantage, target = estimate(1.0, 1.0)
    assert target[0].tolist() == [0, 5.0, 4.0, 4.0, 0]  # rewards to go
    assert advantage[0].tolist() == [0, 3.0, 3.0, 1.0, 0]


def test_gae_carries_no_gradient_and_keeps_the_dtype():
    value = STATE.float().requires_grad_()
    found = gae(REWARD.float(), value, MASK, discount=1.0, trace=0.9, value_after_B=None)
    assert all(x.dtype == torch.float32 and not x.requires_grad for x in found)


@pytest.mark.parametrize(("discount", "trace"), [(1.1, 0.5), (0.5, -0.1), (NAN, 0.5), (0.5, NAN)])
def test_gae_names_what_is_out_of_range(discount, trace):
    with pytest.raises(ValueError, match="expected discount and trace in"):
        estimate(discount, trace)


# Under the mask 1, 2, 3, 4, 5: mean 3, squared deviations 10.
WHITE = rows([NAN, 1.0, 2.0, 3.0], [4.0, 5.0, INF, 7.0])
WHITE_MASK = torch.tensor([[False, True, True, True], [True, True, False, False]])


@pytest.mark.parametrize(
    ("ddof", "eps", "std"),
    [(0, 0.0, math.sqrt(2)), (1, 0.0, math.sqrt(2.5)), (0, 2.0, 2.0), (1, 1.5, 2.0)],
)
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_whiten_by_hand(ddof, eps, std, mean):
    """`eps` is within the root; off the mask there is 0 again, also with the mean added back."""
    found = whiten(WHITE, WHITE_MASK, ddof=ddof, eps=eps, shift_mean=mean == 0)
    a, b = 1 / std, 2 / std
    expected = rows([0, mean - b, mean - a, mean], [mean + a, mean + b, 0, 0])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_scope_is_what_is_passed():
    options = {"ddof": 0, "eps": 0.0, "shift_mean": True}
    by_row = whiten(WHITE[1:], WHITE_MASK[1:], **options)
    assert by_row.tolist() == [[-1.0, 1.0, 0.0, 0.0]]
    assert not torch.equal(whiten(WHITE, WHITE_MASK, **options)[1:], by_row)


def test_equal_values_have_no_spread_to_be_blown_up():
    flat = torch.full((2, 3), 0.1, dtype=torch.float64)
    mask = torch.ones(2, 3, dtype=torch.bool)
    for ddof in (0, 1):
        assert (whiten(flat, mask, ddof=ddof, eps=0.0, shift_mean=True) == 0).all()
        assert torch.equal(whiten(flat, mask, ddof=ddof, eps=0.0, shift_mean=False), flat)
    one_token = last_tokens(mask) & torch.tensor([[True], [False]])
    one = whiten(flat, one_token, ddof=1, eps=0.0, shift_mean=True)
    assert (one == 0).all()  # a single token has no sample variance


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ddof": 2}, "ddof: expected 0"),
        ({"eps": -1.0}, "eps: expected a number >= 0"),
        ({"eps": NAN}, "eps: expected a number >= 0"),
        ({"mask_BT": torch.zeros(2, 4, dtype=torch.bool)}, "expected one token or more"),
    ],
)
def test_bad_whitening_is_named(changes, message):
    options = {"mask_BT": WHITE_MASK, "ddof": 0, "eps": 0.0, "shift_mean": True} | changes
    with pytest.raises(ValueError, match=message):
        whiten(WHITE, options.pop("mask_BT"), **options)


def test_the_score_stands_on_the_last_token_and_kl_on_every_one():
    """k1 of row 0: .5, -1, of row 1: 2; beta = .1."""
    logp = rows([NAN, -1.0, -2.0, 5.0], [0.0, 0.0, 0.0, -1.0])
    reference = rows([0.0, -1.5, -1.0, INF], [9.0, 9.0, 9.0, -3.0])
    mask = torch.tensor([[False, True, True, False], [False, False, False, True]])
    kl = kl_penalty(logp, reference, mask, estimator="k1", level="token")
    score = torch.tensor([3.0, -2.0], dtype=torch.float64)
    found = token_rewards(score, kl, mask, coefficient=0.1)
    torch.testing.assert_close(found, rows([0.0, -0.05, 3.1, 0.0], [0.0, 0.0, 0.0, -2.2]))
    none = token_rewards(score, kl, mask, coefficient=0.0)
    assert none.tolist() == [[0, 0, 3, 0], [0, 0, 0, -2]]
    # What a response gets in all is its score less beta times its estimate of the divergence.
    torch.testing.assert_close(found.sum(dim=1), score - 0.1 * kl.sum(dim=1))


def test_token_rewards_read_nothing_off_the_mask_and_carry_no_gradient():
    kl = rows([NAN, 1.0, INF]).requires_grad_()
    score = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[False, True, False]])
    found = token_rewards(score, kl, mask, coefficient=0.5)
    assert found.tolist() == [[0.0, 1.5, 0.0]]
    assert not found.requires_grad
    with pytest.raises(ValueError, match="no place for its score"):
        token_rewards(score, kl, ~mask & mask, coefficient=0.5)
    with pytest.raises(ValueError, match="coefficient: expected a number >= 0"):
        token_rewards(score, kl, mask, coefficient=-0.5)


def test_two_ways_with_responses_that_did_not_end():
    """They differ: a replaced score is the same for all, a penalised one keeps its place."""
    score = torch.tensor([2.0, 3.0, -4.0])
    stopped = torch.tensor([True, False, False])
    assert replaced_where_unended(score, stopped, value=-1.0).tolist() == [2.0, -1.0, -1.0]
    assert penalised_where_unended(score, stopped, penalty=1.0).tolist() == [2.0, 2.0, -5.0]
    assert penalised_where_unended(score, stopped, penalty=0.0).tolist() == score.tolist()
    with pytest.raises(ValueError, match="which is taken off, got -1"):
        penalised_where_unended(score, stopped, penalty=-1.0)


def test_last_tokens():
    mask = torch.tensor([[False, True, True, False], [False] * 4, [True, False, False, False]])
    assert last_tokens(mask).nonzero().tolist() == [[0, 2], [2, 0]]
