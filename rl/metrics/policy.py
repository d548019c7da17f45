"""Logged while a decoder is trained, by a plain policy gradient or by PPO, and by the study of its
gradient weights."""

from rl.metrics.metric import Metric


def _decoder(meaning: str, level: str | None = None) -> Metric:
    """Logged whatever the algorithm."""
    return Metric("policy", meaning, level, also=("ppo", "preferences"))


def _gradient(meaning: str, level: str | None = None) -> Metric:
    """Logged under every policy gradient."""
    return Metric("policy", meaning, level, also=("ppo",))


POLICY: dict[str, Metric] = {
    # Training batch, before the step's update unless said otherwise. Of preferences what is said
    # of responses and their rewards is of online_dpo alone.
    "train/reward": _decoder(
        "mean reward of the batch, reward.scale applied, without the KL penalty"
    ),
    "train/reward_by_difficulty": _decoder("mean reward of the batch", "difficulty"),
    "train/kl": _gradient(
        "mean estimate of KL(pi || reference), nats a response: k1 against the base model where no "
        "kl says otherwise; of policy with reward.kl or kl only",
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
    "train/response_tokens": _decoder("mean response length in tokens, EOS included"),
    "train/truncated": _decoder("share of responses stopped by max_new_tokens"),
    "train/entropy": _decoder("mean -log pi of the sampled tokens, nats a token"),
    "train/loss": _decoder(
        "mean over the step's updates of what they step down: of policy the loss with its penalty, "
        "of ppo all three parts; of preferences the mean over pairs, of sft over tokens"
    ),
    "train/grad_norm": _decoder(
        "global gradient norm before clipping, mean over the step's updates"
    ),
    "train/update_norm": _decoder("norm of the step's whole parameter change"),
    "train/lr": _decoder("learning rate of the step's last update"),
    "train/clip_fraction": _gradient("share of tokens whose ratio PPO's clip cuts off, or would"),
    # Where a step is several updates. The shares are of all the batch's response tokens, mean over
    # its updates; quantiles and maximum are of the last update, of tokens where A is not 0.
    **{
        f"train/ratio_{side}_{sign}": _gradient(
            f"share of tokens with a ratio {side} the clip's bounds and a {sign} advantage",
        )
        for side in ("above", "below")
        for sign in ("positive", "negative")
    },
    "train/ratio_quantiles": _gradient(
        "quantiles of the ratios at the step's last update", "quantile"
    ),
    "train/ratio_max": _gradient("largest ratio at the step's last update"),
    # Of the weights that drew the batch, so that no update lies between. Over all response tokens
    # of the batch under ppo and preferences, and under policy where a step is several updates and
    # loss.old_logps is "trainer". Else under policy, where no pass is made for it, over the rows
    # that the step's first update computes: those of its minibatch whose A is not 0, all of them
    # with a penalty in the loss, and one where every A is 0.
    "train/logp_gap_mean": _decoder("mean |sampler - trainer log-prob|, nats a token"),
    "train/logp_gap_max": _decoder("largest |sampler - trainer log-prob|, nats"),
    "train/gap_weight_mean": _gradient(
        "mean of min(pi_trainer / pi_sampler, loss.gap_cap), the weight of each token's loss; with "
        "gap_cap only"
    ),
    "train/gap_weight_capped": _gradient(
        "share of tokens where that ratio is over the cap; with gap_cap only"
    ),
    # Held-out evaluation, before the step's update; the last is after training.
    "eval/accuracy": _decoder(
        "share of right responses on held-out prompts: all that was meant; at step 0 it is p0",
    ),
    "eval/accuracy_by_difficulty": _decoder("the same, by difficulty", "difficulty"),
    "eval/accuracy_by_duplicates": _decoder("the same, in sorting", "duplicates"),
    "eval/proxy": _decoder("mean reward on held-out prompts, without reward.scale and KL penalty"),
    "eval/proxy_by_duplicates": _decoder("the same, in sorting", "duplicates"),
    "eval/hacked": _decoder(
        "share of responses with the largest reward that can be had, and wrong"
    ),
    "eval/hacked_by_duplicates": _decoder("the same, in sorting", "duplicates"),
    "eval/gold": _decoder(
        "mean reward by eval.gold on held-out prompts, whatever is trained for; with it only"
    ),
    "eval/base_kl": _decoder(
        "mean log pi / pi_base of whole responses to held-out prompts, an unbiased estimate of "
        "KL(pi || base model), nats; of best_of_n log N - (N - 1) / N, the most that it can be; "
        "with eval.base_kl only"
    ),
    "eval/response_tokens": _decoder("mean response length in tokens, EOS included"),
    "eval/response_tokens_correct": _decoder(
        "the same, of right responses; not logged where there are none"
    ),
    "eval/response_tokens_incorrect": _decoder(
        "the same, of wrong responses; not logged where there are none"
    ),
    "eval/truncated": _decoder("share of responses stopped by max_new_tokens"),
    # Of tiny programs, by the first hidden test that they do not pass.
    "eval/ended_wrong": _decoder("share of programs that leave a wrong value"),
    "eval/ended_bound": _decoder(
        "share of programs that run into a bound: steps, memory, size, output, time"
    ),
    "eval/ended_fault": _decoder(
        "share of programs that are none, or take what is not there, or divide by 0"
    ),
    "eval/ignores_input": _decoder("share of responses: programs without their input"),
    # Of published problems, in a training batch and in an evaluation. A response that was cut off
    # is not judged, and is among none of these.
    **{
        f"{where}/verdict_{name}": Metric("policy", f"share of responses {meaning}; worth 0")
        for where in ("train", "eval")
        for name, meaning in (
            ("no_answer", "that ended by themselves and state no answer"),
            ("unread", "whose answer is no number where the reference is one"),
            ("too_long", "whose answer is longer than any that could be right"),
            ("timeout", "whose answer took longer to compare than task.verify_seconds"),
            ("memory", "whose answer took more memory to compare than there was"),
        )
    },
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
