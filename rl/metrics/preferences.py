"""Logged of tabular policies that learn from preferences, all known without sampling."""

from rl.metrics.metric import Metric

_OWN = "tabular_preferences"

PREFERENCES: dict[str, Metric] = {
    # Of each level's policy before the step's updates, the last after training.
    "preferences/reward": Metric(_OWN, "expected gold reward, mean over prompts", "level"),
    "preferences/kl": Metric(
        _OWN, "KL(policy || reference), nats a response, mean over prompts", "level"
    ),
    "preferences/objective": Metric(
        _OWN,
        "reward - level x kl; of no use where a level is no coefficient, as in best_of_n",
        "level",
    ),
    "preferences/regret": Metric(
        _OWN, "what reward lacks of the most that a policy has at the same kl", "level"
    ),
    "preferences/proxy_gain": Metric(
        _OWN, "expected learned reward less that of the reference, nats of log-odds", "level"
    ),
    "preferences/unseen_mass": Metric(
        _OWN, "probability of responses that no pair holds, mean over prompts", "level"
    ),
    "preferences/implicit_accuracy": Metric(
        _OWN,
        "share of the reference's pairs that the policy's implicit reward orders as gold does",
        "level",
    ),
    # Of the whole sweep: its best mixtures (rl.tabular.frontier.swept_rewards).
    "preferences/swept_reward": Metric(_OWN, "most gold reward at a KL", "kl"),
    "preferences/swept_regret": Metric(
        _OWN, "what it lacks of the most that any policy has there", "kl"
    ),
    "preferences/area_share": Metric(
        _OWN,
        "area between the swept rewards and the reference's / the same of the exact frontier, up "
        "to the largest of the stated KLs",
    ),
    # Of what every method is given.
    "preferences/reference_reward": Metric(_OWN, "expected gold reward of the reference"),
    "preferences/reference_unseen_mass": Metric(
        _OWN, "the reference's probability of responses that no pair holds"
    ),
    "preferences/learned_accuracy": Metric(
        _OWN, "share of the reference's pairs that the learned reward orders as gold does"
    ),
    "preferences/learned_accuracy_unseen": Metric(
        _OWN, "the same of pairs with a response that no pair holds; not logged without such"
    ),
    # Three actions, and pairs of the first two alone; nothing is drawn.
    "unseen/dpo_excess": Metric(
        "unseen_action",
        "DPO's mean loss less the least there is, of the policy that gives the third action this "
        "mass and splits the rest as DPO would",
        "mass",
        exact=True,
    ),
    "unseen/objective_gap": Metric(
        "unseen_action",
        "what its E[r] - beta KL lacks of the largest value, r learned with r(third) = 0",
        "mass",
        exact=True,
    ),
    "unseen/reference_mass": Metric(
        "unseen_action", "the reference's probability of the third action", exact=True
    ),
    "unseen/optimum_mass": Metric(
        "unseen_action", "that of the policy with the largest E[r] - beta KL", exact=True
    ),
    # Of the step's updates.
    "preferences/loss": Metric(_OWN, "loss at the last of them, summed over levels"),
    "preferences/grad_norm": Metric(_OWN, "gradient norm likewise"),
}
