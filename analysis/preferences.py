"""Frames for the figures of policies that learn from preferences: sweeps, frontiers, contrasts.

As in analysis.load everything comes from artifacts/. What is logged last counts, unless said
otherwise.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import close, load, worlds
from rl.errors import UserError
from rl.evidence import Evidence

REWARD, KL, REGRET = (f"preferences/{name}" for name in ("reward", "kl", "regret"))
START = "preferences/reference_reward"
# As arms are named -> as figures name them.
METHODS = {
    "base": "base model",
    "sft": "supervised",
    "best_of_n": "best of N",
    "dpo": "DPO",
    "dpo_mean": "DPO, mean over tokens",
    "ipo": "IPO",
    "ipo_mean": "IPO, mean over tokens",
    "simpo": "SimPO",
    "online_dpo": "online DPO",
    "ppo": "PPO",
    "ppo_gold": "PPO, gold reward",
    "rloo": "RLOO",
    "grpo": "GRPO",
}


def sweep(
    found: Evidence, arm: str, metric: str = REWARD, *, start: str | None = START
) -> pd.DataFrame:
    """Where each level of an arm's sweep ends: its KL and another metric, as means over seeds.

    Args:
        found: the evidence.
        arm: whose sweep.
        metric: by level, as KL is.
        start: a metric without levels that is taken off, seed by seed; None takes nothing off.

    Returns:
        One row a level, in their order: level; mean, low, high of the KL; mean_y, low_y, high_y.
    """
    rows = _ends(found, metric, [arm])
    if start is not None:
        from_it = _ends(found, start, [arm]).set_index("seed")["value"]
        rows = rows.assign(value=rows["value"] - rows["seed"].map(from_it))
    kls, values = (load.bands(table.assign(step=0)) for table in (_ends(found, KL, [arm]), rows))
    ends = ["level", "mean", "low", "high"]
    both = kls[ends].merge(values[ends], on="level", suffixes=("", "_y"))
    return both.sort_values("level", ignore_index=True)


def sweeps(
    found: Evidence,
    names: Mapping[str, str],
    cells: Mapping[str, str],
    metric: str = REWARD,
    *,
    start: str | None = START,
) -> dict[str, dict[str, pd.DataFrame]]:
    """Cell's title -> method's name -> `sweep`.

    Args:
        found: the evidence.
        names: arm of the first cell -> method's name.
        cells: ending of an arm's name in a cell -> the cell's title.
        metric, start: as in `sweep`.
    """
    return {
        title: {name: sweep(found, arm + end, metric, start=start) for arm, name in names.items()}
        for end, title in cells.items()
    }


def frontier(found: Evidence, arms: Sequence[str], points: int = 81) -> pd.DataFrame:
    """The most gold reward that a policy has at each KL, less the reference's, mean over seeds.

    Exact where it was logged: at the KL of every policy, as its reward and regret. A seed's arms of
    one reference have one frontier, so that all of them give points of it; between two of them it
    is taken as straight in the root of the KL.

    Args:
        found: the evidence.
        arms: arms of one reference, at all their steps.
        points: on the line, evenly in the root of the KL, to where all seeds have points.

    Returns:
        `bands` with the KL as level; its first row is (0, 0).

    Raises:
        UserError: the arms of a seed do not start from the same reward.
    """
    keys = ["arm", "seed", "step", "level"]
    tables = [
        load.rows(found, metric, arms).set_index(keys)["value"] for metric in (REWARD, REGRET)
    ]
    most = (tables[0] + tables[1]).rename("most")
    table = pd.concat([most, load.rows(found, KL, arms).set_index(keys)["value"]], axis=1)
    starts = load.rows(found, START, arms).groupby("seed")["value"]
    if (starts.max() - starts.min() > 1e-9).any():
        raise UserError(f"{', '.join(arms)}: not of one reference; {START} differs within a seed")
    lines = {
        seed: _line(own, start)
        for (seed, own), start in zip(
            table.dropna().groupby(level="seed"), starts.mean(), strict=True
        )
    }
    root = np.linspace(0, min(float(line[0][-1]) for line in lines.values()), points)
    rows = [
        pd.DataFrame({"seed": seed, "level": root**2, "value": np.interp(root, *line)})
        for seed, line in lines.items()
    ]
    return load.bands(pd.concat(rows).assign(arm="frontier", step=0))


def _line(own: pd.DataFrame, start: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Roots of a seed's KLs, ascending, each once, from 0; and the gains there."""
    by_kl = own[own["value"] > 0].groupby("value")["most"].mean()
    kl, most = by_kl.index.to_numpy(dtype=np.float64), by_kl.to_numpy(dtype=np.float64)
    return np.sqrt(np.insert(kl, 0, 0.0)), np.insert(most - start, 0, 0.0)


