"""Logged in worlds of episodes."""

from rl.metrics.metric import Metric

EPISODES: dict[str, Metric] = {
    # Worlds of episodes. Of the policy before the step's update; `eval.every` steps apart and after
    # training where played greedily or enumerated. Not logged under gradient: exact, except those.
    "episodes/return": Metric("episodes", "mean undiscounted return of the batch"),
    "episodes/return_last_100": Metric(
        "episodes", "mean undiscounted return of the last 100 episodes, or of all where fewer"
    ),
    "episodes/count": Metric("episodes", "episodes so far, the batch's own included"),
    "episodes/length": Metric("episodes", "mean steps of an episode of the batch"),
    "episodes/truncated": Metric("episodes", "share of the batch's episodes that were cut off"),
    "episodes/entropy": Metric("episodes", "mean entropy at the states visited, nats"),
    "episodes/advantage_std": Metric(
        "episodes", "population std over the batch's steps of what multiplies the score"
    ),
    "episodes/grad_norm": Metric(
        "episodes", "global gradient norm of the policy before clipping; under gradient: exact too"
    ),
    "episodes/value_loss": Metric(
        "episodes", "mean squared error of the learned value before its update, squared returns"
    ),
    "episodes/solved": Metric(
        "episodes", "1 once the mean return of some 100 episodes in a row reached `solved`, else 0"
    ),
    "episodes/to_solve": Metric(
        "episodes", "episodes until then; before it, and where it never comes, episodes so far"
    ),
    "episodes/greedy_return": Metric(
        "episodes", "mean undiscounted return of greedy play on the evaluation's episodes"
    ),
    "episodes/greedy_length": Metric("episodes", "mean steps of an episode of greedy play"),
    "episodes/value": Metric(
        "episodes", "exact expected discounted return of the policy, in worlds of few states"
    ),
    "episodes/greedy_value": Metric("episodes", "the same of its greedy version"),
    "episodes/optimal_value": Metric(
        "episodes", "the same of the best policy, by value iteration", exact=True
    ),
    "episodes/shortfall": Metric("episodes", "(optimal_value - value) / |optimal_value|"),
    "episodes/p_action_0": Metric(
        "episodes", "probability of the first action in worlds of few states; grid: left", "state"
    ),
    "episodes/p_action_1": Metric("episodes", "of the second action; grid: right", "state"),
    "episodes/p_action_2": Metric("episodes", "of the third action; grid: up", "state"),
    "episodes/p_action_3": Metric("episodes", "of the fourth action; grid: down", "state"),
}
