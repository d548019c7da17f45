"""rl.losses.preference by hand, and each loss at its optimum in closed form."""

import math
from dataclasses import replace

import pytest
import torch

from rl.losses.preference import (
    LOSSES,
    SMOOTHED,
    WITHOUT_REFERENCE,
    Pairs,
    implicit_rewards,
    preference_loss,
)
from rl.losses.reward import accuracies

BETA = 0.5


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def some_pairs(name="dpo"):
    """Log-ratios (2, -1) at lengths (4, 2), and (-4, 2) at lengths (2, 1): right, and wrong."""
    pairs = Pairs(
        chosen_B=numbers(-6.0, -9.0).requires_grad_(),
        rejected_B=numbers(-5.0, -1.0).requires_grad_(),
        ref_chosen_B=numbers(-8.0, -5.0),
        ref_rejected_B=numbers(-4.0, -3.0),
        chosen_length_B=torch.tensor([4, 2]),
        rejected_length_B=torch.tensor([2, 1]),
    )
    without = {"ref_chosen_B": None, "ref_rejected_B": None}
    return replace(pairs, **without) if name in WITHOUT_REFERENCE else pairs


def loss_of(pairs, name, **changes):
    options = {"beta": BETA, "label_smoothing": 0.0, "gamma": 0.3 if name == "simpo" else None}
    return preference_loss(pairs, name=name, **(options | changes))


def minus_log_sigmoid(z):
    return math.log1p(math.exp(-z))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # h = 2 - -1 = 3 and -4 - 2 = -6, times .5
        ("dpo", [minus_log_sigmoid(1.5), minus_log_sigmoid(-3.0)]),
        # h = 2/4 - -1/2 = 1 and -4/2 - 2/1 = -4
        ("dpo_mean", [minus_log_sigmoid(0.5), minus_log_sigmoid(-2.0)]),
        ("ipo", [4.0, 49.0]),  # 1 / (2 beta) = 1: (3 - 1)^2 and (-6 - 1)^2
        ("ipo_mean", [0.0, 25.0]),  # (1 - 1)^2 and (-4 - 1)^2
        # h = -6/4 - -5/2 = 1 and -9/2 - -1/1 = -3.5; .5 h - .3
        ("simpo", [minus_log_sigmoid(0.2), minus_log_sigmoid(-2.05)]),
    ],
)
def test_each_loss_by_hand(name, expected):
    found = loss_of(some_pairs(name), name)
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert min(expected) >= 0


def test_a_wider_target_and_margin():
    assert loss_of(some_pairs(), "ipo", beta=0.1).tolist() == pytest.approx([4.0, 121.0])  # 5
    none = loss_of(some_pairs("simpo"), "simpo", gamma=0.0)
    assert none.tolist() == pytest.approx([minus_log_sigmoid(0.5), minus_log_sigmoid(-1.75)])


@pytest.mark.parametrize(("name", "right", "wrong"), [("dpo", 1.5, -3.0), ("dpo_mean", 0.5, -2.0)])
def test_label_smoothing_is_the_mean_over_flipped_labels(name, right, wrong):
    found = loss_of(some_pairs(), name, label_smoothing=0.2)
    expected = [0.8 * minus_log_sigmoid(z) + 0.2 * minus_log_sigmoid(-z) for z in (right, wrong)]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "chosen", "rejected"),
    [
        ("dpo", [1.0, -2.0], [-0.5, 1.0]),
        ("ipo", [1.0, -2.0], [-0.5, 1.0]),
        ("dpo_mean", [0.25, -1.0], [-0.25, 1.0]),
        ("ipo_mean", [0.25, -1.0], [-0.25, 1.0]),
        ("simpo", [-0.75, -2.25], [-1.25, -0.5]),
    ],
)
def test_implicit_rewards_and_their_accuracy(name, chosen, rejected):
    found = implicit_rewards(some_pairs(name), name=name, beta=BETA)
    assert [x.tolist() for x in found] == [chosen, rejected]
    assert not any(x.requires_grad for x in found)
    assert accuracies(found[0] - found[1]).tolist() == [1.0, 0.0]


def gradients(name, **changes):
    pairs = some_pairs(name)
    loss_of(pairs, name, **changes).sum().backward()
    return pairs.chosen_B.grad.tolist(), pairs.rejected_B.grad.tolist()


def test_dpos_gradient_weighs_by_how_wrong_the_implicit_reward_is():
    """-beta sigma(-beta h) for the chosen response, its opposite for the rejected one."""
    chosen, rejected = gradients("dpo")
    weights = [1 / (1 + math.exp(1.5)), 1 / (1 + math.exp(-3.0))]
    assert chosen == pytest.approx([-BETA * w for w in weights], rel=1e-12)
    assert rejected == pytest.approx([BETA * w for w in weights], rel=1e-12)
    assert weights[1] > 0.95 > 0.2 > weights[0]  # the second pair is the wrong one


