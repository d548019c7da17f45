"""Partial credit for sorting, in [0, 1]; 0 for a response that was cut off.

Shapes as in CS336 (spring 2025), lecture 17, where a response has as many digits as the prompt. A
response of another length scores 0 here, but for `position`.
"""

from collections import Counter
from itertools import pairwise

from rl.rewards.verifiable import is_whole
from rl.types import Rollout, Task


def position(task: Task, rollout: Rollout) -> float:
    """See position_score."""
    asked, response = rollout.problem.prompt[:-1], rollout.text
    return position_score(asked, response) if is_whole(task, rollout) else 0.0


def inclusion_ordering(task: Task, rollout: Rollout) -> float:
    """See inclusion_ordering_score."""
    asked, response = rollout.problem.prompt[:-1], rollout.text
    return inclusion_ordering_score(asked, response) if is_whole(task, rollout) else 0.0


def multiset_ordering(task: Task, rollout: Rollout) -> float:
    """See multiset_ordering_score."""
    asked, response = rollout.problem.prompt[:-1], rollout.text
    return multiset_ordering_score(asked, response) if is_whole(task, rollout) else 0.0


def position_score(asked: str, response: str) -> float:
    """Share of positions at which the response is the sorted prompt, (1/L) sum_i 1[o_i = s_i].

    L is the longer of the two lengths, so that 1 means all of it and no more.
    """
    right = sum(said == wanted for said, wanted in zip(response, sorted(asked), strict=False))
    return right / max(len(asked), len(response))


def inclusion_ordering_score(asked: str, response: str) -> float:
    """(sum_i 1[x_i in o] + sum_i 1[o_i <= o_{i+1}]) / (2n - 1) for a prompt x of n digits.

    A point for each digit of the prompt that the response has, and one for each neighbours in
    order. Digits are not counted, which leaves a hole: where the prompt has a digit twice, one of
    them may be swapped for any other; 112 and 012 both score 5 of 5 for the prompt 1, 1, 2.
    """
    if len(response) != len(asked):
        return 0.0
    included = sum(digit in response for digit in asked)
    return (included + _in_order(response)) / _most(asked)


def multiset_ordering_score(asked: str, response: str) -> float:
    """(sum_d min(count of d in x, count of d in o) + sum_i 1[o_i <= o_{i+1}]) / (2n - 1).

    As inclusion_ordering_score, but each digit of the response stands for one of the prompt only,
    so that the sorted prompt alone scores 1.
    """
    if len(response) != len(asked):
        return 0.0
    matched = (Counter(asked) & Counter(response)).total()
    return (matched + _in_order(response)) / _most(asked)


def _in_order(response: str) -> int:
    return sum(one <= two for one, two in pairwise(response))


def _most(asked: str) -> int:
    """Points that can be had: n digits and n - 1 pairs of neighbours."""
    return 2 * len(asked) - 1
