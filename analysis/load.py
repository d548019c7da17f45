"""Committed evidence as tidy frames, for the notebooks. Everything comes from artifacts/ alone."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import stats
from analysis.claims import read_verdicts
from analysis.measures import in_window, steps_of
from analysis.table import frame_rows
from rl.config import find_experiment
from rl.errors import UserError
from rl.evidence import VERDICTS, Evidence, evidence_faults, read_evidence

ROOT = Path(__file__).resolve().parents[1]
BAND = 0.95


def artifacts(number: int) -> Path:
    """The artifacts/ folder of an experiment. RL_EVIDENCE names a folder to look in instead of
    experiments/, with the same layout."""
    root = Path(os.environ.get("RL_EVIDENCE", ROOT / "experiments"))
    return find_experiment(number, root) / "artifacts"


def evidence(number: int) -> Evidence:
    """The committed evidence of an experiment.

    Raises:
        UserError: there is none, or it is not what was promoted.
    """
    found = read_evidence(artifacts(number))
    if found.spoilt:
        raise UserError(found.spoilt)
    return found


def verdicts(number: int) -> pd.DataFrame:
    """The committed verdicts, a row a claim, numbers rounded for reading.

    Raises:
        UserError: they, or what they were made from, are not what was promoted.
    """
    faults = evidence_faults(artifacts(number))
    if faults:
        raise UserError(", and ".join(faults.values()))
    return pd.DataFrame(frame_rows(list(read_verdicts(artifacts(number) / VERDICTS).values())))


def arms_with(found: Evidence, metric: str) -> list[str]:
    """The arms that log `metric`, in the order of config.yaml."""
    there = set(found.metrics.loc[found.metrics["metric"] == metric, "arm"])
    return [arm for arm in found.plan["arms"] if arm in there]


def rows(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """The rows of one metric and these arms.

    Raises:
        UserError: an arm without this metric.
    """
    there = set(arms_with(found, metric))
    missing = [arm for arm in arms if arm not in there]
    if missing:
        raise UserError(f"no {metric} in the evidence of {', '.join(missing)}")
    table = found.metrics
    return table[(table["metric"] == metric) & table["arm"].isin(arms)]


def bands(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95% t interval.

    Args:
        table: rows with columns arm, seed, step, level, value.

    Returns:
        One row an arm, step and level, in their order: mean, low, high, n. One seed has no
        interval; its low and high are NaN, which draws nothing.
    """
    out = []
    for (arm, step, level), values in table.groupby(["arm", "step", "level"], dropna=False)[
        "value"
    ]:
        sample = np.array(values.dropna(), dtype=np.float64)
        if not len(sample):
            continue
        low, high = stats.interval(sample, BAND)
        out.append((arm, step, level, stats.mean(sample), low, high, len(sample)))
    frame = pd.DataFrame(out, columns=["arm", "step", "level", "mean", "low", "high", "n"])
    return frame.replace([np.inf, -np.inf], np.nan)


