"""Logged of tabular policies that are to stay close to what they were."""

from rl.metrics.metric import Metric

_OWN = "proximal"

PROXIMAL: dict[str, Metric] = {
    # Of the policy before the step's updates, the last after training; known without sampling.
    "proximal/reward": Metric(_OWN, "expected reward, mean over prompts"),
    "proximal/share_of_best": Metric(_OWN, "the same / the best possible reward"),
    "proximal/entropy": Metric(_OWN, "entropy, nats a response, mean over prompts"),
    "proximal/kl_from_start": Metric(
        _OWN, "KL(policy || start policy), nats a response, mean over prompts"
    ),
    "proximal/kl_from_reference": Metric(
        _OWN, "KL(policy || the step's reference), likewise; after training, the last one"
    ),
    # Only where the policy is penalised for its KL from the reference; beta is the coefficient as
    # first set, and the optimum that of E[r] - beta KL(pi || start policy).
    "proximal/gibbs_kl": Metric(
        _OWN, "KL(policy || start policy x exp(r / beta) / Z), nats a response, mean over prompts"
    ),
    "proximal/regret": Metric(
        _OWN, "what E[r] - beta KL(policy || start policy) lacks of its largest value, reward units"
    ),
    # Of the step's batch and its updates.
    "proximal/sampled_kl": Metric(
        _OWN,
        "estimate of kl_from_reference by the batch's responses and kl.estimator, nats; with all "
        "responses: its expectation",
    ),
    "proximal/sampled_kl_se": Metric(
        _OWN, "standard error of its mean over the batch's responses; not logged with all responses"
    ),
    "proximal/coefficient": Metric(
        _OWN, "the largest of the coefficients in force: reward.kl, kl.loss and loss.penalty"
    ),
    "proximal/step_kl": Metric(
        _OWN, "exact KL(pi_old || policy after the batch's updates), nats a response"
    ),
    **{
        f"proximal/ratio_{side}_{sign}": Metric(
            _OWN,
            f"share of the batch's tokens with a ratio {side} the clip's bounds and a {sign} "
            f"advantage, after its last update",
        )
        for side in ("above", "below")
        for sign in ("positive", "negative")
    },
    "proximal/clip_fraction": Metric(
        _OWN, "share of the batch's tokens whose ratio PPO's clip cuts off, or would, likewise"
    ),
    "proximal/ratio_quantiles": Metric(
        _OWN, "quantiles of the ratios of the batch's tokens, likewise", "quantile"
    ),
    "proximal/ratio_max": Metric(_OWN, "largest ratio of the batch's tokens, likewise"),
    "proximal/cosine_first": Metric(
        _OWN,
        "cosine of the exact gradient of the expected reward, by the logits, with the direction "
        "that lowers the loss (trust region: with the step), at the batch's first update; 0 where "
        "one of them is 0",
    ),
    "proximal/cosine_last": Metric(_OWN, "the same at the batch's last update"),
    "proximal/loss": Metric(
        _OWN, "loss at the batch's last update; trust region: at the old policy"
    ),
    "proximal/grad_norm": Metric(
        _OWN, "gradient norm at the batch's last update; trust region: at the old policy"
    ),
    "proximal/samples": Metric(_OWN, "responses so far; 0 where none are drawn"),
}