def test_gradients_of_means_are_a_token_and_those_of_ipo_linear():
    chosen, rejected = gradients("dpo_mean")
    weights = [1 / (1 + math.exp(0.5)), 1 / (1 + math.exp(-2.0))]
    assert chosen == pytest.approx([-BETA * weights[0] / 4, -BETA * weights[1] / 2], rel=1e-12)
    assert rejected == pytest.approx([BETA * weights[0] / 2, BETA * weights[1] / 1], rel=1e-12)
    assert gradients("ipo") == ([4.0, -14.0], [-4.0, 14.0])  # 2 (h - 1)
    assert gradients("ipo_mean") == ([0.0, -5.0], [0.0, 10.0])  # 2 (h - 1) / |y|
    weights = [1 / (1 + math.exp(0.2)), 1 / (1 + math.exp(-2.05))]
    chosen, rejected = gradients("simpo")
    assert chosen == pytest.approx([-BETA * weights[0] / 4, -BETA * weights[1] / 2], rel=1e-12)
    assert rejected == pytest.approx([BETA * weights[0] / 2, BETA * weights[1] / 1], rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(WITHOUT_REFERENCE)))
def test_the_reference_carries_no_gradient(name):
    reference = numbers(-8.0, -5.0).requires_grad_()
    pairs = replace(some_pairs(name), ref_chosen_B=reference, ref_rejected_B=reference)
    loss_of(pairs, name).sum().backward()
    assert reference.grad is None
    assert pairs.chosen_B.grad is not None


def test_far_apart_nothing_overflows():
    """-log sigma(-1e4) is 1e4, where the logarithm of a sigmoid would be infinite."""
    far = replace(some_pairs(), chosen_B=numbers(-2e4, 2e4), rejected_B=numbers(0.0, 0.0))
    far = replace(far, ref_chosen_B=numbers(0.0, 0.0), ref_rejected_B=numbers(0.0, 0.0))
    assert loss_of(far, "dpo").tolist() == [1e4, 0.0]  # beta times 2e4


# Three responses a, b, c to one prompt, a policy of three logits, and all ordered pairs.
REFERENCE = numbers(0.6, 0.3, 0.1).log()
REWARD = numbers(0.2, 1.0, -0.5)
FIRST, SECOND = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T


def mean_loss(logit_A, wins_N, name, *, first_N=FIRST, second_N=SECOND, **changes):
    """Of pairs (first, second), of which the first is preferred with probability `wins_N`."""
    logp_A = logit_A.log_softmax(dim=0)
    one_N = torch.ones_like(first_N)
    pairs = Pairs(
        logp_A[first_N], logp_A[second_N], REFERENCE[first_N], REFERENCE[second_N], one_N, one_N
    )
    return (wins_N * loss_of(pairs, name, **changes)).sum()


def trained(objective, start):
    logit_A = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [logit_A],
        max_iter=100,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = objective(logit_A)
        loss.backward()
        return loss

    optimiser.step(closure)
    return logit_A.detach().softmax(dim=0)


def labels(scale):
    """P(first over second) = sigma(scale (r_first - r_second)) of all ordered pairs."""
    return torch.sigmoid(scale * (REWARD[FIRST] - REWARD[SECOND]))


