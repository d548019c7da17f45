"""Frames of experiments that train in small worlds, for the notebooks; see analysis.load.

Like there, everything comes from artifacts/ and from the claims.yaml beside it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import load
from analysis.measures import event_times, in_window, steps_of
from rl.config import Claim, Exact, LogRank, load_experiment
from rl.errors import UserError
from rl.evidence import Evidence

# The largest reward that a rule gives, where it can be told from the settings alone.
BEST = {"classifier": np.inf, "lines": 0.0}


def arms_of(found: Evidence, metric: str, prefix: str) -> list[str]:
    """The arms whose names begin with `prefix` and that log `metric`, in config.yaml's order.

    Raises:
        UserError: there are none.
    """
    arms = [arm for arm in load.arms_with(found, metric) if arm.startswith(prefix)]
    if not arms:
        raise UserError(f"no arm {prefix}... with {metric} in the evidence")
    return arms


def arms_in(found: Evidence, task: str) -> list[str]:
    """The arms that train a decoder on a task, in config.yaml's order."""
    plans = found.plan["arms"].items()
    return [arm for arm, plan in plans if plan.get("task", {}).get("name") == task]


def lines(
    found: Evidence, metric: str, arms: Sequence[str], prefix: str = ""
) -> dict[str, pd.DataFrame]:
    """`bands` over steps by arm, named without `prefix`."""
    return {arm.removeprefix(prefix): load.curve(found, metric, [arm]) for arm in arms}


def by_level(table: pd.DataFrame, unit: str) -> dict[str, pd.DataFrame]:
    """One frame a level, by its title, "0.6 nats a token" for the unit "nats a token"."""
    return {f"{level:g} {unit}": own for level, own in table.groupby("level")}


def ratios_to(found: Evidence, metric: str, arms: Sequence[str], control: str) -> pd.DataFrame:
    """`bands` of arm / control by level, paired by seed, for each of `arms`."""
    return pd.concat([load.ratios(found, metric, arm, control) for arm in arms])


