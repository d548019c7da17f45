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
}
