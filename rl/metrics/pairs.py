"""Logged of a decoder that learns from pairs of responses."""

from rl.metrics.metric import Metric

_OWN = "preferences"

# Of the batch before its update, a mean over pairs; then of held-out pairs, as evaluations are.
_MEANINGS = {
    "chosen_reward": "implicit reward of the chosen responses: beta times what the method's loss "
    "compares, which is log pi / pi_ref of the response, or log pi, a token of it in dpo_mean, "
    "ipo_mean and simpo; of sft log pi / pi_ref",
    "rejected_reward": "the same of the rejected responses",
    "margin": "the first less the second",
    "accuracy": "share of pairs, by labels as the judge gave them, whose margin is over 0; a tie "
    "counts 1/2",
    "chosen_logp": "log pi of the chosen responses, nats a response",
    "rejected_logp": "the same of the rejected responses",
}

PAIRS: dict[str, Metric] = {
    **{f"pairs/{name}": Metric(_OWN, meaning) for name, meaning in _MEANINGS.items()},
    **{f"heldout_pairs/{name}": Metric(_OWN, meaning) for name, meaning in _MEANINGS.items()},
    "heldout_pairs/loss": Metric(
        _OWN,
        "mean loss, as it is trained on: nats a pair, squared ones "
        "of ipo and ipo_mean; of sft nats a token",
    ),
    "heldout_pairs/gold_accuracy": Metric(
        _OWN, "accuracy by the gold reward, of pairs whose rewards differ"
    ),
}
