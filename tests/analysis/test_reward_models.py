"""Frames and figures of reward models, with numbers by hand."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots_reward_model, reward_models, stats
from analysis.plots_reward_model import Reference, Rows
from analysis.reward_models import Effect
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence
from tests.analysis.pictures import check_readable

NAN = math.nan
PLANS = {
    "clean": {"steps": 8, "pairs": 64, "data": {"flip": 0.0}},
    "noisy": {"steps": 8, "pairs": 1024, "data": {"flip": 0.375}},
    "people": {"steps": 8, "pairs": 9, "data": {"folds": 2}},
}


def evidence(rows: list[tuple[Any, ...]], seeds: tuple[int, ...] = (0, 1)) -> Evidence:
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"level": "float64", "value": "float64"})
    arms = {arm: PLANS[arm] for arm in dict.fromkeys(frame["arm"])}
    manifests = [{"arm": a, "seed": s, "status": "complete"} for a in arms for s in seeds]
    plan = {"arms": arms, "seeds": list(seeds), "profile": "laptop"}
    return Evidence(plan, manifests, frame, [])


# --- frames ---------------------------------------------------------------------------------------

M = "reward_model/accuracy"
ACCURACY = [
    (arm, seed, step, M, NAN, 0.5 + 0.1 * step + 0.01 * seed)
    for arm in ("clean", "noisy")
    for seed in (0, 1)
    for step in (0, 2)
]


def test_labels_are_worth_their_information() -> None:
    """1,024 labels of which 3/8 are turned round are worth 1,024 / 16. The last value counts."""
    got = reward_models.sized(evidence(ACCURACY), M, ["clean", "noisy"])
    assert got["value"].tolist() == pytest.approx([0.7, 0.71, 0.7, 0.71])
    assert got["pairs"].tolist() == [64, 64, 1024, 1024]
    assert got["effective"].tolist() == [64, 64, 64, 64]


def test_seeds_by_the_names_of_their_arms() -> None:
    got = reward_models.seed_values(evidence(ACCURACY), M, {"noisy": "b", "clean": "a"})
    assert list(got) == ["b", "a"]
    assert got["a"] == pytest.approx([0.7, 0.71])


# Predicted, observed and share of each bin by seed, after training; before, all in one bin.
BINS = {0: {0.5: (0.52, 0.5, 0.75), 0.9: (0.95, 0.8, 0.25)}, 1: {0.5: (0.54, 0.6, 1.0)}}
RELIABILITY = [
    ("clean", seed, step, f"reward_model/{metric}", level, value)
    for seed, bins in BINS.items()
    for step in (0, 8)
    for level, values in (bins if step else {0.5: (0.5, 0.5, 1.0)}).items()
    for metric, value in zip(("predicted", "observed", "in_bin"), values, strict=True)
]
EMPTY = ("clean", 1, 8, "reward_model/in_bin", 0.9, 0.0)


def test_bins_after_training() -> None:
    got = reward_models.reliability(evidence([*RELIABILITY, EMPTY]), "clean")
    assert got[["seed", "level", "predicted", "observed", "share"]].to_numpy().tolist() == [
        [0, 0.5, 0.52, 0.5, 0.75],
        [0, 0.9, 0.95, 0.8, 0.25],
        [1, 0.5, 0.54, 0.6, 1.0],
    ]


def test_pooled_bins_weigh_each_pair_once() -> None:
    """The lower bin has 3/4 of one seed's pairs and all of the other's."""
    got = reward_models.pooled(reward_models.reliability(evidence(RELIABILITY), "clean"))
    assert got["level"].tolist() == [0.5, 0.9]
    assert got["predicted"].tolist() == pytest.approx([(0.75 * 0.52 + 0.54) / 1.75, 0.95])
    assert got["observed"].tolist() == pytest.approx([(0.75 * 0.5 + 0.6) / 1.75, 0.8])
    assert got["share"].tolist() == pytest.approx([0.875, 0.125])


def people(seeds: tuple[int, ...]) -> Evidence:
    """30 of 40 right in the first fold, 30 of 60 in the other; the longer response in 10 and 45."""
    values = {0: (0.75, 40, 0.25, 0.75), 1: (0.5, 60, 0.75, 0.25)}
    names = ("accuracy", "heldout_pairs", "longer_accuracy", "shorter_accuracy")
    rows = [
        ("people", seed, 8 if name == "accuracy" else 0, f"reward_model/{name}", NAN, value)
        for seed in seeds
        for name, value in zip(names, values[seed % 2], strict=True)
    ]
    return evidence(rows, seeds)


def test_folds_pool_pairs_and_not_folds() -> None:
    got = reward_models.folds(people((0, 1)), "people").set_index("fold")
    assert got["pairs"].tolist() == [40, 60, 100]
    assert got["accuracy"].tolist() == pytest.approx([0.75, 0.5, 0.6])
    assert got.loc["pooled", ["longer", "shorter"]].tolist() == pytest.approx([0.55, 0.45])
    # Of each fold its own better rule, of all that of all.
    assert got["over_rules"].tolist() == pytest.approx([0, -0.25, 0.05])
    assert got.loc["pooled", ["low", "high"]].tolist() == pytest.approx(
        stats.share_interval(0.6, 100, 0.95)
    )


def test_folds_must_be_held_out_once_each() -> None:
    with pytest.raises(UserError, match=r"people: the seeds \[0, 2\] do not hold out each of 2"):
        reward_models.folds(people((0, 2)), "people")


def test_a_share_has_wilsons_interval() -> None:
    """Both ends solve (p - q)^2 = z^2 q (1 - q) / n, z = 1.95996."""
    low, high = stats.share_interval(0.6, 100, 0.95)
    assert low < 0.6 < high
    for q in (low, high):
        assert (0.6 - q) ** 2 == pytest.approx(1.959964**2 * q * (1 - q) / 100, rel=1e-5)
    assert stats.share_interval(0.0, 10, 0.95)[0] == pytest.approx(0, abs=1e-12)
    for bad in ((1.1, 10, 0.95), (0.5, 0, 0.95), (0.5, 10, 1.0)):
        with pytest.raises(ValueError, match="expected a share"):
            stats.share_interval(*bad)


DIFFERENCE = {"kind": "difference", "treatment": "clean", "control": 0.5, "min_effect": 0.1}
CLAIMS = [
    ({**DIFFERENCE, "direction": "greater"}, (0.1, math.inf)),
    ({**DIFFERENCE, "direction": "less"}, (-math.inf, -0.1)),
    ({**DIFFERENCE, "direction": "not_greater"}, (-math.inf, 0.1)),
    ({**DIFFERENCE, "direction": "not_less"}, (-0.1, math.inf)),
    ({"kind": "equivalence", "treatment": "clean", "control": 0.5, "margin": 0.3}, (-0.3, 0.3)),
    (
        {"kind": "contrast_equivalence", "weights": {"clean": 2.0, "noisy": -2.0}, "margin": 0.2},
        (-0.2, 0.2),
    ),
]


@pytest.mark.parametrize(("stated", "bounds"), CLAIMS)
def test_effects_are_those_of_the_claims(
    stated: dict[str, Any],
    bounds: tuple[float, float],
    kit: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = kit.claims({**stated, "measure": {"metric": M, "steps": "last"}}).claims
    monkeypatch.setattr(reward_models.worlds, "claims", lambda *_: claims)
    got = reward_models.effects(9, evidence(ACCURACY), {"claim-0": "it"})["it"]
    zero = stated["kind"].startswith("contrast")
    assert got.seeds.tolist() == pytest.approx([0, 0] if zero else [0.2, 0.21])
    assert (got.low, got.high) == bounds
    row = reward_models.table({"it": got}).loc["it"]
    assert row["mean"] == pytest.approx(0 if zero else 0.205)
    assert row["claimed"] == f"{bounds[0]:g} to {bounds[1]:g}"


def test_effects_that_are_no_means_are_refused(
    kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratio = {"kind": "variance_ratio", "treatment": "clean", "control": "noisy"}
    ratio |= {"direction": "greater", "min_effect": 2.0}
    claims = kit.claims(ratio).claims
    monkeypatch.setattr(reward_models.worlds, "claims", lambda *_: claims)
    with pytest.raises(UserError, match="claim-0: its effect is no mean of differences"):
        reward_models.effects(9, evidence(ACCURACY), {"claim-0": "it"})
    with pytest.raises(UserError, match=r"claims\.yaml of experiment 9 has no claim absent"):
        reward_models.effects(9, evidence(ACCURACY), {"absent": "it"})


# --- figures --------------------------------------------------------------------------------------

SIZES = pd.DataFrame(
    [(n, s, 0.6 + 0.02 * i + 0.01 * s) for i, n in enumerate((64, 256, 1024)) for s in (-1, 0, 1)],
    columns=["n", "seed", "value"],
)


def test_a_line_by_labels_has_its_seeds_its_intervals_and_its_slope() -> None:
    """The reference gains .03 in each of two doublings of a quadrupling, through the mean .62."""
    reference = {"t": Reference(0.03, "a", "a slope")}
    figure = plots_reward_model.by_labels(
        {"t": ("n", {"a": SIZES})}, "share", near_chance=0.05, references=reference
    )
    (axes,) = figure.axes
    chance, seeds, means, first, _, _, slope = axes.lines
    assert list(chance.get_ydata()) == [0.5, 0.5]
    assert len(seeds.get_ydata()) == 9
    assert means.get_xydata().ravel().tolist() == pytest.approx([64, 0.6, 256, 0.62, 1024, 0.64])
    # t_{.975,2} = 4.3027, standard error .01 / sqrt(3).
    assert list(first.get_ydata()) == pytest.approx(
        [0.6 - 4.3027 * 0.01 / math.sqrt(3), 0.6 + 4.3027 * 0.01 / math.sqrt(3)], abs=1e-5
    )
    assert list(slope.get_ydata()) == pytest.approx([0.56, 0.62, 0.68])
    (band,) = axes.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.45, 0.55))
    assert axes.get_xticks().tolist() == [64, 256, 1024]


def test_reliability_has_all_seeds_together() -> None:
    bins = reward_models.reliability(evidence(RELIABILITY), "clean")
    upper, lower = plots_reward_model.reliability_panels({"t": bins}, "x", "y", "share").axes
    seeds, whole = (part.get_offsets().tolist() for part in upper.collections)
    assert seeds == [[0.52, 0.5], [0.95, 0.8], [0.54, 0.6]]
    assert whole[1] == pytest.approx([0.95, 0.8])
    assert [bar.get_height() for bar in lower.patches] == pytest.approx([0.875, 0.125])
    assert [bar.get_x() for bar in lower.patches] == pytest.approx([0.5, 0.9])


def test_rows_shade_what_is_claimed() -> None:
    shown = {
        "b": Effect(pd.Series([0.1, 0.3]), 0.05, math.inf),
        "a": Effect(pd.Series([-0.1, 0.0]), -0.4, 0.4),
    }
    panel = plots_reward_model.effect_rows("d", shown)
    (axes,) = plots_reward_model.seed_rows([panel], ["b", "a"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    one, two = (part.get_paths()[0].get_extents() for part in axes.collections)
    assert (one.x0, one.x1) == pytest.approx((0.05, axes.get_xlim()[1]))
    assert (two.x0, two.x1) == pytest.approx((-0.4, 0.4))
    assert (two.y0, two.y1) == pytest.approx((0.6, 1.4))
    means = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert means == [pytest.approx([0.2]), pytest.approx([-0.05])]
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "."]
    assert [list(values) for values in dots] == [[0.1, 0.3], [-0.1, 0.0]]


def test_folds_stand_beside_the_rules() -> None:
    table = reward_models.folds(people((0, 1)), "people")
    left, right = plots_reward_model.fold_rows(table, ("m", "long", "short"), ("x", "d")).axes
    drawn = {line.get_label(): list(line.get_xdata()) for line in left.lines}
    assert drawn["m"] == pytest.approx([0.75, 0.5, 0.6])
    assert drawn["long"] == pytest.approx([0.25, 0.75, 0.55])
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "fold 0, 40 pairs",
        "fold 1, 60 pairs",
        "all, 100 pairs",
    ]
    assert right.lines[-1].get_xdata().tolist() == pytest.approx([0, -0.25, 0.05])


NAMES = [f"{n} at {eps} less {n}" for n in ("1,024", "4,096") for eps in ("1/4", "3/8", "1/2")]
GRID = pd.DataFrame(
    [(s, 0.5 + i / 20, 0.52 + i / 20, 0.5 + i / 25, 0.1) for s in range(3) for i in range(10)],
    columns=["seed", "level", "predicted", "observed", "share"],
)
SEEDS = np.linspace(-0.04, 0.12, 10).tolist()
FOLDS = pd.DataFrame(
    {"fold": [*range(10), "pooled"], "pairs": [*[112] * 10, 1120], "accuracy": 0.56}
).assign(low=0.5, high=0.62, longer=0.48, shorter=0.52, over_rules=0.04)
PICTURES: dict[str, Callable[[], Figure]] = {
    "by_labels": lambda: plots_reward_model.by_labels(
        {
            title: ("n (1 - 2 eps)², logarithmic", {f"eps = {k}/8": SIZES for k in range(4)})
            for title in ("by pairs", "by what they are worth")
        },
        "accuracy by the gold reward",
        near_chance=0.05,
        references={"by pairs": Reference(0.011, "eps = 0/8", "1.1% a doubling, as in a paper")},
    ),
    "reliability_panels": lambda: plots_reward_model.reliability_panels(
        {f"4,096 pairs, eps = {k}/8": GRID for k in range(4)},
        "predicted chance of the choice, sigma(|margin|)",
        "observed (share of pairs)",
        "share of pairs",
    ),
    "seed_rows": lambda: plots_reward_model.seed_rows(
        [
            Rows("difference of accuracy", dict.fromkeys(NAMES, SEEDS), {NAMES[1]: (-0.05, 0.05)}),
            Rows("spread of margins (nats)", {NAMES[0]: SEEDS}, guides=[0]),
            Rows("error by true chances (share)", {NAMES[5]: SEEDS[:1]}),
        ],
        NAMES,
    ),
    "fold_rows": lambda: plots_reward_model.fold_rows(
        FOLDS,
        ("reward model", "the longer response", "the shorter response"),
        ("accuracy on held-out pairs (share right)", "accuracy less the better rule's"),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_can_be_read(name: str) -> None:
    check_readable(PICTURES[name]())