def contrasts(
    found: Evidence,
    metric: str,
    weights: Mapping[str, Mapping[str, float]],
    *,
    level: float | None = None,
) -> pd.DataFrame:
    """`bands` of sums of weight * metric over arms, seed by seed; arm is the contrast's name.

    Args:
        found: the evidence.
        metric: its name.
        weights: contrast's name -> arm -> weight.
        level: of a metric with levels, the one that counts.

    Raises:
        UserError: the metric does not have this level.
    """
    arms = list(dict.fromkeys(arm for one in weights.values() for arm in one))
    rows = _ends(found, metric, arms)
    if level is not None:
        rows = rows[np.isclose(rows["level"], level)]
    wide = rows.pivot_table(index="seed", columns="arm", values="value")
    if wide.empty or set(arms) - set(wide):
        raise UserError(f"{metric}: not logged at the level {level} by each of {', '.join(arms)}")
    out = []
    for name, one in weights.items():
        value = sum(weight * wide[arm] for arm, weight in one.items())
        out.append(pd.DataFrame({"seed": wide.index, "value": value}).assign(arm=name))
    bands = load.bands(pd.concat(out).assign(step=0, level=np.nan))
    return bands.set_index("arm").loc[list(weights)].reset_index()


def cell_bands(
    found: Evidence,
    metric: str,
    names: Mapping[str, str],
    cells: Mapping[str, str],
    *,
    level: float | None = None,
) -> dict[str, pd.DataFrame]:
    """Cell's title -> `bands` of the methods by name; arguments as in `sweeps`, `contrasts`."""
    return {
        title: contrasts(
            found, metric, {name: {arm + end: 1.0} for arm, name in names.items()}, level=level
        )
        for end, title in cells.items()
    }


def by_level(
    found: Evidence, metric: str, names: Mapping[str, str], *, start: str | None = None
) -> dict[str, pd.DataFrame]:
    """Name -> `bands` by level of what each arm logged last; `start` as in `sweep`."""
    out = {}
    for arm, name in names.items():
        rows = _ends(found, metric, [arm])
        if start is not None:
            from_it = _ends(found, start, [arm]).set_index("seed")["value"]
            rows = rows.assign(value=rows["value"] - rows["seed"].map(from_it))
        out[name] = load.bands(rows.assign(step=0)).sort_values("level")
    return out


def best_of_n_formula(sizes: Sequence[float]) -> pd.DataFrame:
    """log N - (N - 1) / N as `bands` by level: the KL of the best of N where no two are the same
    (2009.01325, section 4.3)."""
    n = np.array(sorted(sizes), dtype=np.float64)
    kl = np.log(n) - (n - 1) / n
    return pd.DataFrame({"level": n, "mean": kl, "low": kl, "high": kl})


def decoders(found: Evidence, metric: str, prefix: str = "text_") -> dict[str, str]:
    """The arms of decoders that log `metric` -> their names without `prefix`; none is no error."""
    arms = [arm for arm in load.arms_with(found, metric) if arm.startswith(prefix)]
    return {arm: arm.removeprefix(prefix) for arm in arms}


def method_of(name: str) -> str:
    """The method that an arm's name begins with; the name itself where there is none.

    Of two that fit, the longer: dpo_mean_far is of dpo_mean.
    """
    fitting = [m for m in METHODS if name == m or name.startswith(f"{m}_")]
    return METHODS[max(fitting, key=len)] if fitting else name


def decoder_paths(
    found: Evidence, x: str, y: str, names: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """Method -> arm, seed, step, x, y of the arms in `names` that log both at one step."""
    there = set(load.arms_with(found, x)) & set(load.arms_with(found, y)) & set(names)
    out: dict[str, list[pd.DataFrame]] = {}
    for arm, name in names.items():
        if arm in there:
            rows = close.pairs(found, x, y, [arm])[arm].assign(arm=name)
            out.setdefault(method_of(name), []).append(rows)
    return {method: pd.concat(tables) for method, tables in out.items()}


def reward_paths(
    found: Evidence,
    x: str,
    decoders: Mapping[str, str],
    by_learned: Mapping[str, str],
    shown: Sequence[str],
) -> dict[str, dict[str, pd.DataFrame]]:
    """`decoder_paths` of eval/gold and, under "proxy", of eval/proxy against x.

    Args:
        found: the evidence.
        x: metric of the horizontal axis.
        decoders: arm -> name, for gold.
        by_learned: arm -> name, of those whose eval/proxy is the learned reward.
        shown: the names that are.
    """
    return {
        title: decoder_paths(
            found, x, f"eval/{title}", {arm: name for arm, name in arms.items() if name in shown}
        )
        for title, arms in (("gold", decoders), ("proxy", by_learned))
    }


def last_named(found: Evidence, metric: str, names: Mapping[str, str]) -> pd.DataFrame:
    """`bands` of what the arms that log a metric without levels logged last, by their names."""
    there = set(load.arms_with(found, metric))
    return close.named(worlds.last(found, metric, [arm for arm in names if arm in there]), names)


def _ends(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """Rows of each run's last step with this metric."""
    rows = load.rows(found, metric, arms)
    return rows[rows["step"] == rows.groupby(["arm", "seed"])["step"].transform("max")]
