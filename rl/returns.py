"""From the rewards of episodes to what multiplies the score of each action.

Axis letters: N episodes, T steps. Row n has length_N[n] steps; what stands after them is not read.
All arrays are numpy float64; results are 0 after an episode's end.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

Returns = Float64[np.ndarray, "N T"]
Lengths = Int64[np.ndarray, " N"]
Taken = Bool[np.ndarray, "N T"]

SCOPES = ("none", "episode", "batch")


def taken_steps(length_N: Lengths, *, width: int) -> Taken:
    """Which entries of [N, T = width] are steps of their episode.

    Raises:
        ValueError: a length below 1 or above `width`.
    """
    if not len(length_N) or length_N.min() < 1 or length_N.max() > width:
        raise ValueError(f"length_N: expected lengths from 1 to {width}, got {length_N.tolist()}")
    return np.arange(width) < length_N[:, None]


def discounted_returns(
    rewards_NT: Returns,
    length_N: Lengths,
    *,
    discount: float,
    reward_to_go: bool,
    discount_from: str,
) -> Returns:
    """R_t, the return that weighs the score of action t; the first step has t = 0.

        whole episode                     R_t = sum_{k >= 0} gamma^k r_k, the same for every t
        to go, discounted from the start  R_t = sum_{k >= t} gamma^k r_k
        to go, discounted from the action R_t = sum_{k >= t} gamma^(k - t) r_k

    With the first two, sum_t R_t grad log pi(a_t | s_t) is an unbiased gradient of the expected
    discounted return (REINFORCE, Williams 1992; rewards before an action do not depend on it). The
    third is what most programs use (Sutton and Barto 2018, section 13.3, without the factor
    gamma^t of its box): it weighs late actions as much as early ones and is, for gamma < 1, the
    gradient of no objective.

    Args:
        rewards_NT: rewards [N, T]; entry t follows action t.
        length_N: steps of each episode [N].
        discount: gamma in [0, 1], a step.
        reward_to_go: leave out the rewards before the action.
        discount_from: `start` or `action`; the same for the whole episode.

    Returns:
        R [N, T], in units of the reward.

    Raises:
        ValueError: a discount outside [0, 1], an unknown `discount_from`, or lengths that do not
            fit.
    """
    if not 0 <= discount <= 1:
        raise ValueError(f"discount: expected a number in [0, 1], got {discount}")
    if discount_from not in ("start", "action"):
        raise ValueError(f"discount_from: expected start or action, got {discount_from!r}")
    width = rewards_NT.shape[1]
    taken_NT = taken_steps(length_N, width=width)
    earned_NT = np.where(taken_NT, rewards_NT, 0.0)
    return_NT = np.zeros_like(earned_NT)
    later_N = np.zeros(len(earned_NT))
    for t in reversed(range(width)):
        later_N = earned_NT[:, t] + discount * later_N  # G_t = r_t + gamma G_{t+1}
        return_NT[:, t] = later_N
    if not reward_to_go:
        return_NT = np.repeat(return_NT[:, :1], width, axis=1)
    elif discount_from == "start":
        return_NT = return_NT * discount ** np.arange(width)
    return np.where(taken_NT, return_NT, 0.0)


def values_of_batch(
    return_NT: Returns, length_N: Lengths, *, reward_to_go: bool
) -> Float64[np.ndarray, " M"]:
    """The numbers whose mean is a baseline that is one number.

    Of returns to go those of all steps; of whole episodes one an episode, however long it is.
    """
    taken_NT = taken_steps(length_N, width=return_NT.shape[1])
    return return_NT[taken_NT] if reward_to_go else return_NT[:, 0]


def normalised(
    advantage_NT: Returns, length_N: Lengths, *, scope: str, ddof: int, eps: float
) -> Returns:
    """A' = (A - mean(A)) / (std(A) + eps), mean and std over the steps of the scope.

    Scope `episode` with ddof 1 is what PyTorch's REINFORCE example does to the returns to go of
    its one episode a batch. Where all of a scope are equal, by max == min, A' is 0; a scope of a
    single step is such a one, where the sample std would be undefined.

    Args:
        advantage_NT: returns, or returns less a baseline [N, T].
        length_N: steps of each episode [N].
        scope: `none` (A' = A), `episode` (its own steps) or `batch` (all steps of all episodes).
        ddof: 0 divides squared deviations by their number n, 1 by n - 1.
        eps: added to the std, in units of the reward.

    Raises:
        ValueError: an unknown scope, ddof not 0 or 1, a negative eps, or lengths that do not fit.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope: expected one of {', '.join(SCOPES)}, got {scope!r}")
    if ddof not in (0, 1):
        raise ValueError(f"ddof: expected 0 (population) or 1 (sample), got {ddof}")
    if not eps >= 0:
        raise ValueError(f"eps: expected a number >= 0, got {eps}")
    taken_NT = taken_steps(length_N, width=advantage_NT.shape[1])
    found_NT = np.zeros_like(advantage_NT)
    if scope == "none":
        scopes = []
        found_NT[taken_NT] = advantage_NT[taken_NT]
    elif scope == "batch":
        scopes = [taken_NT]
    else:
        rows = np.arange(len(length_N))[:, None]
        scopes = [taken_NT & (rows == n) for n in range(len(length_N))]
    for inside_NT in scopes:
        values = advantage_NT[inside_NT]
        if values.max() > values.min():
            found_NT[inside_NT] = (values - values.mean()) / (values.std(ddof=ddof) + eps)
    return found_NT


def first_solved(return_N: Sequence[float], *, window: int, line: float) -> int | None:
    """How many episodes there were when the mean of the last `window` first reached `line`.

    Args:
        return_N: returns of all episodes, in the order in which they were played.
        window: how many episodes are averaged; fewer than that never count.
        line: the mean to reach, in units of the return.

    Returns:
        A number of episodes from `window` on, or None if the line was never reached.
    """
    if window < 1:
        raise ValueError(f"window: expected 1 or more, got {window}")
    total = np.concatenate([[0.0], np.cumsum(np.asarray(return_N, dtype=np.float64))])
    mean = (total[window:] - total[:-window]) / window
    reached = np.flatnonzero(mean >= line)
    return window + int(reached[0]) if len(reached) else None
