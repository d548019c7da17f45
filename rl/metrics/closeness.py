"""Logged by the studies of policy losses and of KL estimators off their own policy, or off a
reference. Of random policies, whose worlds and pairs the seed fixes; exact, samples apart."""

from rl.metrics.metric import Metric


def _surrogate(meaning: str, *, exact: bool = True) -> Metric:
    return Metric("surrogate_gradients", meaning, "distance", exact=exact)


def _kl(meaning: str, level: str, *, exact: bool = True) -> Metric:
    return Metric("kl_estimators", meaning, level, exact=exact)


CLOSENESS: dict[str, Metric] = {
    # Policy losses on responses of pi_old, a distance KL(pi_old || pi) in nats a response. g is
    # the exact policy gradient of pi, g_hat the loss's, from one response to every prompt.
    "surrogate/kl": _surrogate("KL(pi_old || pi), mean over prompts: the distance itself"),
    "surrogate/kl_back": _surrogate("KL(pi || pi_old), mean over prompts"),
    "surrogate/cosine": _surrogate("cosine of E[g_hat] with g; 0 where E[g_hat] is 0"),
    "surrogate/bias": _surrogate("|E[g_hat] - g| / |g|"),
    "surrogate/norm_ratio": _surrogate("|E[g_hat]| / |g|"),
    "surrogate/recovered": _surrogate("<E[g_hat], g> / |g|^2; 1 without bias along g"),
    "surrogate/sampled_recovered": _surrogate("the same of a sample's mean", exact=False),
    "surrogate/from_reinforce": _surrogate(
        "|E[g_hat] - that of the loss reinforce| / |g|; 0 where both are one"
    ),
    "surrogate/trace": _surrogate("trace of g_hat's covariance"),
    "surrogate/noise": _surrogate("the same / |g|^2"),
    "surrogate/effective_samples": _surrogate(
        "1 / E[W^2] under pi_old, W = pi(y) / pi_old(y), mean over prompts: share of the samples"
    ),
    "surrogate/above_positive": _surrogate(
        "expected share of tokens with w > 1 + clip_high and A > 0, pi / pi_old being w"
    ),
    "surrogate/above_negative": _surrogate("of those with w > 1 + clip_high and A < 0"),
    "surrogate/below_positive": _surrogate("of those with w < 1 - clip_low and A > 0"),
    "surrogate/below_negative": _surrogate("of those with w < 1 - clip_low and A < 0"),
    # One estimator (k1, k2, k3) of a divergence. N(0, 1) against N(m, 1):
    "kl/normal_bias": _kl("(E[k] - KL) / KL, worked out", "KL"),
    "kl/normal_std": _kl("standard deviation of k / KL, worked out", "KL"),
    "kl/normal_sampled_bias": _kl("mean of k / KL - 1, by samples", "KL", exact=False),
    "kl/normal_sampled_std": _kl("standard deviation of k / KL, by samples", "KL", exact=False),
    # Listed responses; the distance is KL(pi || ref), nats a response, mean over prompts.
    "kl/value_bias": _kl("(E[k] - KL) / KL of fresh responses", "distance"),
    "kl/value_std": _kl("standard deviation of one response's k / KL", "distance"),
    "kl/value_sampled_bias": _kl("mean of k / KL - 1, by samples", "distance", exact=False),
    "kl/value_sampled_error": _kl("standard error of the same", "distance", exact=False),
    # As a loss: its mean gradient, by the logits, beside those of KL(pi || ref), reverse, and of
    # KL(ref || pi), forward. Cosines are 0 where it is 0.
    "kl/loss_norm": _kl("|gradient| / |reverse|", "distance"),
    "kl/loss_reverse_cosine": _kl("cosine with the reverse gradient", "distance"),
    "kl/loss_reverse_gap": _kl("|gradient - reverse| / |reverse|", "distance"),
    "kl/loss_forward_cosine": _kl("cosine with the forward gradient", "distance"),
    "kl/loss_forward_gap": _kl("|gradient - forward| / |forward|", "distance"),
    "kl/stale_norm": _kl("as loss_norm, responses of pi_old", "KL(pi || pi_old)"),
    "kl/stale_reverse_cosine": _kl("as loss_reverse_cosine, of pi_old's", "KL(pi || pi_old)"),
    "kl/stale_reverse_gap": _kl("as loss_reverse_gap, of pi_old's", "KL(pi || pi_old)"),
    "kl/stale_forward_cosine": _kl("as loss_forward_cosine, of pi_old's", "KL(pi || pi_old)"),
    "kl/stale_forward_gap": _kl("as loss_forward_gap, of pi_old's", "KL(pi || pi_old)"),
    "kl/place_reverse_gap": _kl("as loss_reverse_gap, by the logits of one place", "place"),
    "kl/place_forward_gap": _kl("as loss_forward_gap, by the logits of one place", "place"),
    # Three actions: dp in one unit of gradient flow on the logits, by the penalty and exactly.
    "kl/field_p_0": _kl("chance of the first action at a point of the grid", "point"),
    "kl/field_p_1": _kl("of the second", "point"),
    "kl/field_flow_0": _kl("flow of the first action's chance by the penalty", "point"),
    "kl/field_flow_1": _kl("of the second's", "point"),
    "kl/field_reverse_0": _kl("the same by KL(pi || ref), first action", "point"),
    "kl/field_reverse_1": _kl("second action", "point"),
    "kl/field_forward_0": _kl("the same by KL(ref || pi), first action", "point"),
    "kl/field_forward_1": _kl("second action", "point"),
}
