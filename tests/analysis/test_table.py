"""How verdicts are printed: effects that are logarithms as the ratios that they are of."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from analysis.rules import RULES
from analysis.table import experiment_result, frame_rows, notes, readme_table, terminal
from analysis.verdicts import Verdict

# A ratio of 3 in [2, 8], where 1.5 was claimed and 1.25 could be seen; seeds differ by 1.5.
RATIO = Verdict(
    claim="a-ratio",
    kind="variance_ratio",
    role="primary",
    text="It is more",
    source="a paper",
    verdict="reproduced",
    effect=math.log(3),
    low=math.log(2),
    high=math.log(8),
    level=0.95,
    threshold=math.log(1.5),
    p=0.01,
    p_holm=0.02,
    n=10,
    seed_sd=math.log(1.5),
    detectable=math.log(1.25),
    post_hoc=False,
    reason="",
)
HAZARD = replace(RATIO, kind="log_rank", seed_sd=None)
# The same numbers as they stand: what every other kind prints.
PLAIN = replace(
    RATIO,
    kind="mcnemar",
    effect=0.3,
    low=0.1,
    high=0.4,
    threshold=0.2,
    seed_sd=None,
    detectable=0.35,
)


def cells(table: str) -> list[str]:
    """Of the last row of a Markdown table."""
    return [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")]


@pytest.mark.parametrize(
    ("verdict", "effect", "spread", "seen", "least"),
    [
        (RATIO, "ratio 3", "1.5", "1.25", "1.5"),
        (HAZARD, "hazard ratio 3", "-", "1.25", "1.5"),
        (PLAIN, "0.3", "-", "0.35", "0.2"),
    ],
)
def test_every_table_shows_the_ratio(
    verdict: Verdict, effect: str, spread: str, seen: str, least: str
) -> None:
    ends = "[0.1, 0.4] at 95%" if verdict is PLAIN else "[2, 8] at 95%"
    (row,) = frame_rows([verdict])
    assert (row["effect"], row["interval"]) == (effect, ends)
    assert (row["seed SD"], row["detectable"]) == (spread, seen)
    line = terminal("title", [verdict], None).splitlines()[3]
    assert line.split("  ")[-1].strip() == seen
    assert re.search(rf"{re.escape(effect)} +{re.escape(ends)}", line)
    assert cells(experiment_result([], [verdict]))[2:] == [f"{effect} {ends}", least, seen]
    assert cells(readme_table({"01-x": [verdict]}))[3:] == [f"{effect} {ends}", "0.02", "10", seen]


def test_the_note_on_power_speaks_of_ratios() -> None:
    weak = replace(RATIO, detectable=math.log(4))
    assert notes(weak)[0].endswith("sees 4 or more (80% power), the claim speaks of 1.5")


def test_a_ratio_that_is_not_there_or_has_no_bound() -> None:
    nothing: dict[str, Any] = {"effect": None, "low": None, "high": None, "detectable": None}
    (row,) = frame_rows([replace(HAZARD, **nothing)])
    assert (row["effect"], row["interval"], row["detectable"]) == ("-", "-", "-")
    (row,) = frame_rows([replace(RATIO, low=-800.0, high=800.0)])
    assert row["interval"] == "[0, inf] at 95%"


def test_every_kind_says_what_its_effect_is() -> None:
    assert {kind: rule.ratio for kind, rule in RULES.items() if rule.ratio} == {
        "log_rank": "hazard ratio",
        "variance_ratio": "ratio",
    }
    for rule in RULES.values():
        assert rule.ratio in rule.effect_name


def test_the_overview_counts_and_the_table_below_has_the_primary_claims() -> None:
    control = replace(PLAIN, claim="b", text="That is so", role="control", verdict="contradicted")
    overview, told, primary = readme_table({"01-x": [PLAIN, control], "02-y": None}).split("\n\n")
    assert [line.split("|")[2:-1] for line in overview.splitlines()[2:]] == [
        [" 2 ", " 1 ", " 1 ", " 0 ", " 0 "],
        [" not yet run ", "  ", "  ", "  ", "  "],
    ]
    assert told.startswith("The primary claims")
    assert len(primary.splitlines()) == 3
    assert "It is more (a paper)" in primary
    assert "The primary claims" not in readme_table({"01-x": [control]})
    assert "That is so (control; a paper) `b`" in experiment_result([], [control])
