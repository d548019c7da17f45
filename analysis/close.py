"""Frames for the figures of policies that stay close: estimators, fields, paths, reuse."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis import load, worlds
from rl.errors import UserError
from rl.evidence import Evidence


def crossing(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The first level at which two lines cross, straight between points on logarithmic axes.

    Args:
        one, other: `bands` by level of positive means.

    Returns:
        The level; NaN where they do not cross.
    """
    both = one.merge(other, on="level", suffixes=("", "_other")).sort_values("level")
    x = np.log(both["level"].to_numpy(dtype=np.float64))
    means = both[["mean", "mean_other"]].to_numpy(dtype=np.float64)
    gap = np.log(means[:, 0]) - np.log(means[:, 1])
    for i in range(len(gap) - 1):
        if gap[i] * gap[i + 1] < 0:
            share = gap[i] / (gap[i] - gap[i + 1])
            return math.exp(x[i] + share * (x[i + 1] - x[i]))
    return math.nan


def field(found: Evidence, arm: str, place: tuple[str, str], flow: tuple[str, str]) -> pd.DataFrame:
    """A field on three probabilities, logged by the number of its point, as the mean over seeds.

    Args:
        found: the evidence.
        arm: whose field.
        place: the metrics of the first two probabilities.
        flow: the metrics of their flows.

    Returns:
        One row a point: p_0, p_1, flow_0, flow_1; the third of each follows.

    Raises:
        UserError: a metric that the arm does not log, or not at every point.
    """
    names = dict(zip(("p_0", "p_1", "flow_0", "flow_1"), (*place, *flow), strict=True))
    columns = {
        name: load.curve(found, metric, [arm]).set_index("level")["mean"]
        for name, metric in names.items()
    }
    table = pd.DataFrame(columns)
    if table.isna().any(axis=None):
        raise UserError(f"{arm}: {', '.join(names.values())} are not logged at the same points")
    return table.reset_index(drop=True)


def pairs(
    found: Evidence, x: str, y: str, arms: Sequence[str], *, block: int = 1
) -> dict[str, pd.DataFrame]:
    """Arm -> seed, step, x, y: two metrics without levels where both were logged.

    Args:
        found: the evidence.
        x, y: the metrics.
        arms: whose.
        block: so many steps are averaged, seed by seed, and stand in their middle.

    Raises:
        UserError: they never were, in one of the arms.
    """
    keys = ["arm", "seed", "step"]
    one, two = (load.rows(found, metric, arms)[[*keys, "value"]] for metric in (x, y))
    both = one.merge(two, on=keys, suffixes=("_x", "_y"))
    both = both.rename(columns={"value_x": "x", "value_y": "y"})
    missing = [arm for arm in arms if arm not in set(both["arm"])]
    if missing:
        raise UserError(f"{x} and {y} are never logged at one step in {', '.join(missing)}")
    if block > 1:
        both = _in_blocks(both, block).groupby(keys, as_index=False)[["x", "y"]].mean()
    return {arm: both[both["arm"] == arm].drop(columns="arm") for arm in arms}


def by_setting(found: Evidence, metric: str, arms: Mapping[float, str]) -> pd.DataFrame:
    """`bands` of what each arm logged last, by the number that its arm stands for.

    Args:
        found: the evidence.
        metric: one without levels.
        arms: setting -> arm.
    """
    bands = worlds.last(found, metric, list(arms.values())).set_index("arm")
    return bands.loc[list(arms.values())].assign(setting=list(arms)).reset_index()


def named(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The rows of the arms in `names`, by these names."""
    kept = table[table["arm"].isin(list(names))]
    return kept.assign(arm=kept["arm"].map(names))


def lines(
    found: Evidence, metric: str, names: Mapping[str, str], *, block: int = 1, log: bool = False
) -> dict[str, pd.DataFrame]:
    """Name -> `bands` of each arm in `names` that logs the metric.

    Args:
        found: the evidence.
        metric: its name.
        names: arm -> name.
        block: so many steps are averaged first, seed by seed, and stand in their middle.
        log: means and intervals are those of logarithms, of values above 0.
    """
    out = {}
    there = set(load.arms_with(found, metric))
    for arm, name in names.items():
        if arm not in there:
            continue
        rows = load.rows(found, metric, [arm])
        if block > 1:
            keys = ["arm", "seed", "step", "level"]
            blocks = _in_blocks(rows, block).groupby(keys, dropna=False)
            rows = blocks["value"].mean().reset_index()
        if log:
            rows = rows.assign(value=np.log(rows["value"]))
        band = load.bands(rows)
        if log:
            ends = ["mean", "low", "high"]
            band[ends] = np.exp(band[ends])
        out[name] = band
    return out


def _in_blocks(rows: pd.DataFrame, block: int) -> pd.DataFrame:
    """Every `block` steps as one, their middle."""
    return rows.assign(step=rows["step"] // block * block + (block - 1) / 2)


def matched(number: int, found: Evidence, arm: str) -> tuple[float, float]:
    """From and to of the values at which claims compare this arm with others, as claims.yaml says.

    Raises:
        UserError: no claim about it matches anything.
    """
    for claim in worlds.claims(number, found):
        where = claim.measure.where
        if where is not None and arm in claim.arms():
            return where.low, where.high
    raise UserError(f"no claim about {arm} is measured where another metric has some value")
