"""claims.yaml: a claim that could never be decided is refused before anything runs."""

import json
from typing import Any

import pytest

from rl.metrics import METRICS, Metric


def claim(files: Any) -> dict[str, Any]:
    """The one claim, to be changed in place."""
    written: dict[str, Any] = files.claims["claims"][0]
    return written


def kind(files: Any, **changes: Any) -> None:
    """Make the claim one of another kind; None drops a key."""
    written = claim(files)
    for key, value in changes.items():
        written[key] = value
        if value is None:
            del written[key]


LEVELS = {"metric": "eval/accuracy_by_difficulty", "steps": [0, 0.5]}
INTERACTION = {"kind": "interaction", "measure": LEVELS, "low": [2.0], "high": [3.0]}
CURVE = {"metric": "eval/accuracy", "steps": "all"}
LOG_RANK = {
    "kind": "log_rank",
    "measure": CURVE,
    "reaches": 0.9,
    "event": "at_least",
    "min_effect": 2.0,
}
RATIO = {"kind": "variance_ratio", "min_effect": 1.5}
MCNEMAR = {"kind": "mcnemar", "reaches": 0.5, "min_effect": 0.1}
ENUMERATION = {
    "kind": "enumeration",
    "treatment": "weight",
    "control": 0.25,
    "tolerance": 1e-9,
    "measure": {"metric": "weight/curve", "steps": "first", "levels": [0.5]},
}
CONTRAST = {
    "kind": "contrast",
    "treatment": None,
    "control": None,
    "weights": {"group_std": 1.0, "none": -1.0},
}
NO_EFFECT = {"direction": None, "min_effect": None}


def test_each_kind_loads(files: Any) -> None:
    first = dict(claim(files))
    ends = {"direction": None, "min_effect": None}
    slope = {"metric": "eval/accuracy", "steps": "all", "reduce": "slope_step"}
    others: list[dict[str, Any]] = [
        {"id": "b", "kind": "equivalence", "control": "none", "margin": 0.1, **ends},
        {"id": "c", "kind": "equivalence", "control": 0.5, "margin": 0.1, **ends},
        {"id": "d", "kind": "trend", "arm": "none", "measure": slope}
        | {"treatment": None, "control": None},
        {"id": "e", **INTERACTION},
        {"id": "f", "kind": "exact", "factor": 10.0, "tolerance": 1e-6, **ends},
        {"id": "g", **LOG_RANK, "time_metric": "train/response_tokens"},
        {"id": "h", **RATIO, "control": 2.0},
        {"id": "i", **MCNEMAR},
        {"id": "j", **ENUMERATION, **ends},
        {"id": "k", **CONTRAST},
        {"id": "l", **CONTRAST, **ends, "kind": "contrast_equivalence", "margin": 0.1},
    ]
    files.claims["claims"] = [first]
    for changes in others:
        merged = {**first, **changes}
        files.claims["claims"].append({k: v for k, v in merged.items() if v is not None})
    loaded = files.load().claims
    assert [one.kind for one in loaded.claims] == [
        *("difference", "equivalence", "equivalence", "trend", "interaction", "exact"),
        *("log_rank", "variance_ratio", "mcnemar", "enumeration"),
        *("contrast", "contrast_equivalence"),
    ]
    assert [one.arms() for one in loaded.claims] == [
        ("group_std", "none"),
        ("group_std", "none"),
        ("group_std",),
        ("none",),
        ("group_std", "none"),
        ("group_std", "none"),
        ("group_std", "none"),
        ("group_std",),
        ("group_std", "none"),
        ("weight",),
        ("group_std", "none"),
        ("group_std", "none"),
    ]
    assert loaded.claims[4].measure.steps == (0.0, 0.5)
    assert loaded.claims[6].metrics() == ("eval/accuracy", "train/response_tokens")


def test_digests_tell_which_claim_was_changed(files: Any) -> None:
    files.claims["claims"].append({**claim(files), "id": "other"})
    before = files.load().claims.digests()
    files.claims["claims"][1]["min_effect"] = 0.02
    after = files.load().claims.digests()
    assert before["std-helps"] == after["std-helps"]
    assert before["other"] != after["other"]
    files.claims["alpha"] = 0.01
    assert files.load().claims.digests()["std-helps"] != after["std-helps"]


