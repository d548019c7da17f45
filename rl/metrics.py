"""Every metric that is logged, in one place: its name, who logs it, what it means, its unit.

A metric with `level` is logged once a level (difficulty = digits in the prompt). Writers refuse a
name that is not here, and a claim can be made only on a name that its arms' program logs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One documented metric.

    `exact`: by enumeration or in closed form, with nothing drawn: an enumeration claim may be made
    on it.
    """

    program: str
    meaning: str
    level: str | None = None
    exact: bool = False


METRICS: dict[str, Metric] = {
    # Training batch, before the step's update unless said otherwise.
    "train/reward": Metric("policy", "mean reward of the batch, reward.scale applied"),
    "train/reward_by_difficulty": Metric("policy", "mean reward of the batch", "difficulty"),
    "train/mixed_groups": Metric("policy", "share of groups whose rewards differ, in [0, 1]"),
    "train/weight_by_difficulty": Metric(
        "policy", "mean over groups of (1/G) sum_i A_i 1[r_i > 0]", "difficulty"
    ),
    "train/response_tokens": Metric("policy", "mean response length in tokens, EOS included"),
    "train/truncated": Metric("policy", "share of responses stopped by max_new_tokens"),
    "train/entropy": Metric("policy", "mean -log pi of the sampled tokens, nats a token"),
    "train/loss": Metric("policy", "policy loss, mean over the step's optimiser updates"),
    "train/grad_norm": Metric(
        "policy", "global gradient norm before clipping, mean over the step's updates"
    ),
    "train/update_norm": Metric("policy", "norm of the step's whole parameter change"),
    "train/lr": Metric("policy", "learning rate of the step's last update"),
    "train/clip_fraction": Metric("policy", "share of tokens whose ratio the clip cuts off"),
    "train/logp_gap_mean": Metric(
        "policy", "mean |sampler - trainer log-prob| where A is not 0, nats a token"
    ),
    "train/logp_gap_max": Metric(
        "policy", "largest |sampler - trainer log-prob| where A is not 0, nats"
    ),
    # Held-out evaluation, before the step's update; the last is after training.
    "eval/accuracy": Metric("policy", "share of right responses on held-out prompts"),
    "eval/accuracy_by_difficulty": Metric("policy", "the same, by difficulty", "difficulty"),
    "eval/response_tokens": Metric("policy", "mean response length in tokens, EOS included"),
    "eval/response_tokens_correct": Metric(
        "policy", "the same, of right responses; not logged where there are none"
    ),
    "eval/response_tokens_incorrect": Metric(
        "policy", "the same, of wrong responses; not logged where there are none"
    ),
    "eval/truncated": Metric("policy", "share of responses stopped by max_new_tokens"),
    # The gradient-weight study: one measurement at the base model, step 0.
    "weight/p": Metric(
        "gradient_weight", "exact success rate of the base model, mean over problems", "difficulty"
    ),
    "weight/measured": Metric(
        "gradient_weight",
        "sampled update along a direction, per exact change of logit p along it",
        "difficulty",
    ),
    "weight/exact": Metric(
        "gradient_weight", "the same by enumeration over Binomial(G, p)", "difficulty"
    ),
    # Of these, the problems and the direction of weight/p and weight/exact are drawn.
    "weight/curve": Metric("gradient_weight", "the exact weight over a grid of p", "p", exact=True),
    # The lecture's sorting world. An epoch's own responses and updates; what follows is exact, by
    # enumeration of all responses, before the epoch's updates; the last after training. Rewards
    # are those of the run's `reward`, points.
    "sorting/reward": Metric("lecture_sorting", "mean reward of the epoch's responses"),
    "sorting/tied_groups": Metric(
        "lecture_sorting", "share of prompts whose responses all have one reward"
    ),
    "sorting/skipped": Metric(
        "lecture_sorting", "1 where the loss divides by 0 and the epoch takes no update, else 0"
    ),
    "sorting/loss": Metric(
        "lecture_sorting", "loss with its penalty, mean over the updates; not logged without them"
    ),
    "sorting/grad_norm": Metric(
        "lecture_sorting", "gradient norm, mean over the updates; not logged without them"
    ),
    "sorting/drift": Metric(
        "lecture_sorting",
        "KL of the policy after the epoch's updates from the one that drew its responses, nats a "
        "response, mean over training prompts",
    ),
    "sorting/expected_reward": Metric("lecture_sorting", "mean reward on the training prompts"),
    "sorting/exact": Metric("lecture_sorting", "chance of the sorted prompt, training prompts"),
    "sorting/hacked": Metric(
        "lecture_sorting",
        "chance of a response that is not sorted and has the sorted one's reward, training prompts",
    ),
    "sorting/modal_reward": Metric(
        "lecture_sorting", "reward of the likeliest response, mean over training prompts"
    ),
    "sorting/entropy": Metric("lecture_sorting", "entropy, nats a response, training prompts"),
    "sorting/heldout_reward": Metric(
        "lecture_sorting", "mean reward on held-out prompts of distinct tokens"
    ),
    "sorting/heldout_exact": Metric(
        "lecture_sorting", "chance of the sorted prompt on held-out prompts of distinct tokens"
    ),
    "sorting/heldout_hacked": Metric(
        "lecture_sorting", "as sorting/hacked on all held-out prompts, repeated tokens included"
    ),
    "sorting/heldout_exact_by_distinct": Metric(
        "lecture_sorting",
        "chance of the sorted prompt on held-out prompts",
        "distinct tokens in the prompt",
    ),
    "sorting/kl_reference": Metric(
        "lecture_sorting", "KL from the penalty's reference, nats a response, training prompts"
    ),
    "sorting/kl_initial": Metric(
        "lecture_sorting", "KL from the untrained policy, nats a response, training prompts"
    ),
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
