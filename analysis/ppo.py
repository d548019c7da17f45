"""Frames for the figures of PPO's parts: one number a run, effects by pair, the signal's decay."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis import load
from analysis.measures import measure_values
from rl.config import Measure
from rl.errors import UserError
from rl.evidence import Evidence

COLUMNS = ["arm", "seed", "step", "level", "value"]
Steps = str | tuple[float, float]


def values(found: Evidence, metric: str, names: Mapping[str, str], steps: Steps) -> pd.DataFrame:
    """One number a run, as a claim measures it.

    Args:
        found: the evidence.
        metric: one without levels, or a fact of whole runs.
        names: arm -> what it is called.
        steps: first, last, all, or from and to in shares of the run's steps.

    Returns:
        A row a name and complete seed: arm (the name), seed, step 0, level NaN, value.

    Raises:
        UserError: an arm without a complete run that has the metric.
    """
    return _rows({name: _by_seed(found, metric, arm, steps) for arm, name in names.items()})


def effects(
    found: Evidence, metric: str, names: Mapping[str, str], control: str, steps: Steps
) -> pd.DataFrame:
    """`values` less those of the arm `control`, paired by seed: seeds that both have."""
    base = _by_seed(found, metric, control, steps)
    return _rows({name: _by_seed(found, metric, arm, steps) - base for arm, name in names.items()})


def ratios(
    found: Evidence, metric: str, names: Mapping[str, str], control: str, steps: Steps
) -> pd.DataFrame:
    """`values` over those of the arm `control`, paired by seed: seeds that both have."""
    base = _by_seed(found, metric, control, steps)
    return _rows({name: _by_seed(found, metric, arm, steps) / base for arm, name in names.items()})


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """`bands` by arm, in the order in which the arms come: mean, low, high, n."""
    found = load.bands(rows).set_index("arm").loc[list(rows["arm"].drop_duplicates())]
    return found[["mean", "low", "high", "n"]]


def gains(
    found: Evidence, metric: str, pairs: Mapping[float, tuple[str, str]], steps: Steps
) -> pd.DataFrame:
    """`bands` of treatment - control, paired by seed.

    Args:
        found: the evidence.
        metric: one without levels.
        pairs: level -> (treatment, control).
        steps: as `values` takes them.

    Returns:
        A row a level: level, mean, low, high, n.
    """
    rows = [
        effects(found, metric, {treatment: "gain"}, control, steps).assign(level=level)
        for level, (treatment, control) in pairs.items()
    ]
    return load.bands(pd.concat(rows))[["level", "mean", "low", "high", "n"]]


def _by_seed(found: Evidence, metric: str, arm: str, steps: Steps) -> "pd.Series[float]":
    measure = Measure.model_validate({"metric": metric, "steps": steps})
    kept = measure_values(found, measure, arm).dropna()
    if kept.empty:
        raise UserError(f"no complete run of {arm} has {metric} at {steps}")
    return kept


def _rows(by_name: Mapping[str, "pd.Series[float]"]) -> pd.DataFrame:
    rows = [
        (name, seed, 0, math.nan, value)
        for name, by_seed in by_name.items()
        for seed, value in by_seed.dropna().items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def decay(trace: float, lengths: Sequence[float]) -> dict[str, pd.DataFrame]:
    """What of a reward for the end arrives at T tokens before it, but for what the critic knows.

    A_hat_t = sum over l >= 0 of lambda^l delta_(t+l) at gamma = 1 (1506.02438, eq. 16), so that
    the TD error of the end has the weight lambda^d in the advantage d tokens before it: lambda^T
    at the first of T, (lambda^1 + ... + lambda^T) / T on average.

    Args:
        trace: lambda, in [0, 1].
        lengths: T, whole numbers from 1 on.

    Returns:
        "first" and "mean": columns level (T), mean, low, high, the last three equal.
    """
    first = [trace**length for length in lengths]
    mean = [sum(trace**d for d in range(1, round(n) + 1)) / n for n in lengths]
    return {"first": _exactly(lengths, first), "mean": _exactly(lengths, mean)}


def powers(trace: float, exponents: Sequence[float]) -> pd.DataFrame:
    """lambda^d by d, as `bands` without width."""
    return _exactly(exponents, [trace**d for d in exponents])


def _exactly(levels: Sequence[float], means: Sequence[float]) -> pd.DataFrame:
    mean = np.array(means, dtype=np.float64)
    return pd.DataFrame({"level": list(levels), "mean": mean, "low": mean, "high": mean})


def from_end(bands: pd.DataFrame, length: int) -> pd.DataFrame:
    """`bands` by place, 1 the first of `length`, as those by distance from the last."""
    return bands.assign(level=length - bands["level"])