BAND = {"metric": "train/reward", "from": 0.4, "to": 0.6}


def test_a_claim_without_a_band_keeps_the_digest_it_had_before_there_were_bands(
    files: Any,
) -> None:
    loaded = files.load().claims
    written = loaded.claims[0].model_dump_json()
    assert json.loads(written)["measure"] == {
        "metric": "eval/accuracy",
        "steps": "last",
        "levels": None,
        "reduce": "mean",
        "slope_on": None,
    }
    before = loaded.digests()["std-helps"]
    claim(files)["measure"] |= {"steps": "all", "where": BAND}
    banded = files.load().claims
    assert banded.claims[0].metrics() == ("eval/accuracy", "train/reward")
    assert json.loads(banded.claims[0].model_dump_json())["measure"]["where"] == BAND
    digest = banded.digests()["std-helps"]
    claim(files)["measure"]["where"] = {**BAND, "to": 0.7}
    assert len({before, digest, files.load().claims.digests()["std-helps"]}) == 3


def test_the_metric_of_a_band_is_one_that_the_arm_logs(
    files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(files)["measure"] |= {"where": {**BAND, "metric": "proximal/reward"}}
    monkeypatch.setitem(METRICS, "proximal/reward", Metric("lecture_sorting", "of another program"))
    assert "runs program 'policy', which never logs 'proximal/reward'" in files.fault()


BAD_MEASURES: list[tuple[dict[str, Any], str]] = [
    ({"metric": "eval/acuracy"}, "metric 'eval/acuracy' is never logged; did you mean 'eval/accu"),
    ({"levels": [2.0]}, "metric 'eval/accuracy' has no levels; drop `levels`"),
    ({"reduce": "slope_level"}, "metric 'eval/accuracy' has no levels to take a slope over"),
    ({"reduce": "slope_metric"}, "slope_on goes with reduce: slope_metric, and only with it"),
    ({"slope_on": "train/lr"}, "slope_on goes with reduce: slope_metric, and only with it"),
    ({"steps": [0.5, 0]}, "steps: expected 0 <= from <= to <= 1, got [0.5, 0.0]"),
    ({"steps": [4, 12]}, "steps: expected 0 <= from <= to <= 1, got [4.0, 12.0]"),
    ({"steps": [-0.5, 1]}, "steps: expected 0 <= from <= to <= 1, got [-0.5, 1.0]"),
    (
        {"steps": "frist"},
        "steps: expected first, last, all or [from, to] in shares of the training, ",
    ),
    ({"steps": [0, "1"]}, "expected first, last, all or [from, to] in shares of the training, go"),
    ({"steps": [0, 1, 1]}, "expected first, last, all or [from, to] in shares of the training, go"),
    (
        {"where": {**BAND, "metric": "train/rewrad"}},
        "metric 'train/rewrad' is never logged; did you mean 'train/reward'?",
    ),
    (
        {"where": {**BAND, "metric": "eval/accuracy_by_difficulty"}},
        "metric 'eval/accuracy_by_difficulty' has levels; a band is of one without",
    ),
    ({"where": {**BAND, "from": 0.6}}, "where: expected from < to, got 0.6 and 0.6"),
    ({"where": {**BAND, "from": 0.7}}, "where: expected from < to, got 0.7 and 0.6"),
    ({"where": {**BAND, "form": 0.7}}, "where.form: unknown key; did you mean 'from'?"),
    ({"where": {"metric": "train/reward", "from": 0.1}}, "where.to: missing"),
    ({"where": {**BAND, "low": 0.1}}, "where.low: unknown key; known: from, metric, to"),
    ({"stepz": 1}, "unknown key; did you mean 'steps'?"),
    (
        {"reduce": "slope_metric", "slope_on": "train/lrr"},
        "metric 'train/lrr' is never logged; did you mean 'train/lr'?",
    ),
    (
        {"reduce": "slope_metric", "slope_on": "eval/accuracy_by_difficulty"},
        "'eval/accuracy_by_difficulty' and 'eval/accuracy' are not logged by one level",
    ),
]


@pytest.mark.parametrize(("changes", "told"), BAD_MEASURES)
def test_a_bad_measure(files: Any, changes: dict[str, Any], told: str) -> None:
    claim(files)["measure"] |= changes
    first, *faults = files.fault().split("\n")
    assert first == f"{files.directory}/claims.yaml: 1 fault(s)"
    (fault,) = faults
    assert fault.startswith("  claims.0.difference.measure")
    assert told in fault


BAD_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "diference"}, "claims.0: input tag 'diference'"),
    ({"kind": None}, "claims.0: unable to extract tag using discriminator 'kind'"),
    ({"control": "group_std"}, "treatment and control are both 'group_std'; name two arms"),
    (
        {"direction": "up"},
        "input should be 'greater', 'less', 'not_greater' or 'not_less', got 'up",
    ),
    ({"min_effect": -0.1}, "min_effect: input should be greater than or equal to 0, got -0.1"),
    ({"min_efect": 0.1}, "min_efect: unknown key; did you mean 'min_effect'?"),
    ({"source": None}, "claims.0.difference.source: missing"),
    ({"id": "Std Helps"}, "id: string should match pattern"),
    ({"kind": "trend", "arm": "none", "treatment": None, "control": None}, "a trend needs a"),
    ({**CONTRAST, "weights": {"none": 0.5, "group_std": -0.4}}, "expected a sum of 0, got 0.1"),
    ({**CONTRAST, "weights": {"none": 1.0}}, "weights: dictionary should have at least 2 items"),
    (
        {**CONTRAST, "weights": {"none": 0.0, "group_std": 0.0}},
        "weights: expected none of 0; leave those arms out",
    ),
    ({**INTERACTION, "high": [2.0]}, "low and high share a level: (2.0,), (2.0,)"),
    ({**INTERACTION, "measure": {**LEVELS, "levels": [2.0]}}, "an interaction needs a metric with"),
    (
        {**INTERACTION, "measure": {"metric": "eval/accuracy", "steps": "all"}},
        "an interaction needs a metric with levels and states them as low, high",
    ),
    (
        {**LOG_RANK, "measure": {"metric": "eval/accuracy", "steps": "last"}},
        "a log_rank claim looks at every logged step: state steps: all, no reduce, no where",
    ),
    (
        {**LOG_RANK, "measure": {**CURVE, "reduce": "slope_step"}},
        "a log_rank claim looks at every logged step: state steps: all, no reduce, no where",
    ),
    (
        {**LOG_RANK, "measure": {**CURVE, "where": BAND}},
        "a log_rank claim looks at every logged step: state steps: all, no reduce, no where",
    ),
    (
        {**LOG_RANK, "measure": {**LEVELS, "steps": "all"}},
        "metric 'eval/accuracy_by_difficulty' has levels, and an event is of one: state levels: [x",
    ),
    (
        {**LOG_RANK, "measure": {**LEVELS, "steps": "all", "levels": [2.0, 3.0]}},
        "metric 'eval/accuracy_by_difficulty' has levels, and an event is of one: state levels: [x",
    ),
    (
        {**LOG_RANK, "time_metric": "train/lrr"},
        "time_metric 'train/lrr' is never logged; did you mean 'train/lr'?",
    ),
    (
        {**LOG_RANK, "time_metric": "train/reward_by_difficulty"},
        "time_metric 'train/reward_by_difficulty' has levels; a time has none",
    ),
    ({**LOG_RANK, "event": None}, "claims.0.log_rank.event: missing"),
    ({**LOG_RANK, "event": "at_leest"}, "event: input should be 'at_least' or 'at_most', got 'at_"),
    (
        {**LOG_RANK, "min_effect": 0.5},
        "min_effect: input should be greater than or equal to 1, got 0.5",
    ),
    ({**LOG_RANK, "direction": "not_less"}, "direction: input should be 'greater' or 'less', got"),
    ({**LOG_RANK, "control": "group_std"}, "treatment and control are both 'group_std'; name two"),
    ({**RATIO, "min_effect": 0.9}, "min_effect: input should be greater than or equal to 1, got 0"),
    ({**RATIO, "control": 0.0}, "control: expected an arm or a number above 0, got 0.0"),
    ({**RATIO, "control": -2.0}, "control: expected an arm or a number above 0, got -2.0"),
    ({**RATIO, "direction": "not_greater"}, "direction: input should be 'greater' or 'less', got"),
    ({**MCNEMAR, "min_effect": 0.5}, "min_effect: input should be less than 0.5, got 0.5"),
    ({**MCNEMAR, "min_effect": -0.1}, "min_effect: input should be greater than or equal to 0, go"),
    ({**MCNEMAR, "reaches": None}, "claims.0.mcnemar.reaches: missing"),
    (
        {**ENUMERATION, **NO_EFFECT, "measure": CURVE},
        "an enumeration claim needs a metric that is enumerated, and 'eval/accuracy' is not; enum",
    ),
    (
        {**ENUMERATION, **NO_EFFECT, "tolerance": -1.0},
        "tolerance: input should be greater than or equal to 0, got -1.0",
    ),
]


