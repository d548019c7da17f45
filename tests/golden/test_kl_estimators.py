"""What k1, k2 and k3 estimate, how widely they spread, and where their gradients lead."""

import itertools
import math

import numpy as np
import pytest
import torch

from rl.exact import best_of_n_kl
from rl.kl import ESTIMATORS, adapted, kl_penalty

NAN, INF = math.nan, math.inf
NAMES = sorted(ESTIMATORS)


@pytest.mark.parametrize(
    ("name", "up", "down"),
    [
        ("k1", math.log(2), -math.log(2)),
        ("k2", math.log(2) ** 2 / 2, math.log(2) ** 2 / 2),
        ("k3", 0.5 - 1 + math.log(2), 2 - 1 - math.log(2)),
    ],
)
def test_values_where_the_policy_is_twice_and_half_the_reference(name, up, down):
    d = torch.tensor([math.log(2), -math.log(2), 0.0], dtype=torch.float64)
    assert ESTIMATORS[name](d).tolist() == pytest.approx([up, down, 0.0], rel=1e-12, abs=0)


def test_k3_near_zero_keeps_its_digits():
    """d^2 / 2 - d^3 / 6; exp(-d) - 1 + d would be 0 or noise of 1e-7 in 32 bits."""
    d = torch.tensor([1e-3, -1e-3])
    expected = [5e-7 - 1e-9 / 6, 5e-7 + 1e-9 / 6]
    assert ESTIMATORS["k3"](d).tolist() == pytest.approx(expected, rel=2e-4)


def test_no_log_ratio_is_clamped():
    d = torch.tensor([40.0, -40.0], dtype=torch.float64)
    assert ESTIMATORS["k1"](d).tolist() == [40.0, -40.0]
    assert ESTIMATORS["k2"](d).tolist() == [800.0, 800.0]
    assert ESTIMATORS["k3"](d).tolist() == pytest.approx([39.0, math.exp(40) - 41], rel=1e-12)
    one, rows = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.float64)
    for level, wanted in (("token", [800.0, 800.0]), ("sequence", [0.0, 0.0])):
        assert kl_penalty(d[None], rows, one, estimator="k2", level=level).tolist() == [wanted]


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_reference_and_old_policy_carry_no_gradient(level):
    logp, ref, old = (
        torch.tensor([row], requires_grad=True)
        for row in ([-1.0, -2.0], [-2.0, -1.5], [-1.5, -2.5])
    )
    named = {"estimator": "k3", "level": level, "logp_old_BT": old}
    penalty = kl_penalty(logp, ref, torch.ones(1, 2, dtype=torch.bool), **named)
    found = torch.autograd.grad(penalty.sum(), (logp, ref, old), allow_unused=True)
    assert found[0] is not None
    assert found[1:] == (None, None)


def gaussian(m):
    """Mean and standard deviation of each estimator for x of N(0, 1) against N(m, 1), by a sum over
    a fine grid; d = m^2 / 2 - m x, and the divergence is m^2 / 2."""
    x = torch.linspace(-14, 14, 28001, dtype=torch.float64)
    weight = torch.exp(-x.square() / 2)
    weight = weight / weight.sum()
    found = {}
    for name, estimator in ESTIMATORS.items():
        value = estimator(m * m / 2 - m * x)
        mean = float((weight * value).sum())
        found[name] = (mean, float((weight * (value - mean).square()).sum().sqrt()))
    return found


@pytest.mark.parametrize(
    ("kl", "relative"),
    [
        (0.005, {"k1": 20, "k2": 1.42, "k3": 1.42}),
        (0.5, {"k1": 2.0, "k2": 1.73, "k3": 1.70}),
        (2.0, {"k1": 1.0, "k3": 3.52}),
    ],
)
def test_spread_between_two_normal_laws(kl, relative):
    """Standard deviation over the divergence; k1 and k3 have no bias, and k2 has kl^2 / 2."""
    found = gaussian(math.sqrt(2 * kl))
    for name, expected in relative.items():
        assert found[name][1] / kl == pytest.approx(expected, abs=0.006)
    assert found["k1"][0] == pytest.approx(kl, rel=1e-9)
    assert found["k3"][0] == pytest.approx(kl, rel=1e-9)
    assert found["k2"][0] == pytest.approx(kl + kl**2 / 2, rel=1e-9)


