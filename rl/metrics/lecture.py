"""Logged on the lecture's sorting world."""

from rl.metrics.metric import Metric

LECTURE: dict[str, Metric] = {
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
