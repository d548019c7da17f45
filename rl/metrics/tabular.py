"""Logged of tabular policies, trained or studied."""

from rl.metrics.metric import Metric

TABULAR: dict[str, Metric] = {
    # The gradient-covariance study: one measurement an entropy, step 0. g is the exact gradient.
    "covariance/entropy": Metric(
        "gradient_covariance", "exact entropy of the policy, nats a token", "entropy"
    ),
    "covariance/success": Metric(
        "gradient_covariance", "exact success rate, mean over prompts", "entropy"
    ),
    "covariance/gradient_norm": Metric("gradient_covariance", "|g|", "entropy"),
    "covariance/trace": Metric(
        "gradient_covariance", "sampled trace of the estimator's covariance", "entropy"
    ),
    "covariance/trace_exact": Metric(
        "gradient_covariance", "the same, exact", "entropy", exact=True
    ),
    "covariance/over_exact": Metric(
        "gradient_covariance", "sampled trace / exact trace", "entropy"
    ),
    "covariance/rescaled": Metric(
        "gradient_covariance",
        "sampled trace of the estimator divided by what makes its mean g",
        "entropy",
    ),
    "covariance/rescaled_exact": Metric(
        "gradient_covariance", "the same, exact", "entropy", exact=True
    ),
    "covariance/over_optimal": Metric(
        "gradient_covariance",
        "rescaled exact trace / that of the optimal baseline",
        "entropy",
        exact=True,
    ),
    "covariance/bias": Metric(
        "gradient_covariance",
        "|mean - g| / |g|, by enumeration of how many responses are right",
        "entropy",
        exact=True,
    ),
    "covariance/views_gap": Metric(
        "gradient_covariance",
        "|g as a token-level decision process - g| / |g|, by enumeration of prefixes",
        "entropy",
        exact=True,
    ),
    "covariance/recovered": Metric(
        "gradient_covariance", "<sampled mean, g> / |g|^2; 1 without bias along g", "entropy"
    ),
    "covariance/t_squared": Metric(
        "gradient_covariance", "Hotelling's T^2 of the sampled mean against g", "entropy"
    ),
    "covariance/f": Metric(
        "gradient_covariance",
        "T^2 scaled to F(directions, estimates - directions)",
        "entropy",
    ),
    "covariance/p_value": Metric("gradient_covariance", "chance of as large an F", "entropy"),
    # Tabular policies: before the step's update, the last after training. Exact, samples apart.
    "tabular/reward": Metric("tabular", "expected reward at temperature 1, mean over prompts"),
    "tabular/share_of_best": Metric("tabular", "the same / the best possible reward"),
    "tabular/greedy_reward": Metric("tabular", "reward of the likeliest tokens"),
    "tabular/data_reward": Metric(
        "tabular", "mean reward of the demonstrations, 0 for tokens that were not written"
    ),
    "tabular/above_data": Metric("tabular", "reward - data_reward"),
    "tabular/greedy_above_data": Metric("tabular", "greedy_reward - data_reward"),
    "tabular/data_loss": Metric("tabular", "-log pi of the demonstrations, mean, nats a response"),
    "tabular/entropy": Metric("tabular", "entropy of the policy, nats a response"),
    "tabular/kl_from_start": Metric("tabular", "KL(policy || start policy), nats a response"),
    "tabular/own_reward": Metric(
        "tabular", "expected reward of one place's token x T, on the policy's own prefixes", "place"
    ),
    "tabular/forced_reward": Metric(
        "tabular",
        "the same on the demonstrations' prefixes; places that none of them reaches are left out",
        "place",
    ),
    "tabular/sampled_reward": Metric("tabular", "mean reward of the step's own samples"),
    "tabular/samples": Metric("tabular", "responses sampled so far"),
    "tabular/sft_gap_all": Metric(
        "tabular",
        "|a - b| / |a| for the gradients of 0/1 REINFORCE without baseline (a) and of SFT on the "
        "right samples over the number of all (b): an identity, whatever the samples",
        exact=True,
    ),
    "tabular/sft_gap_kept": Metric("tabular", "the same with SFT over the number of right samples"),
    "tabular/loss": Metric("tabular", "loss of the step's update"),
    "tabular/grad_norm": Metric("tabular", "gradient norm of the step's update, before clipping"),
}
