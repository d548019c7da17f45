"""One number per arm and seed, out of the long table of metrics, as a claim's `measure` asks; for
a log-rank claim the time of each run's event."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from rl.config import Band, LogRank, Measure
from rl.evidence import COLUMNS, FACTS, Evidence


def measure_values(evidence: Evidence, measure: Measure, arm: str) -> "pd.Series[float]":
    """The measure of one arm, by seed.

    `mean`: unweighted mean of the values kept. `slope_*`: their least-squares slope against the
    step, the level, or another metric at the same steps and levels, in units of the metric per
    unit of that.

    Args:
        evidence: from rl.evidence.
        measure: metric, steps, levels and reduction.
        arm: whose runs.

    Returns:
        A number for every planned seed; NaN where the run is not complete, the metric or one of the
        levels asked for is absent or not finite, a slope has fewer than two places to lie on, or no
        step lies in the band that `where` asks for.
    """
    logged = _kept(evidence, measure, arm, measure.metric)
    if measure.reduce == "slope_metric":
        # A value without its partner becomes NaN, so that the claim is incomplete: never dropped.
        other = _kept(evidence, measure, arm, str(measure.slope_on))
        keys = ["seed", "step", "level"]
        logged = logged.merge(other[[*keys, "value"]], how="left", on=keys, suffixes=("", "_on"))
    done = evidence.complete()
    by_seed = {
        seed: _reduce(rows, measure)
        for seed, rows in logged.groupby("seed")
        if (arm, seed) in done and _has_levels(rows, measure)
    }
    values = pd.Series(by_seed, dtype="float64").reindex(_planned(evidence, arm))
    return values.rename(arm)


def event_times(evidence: Evidence, claim: LogRank, arm: str) -> pd.DataFrame:
    """When each run of one arm came to the claim's event, or how far it was followed without.

    Args:
        evidence: from rl.evidence.
        claim: metric, event and clock.
        arm: whose runs.

    Returns:
        A row for every planned seed of the arm: `time`, in steps or in the unit of the claim's
        `time_metric`, and `event`, 1 if it came at that time, 0 if the run is censored there. NaN
        where the run is not complete, a value is not finite, or the clock is not logged there.
    """
    rows = _kept(evidence, claim.measure, arm, claim.measure.metric).sort_values("step")
    rows = rows.assign(time=_clock(evidence, arm, rows, claim.time_metric))
    done = evidence.complete()
    found = {}
    for seed, one in rows.groupby("seed"):
        value = one["value"]
        came = value >= claim.reaches if claim.event == "at_least" else value <= claim.reaches
        at = one[came].iloc[0] if came.any() else one.iloc[-1]
        if (arm, seed) in done and np.isfinite([*value, at["time"]]).all():
            found[seed] = {"time": float(at["time"]), "event": float(came.any())}
    table = pd.DataFrame.from_dict(found, orient="index", columns=["time", "event"])
    return table.astype("float64").reindex(_planned(evidence, arm))


def _planned(evidence: Evidence, arm: str) -> "pd.Index[int]":
    return pd.Index(evidence.seeds_of(arm), name="seed", dtype="int64")


def _clock(
    evidence: Evidence, arm: str, rows: pd.DataFrame, metric: str | None
) -> "pd.Series[float]":
    """The time of each row: its step, or the value of `metric` there, NaN where there is none."""
    if metric is None:
        return rows["step"].astype("float64")
    table = evidence.metrics
    ticks = table[(table["arm"] == arm) & (table["metric"] == metric)]
    joined = rows.merge(ticks, how="left", on=["seed", "step"], suffixes=("", "_clock"))
    return joined["value_clock"].set_axis(rows.index)


def steps_of(evidence: Evidence, arm: str) -> int:
    """How many steps the runs of an arm have."""
    return int(evidence.plan["arms"][arm]["steps"])


def in_window(step: "pd.Series[int]", total: int, shares: tuple[float, float]) -> "pd.Series[bool]":
    """Which steps lie in [from, to], both included, given as shares of `total` steps.

    29 / 100 is rounded as the text 0.29 is, so that a step on the border is in; 0.29 * 100 is
    28.999999999999996.
    """
    return (step / total).between(*shares)


def _kept(evidence: Evidence, measure: Measure, arm: str, metric: str) -> pd.DataFrame:
    """The rows of one arm and metric in the measure's band, steps and levels."""
    table = _facts(evidence, arm, metric) if metric in FACTS else evidence.metrics
    rows = table[(table["arm"] == arm) & (table["metric"] == metric)]
    if measure.where is not None:
        rows = _inside(rows, _band(evidence, measure.where, arm))
    if rows.empty:  # an arm that the profile leaves out has no number of steps either
        return rows
    steps = rows.groupby("seed")["step"]
    if measure.steps == "first":
        rows = rows[rows["step"] == steps.transform("min")]
    elif measure.steps == "last":
        rows = rows[rows["step"] == steps.transform("max")]
    elif measure.steps != "all":
        rows = rows[in_window(rows["step"], steps_of(evidence, arm), measure.steps)]
    if measure.levels is not None:
        rows = rows[rows["level"].isin(measure.levels)]
    return rows


def _facts(evidence: Evidence, arm: str, metric: str) -> pd.DataFrame:
    """A fact of whole runs, out of their manifests, as if logged once, at the end."""
    key = metric.removeprefix("run/")
    rows = [
        (arm, m["seed"], steps_of(evidence, arm), metric, math.nan, m[key])
        for m in evidence.manifests
        if m["arm"] == arm and key in m
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _band(evidence: Evidence, band: Band, arm: str) -> pd.DataFrame:
    """Where the band's metric was logged, by seed and step: `inside`, 1 or 0, or NaN where the
    value is none."""
    table = evidence.metrics
    rows = table[(table["arm"] == arm) & (table["metric"] == band.metric)]
    inside = rows["value"].between(band.low, band.high).astype("float64")
    return rows[["seed", "step"]].assign(inside=inside.where(rows["value"].notna()))


def _inside(rows: pd.DataFrame, band: pd.DataFrame) -> pd.DataFrame:
    """The rows at the steps inside. A value of which that cannot be told becomes NaN, so that the
    claim is incomplete: never dropped."""
    joined = rows.merge(band, how="inner", on=["seed", "step"])
    kept = joined[joined["inside"] != 0]
    return kept.assign(value=kept["value"].where(kept["inside"].notna())).drop(columns="inside")


def never_inside(evidence: Evidence, measure: Measure, arm: str) -> list[int]:
    """The seeds of an arm that log the metric of the measure's band, and never lie in it."""
    if measure.where is None:
        return []
    band = _band(evidence, measure.where, arm)
    never = (band["inside"] == 0).groupby(band["seed"]).all()
    return sorted(never.index[never].tolist())


def _has_levels(rows: pd.DataFrame, measure: Measure) -> bool:
    return measure.levels is None or set(measure.levels) <= set(rows["level"])


def _reduce(rows: pd.DataFrame, measure: Measure) -> float:
    y = rows["value"].to_numpy(dtype=np.float64)
    if not np.isfinite(y).all():
        return math.nan
    if measure.reduce == "mean":
        return float(y.mean())
    column = {"slope_step": "step", "slope_level": "level", "slope_metric": "value_on"}
    x = rows[column[measure.reduce]].to_numpy(dtype=np.float64)
    if not np.isfinite(x).all() or len(np.unique(x)) < 2:
        return math.nan
    return float(stats.linregress(x, y).slope)