def curve(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """`bands` of one metric and these arms."""
    return bands(rows(found, metric, arms))


def _pairs(found: Evidence, metric: str, treatment: str, control: str) -> pd.DataFrame:
    """treatment and control side by side, the same seed, step and level in one row."""
    both = rows(found, metric, [treatment, control])
    keys = ["seed", "step", "level"]
    one, two = (both.loc[both["arm"] == arm, [*keys, "value"]] for arm in (treatment, control))
    return one.merge(two, on=keys, suffixes=("_treatment", "_control")).assign(arm=treatment)


def differences(found: Evidence, metric: str, treatment: str, control: str) -> pd.DataFrame:
    """`bands` of treatment - control, paired by seed."""
    pairs = _pairs(found, metric, treatment, control)
    return bands(pairs.assign(value=pairs["value_treatment"] - pairs["value_control"]))


def largest_gap(found: Evidence, metric: str, treatment: str, control: str) -> float:
    """The largest |treatment - control| over all seeds, steps and levels.

    Raises:
        UserError: nothing of both was logged at the same place.
    """
    pairs = _pairs(found, metric, treatment, control)
    if pairs.empty:
        raise UserError(f"no {metric} of {treatment} and {control} at the same seed and step")
    return float((pairs["value_treatment"] - pairs["value_control"]).abs().max())


def ratios(found: Evidence, metric: str, treatment: str, control: str) -> pd.DataFrame:
    """`bands` of treatment / control, paired by seed; steps at which the control is 0 are left
    out."""
    pairs = _pairs(found, metric, treatment, control)
    pairs = pairs[pairs["value_control"] != 0]
    return bands(pairs.assign(value=pairs["value_treatment"] / pairs["value_control"]))


def window_differences(
    found: Evidence, metric: str, treatment: str, control: str, steps: tuple[int, int]
) -> pd.DataFrame:
    """`bands` by level of treatment - control, each seed averaged over the steps [from, to]."""
    pairs = _pairs(found, metric, treatment, control)
    pairs = pairs[pairs["step"].between(*steps)]
    pairs = pairs.assign(value=pairs["value_treatment"] - pairs["value_control"])
    by_seed = pairs.groupby(["arm", "seed", "level"], as_index=False)["value"].mean()
    return bands(by_seed.assign(step=steps[0]))


def window(found: Evidence, metric: str, shares: tuple[float, float]) -> tuple[int, int]:
    """The first and the last logged step in a window given as in claims.yaml, in shares of the
    run's steps.

    Raises:
        UserError: nothing was logged there.
    """
    arm = arms_with(found, metric)[0]
    steps = rows(found, metric, [arm])["step"]
    inside = steps[in_window(steps, steps_of(found, arm), shares)]
    if inside.empty:
        raise UserError(f"no {metric} is logged from {shares[0]:g} to {shares[1]:g} of a run")
    return int(inside.min()), int(inside.max())


def medians(found: Evidence, metric: str, arms: Sequence[str], steps: int) -> pd.DataFrame:
    """Median over the first `steps` logged steps, one row an arm and seed."""
    table = rows(found, metric, arms).sort_values("step")
    first = table.groupby(["arm", "seed"]).head(steps)
    return first.groupby(["arm", "seed"])["value"].median().reset_index()


def weights(found: Evidence, arm: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The exact weight curve and the measured points of one arm of the gradient-weight study.

    Returns:
        curve: columns p, weight.
        points: one row a difficulty: p, the mean success rate over seeds; mean, low, high of the
            measured weight; exact, the weight of its problems by enumeration.
    """
    grid = bands(rows(found, "weight/curve", [arm])).sort_values("level")
    points = bands(rows(found, "weight/measured", [arm]))
    for column, metric in (("p", "weight/p"), ("exact", "weight/exact")):
        other = bands(rows(found, metric, [arm]))[["level", "mean"]]
        points = points.merge(other.rename(columns={"mean": column}), on="level")
    return pd.DataFrame({"p": grid["level"], "weight": grid["mean"]}), points


def final_accuracy(found: Evidence) -> pd.DataFrame:
    """Held-out accuracy after training, with its spread over seeds and its sampling error apart.

    `seed SD` is the spread of the trained models together with sampling. `evaluation SE` is the
    binomial error of one seed's accuracy, at as many independent samples as the evaluation asks
    for: somewhat too large because all seeds answer the same prompts, somewhat too small where a
    difficulty has fewer held-out prompts than asked for.
    """
    arms = arms_with(found, "eval/accuracy")
    table = rows(found, "eval/accuracy", arms)
    configs = {m["arm"]: m["config"] for m in found.manifests}
    out = []
    for arm in arms:
        own = table[table["arm"] == arm]
        values = own.loc[own["step"] == own["step"].max(), "value"]
        sample = np.array(values, dtype=np.float64)
        low, high = stats.interval(sample, BAND)
        settings = configs[arm]["eval"]
        draws = settings["problems_per_difficulty"] * settings["samples"]
        task = configs[arm]["task"]
        draws *= len(task["digits"] if "digits" in task else task["difficulties"])
        error = stats.binomial_standard_error(stats.mean(sample), draws)
        out.append((arm, len(sample), stats.mean(sample), low, high, stats.seed_sd(sample), error))
    columns = ["arm", "seeds", "accuracy", "low 95%", "high 95%", "seed SD", "evaluation SE"]
    return pd.DataFrame(out, columns=columns).set_index("arm")


def machines(found: Evidence) -> pd.DataFrame:
    """What ran where: one row a machine, set of versions and commit, summed over its runs."""
    table = pd.DataFrame(
        {
            "machine": ", ".join(f"{k} {v}" for k, v in sorted(m["machine"].items())),
            "versions": ", ".join(f"{k} {v}" for k, v in sorted(m["versions"].items())),
            "commit": m["commit"],
            "seconds": m["seconds"],
            "tokens": m["tokens"],
        }
        for m in found.manifests
    )
    keys = ["machine", "versions", "commit"]
    grouped = table.groupby(keys, dropna=False)
    out = grouped.agg(
        runs=("seconds", "size"), seconds=("seconds", "sum"), tokens=("tokens", "sum")
    ).reset_index()
    out["tokens/s"] = out["tokens"] / out["seconds"]
    return out.round({"seconds": 0, "tokens/s": 0})


def sample_pairs(found: Evidence, arm: str, seed: int) -> pd.DataFrame:
    """Completions of the same problems at the first and the last evaluation, side by side."""
    kept = [s for s in found.samples if s["arm"] == arm and s["seed"] == seed]
    if not kept:
        raise UserError(f"no samples in the evidence of {arm}, seed {seed}")
    table = pd.DataFrame(kept)
    keys = ["difficulty", "problem_id", "prompt", "answer"]
    ends = {}
    for name, step in (("start", table["step"].min()), ("end", table["step"].max())):
        part = table[table["step"] == step].drop_duplicates(keys)
        ends[name] = part.set_index(keys)[["text", "reward"]].add_prefix(f"{name} ")
    joined = ends["start"].join(ends["end"], how="inner").reset_index()
    ordered: pd.DataFrame = joined.sort_values(["difficulty", "problem_id"])
    return ordered.drop(columns="problem_id")


def side_by_side(found: Evidence, arms: Sequence[str], seed: int) -> pd.DataFrame:
    """Completions of the same problems at the last evaluation, one column an arm.

    Raises:
        UserError: an arm without samples of this seed.
    """
    keys = ["difficulty", "problem_id", "prompt", "answer"]
    columns = {}
    for arm in arms:
        kept = [s for s in found.samples if s["arm"] == arm and s["seed"] == seed]
        if not kept:
            raise UserError(f"no samples in the evidence of {arm}, seed {seed}")
        table = pd.DataFrame(kept)
        last = table[table["step"] == table["step"].max()].drop_duplicates(keys)
        columns[arm] = last.set_index(keys)["text"]
    ordered: pd.DataFrame = pd.DataFrame(columns).reset_index().sort_values(keys[:2])
    return ordered.drop(columns="problem_id")