def last(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """`bands` by arm and level of what each run logged last."""
    rows = load.rows(found, metric, arms)
    ends = rows[rows["step"] == rows.groupby(["arm", "seed"])["step"].transform("max")]
    return load.bands(ends.assign(step=0)).drop(columns="step")


def window_means(
    found: Evidence, metric: str, arms: Sequence[str], shares: tuple[float, float]
) -> pd.DataFrame:
    """`bands` by arm and level, each seed averaged over a window given in shares of a run."""
    rows = load.rows(found, metric, arms)
    kept = [
        own[in_window(own["step"], steps_of(found, str(arm)), shares)]
        for arm, own in rows.groupby("arm", sort=False)
    ]
    keys = ["arm", "seed", "level"]
    by_seed = pd.concat(kept).groupby(keys, dropna=False, as_index=False)["value"].mean()
    return load.bands(by_seed.assign(step=0)).drop(columns="step")


def carried(found: Evidence, metric: str, arms: Sequence[str]) -> pd.DataFrame:
    """`bands` of a metric without levels, where runs may stop early.

    A run that stopped, as its world was solved, goes on with its last value: without it a mean over
    the runs that are left would fall whenever a good one ends.
    """
    rows = load.rows(found, metric, arms)
    steps = sorted(rows["step"].unique())
    wide = rows.pivot_table(index=["arm", "seed"], columns="step", values="value")
    filled = wide.reindex(columns=steps).ffill(axis=1)
    long = filled.melt(ignore_index=False, value_name="value", var_name="step").reset_index()
    return load.bands(long.assign(level=np.nan))


def against(found: Evidence, x: str, y: str, arm: str) -> pd.DataFrame:
    """`bands` over steps of metric x and, as mean_y, low_y and high_y, of metric y."""
    one, other = (load.curve(found, metric, [arm]) for metric in (x, y))
    return one.merge(other[["step", "mean", "low", "high"]], on="step", suffixes=("", "_y"))


def run(found: Evidence, metric: str, arm: str, seed: int) -> pd.DataFrame:
    """One run's own values: columns step, value."""
    rows = load.rows(found, metric, [arm])
    return rows[rows["seed"] == seed].sort_values("step")[["step", "value"]]


def claims(number: int, found: Evidence) -> tuple[Claim, ...]:
    """What claims.yaml states of an experiment."""
    directory = load.artifacts(number).parent
    return load_experiment(directory, found.plan["profile"]).claims.claims


def published(number: int, found: Evidence, metric: str) -> pd.DataFrame:
    """The numbers that exact claims hold a metric to, each at its step: columns arm, step, value.

    They are what the source prints: claims.yaml is the one place in which they stand.
    """
    out = []
    for claim in claims(number, found):
        if not isinstance(claim, Exact) or isinstance(claim.control, str):
            continue
        if claim.measure.metric != metric or claim.measure.steps == "all":
            continue
        steps = load.rows(found, metric, [claim.treatment])["step"].drop_duplicates()
        if claim.measure.steps == "first":
            kept = [steps.min()]
        elif claim.measure.steps == "last":
            kept = [steps.max()]
        else:
            total = steps_of(found, claim.treatment)
            kept = list(steps[in_window(steps, total, claim.measure.steps)])
        out += [(claim.treatment, int(step), claim.factor * claim.control) for step in kept]
    return pd.DataFrame(out, columns=["arm", "step", "value"])


def races(number: int, found: Evidence, arms: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """When each run of these arms came to the event of the log-rank claims about them.

    Claims that share event and clock share a race, so that an arm is in it once.

    Returns:
        Event in words -> arm, in config.yaml's order -> one row a seed: time, and censored, whether
        the run ended without.

    Raises:
        UserError: no log-rank claim is about one of them.
    """
    events: dict[str, tuple[LogRank, set[str]]] = {}
    for claim in claims(number, found):
        if not isinstance(claim, LogRank):
            continue
        named = set(claim.arms()) & set(arms)
        sign = ">=" if claim.event == "at_least" else "<="
        words = f"{claim.measure.metric} {sign} {claim.reaches:g}"
        if named:
            events.setdefault(words, (claim, set()))[1].update(named)
    if not events:
        raise UserError(f"no log-rank claim about {', '.join(arms) or 'no arm'}")
    return {
        words: {
            arm: _times(event_times(found, claim, arm))
            for arm in found.plan["arms"]
            if arm in named
        }
        for words, (claim, named) in events.items()
    }


def _times(table: pd.DataFrame) -> pd.DataFrame:
    known = table.dropna()
    return pd.DataFrame({"time": known["time"], "censored": known["event"] == 0}).reset_index()


def square(found: Evidence, arm: str) -> pd.DataFrame:
    """Each seed's way over the bandit's square: columns seed, step, x, y.

    x and y are the chances of the better actions: the first in the first state, the second in the
    second. Levels count states from 0.
    """
    ways = []
    for level, metric, axis in ((0, "episodes/p_action_0", "x"), (1, "episodes/p_action_1", "y")):
        rows = load.rows(found, metric, [arm])
        own = rows[rows["level"] == level].set_index(["seed", "step"])["value"]
        ways.append(own.rename(axis))
    return pd.concat(ways, axis=1).dropna().reset_index()


def policy(found: Evidence, arm: str) -> pd.DataFrame:
    """The trained policy of a world of few states, mean over seeds: columns state, action, p."""
    tables = []
    for action in range(len(_actions(found, arm))):
        rows = last(found, f"episodes/p_action_{action}", [arm])
        tables.append(
            pd.DataFrame({"state": rows["level"].astype(int), "action": action, "p": rows["mean"]})
        )
    return pd.concat(tables, ignore_index=True)


def _actions(found: Evidence, arm: str) -> list[str]:
    names = found.metrics.loc[found.metrics["arm"] == arm, "metric"].unique()
    return sorted(name for name in names if name.startswith("episodes/p_action_"))


def layout(found: Evidence, arm: str) -> list[str]:
    """The map of an arm's grid world, row by row."""
    return list(found.plan["arms"][arm]["world"]["layout"])


def judged_samples(found: Evidence, arms: Sequence[str], seed: int, count: int) -> pd.DataFrame:
    """Completions after training with what they earned and what they are worth.

    Of each arm the first `count` that are kept: the first sample of each difficulty, chosen by
    place, then the first of those that were hacked, where there were any.

    Returns:
        Columns arm, prompt, completion, reward, verdict. `hacked`: as much reward as there can be,
        and wrong. `right`: the answer, or as much reward as there can be and not hacked. `wrong`:
        less reward than that; `other` where it is a classifier's, which what is right may lack too.

    Raises:
        UserError: an arm without samples of this seed.
    """
    out = []
    for arm in arms:
        kept = [s for s in found.samples if s["arm"] == arm and s["seed"] == seed]
        if not kept:
            raise UserError(f"no samples in the evidence of {arm}, seed {seed}")
        end = max(s["step"] for s in kept)
        best = BEST.get(found.plan["arms"][arm]["reward"]["name"], 1.0)
        hacks = {(s["prompt"], s["text"]) for s in kept if s["step"] == end and s.get("hacked")}
        shown = set[tuple[str, str]]()
        for s in kept:
            what = (s["prompt"], s["text"])
            if s["step"] != end or what in shown or len(shown) == count:
                continue
            shown.add(what)
            right = s["text"] == s["answer"] or s["reward"] >= best
            rest = "wrong" if np.isfinite(best) else "other"
            verdict = "hacked" if what in hacks else "right" if right else rest
            # Minus no line too few is -0.
            out.append((arm, s["prompt"], s["text"] or "(empty)", s["reward"] + 0.0, verdict))
    return pd.DataFrame(out, columns=["arm", "prompt", "completion", "reward", "verdict"])
