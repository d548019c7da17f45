"""rl.losses.reward by hand, and Bradley-Terry's maximum likelihood by Newton's method."""

import math

import numpy as np
import pytest
import torch

from rl.losses.reward import (
    accuracies,
    bradley_terry,
    calibration,
    direct_assessment,
    preference_calibration,
)

NAN = math.nan


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def minus_log_sigmoid(z):
    return math.log1p(math.exp(-z))


def test_bradley_terry_by_hand():
    chosen, rejected = numbers(2.0, -1.0, 0.5), numbers(0.5, 1.0, 0.5)
    plain = bradley_terry(chosen, rejected, margin_B=None).tolist()
    expected = [minus_log_sigmoid(1.5), minus_log_sigmoid(-2.0), math.log(2)]
    assert plain == pytest.approx(expected, rel=1e-12)
    with_margin = bradley_terry(chosen, rejected, margin_B=numbers(1.0, 0.0, 2.0)).tolist()
    expected = [minus_log_sigmoid(0.5), minus_log_sigmoid(-2.0), minus_log_sigmoid(-2.0)]
    assert with_margin == pytest.approx(expected, rel=1e-12)
    assert min(plain + with_margin) > 0
    far = bradley_terry(numbers(-1e4, 1e4), numbers(0.0, 0.0), margin_B=None)
    assert far.tolist() == [1e4, 0.0]


def test_its_gradient_is_what_was_not_expected_of_the_preference():
    chosen, margin = numbers(2.0).requires_grad_(), numbers(0.5).requires_grad_()
    rejected = numbers(1.0).requires_grad_()
    bradley_terry(chosen, rejected, margin_B=margin).sum().backward()
    weight = 1 / (1 + math.exp(0.5))
    assert float(chosen.grad) == pytest.approx(-weight, rel=1e-12)
    assert float(rejected.grad) == pytest.approx(weight, rel=1e-12)
    assert margin.grad is None


# wins[i][j]: how often item i was preferred to item j.
WINS = np.array([[0.0, 7.0, 9.0], [3.0, 0.0, 6.0], [2.0, 4.0, 0.0]])


def newton(wins, steps=30):
    """argmax of sum_ij w_ij log sigma(r_i - r_j) with r_0 = 0, by its gradient and Hessian."""
    reward = np.zeros(3)
    games = wins + wins.T
    for _ in range(steps):
        expected = 1 / (1 + np.exp(reward[None, :] - reward[:, None]))  # sigma(r_i - r_j)
        gradient = wins.sum(axis=1) - (games * expected).sum(axis=1)
        weight = games * expected * (1 - expected)
        hessian = weight - np.diag(weight.sum(axis=1))
        reward[1:] -= np.linalg.solve(hessian[1:, 1:], gradient[1:])
    return reward


def fitted(wins, steps=300):
    """The same by gradient steps on the loss, of which autograd knows the gradient."""
    first, second = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T
    count = torch.tensor(wins)[first, second]
    reward = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        loss = (count * bradley_terry(reward[first], reward[second], margin_B=None)).sum()
        (slope,) = torch.autograd.grad(loss, reward)
        with torch.no_grad():
            reward -= 0.2 * slope
    return (reward - reward[0]).detach().numpy()


def test_the_maximum_of_the_likelihood_is_newtons():
    best = newton(WINS)
    assert best[0] > best[1] > best[2]
    np.testing.assert_allclose(fitted(WINS), best, atol=1e-9)


def test_labels_in_the_true_proportions_give_the_true_differences():
    """And only those: a constant on all scores is free."""
    reward = np.array([0.0, -0.7, 1.1])
    wins = 8 / (1 + np.exp(reward[None, :] - reward[:, None])) * (1 - np.eye(3))
    np.testing.assert_allclose(newton(wins), reward, atol=1e-12)
    np.testing.assert_allclose(fitted(wins), reward, atol=1e-9)


