"""Facts of a whole run: not logged but kept in its manifest, so that runs that differ in nothing
else stay the same to the bit. A claim may be made on them all the same, as on a metric that is
logged once."""

from rl.metrics.metric import Metric

RUN: dict[str, Metric] = {
    "run/seconds": Metric(
        "policy", "seconds of work, rollouts, evaluation and updates; of the machine", also=("ppo",)
    ),
    "run/state_bytes": Metric(
        "policy",
        "bytes of weights, gradients and moments of all that trains, and of frozen weights",
        exact=True,
        also=("ppo",),
    ),
    "run/sampler_restarts": Metric(
        "policy",
        "how often an engine of the sampler died and was started again; not kept if it never did",
        also=("ppo", "preferences", "gradient_weight"),
    ),
}
