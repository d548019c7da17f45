"""Frames for the figures of reward models: how many labels, how noisy, how sure, against rules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import load, stats, worlds
from analysis.effects import paired, weighted
from rl.config import Claim, Contrast, ContrastEquivalence, Difference, Equivalence
from rl.errors import UserError
from rl.evidence import Evidence

RULES = {"longer": "reward_model/longer_accuracy", "shorter": "reward_model/shorter_accuracy"}


@dataclass(frozen=True)
class Effect:
    """What a claim is about, by seed, and where it says that the mean lies.

    Attributes:
        seeds: the claim's d of each seed, in the unit of its measure.
        low, high: the claim's own bounds, infinite where it has none.
    """

    seeds: "pd.Series[float]"
    low: float
    high: float


def finals(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """What each run logged last of a metric without levels: columns arm, seed, value."""
    rows = load.rows(found, metric, arms)
    ends = rows[rows["step"] == rows.groupby(["arm", "seed"])["step"].transform("max")]
    return ends[["arm", "seed", "value"]].reset_index(drop=True)


def sized(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """`finals` with what their labels are worth, by the plan.

    Returns:
        Columns arm, seed, value; pairs n; flip eps, the chance that a label is turned round; and
        effective, n (1 - 2 eps)^2, the Fisher information of so many flipped labels at small
        margins, in labels without a flip.
    """
    table = finals(found, metric, arms)
    plans = {arm: found.plan["arms"][arm] for arm in arms}
    pairs = table["arm"].map({arm: float(plan["pairs"]) for arm, plan in plans.items()})
    flip = table["arm"].map({arm: float(plan["data"]["flip"]) for arm, plan in plans.items()})
    return table.assign(pairs=pairs, flip=flip, effective=pairs * (1 - 2 * flip) ** 2)


def against(
    found: Evidence, metric: str, arms: Sequence[str], column: str = "pairs"
) -> pd.DataFrame:
    """`sized`, its `column` (pairs or effective) as n, to be drawn against."""
    return sized(found, metric, arms).assign(n=lambda rows: rows[column])


def seed_values(found: Evidence, metric: str, names: Mapping[str, str]) -> dict[str, list[float]]:
    """Name -> what the seeds of each arm in `names` logged last, in the order of `names`."""
    table = finals(found, metric, list(names))
    return {name: table.loc[table["arm"] == arm, "value"].tolist() for arm, name in names.items()}


def reliability(found: Evidence, arm: str) -> pd.DataFrame:
    """Predicted preferences beside observed ones after training, by bin of the prediction.

    Returns:
        One row a seed and filled bin: seed, level (its lower edge), predicted, observed, share (of
        the seed's pairs).
    """
    keys = ["seed", "level"]
    columns = []
    for name in ("predicted", "observed", "in_bin"):
        rows = load.rows(found, f"reward_model/{name}", [arm])
        ends = rows[rows["step"] == rows.groupby("seed")["step"].transform("max")]
        columns.append(ends.set_index(keys)["value"].rename(name))
    table = pd.concat(columns, axis=1).rename(columns={"in_bin": "share"})
    return table[table["share"] > 0].reset_index().sort_values(keys, ignore_index=True)


def pooled(bins: pd.DataFrame) -> pd.DataFrame:
    """`reliability` over all seeds' pairs together, all with as many: one row a bin, and share is
    that of all pairs."""
    weighed = bins[["predicted", "observed"]].mul(bins["share"], axis=0).assign(level=bins["level"])
    whole = bins.groupby("level")["share"].sum()
    means = weighed.groupby("level").sum().div(whole, axis=0)
    return means.assign(share=whole / bins["seed"].nunique()).reset_index()


def folds(found: Evidence, arm: str) -> pd.DataFrame:
    """Right answers on held-out pairs, a row a fold and one, `pooled`, of all of them together.

    Every seed holds out other pairs, so that pooled each of them counts once.

    Returns:
        Columns fold, pairs, accuracy, with Wilson's 95% interval (low, high) of that many
        independent pairs, and the accuracies of the rules that take the longer response, or the
        shorter, on the same pairs; over_rules, accuracy less the better rule's. The better rule is
        chosen by fold, and for all by all.

    Raises:
        UserError: the folds are not held out once each.
    """
    data, seeds = found.plan["arms"][arm]["data"], found.seeds_of(arm)
    if sorted(seed % data["folds"] for seed in seeds) != list(range(data["folds"])):
        raise UserError(f"{arm}: the seeds {seeds} do not hold out each of {data['folds']} parts")
    metrics = {"accuracy": "reward_model/accuracy", "pairs": "reward_model/heldout_pairs", **RULES}
    columns = {
        name: finals(found, metric, [arm]).set_index("seed")["value"]
        for name, metric in metrics.items()
    }
    own = pd.DataFrame(columns)
    right = own[["accuracy", *RULES]].mul(own["pairs"], axis=0).sum() / own["pairs"].sum()
    whole = pd.DataFrame([{**right, "pairs": own["pairs"].sum()}], index=["pooled"])
    table = pd.concat([own, whole]).rename_axis("fold").reset_index()
    intervals = [
        stats.share_interval(share, int(draws), load.BAND)
        for share, draws in zip(table["accuracy"], table["pairs"], strict=True)
    ]
    table[["low", "high"]] = np.array(intervals)
    return table.assign(over_rules=table["accuracy"] - table[list(RULES)].max(axis=1))


def stated(number: int, found: Evidence, name: str) -> Claim:
    """A claim of claims.yaml.

    Raises:
        UserError: there is none of this name.
    """
    for claim in worlds.claims(number, found):
        if claim.id == name:
            return claim
    raise UserError(f"claims.yaml of experiment {number} has no claim {name}")


def effects(number: int, found: Evidence, names: Mapping[str, str]) -> dict[str, Effect]:
    """Name -> the effect of each claim in `names`, and its bounds as claims.yaml has them.

    Args:
        number: the experiment.
        found: its evidence.
        names: claim -> name.

    Raises:
        UserError: no such claim, or one whose effect is not a mean of differences.
    """
    return {name: _effect(found, stated(number, found, claim)) for claim, name in names.items()}


def _effect(found: Evidence, claim: Claim) -> Effect:
    if isinstance(claim, Contrast | ContrastEquivalence):
        seeds = weighted(found, claim)
    elif isinstance(claim, Difference | Equivalence):
        seeds = paired(found, claim)
    else:
        raise UserError(f"{claim.id}: its effect is no mean of differences; show its verdict")
    if isinstance(claim, Equivalence | ContrastEquivalence):
        return Effect(seeds, -claim.margin, claim.margin)
    bounds = {
        "greater": (claim.min_effect, math.inf),
        "less": (-math.inf, -claim.min_effect),
        "not_greater": (-math.inf, claim.min_effect),
        "not_less": (-claim.min_effect, math.inf),
    }
    return Effect(seeds, *bounds[claim.direction])


def table(shown: Mapping[str, Effect]) -> pd.DataFrame:
    """Mean of each effect over seeds, its 95% t interval, the number of seeds, and what the claim
    says of the mean."""
    out = []
    for name, effect in shown.items():
        sample = np.array(effect.seeds, dtype=np.float64)
        low, high = stats.interval(sample, load.BAND)
        bounds = f"{effect.low:g} to {effect.high:g}"
        out.append((name, stats.mean(sample), low, high, len(sample), bounds))
    columns = ["effect", "mean", "low", "high", "seeds", "claimed"]
    return pd.DataFrame(out, columns=columns).set_index("effect")
