"""Logged under proximal policy optimisation, beside what rl.metrics.policy says of it."""

from rl.metrics.metric import Metric

PPO: dict[str, Metric] = {
    # Of the batch before its updates, its response tokens; returns are Monte-Carlo, rewards to go
    # with the penalty, discounted, and no value in them, unless said otherwise.
    "ppo/score": Metric("ppo", "mean score after missing_eos, reward.scale applied, no penalty"),
    "ppo/entropy": Metric("ppo", "mean entropy of what a token is drawn from, nats"),
    "ppo/explained_variance": Metric(
        "ppo", "1 - Var(R - V) / Var(R), R the returns; not logged where all are equal"
    ),
    "ppo/target_explained_variance": Metric(
        "ppo", "the same, R what values are fitted to: by gae, with its lambda"
    ),
    "ppo/value": Metric("ppo", "mean value of the states before a token, V"),
    "ppo/value_bias": Metric("ppo", "mean of V less the return"),
    "ppo/value_error": Metric("ppo", "mean squared V less the return"),
    "ppo/advantage": Metric("ppo", "mean advantage of a token, not whitened"),
    "ppo/advantage_std": Metric("ppo", "its population standard deviation over tokens"),
    # Of the updates.
    "ppo/policy_loss": Metric("ppo", "policy loss, mean over the step's updates"),
    "ppo/value_loss": Metric(
        "ppo", "value loss, its half included and loss.value not, mean over the step's updates"
    ),
    # Before the first step, on batches of the base model.
    "ppo/pretrain_value_loss": Metric("ppo", "value loss before each update", "update"),
    "ppo/pretrain_explained_variance": Metric(
        "ppo", "explained_variance of the batch before each update", "update"
    ),
}
