"""Logged by the study of advantage estimates. Of random policies and critics, which the seed fixes;
exact, samples apart."""

from rl.metrics.metric import Metric


def _estimate(meaning: str, level: str | None, *, exact: bool = True) -> Metric:
    return Metric("advantage_estimates", meaning, level, exact=exact)


# A is the exact advantage of the undiscounted reward, A_hat what GAE makes of one response. All
# means are over the contexts and tokens that the policy visits.
_MOMENTS = {
    "bias": "root mean square of E[A_hat | context, token] - A, over that of A",
    "token_bias": (
        "the same less its mean over a context's tokens, which no policy gradient sees: what is "
        "left is how far apart tokens are misjudged"
    ),
    "variance": "mean of Var(A_hat | context, token), over the mean of A^2",
    "recovered": "mean of A_hat A over that of A^2; 1 without bias along A",
    "gradient_cosine": "cosine of E[g_hat] with g, g_hat the gradient that A_hat gives",
    "gradient_bias": "|E[g_hat] - g| / |g|",
    "gradient_variance": (
        "trace of the covariance of g_hat of one response to every prompt, over |g|^2"
    ),
}
_SAMPLED = {
    "sampled_recovered": "recovered, by samples",
    "sampled_z": "sampled_recovered less recovered, in its exact standard errors",
}

ADVANTAGE_ESTIMATES: dict[str, Metric] = {
    **{
        f"advantage/{family}_{name}": _estimate(f"{meaning}, {where}", level, exact=exact)
        for family, where, level in (
            ("trace", "by lambda at the run's gamma", "lambda"),
            ("discount", "by gamma at lambda = 1", "gamma"),
        )
        for exact, moments in ((True, _MOMENTS), (False, _SAMPLED))
        for name, meaning in moments.items()
    },
    "advantage/trace_over_discount": _estimate(
        "token_bias by lambda = x over that by gamma = x, for the x that are in both lists and not "
        "1; not logged of responses of one token",
        "x",
    ),
    "advantage/place_recovered": _estimate(
        "recovered of the tokens of one place, 1 the first, at the run's gamma and lambda", "place"
    ),
    "advantage/place_variance": _estimate(
        "mean of Var(A_hat | context, token) at one place, over the mean of A^2 there", "place"
    ),
    "advantage/critic_error": _estimate(
        "root mean square of the critic's distance from V at gamma = 1, over that of A", None
    ),
    # A reward of 1 with the last token, at the run's gamma and lambda, and a critic of 0.
    "advantage/signal_first": _estimate("share of it in A_hat of the first token", "length"),
    "advantage/signal_mean": _estimate("the same, mean over the response's tokens", "length"),
    "advantage/signal_back": _estimate(
        "share of it in A_hat so many tokens before the last one", "tokens back"
    ),
}
