"""Logged while a decoder is trained, and by the study of its gradient weights."""

from rl.metrics.metric import Metric

POLICY: dict[str, Metric] = {
    # Training batch, before the step's update unless said otherwise.
    "train/reward": Metric(
        "policy", "mean reward of the batch, reward.scale applied, without the KL penalty"
    ),
    "train/reward_by_difficulty": Metric("policy", "mean reward of the batch", "difficulty"),
    "train/kl": Metric(
        "policy",
        "mean estimate of KL(pi || reference), nats a response; with reward.kl or kl only, and k1 "
        "against the base model without the latter",
    ),
    "train/kl_coefficient": Metric(
        "policy", "coefficients of the penalty at this step, their sum; with kl.target only"
    ),
    **{
        f"train/base_{estimator}{end}": Metric(
            "policy",
            f"{what} KL(pi || base model) by {estimator} of whole responses, nats; with kl",
        )
        for estimator in ("k1", "k2", "k3")
        for end, what in (
            ("", "mean estimate of"),
            ("_std", "standard deviation over responses of the estimate of"),
            ("_se", "standard error of the mean estimate of"),
        )
    },
    "train/base_std_ratio": Metric(
        "policy", "base_k3_std / base_k1_std; not logged while policy and base model are one"
    ),
    "train/objective": Metric(
        "policy", "train/reward less the coefficients of the penalty times base_k1; with kl only"
    ),
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
    "train/clip_fraction": Metric(
        "policy", "share of tokens whose ratio PPO's clip cuts off, or would"
    ),
    # Where a step is several updates. The shares are of all the batch's response tokens, mean over
    # its updates; quantiles and maximum are of the last update, of tokens where A is not 0.
    **{
        f"train/ratio_{side}_{sign}": Metric(
            "policy",
            f"share of tokens with a ratio {side} the clip's bounds and a {sign} advantage",
        )
        for side in ("above", "below")
        for sign in ("positive", "negative")
    },
    "train/ratio_quantiles": Metric(
        "policy", "quantiles of the ratios at the step's last update", "quantile"
    ),
    "train/ratio_max": Metric("policy", "largest ratio at the step's last update"),
    "train/logp_gap_mean": Metric(
        "policy", "mean |sampler - trainer log-prob| where A is not 0, nats a token"
    ),
    "train/logp_gap_max": Metric(
        "policy", "largest |sampler - trainer log-prob| where A is not 0, nats"
    ),
    # Held-out evaluation, before the step's update; the last is after training.
    "eval/accuracy": Metric(
        "policy",
        "share of right responses on held-out prompts: all that was meant; at step 0 it is p0",
    ),
    "eval/accuracy_by_difficulty": Metric("policy", "the same, by difficulty", "difficulty"),
    "eval/accuracy_by_duplicates": Metric("policy", "the same, in sorting", "duplicates"),
    "eval/proxy": Metric(
        "policy", "mean reward on held-out prompts, without reward.scale and KL penalty"
    ),
    "eval/proxy_by_duplicates": Metric("policy", "the same, in sorting", "duplicates"),
    "eval/hacked": Metric(
        "policy", "share of responses with the largest reward that can be had, and wrong"
    ),
    "eval/hacked_by_duplicates": Metric("policy", "the same, in sorting", "duplicates"),
    "eval/response_tokens": Metric("policy", "mean response length in tokens, EOS included"),
    "eval/response_tokens_correct": Metric(
        "policy", "the same, of right responses; not logged where there are none"
    ),
    "eval/response_tokens_incorrect": Metric(
        "policy", "the same, of wrong responses; not logged where there are none"
    ),
    "eval/truncated": Metric("policy", "share of responses stopped by max_new_tokens"),
    # Of tiny programs, by the first hidden test that they do not pass.
    "eval/ended_wrong": Metric("policy", "share of programs that leave a wrong value"),
    "eval/ended_bound": Metric(
        "policy", "share of programs that run into a bound: steps, memory, size, output, time"
    ),
    "eval/ended_fault": Metric(
        "policy", "share of programs that are none, or take what is not there, or divide by 0"
    ),
    "eval/ignores_input": Metric("policy", "share of responses: programs without their input"),
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
}