@pytest.mark.parametrize(("changes", "told"), BAD_CLAIMS)
def test_a_bad_claim(files: Any, changes: dict[str, Any], told: str) -> None:
    kind(files, **changes)
    first, *faults = files.fault().split("\n")
    assert first == f"{files.directory}/claims.yaml: 1 fault(s)"
    (fault,) = faults
    assert told in fault


def test_ids_are_distinct(files: Any) -> None:
    files.claims["claims"] *= 2
    assert "claim ids stand twice: std-helps" in files.fault()


@pytest.mark.parametrize("alpha", [0, 0.5, 5])
def test_alpha_is_a_level(files: Any, alpha: float) -> None:
    files.claims["alpha"] = alpha
    assert "alpha: input should be" in files.fault()


def test_no_claims_at_all(files: Any) -> None:
    files.claims["claims"] = []
    assert "claims: tuple should have at least 1 item" in files.fault()


def test_an_unknown_arm(files: Any) -> None:
    claim(files)["treatment"] = "group_sdt"
    assert files.fault() == (
        f"{files.directory}/claims.yaml: claim std-helps: no arm 'group_sdt'; "
        f"did you mean 'group_std'?"
    )


def test_an_arm_whose_program_never_logs_the_metric(files: Any) -> None:
    claim(files)["treatment"] = "weight"
    assert files.fault() == (
        f"{files.directory}/claims.yaml: claim std-helps: arm 'weight' runs program "
        f"'gradient_weight', which never logs 'eval/accuracy' (logged by 'policy' and "
        "'ppo' and 'preferences')"
    )


