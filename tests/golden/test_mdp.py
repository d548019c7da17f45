"""rl.mdp on processes small enough to work out by hand, and a map where gamma picks the path."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from rl.mdp import (
    FiniteMDP,
    action_value,
    greedy_policy,
    likeliest_path,
    policy_value,
    start_value,
    value_iteration,
)
from rl.worlds import GridWorld

# State 0: action 0 pays 1 and stays, action 1 pays 0 and goes to state 1, which pays 3 once.
NEXT = np.zeros((3, 2, 3))
NEXT[0, 0, 0] = NEXT[0, 1, 1] = 1.0
NEXT[1, :, 2] = NEXT[2, :, 2] = 1.0
CHAIN = FiniteMDP(
    next_SAS=NEXT,
    reward_SA=np.array([[1.0, 0.0], [3.0, 3.0], [0.0, 0.0]]),
    start_S=np.array([0.5, 0.5, 0.0]),
)
# Three ways from S to M: through the bathtub (3 steps), over the broom (5), around both (7).
LAYOUT = ("ST.M", ".B..", "....", "....")


def grid():
    return GridWorld(layout=LAYOUT, horizon=50).mdp()


def test_policy_values_by_hand():
    """At gamma 1/2 and equal chances: V1 = 3; V0 = (1 + V0/2) / 2 + (3/2) / 2, so V0 = 5/3."""
    policy = torch.full((3, 2), 0.5, dtype=torch.float64)
    found = policy_value(CHAIN, policy, discount=0.5, horizon=60)
    torch.testing.assert_close(found, torch.tensor([5 / 3, 3.0, 0.0], dtype=torch.float64))
    one = policy_value(CHAIN, policy, discount=0.5, horizon=1)
    two = policy_value(CHAIN, policy, discount=0.5, horizon=2)
    assert one.tolist() == [0.5, 3.0, 0.0]
    assert two[0] == 0.5 + 0.5 * (0.5 * 0.5 + 0.5 * 3)
    assert float(start_value(CHAIN, policy, discount=0.5, horizon=1)) == 1.75


@pytest.mark.parametrize(
    ("discount", "best", "action"),
    [(0.5, 2.0, 0), (0.25, 4 / 3, 0), (0.0, 1.0, 0)],  # 1 / (1 - gamma) beats 3 gamma
)
def test_value_iteration_by_hand(discount, best, action):
    found = value_iteration(CHAIN, discount=discount, tolerance=1e-12)
    assert found.tolist() == pytest.approx([best, 3.0, 0.0])
    greedy = greedy_policy(action_value(CHAIN, found, discount=discount))
    assert greedy[0].argmax() == action


def test_value_iteration_where_waiting_does_not_pay():
    """Without the 1 for staying: 3 gamma, and the greedy move is to go."""
    mdp = FiniteMDP(NEXT, np.array([[0.0, 0.0], [3.0, 3.0], [0.0, 0.0]]), CHAIN.start_S)
    found = value_iteration(mdp, discount=0.9, tolerance=1e-12)
    assert found.tolist() == pytest.approx([2.7, 3.0, 0.0])
    assert greedy_policy(action_value(mdp, found, discount=0.9))[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("discount", "worth", "steps", "cells"),
    [
        (0.9, -10 + 100 * 0.9**2, 3, "ST.M"),
        (0.99, -0.99 + 100 * 0.99**4, 5, "S.B..M"),
        (0.999, 100 * 0.999**6, 7, None),
    ],
)
def test_the_discount_picks_the_path(discount, worth, steps, cells):
    """Discounted, the three ways pay (by hand): 71.0, 64.7, 53.1 at .9; 88.0, 95.1, 94.1 at .99;
    89.8, 98.6, 99.4 at .999."""
    ways = [-10 + 100 * discount**2, -discount + 100 * discount**4, 100 * discount**6]
    assert worth == max(ways)
    mdp = grid()
    value = value_iteration(mdp, discount=discount, tolerance=1e-12)
    assert mdp.start_S @ value == pytest.approx(worth, rel=1e-9)
    policy = greedy_policy(action_value(mdp, value, discount=discount))
    path = likeliest_path(mdp, policy, most=50)
    assert len(path) - 1 == steps
    walked = "".join("".join(LAYOUT)[state] for state in path)
    assert walked[-1] == "M"
    if cells:
        assert sorted(walked) == sorted(cells)
    else:
        assert set(walked) == {"S", ".", "M"}
    exact = start_value(mdp, torch.from_numpy(policy), discount=discount, horizon=50)
    assert float(exact) == pytest.approx(worth, rel=1e-9)


def test_values_solve_the_linear_system():
    mdp = grid()
    policy = torch.rand((16, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy = policy / policy.sum(dim=1, keepdim=True)
    next_SS = np.einsum("sa,sat->st", policy.numpy(), mdp.next_SAS)
    reward_S = (policy.numpy() * mdp.reward_SA).sum(axis=1)
    solved = np.linalg.solve(np.eye(16) - 0.9 * next_SS, reward_S)
    found = policy_value(mdp, policy, discount=0.9, horizon=400)
    np.testing.assert_allclose(found.numpy(), solved, rtol=1e-9, atol=1e-9)


def test_the_objective_has_a_gradient():
    """d J / d logit of a bandit: d(s) pi(a|s) (R - V)."""
    mdp = FiniteMDP(
        next_SAS=np.tile([0.0, 0.0, 1.0], (3, 2, 1)),
        reward_SA=np.array([[11.0, 9.0], [0.0, 2.0], [0.0, 0.0]]),
        start_S=np.array([0.5, 0.5, 0.0]),
    )
    logits = torch.zeros((3, 2), dtype=torch.float64, requires_grad=True)
    start_value(mdp, logits.softmax(dim=1), discount=1.0, horizon=1).backward()
    assert logits.grad is not None
    expected = [[0.25, -0.25], [-0.25, 0.25], [0, 0]]  # 1/2 1/2 (11 - 10), 1/2 1/2 (0 - 1)
    torch.testing.assert_close(logits.grad, torch.tensor(expected, dtype=torch.float64))


def test_faults_are_told():
    with pytest.raises(ValueError, match="add up to 1"):
        FiniteMDP(NEXT * 0.5, CHAIN.reward_SA, CHAIN.start_S)
    with pytest.raises((ValueError, TypeCheckError)):  # under pytest the annotations speak first
        FiniteMDP(NEXT[:2], CHAIN.reward_SA, CHAIN.start_S)
    with pytest.raises(ValueError, match="still moves by"):
        value_iteration(CHAIN, discount=1.0, tolerance=1e-9, most=50)
    with pytest.raises(ValueError, match="expected shape"):
        policy_value(CHAIN, torch.ones((2, 2), dtype=torch.float64), discount=0.5, horizon=1)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        value_iteration(CHAIN, discount=1.5, tolerance=1e-9)