def test_direct_assessment_by_hand():
    score = numbers(1.5, 1.5, 0.0).requires_grad_()
    loss = direct_assessment(score, torch.tensor([True, False, True]))
    expected = [minus_log_sigmoid(1.5), minus_log_sigmoid(-1.5), math.log(2)]
    assert loss.tolist() == pytest.approx(expected, rel=1e-12)
    loss.sum().backward()
    sigma = 1 / (1 + math.exp(-1.5))
    assert score.grad.tolist() == pytest.approx([sigma - 1, sigma, -0.5], rel=1e-12)


def test_accuracies_count_a_tie_half():
    assert accuracies(numbers(0.1, 0.0, -3.0, math.inf)).tolist() == [1.0, 0.5, 0.0, 1.0]
    with pytest.raises(ValueError, match="got NaN"):
        accuracies(numbers(NAN))


def test_calibration_by_hand():
    """Bins [0, .25), [.25, .5), [.5, .75), [.75, 1]; an edge belongs above, 1 to the last."""
    probability = numbers(0.1, 0.2, 0.5, 0.7, 0.75, 1.0, 0.8, 0.0)
    outcome = numbers(0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    found = calibration(probability, outcome, bins=4, lowest=0.0)
    assert found.count_K.tolist() == [3, 0, 2, 3]
    assert found.predicted_K.tolist() == pytest.approx([0.1, NAN, 0.6, 0.85], nan_ok=True)
    assert found.observed_K.tolist() == pytest.approx([1 / 3, NAN, 0.5, 2 / 3], nan_ok=True)
    # 3/8 (1/3 - .1) + 2/8 (.1) + 3/8 (.85 - 2/3) = (.7 + .2 + .55) / 8
    assert found.error == pytest.approx(1.45 / 8, rel=1e-12)


def test_one_bin_sees_the_means_alone():
    probability, outcome = numbers(0.2, 0.8), numbers(1.0, 0.0)
    assert calibration(probability, outcome, bins=1, lowest=0.0).error == pytest.approx(0.0)
    assert calibration(probability, outcome, bins=2, lowest=0.0).error == pytest.approx(0.8)


def test_calibration_of_preferences():
    """Confidence 1/2 at a tie (half right), .6 and .9: bins [.5, .75) and [.75, 1]."""
    low, high = math.log(0.6 / 0.4), math.log(0.9 / 0.1)
    margin = numbers(0.0, low, -low, high, high, -high)
    found = preference_calibration(margin, bins=2)
    assert found.count_K.tolist() == [3, 3]
    assert found.predicted_K.tolist() == pytest.approx([1.7 / 3, 0.9], rel=1e-12)
    assert found.observed_K.tolist() == pytest.approx([0.5, 2 / 3], rel=1e-12)
    assert found.error == pytest.approx((0.2 / 3 + 0.7 / 3) / 2, rel=1e-12)


def test_margins_of_labels_drawn_from_them_are_calibrated():
    """Outcomes in their true proportions: no error at scale 1, some at any other."""
    margin = torch.linspace(-3, 3, 61, dtype=torch.float64)
    outcome = torch.sigmoid(margin)
    errors = {
        scale: calibration(torch.sigmoid(scale * margin), outcome, bins=10, lowest=0.0).error
        for scale in (0.5, 1.0, 2.0)
    }
    assert errors[1.0] < 1e-15
    assert min(errors[0.5], errors[2.0]) > 0.05


TWO = numbers(0.5, 0.5)


@pytest.mark.parametrize(
    ("probability", "outcome", "bins", "lowest", "message"),
    [
        (TWO, TWO, 0, 0.0, "bins >= 1"),
        (TWO, TWO, 2, 1.0, "lowest in"),
        (numbers(0.5, 1.1), TWO, 2, 0.0, "probability_N: expected numbers in"),
        (numbers(0.5, NAN), TWO, 2, 0.0, "probability_N: expected numbers in"),
        (numbers(0.5, 0.4), TWO, 2, 0.5, r"probability_N: expected numbers in \[0.5, 1\]"),
        (TWO, numbers(0.0, -0.1), 2, 0.0, "outcome_N: expected numbers in"),
        (TWO[:0], TWO[:0], 2, 0.0, "N >= 1"),
    ],
)
def test_bad_predictions_are_named(probability, outcome, bins, lowest, message):
    with pytest.raises(ValueError, match=message):
        calibration(probability, outcome, bins=bins, lowest=lowest)