def test_a_clock_that_the_arm_never_logs(files: Any) -> None:
    kind(files, **LOG_RANK, time_metric="train/response_tokens")
    files.load()
    claim(files)["measure"] = {"metric": "weight/measured", "steps": "all", "levels": [2.0]}
    files.config["arms"]["weight_too"] = {"program": "gradient_weight"}
    kind(files, treatment="weight", control="weight_too")
    assert files.fault() == (
        f"{files.directory}/claims.yaml: claim std-helps: arm 'weight' runs program "
        f"'gradient_weight', which never logs 'train/response_tokens' (logged by 'policy' and "
        "'ppo' and 'preferences')"
    )


def test_a_slope_on_what_is_drawn_is_not_enumerated(
    files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "weight/drawn", Metric("gradient_weight", "of samples", "p"))
    kind(files, **ENUMERATION, **NO_EFFECT)
    files.load()
    claim(files)["measure"] |= {"reduce": "slope_metric", "slope_on": "weight/drawn"}
    assert "and 'weight/drawn' is not; enumerated: weight/curve" in files.fault()


def test_an_arm_that_the_profile_leaves_out_is_no_fault(files: Any) -> None:
    files.put("profiles.smoke.arms", ["none"])
    assert list(files.load("smoke").arms) == ["none"]