def test_k1_spreads_less_than_k3_past_a_divergence_of_about_two_thirds():
    low, high = 0.1, 2.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        found = gaussian(math.sqrt(2 * middle))
        low, high = (middle, high) if found["k3"][1] < found["k1"][1] else (low, middle)
    assert low == pytest.approx(0.63, abs=0.005)


# Two tokens of three kinds, as probabilities. A first token of 0 is followed by other laws than
# the rest, and only there does the policy differ from the reference.
PI = ([0.5, 0.3, 0.2], [[0.6, 0.2, 0.2], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4]])
REF = ([0.2, 0.3, 0.5], [[0.2, 0.2, 0.6], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4]])
OLD = ([0.4, 0.4, 0.2], [[0.3, 0.3, 0.4], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
PAIRS = torch.tensor(list(itertools.product(range(3), repeat=2)))
MASK = torch.ones(9, 2, dtype=torch.bool)


def logits(law):
    first, then = (torch.tensor(part, dtype=torch.float64).log() for part in law)
    return torch.cat([first[None], then]).requires_grad_()


def logps(weights):
    """Log-probabilities [9, 2] of the tokens of all responses."""
    logp = torch.log_softmax(weights, dim=-1)
    first, second = PAIRS.unbind(dim=1)
    return torch.stack([logp[0, first], logp[1 + first, second]], dim=1)


def divergence(one, other):
    """KL of whole responses."""
    each = logps(one).sum(dim=1)
    return (each.exp() * (each - logps(other).sum(dim=1))).sum()


def mean_of(name, level, *, drawn=PI, old=None):
    """Mean over all responses, drawn by their chance under `drawn`, of a response's penalty, and
    the mean of its gradient [4, 3] with respect to the policy's logits."""
    policy = logits(PI)
    penalty = kl_penalty(
        logps(policy),
        logps(logits(REF)),
        MASK,
        estimator=name,
        level=level,
        logp_old_BT=None if old is None else logps(logits(old)),
    ).sum(dim=1)
    mean = (logps(logits(drawn)).sum(dim=1).exp().detach() * penalty).sum()
    return mean.item(), torch.autograd.grad(mean, policy)[0]


def gradients():
    """Of the reverse and of the forward divergence, by the policy's logits."""
    policy, ref = logits(PI), logits(REF)
    (reverse,) = torch.autograd.grad(divergence(policy, ref), policy)
    (forward,) = torch.autograd.grad(divergence(ref, policy), policy)
    return reverse, forward


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_as_a_value_k1_and_k3_have_no_bias_and_k2_has_one():
    kl = divergence(logits(PI), logits(REF)).item()
    # .3 log 2.5 + .5 (.6 log 3 - .2 log 3)
    assert kl == pytest.approx(0.3 * math.log(2.5) + 0.2 * math.log(3), rel=1e-12)
    for level in ("token", "sequence"):
        assert mean_of("k1", level)[0] == pytest.approx(kl, rel=1e-12)
        assert mean_of("k3", level)[0] == pytest.approx(kl, rel=1e-12)
    token, sequence = mean_of("k2", "token")[0], mean_of("k2", "sequence")[0]
    first, then = math.log(2.5), math.log(3)
    assert token == pytest.approx(0.5 * 0.7 * first**2 + 0.5 * 0.5 * 0.8 * then**2, rel=1e-12)
    # d of a response: log 2.5 + log 3, log 2.5, log 2.5 - log 3 after 0; -log 2.5 after 2
    both = 0.5 * (0.6 * (first + then) ** 2 + 0.2 * first**2 + 0.2 * (first - then) ** 2)
    assert sequence == pytest.approx(0.5 * (both + 0.2 * first**2), rel=1e-12)


def test_as_a_loss_k1_goes_nowhere_k2_down_the_reverse_and_k3_down_the_forward_divergence():
    reverse, forward = gradients()
    for level in ("token", "sequence"):
        close(mean_of("k1", level)[1], torch.zeros_like(reverse))
    close(mean_of("k2", "sequence")[1], reverse)
    close(mean_of("k3", "sequence")[1], forward)
    assert (reverse - forward).norm() > 0.3 * reverse.norm()


def test_k2_a_token_leaves_out_that_a_token_decides_what_comes_after_it():
    """d of the first token .9163, 0, -.9163; the divergence after it .4394, 0, 0. The gradient by
    a first logit is pi (d + what comes after it - their mean), and by token pi (d - its mean)."""
    reverse, forward = gradients()
    token = mean_of("k2", "token")[1]
    assert reverse[0].tolist() == pytest.approx([0.4306, -0.1484, -0.2822], abs=6e-5)
    assert token[0].tolist() == pytest.approx([0.3207, -0.0825, -0.2382], abs=6e-5)
    close(token[1:], reverse[1:])  # nothing comes after the second token
    # k3 by token: pi - ref at the first token, as of whole responses; at the second the forward
    # divergence after first tokens of the policy (chance .5), not of the reference (.2).
    by_token = mean_of("k3", "token")[1]
    assert forward[0].tolist() == pytest.approx([0.3, 0.0, -0.3], abs=1e-12)
    close(by_token[0], forward[0])
    close(by_token[1], forward[1] * 0.5 / 0.2)


@pytest.mark.parametrize("old", [PI, OLD])
@pytest.mark.parametrize("name", ["k1", "k3"])
def test_with_the_importance_ratio_k1_and_k3_go_down_the_reverse_divergence(name, old):
    """On-policy the ratio is 1, and its gradient is what the plain estimator leaves out."""
    value, gradient = mean_of(name, "sequence", drawn=old, old=old)
    assert value == pytest.approx(divergence(logits(PI), logits(REF)).item(), rel=1e-12)
    close(gradient, gradients()[0])
    assert (mean_of("k2", "sequence", drawn=old, old=old)[1] - gradients()[0]).norm() > 0.1


def test_by_token_the_importance_ratio_is_that_of_the_token():
    logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    ref, old = torch.tensor([[-2.0, -1.5]]), torch.tensor([[-1.5, -2.25]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    named = {"estimator": "k1", "logp_old_BT": old}
    token = kl_penalty(logp, ref, mask, level="token", **named)
    assert token.tolist()[0] == pytest.approx([math.exp(0.5) * 1.0, math.exp(0.25) * -0.5])
    whole = kl_penalty(logp, ref, mask, level="sequence", **named)
    assert whole.tolist()[0] == pytest.approx([0.0, math.exp(0.75) * 0.5])  # on the last token
    (slope,) = torch.autograd.grad(whole.sum(), logp)
    assert slope[0].tolist() == pytest.approx([math.exp(0.75) * 1.5] * 2)  # w (d + 1)


def test_a_response_has_its_estimate_on_its_last_token():
    logp = torch.tensor([[NAN, -1.0, -2.0, INF], [-1.0, -1.0, -1.0, -1.0], [NAN] * 4])
    ref = torch.tensor([[0.0, -1.5, -1.0, NAN], [-1.5, -1.5, -1.5, -1.5], [-INF] * 4])
    mask = torch.tensor([[False, True, True, False], [True] * 4, [False] * 4])
    for name in NAMES:
        x = logp.clone().requires_grad_()
        found = kl_penalty(x, ref, mask, estimator=name, level="sequence")
        at = ESTIMATORS[name](torch.tensor([-0.5, 2.0])).tolist()
        wanted = [[0, 0, at[0], 0], [0, 0, 0, at[1]], [0] * 4]
        assert found.tolist() == [pytest.approx(row) for row in wanted]
        (slope,) = torch.autograd.grad(found.sum(), x)
        assert torch.isfinite(slope).all()
        assert not slope[~mask].any()


def test_the_optimum_of_reward_less_penalty_is_the_tilted_reference():
    """pi* = pi_ref exp(r / beta) / Z: there the policy gradient of r and the sequence k2's cancel,
    and the k3's do not."""
    beta, reward = 0.7, torch.tensor([0.0, 1.0, -2.0, 0.5, 0.5, 3.0, -1.0, 0.0, 1.0]).double()
    ref = logps(logits(REF)).sum(dim=1)
    best = torch.softmax(ref + reward / beta, dim=0).reshape(3, 3).detach()
    first = best.sum(dim=1)
    weights = torch.cat([first.log()[None], (best / first[:, None]).log()]).requires_grad_()
    logp = logps(weights)
    chance = logp.sum(dim=1).exp()
    (up,) = torch.autograd.grad((chance * reward).sum(), weights, retain_graph=True)
    slopes = {}
    for name in NAMES:
        named = {"estimator": name, "level": "sequence"}
        penalty = kl_penalty(logp, logps(logits(REF)), MASK, **named).sum(dim=1)
        (slopes[name],) = torch.autograd.grad(
            (chance.detach() * penalty).sum(), weights, retain_graph=True
        )
    close(up, beta * slopes["k2"])
    assert (up - beta * slopes["k3"]).norm() > 0.1 * up.norm()
    # What the optimum is worth is beta log Z.
    worth = (chance * (reward - beta * (logp.sum(dim=1) - ref))).sum()
    close(worth, beta * (ref + reward / beta).logsumexp(dim=0))


def test_with_two_outcomes_the_optimum_moves_the_logit_by_the_reward_over_beta():
    p, beta, gap = 0.2, 0.5, 1.0
    logit = math.log(p / (1 - p)) + gap / beta
    policy = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    q = torch.sigmoid(policy)
    kl = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    (slope,) = torch.autograd.grad(gap * q - beta * kl, policy)
    assert slope.item() == pytest.approx(0.0, abs=1e-15)
    assert q.item() == pytest.approx(0.6488, abs=5e-5)  # 1 / (1 + 4 exp(-2))


def test_the_coefficient_follows_the_target():
    """1707.06347, section 4: halved under target / 1.5, doubled over 1.5 target, else kept."""
    found = [adapted(0.4, kl, target=0.3) for kl in (0.19, 0.21, 0.3, 0.44, 0.46, -0.1)]
    assert found == [0.2, 0.4, 0.4, 0.4, 0.8, 0.2]


def exact_best_of(chance, n):
    """KL of the best of n from one sample, where outcome k has the k-th reward: the best is at
    most the k-th with chance F_k^n."""
    total = np.concatenate([[0.0], np.cumsum(chance)])
    best = np.diff(total**n)
    return float((best * np.log(best / chance)).sum())


@pytest.mark.parametrize(("n", "value"), [(1, 0.0), (2, 0.1931), (4, 0.6363), (16, 1.8351)])
def test_best_of_n_without_ties_and_with_them(n, value):
    assert best_of_n_kl(n) == pytest.approx(value, abs=5e-5)
    # A million equal outcomes have next to no ties; two outcomes have little else.
    fine = exact_best_of(np.full(10**6, 1e-6), n)
    assert fine == pytest.approx(best_of_n_kl(n), abs=1e-4)
    for p in (0.1, 0.5):
        tied = exact_best_of(np.array([1 - p, p]), n)
        assert tied <= best_of_n_kl(n)
        assert n == 1 or tied < 0.95 * best_of_n_kl(n)
    assert exact_best_of(np.array([1.0]), n) == 0.0


def test_best_of_none_is_refused():
    with pytest.raises(ValueError, match="n: expected 1 or more, got 0"):
        best_of_n_kl(0)


@pytest.mark.parametrize(("name", "level"), [("k4", "token"), ("k1", "batch")])
def test_unknown_names_are_refused(name, level):
    rows = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="expected an estimator of k1, k2, k3 and a level of to"):
        kl_penalty(rows, rows, rows == 0, estimator=name, level=level)