@pytest.mark.parametrize("name", ["dpo", "dpo_mean"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_dpo_with_bradley_terry_labels_reaches_the_tilted_reference(name, scale):
    """pi_ref exp(r / beta) / Z at scale 1; at another it is optimal for scale times the reward."""
    best_A = (REFERENCE + scale * REWARD / BETA).softmax(dim=0)
    found_A = trained(lambda x: mean_loss(x, labels(scale), name), REFERENCE)
    torch.testing.assert_close(found_A, best_A, rtol=0, atol=1e-7)
    assert float((found_A - REFERENCE.exp()).abs().max()) > 0.4
    # How often a pair is asked for does not matter, as long as every one is.
    often_N = numbers(1.0, 5.0, 1.0, 0.2, 5.0, 0.2)
    found_A = trained(lambda x: mean_loss(x, often_N * labels(scale), name), REFERENCE)
    torch.testing.assert_close(found_A, best_A, rtol=0, atol=1e-7)


def test_dpo_with_hard_labels_diverges_and_ipo_does_not():
    hard_N = (REWARD[FIRST] > REWARD[SECOND]).double()
    best, worst = 1, 2
    found = {}
    for name in ("dpo", "ipo"):
        logit_A, gaps = REFERENCE.clone().requires_grad_(), []
        optimiser = torch.optim.SGD([logit_A], lr=0.1 if name == "ipo" else 20.0)
        for step in range(400):
            optimiser.zero_grad()
            mean_loss(logit_A, hard_N, name).backward()
            optimiser.step()
            if step + 1 in (25, 100, 400):
                logp_A = logit_A.detach().log_softmax(dim=0)
                gaps.append(float(logp_A[best] - logp_A[worst]))
        found[name] = gaps
    first, second, third = found["dpo"]
    assert second > first + 1  # no bound: as the logarithm of the steps
    assert third > second + 1
    assert found["ipo"][2] == pytest.approx(found["ipo"][1], abs=1e-9)
    # log pi / pi_ref = p(y over mu) / tau + const (2310.12036), mu uniform: p is (1 + 1 + 1/2) / 3
    # of the best and 1/6 of the worst.
    expected = math.log(0.3 / 0.1) + (2.5 - 0.5) / 3 / BETA
    assert found["ipo"][2] == pytest.approx(expected, abs=1e-9)


def test_ipo_reaches_its_closed_form_under_soft_labels():
    """log pi / pi_ref = p(y over mu) / tau + const (2310.12036), with p(y over y) = 1/2."""
    wins_AA = torch.sigmoid(REWARD[:, None] - REWARD[None, :])
    best_A = (REFERENCE + wins_AA.mean(dim=1) / BETA).softmax(dim=0)
    found_A = trained(lambda x: mean_loss(x, labels(1.0), "ipo"), REFERENCE)
    torch.testing.assert_close(found_A, best_A, rtol=0, atol=1e-7)


def test_without_support_the_rest_is_left_to_the_start():
    """Labels of a and b alone fix their ratio, and say nothing of c's share."""
    pair = {"first_N": torch.tensor([0, 1]), "second_N": torch.tensor([1, 0])}
    wins_N = torch.sigmoid(numbers(-0.8, 0.8))
    shares = []
    for start_A in (REFERENCE, REFERENCE + numbers(0.0, 0.0, 3.0)):
        found_A = trained(lambda x: mean_loss(x, wins_N, "dpo", **pair), start_A)
        assert float(found_A[1] / found_A[0]) == pytest.approx(0.5 * math.exp(0.8 / BETA), rel=1e-6)
        shares.append(float(found_A[2]))
    assert shares[1] > shares[0] + 0.2


def test_smoothed_hard_labels_stop_at_the_share_of_flips():
    """sigma(beta h) = 1 - eps for two responses."""
    pair = {"first_N": torch.tensor([0]), "second_N": torch.tensor([1])}
    found_A = trained(
        lambda x: mean_loss(x, numbers(1.0), "dpo", label_smoothing=0.1, **pair), REFERENCE
    )
    expected = math.log(0.6 / 0.3) + math.log(0.9 / 0.1) / BETA
    assert float((found_A[0] / found_A[1]).log()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("orpo", {}, "name: expected one of dpo, dpo_mean, ipo, ipo_mean, simpo"),
        ("dpo", {"beta": 0.0}, "beta: expected a number over 0, got 0"),
        ("dpo", {"beta": math.nan}, "beta: expected"),
        ("dpo", {"beta": math.inf}, "beta: expected"),
        ("dpo", {"label_smoothing": 0.5}, r"label_smoothing: expected a number in \[0, 0.5\)"),
        ("dpo", {"label_smoothing": -0.1}, "label_smoothing: expected"),
        ("dpo", {"label_smoothing": math.nan}, "label_smoothing: expected"),
        ("ipo", {"label_smoothing": 0.1}, "and 0 for all others, got 0.1 for ipo"),
        ("dpo", {"gamma": 0.3}, "None for all others, got 0.3 for dpo"),
        ("simpo", {"gamma": None}, "gamma: expected a number >= 0 for simpo"),
        ("simpo", {"gamma": -1.0}, "gamma: expected a number >= 0 for simpo"),
        ("simpo", {"gamma": math.nan}, "gamma: expected a number >= 0 for simpo"),
    ],
)
def test_bad_settings_are_named(name, changes, message):
    with pytest.raises(ValueError, match=message):
        loss_of(some_pairs(name), name, **changes)
    if "beta" in changes:
        with pytest.raises(ValueError, match=message):
            implicit_rewards(some_pairs(name), name=name, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dpo", {"ref_chosen_B": None}, "reference: expected its log-probabilities of both"),
        ("ipo", {"ref_rejected_B": None}, "reference: expected its log-probabilities of both"),
        ("simpo", {"ref_chosen_B": numbers(-1.0, -1.0)}, "reference: expected None for simpo"),
        ("dpo", {"rejected_B": numbers(-1.0)}, "of one shape"),
        ("dpo", {"ref_rejected_B": numbers(-1.0)}, "of one shape"),
        ("dpo", {"chosen_length_B": torch.tensor(3)}, "of one shape"),
        ("dpo", {"chosen_length_B": numbers(4.0, 2.0)}, "lengths in int64"),
        ("dpo", {"chosen_B": torch.tensor([-6, -9])}, "in floating point"),
        ("dpo", {"rejected_length_B": torch.tensor([2, 0])}, "a response without tokens"),
    ],
)
def test_bad_pairs_are_named(name, changes, message):
    pairs = replace(some_pairs(name), **changes)
    with pytest.raises(ValueError, match=message):
        loss_of(pairs, name)
    with pytest.raises(ValueError, match=message):
        implicit_rewards(pairs, name=name, beta=BETA)


def test_smoothing_is_offered_where_it_is_the_papers():
    assert set(SMOOTHED) | set(WITHOUT_REFERENCE) < set(LOSSES)
