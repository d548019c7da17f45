"""Logged by reward models."""

from rl.metrics.metric import Metric

_OWN = "reward_model"


def _pairs(meaning: str, level: str | None = None) -> Metric:
    """Of the model after training also where it is the reward of a policy: there at step 0."""
    return Metric(_OWN, meaning, level, also=("policy", "ppo", "preferences"))


def _data(meaning: str) -> Metric:
    """Of pairs, whoever learns from them."""
    return Metric(_OWN, meaning, also=("preferences",))


REWARD_MODEL: dict[str, Metric] = {
    # Of all members together, on held-out pairs where nothing else is said, `eval_every` steps
    # apart; step k is before its update, and the last is after training.
    "reward_model/accuracy": _pairs(
        "share of pairs whose chosen response has the higher score, by labels as the judge gave "
        "them; a tie counts 1/2",
    ),
    "reward_model/gold_accuracy": _pairs(
        "the same by the gold reward, of pairs whose rewards differ; sampled pairs only"
    ),
    "reward_model/train_accuracy": _pairs("accuracy on all training pairs, by their labels"),
    "reward_model/margin_mean": _pairs("mean of score(chosen) - score(rejected)"),
    "reward_model/margin_std": _pairs("its population standard deviation over pairs"),
    "reward_model/calibration_error": _pairs(
        "expected calibration error of sigma(|margin|) as the chance to be right, by labels"
    ),
    "reward_model/chance_error": _pairs(
        "the same by the judge's true chance to choose the response with the higher score, which "
        "takes the labels' noise out; sampled pairs only",
    ),
    "reward_model/predicted": _pairs(
        "mean sigma(|margin|) in a bin; empty bins are not logged", "lower edge of the bin"
    ),
    "reward_model/observed": _pairs(
        "accuracy, by labels, in a bin of sigma(|margin|)", "lower edge of the bin"
    ),
    "reward_model/in_bin": _pairs("share of pairs in the bin", "lower edge of the bin"),
    "reward_model/longer_accuracy": Metric(
        _OWN, "accuracy of the rule that the longer response is better, in characters; ties 1/2"
    ),
    "reward_model/shorter_accuracy": Metric(_OWN, "the same of the shorter"),
    "reward_model/over_length_rules": _pairs(
        "accuracy less that of the better length rule on the same pairs"
    ),
    "reward_model/disagreement": _pairs(
        "mean over pairs of the members' population standard deviation of the margin"
    ),
    # After training only.
    "reward_model/reference_score": Metric(
        _OWN,
        "mean score, after centring, of the data it is centred on: both responses of all training "
        "pairs; of the mean of an ensemble it is 0 up to rounding",
    ),
    "reward_model/heldout_score": Metric(
        _OWN, "mean score, after centring, of both responses of held-out pairs"
    ),
    # Of the data, at step 0.
    "reward_model/train_pairs": _data("training pairs"),
    "reward_model/heldout_pairs": _data("held-out pairs"),
    "reward_model/too_long": _data(
        "pairs left out, training and held-out, as a response does not fit the context"
    ),
    "reward_model/same_responses": _data(
        "sampled pairs drawn anew, as both responses were one text; training and held-out"
    ),
    "reward_model/unfinished": _data(
        "sampled pairs drawn anew, as a response was cut off or held a special token"
    ),
    # Every step.
    "reward_model/loss": Metric(
        _OWN, "mean loss of the batch before its update, over members, nats a pair or a response"
    ),
    "reward_model/grad_norm": Metric(
        _OWN, "mean over members of the global gradient norm before clipping"
    ),
}
