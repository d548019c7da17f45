"""How far a run's numbers are from the committed ones of the same arm and seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rl.evidence import Evidence

# Elsewhere than on the committed machine, the mean over steps of each metric may be off by
SEED_SDS = 5.0  # so many standard deviations over the arm's committed seeds, or by
RELATIVE = 1e-3  # this share of itself, whichever is more.
RULE = f"within {SEED_SDS:g} SD over seeds or {RELATIVE:g} of the value, whichever is more"
# What these measure is how a machine rounds; elsewhere they may be anything up to that.
OF_ROUNDING = ("train/logp_gap_mean", "train/logp_gap_max")
ROUNDING = 1e-3
KEYS = ["metric", "step", "level"]


@dataclass(frozen=True)
class Comparison:
    """Whether two runs agree, and lines that say how far they are apart."""

    agrees: bool
    lines: list[str]


def compare(committed: Evidence, fresh: Evidence, arm: str, seed: int) -> Comparison:
    """On the committed machine, with the same packages and as many ranks, every value must be the
    same to the bit; elsewhere the mean over steps (and levels) of every metric must be near, as
    RULE says.

    A metric that was not logged then is told and holds nothing up.
    """
    then, now = (_manifest(evidence, arm, seed) for evidence in (committed, fresh))
    facts = [*_differing("machine", then, now), *_differing("versions", then, now)]
    one, two = (sorted(set(manifest.get("ranks", [1]))) for manifest in (then, now))
    facts += [f"ranks: {one} then, {two} now"] if one != two else []
    lines = [f"other than committed: {fact}" for fact in facts]
    if _weights_differ(then, now):
        lines.append("the base model's weights are other than committed")
    old, new = (_rows(evidence, arm, seed) for evidence in (committed, fresh))
    unknown = sorted(set(new["metric"]) - set(old["metric"]))
    if unknown:
        lines.append(f"not compared, as they were not logged then: {', '.join(unknown)}")
    pairs = old.merge(
        new[~new["metric"].isin(unknown)],
        how="outer",
        on=KEYS,
        suffixes=("_old", "_new"),
        indicator=True,
    )
    same = _same_bits(pairs)
    lines.append(_metrics_line(pairs, same))
    samples = [_samples(evidence, arm, seed) for evidence in (committed, fresh)]
    equal = sum(one == two for one, two in zip(*samples, strict=False))
    longest = max(map(len, samples))
    lines.append(f"samples: {equal} of {longest} the same")
    if not facts:
        lines.append("same machine and packages: every value must be bitwise equal")
        return Comparison(bool(same.all()) and equal == longest, lines)
    near, told = _near(committed, old, new, arm)
    return Comparison(near and bool((pairs["_merge"] == "both").all()), [*lines, *told])


def _manifest(evidence: Evidence, arm: str, seed: int) -> Mapping[str, Any]:
    return next(m for m in evidence.manifests if (m["arm"], m["seed"]) == (arm, seed))


def _differing(part: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    one, two = then[part], now[part]
    return [
        f"{part}.{key}: {one.get(key)} then, {two.get(key)} now"
        for key in {**one, **two}
        if one.get(key) != two.get(key)
    ]


def _weights_differ(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Older manifests do not say their weights."""
    return "base_sha256" in then and then["base_sha256"] != now["base_sha256"]


def _rows(evidence: Evidence, arm: str, seed: int) -> pd.DataFrame:
    table = evidence.metrics
    return table.loc[(table["arm"] == arm) & (table["seed"] == seed), [*KEYS, "value"]]


def _samples(evidence: Evidence, arm: str, seed: int) -> list[dict[str, Any]]:
    return [s for s in evidence.samples if (s["arm"], s["seed"]) == (arm, seed)]


def _same_bits(pairs: pd.DataFrame) -> NDArray[np.bool_]:
    """Equal to the bit; a value that one side lacks is not. Every NaN is the same NaN."""
    old, new = (pairs[f"value_{x}"].to_numpy(dtype=np.float64) for x in ("old", "new"))
    equal = (old.view(np.int64) == new.view(np.int64)) | (np.isnan(old) & np.isnan(new))
    same: NDArray[np.bool_] = equal & (pairs["_merge"] == "both").to_numpy()
    return same


def _metrics_line(pairs: pd.DataFrame, same: NDArray[np.bool_]) -> str:
    if same.all():
        return f"metrics: {len(pairs)} values, all bitwise equal"
    other = pairs[~same]
    said = f"metrics: {len(other)} of {len(pairs)} values differ, first at step {other.step.min()}"
    both = other[other["_merge"] == "both"]
    if len(both) < len(other):
        said += f"; {len(other) - len(both)} of them are on one side only"
    if both.empty:
        return said
    old, new = (both[f"value_{x}"].to_numpy(dtype=np.float64) for x in ("old", "new"))
    size = np.maximum(np.abs(old), np.abs(new))
    with np.errstate(invalid="ignore"):
        share = np.abs(old - new) / np.where(size == 0, 1.0, size)
    share[np.isnan(share)] = math.inf  # not finite on one side or on both
    place = int(share.argmax())
    worst = both.iloc[place]
    level = "" if math.isnan(worst["level"]) else f" level {worst['level']:g}"
    return (
        f"{said}; worst: {worst['metric']}{level} at step {worst['step']}: {old[place]:.17g} then, "
        f"{new[place]:.17g} now (relative {share[place]:.3g})"
    )


def _near(
    committed: Evidence, old: pd.DataFrame, new: pd.DataFrame, arm: str
) -> tuple[bool, list[str]]:
    table = committed.metrics[committed.metrics["arm"] == arm]
    by_seed = {seed: _means(rows) for seed, rows in table.groupby("seed")}
    then, now = _means(old), _means(new)
    off = []
    for metric, mean in then.items():
        over_seeds = [means[metric] for means in by_seed.values() if metric in means]
        spread = float(np.std(over_seeds, ddof=1)) if len(over_seeds) > 1 else 0.0
        allowed = max(SEED_SDS * spread, RELATIVE * abs(mean))
        allowed = ROUNDING if metric in OF_ROUNDING else allowed
        found = now.get(metric, math.nan)
        both_nan = metric in now and math.isnan(found) and math.isnan(mean)
        if not (both_nan or abs(found - mean) <= allowed):
            off.append(f"  {metric}: mean {mean:.6g} then, {found:.6g} now, allowed {allowed:.3g}")
    told = f"means over steps: {len(then) - len(off)} of {len(then)} metrics {RULE}"
    return not off, [told, *off]


def _means(rows: pd.DataFrame) -> dict[str, float]:
    """Mean over steps and levels by metric; unlike that of pandas, of NaN it is NaN."""
    groups = rows.groupby("metric")["value"]
    return {str(metric): float(values.to_numpy().mean()) for metric, values in groups}
