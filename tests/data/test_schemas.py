"""Rows of the three layouts: what they become, and every fault by its name and row."""

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from rl.data import SCHEMAS, Fault, FaultyRows, load_preferences, read_rows
from rl.types import Preference

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "preferences"
REVISION = "0" * 40
# name, schema, subset, split: as on the hub.
PLACES = {
    "hh": ("Anthropic/hh-rlhf", "harmless-base", "test"),
    "ultrafeedback": ("HuggingFaceH4/ultrafeedback_binarized", None, "train_prefs"),
    "tldr": ("openai/summarize_from_feedback", "comparisons", "train"),
}
# Written down from the fixtures, which have a row or more of every fault a schema can have.
FAULTS = {
    "hh": {
        Fault.NOT_JSON: (5,),
        Fault.NOT_AN_OBJECT: (6,),
        Fault.MISSING_KEY: (7,),
        Fault.WRONG_TYPE: (8,),
        Fault.NOT_UNICODE: (9,),
        Fault.NO_ASSISTANT: (10,),
        Fault.ENDS_WITH_HUMAN: (11,),
        Fault.PROMPTS_DIFFER: (12, 17),
        Fault.EMPTY_PROMPT: (13,),
        Fault.EMPTY_CHOSEN: (14,),
        Fault.EMPTY_REJECTED: (15,),
        Fault.SAME_RESPONSES: (16,),
    },
    "ultrafeedback": {
        Fault.NOT_JSON: (3,),
        Fault.NOT_AN_OBJECT: (4,),
        Fault.MISSING_KEY: (5,),
        Fault.WRONG_TYPE: (6, 7, 8),
        Fault.NOT_UNICODE: (9,),
        Fault.NO_ASSISTANT: (10,),
        Fault.ENDS_WITH_HUMAN: (11,),
        Fault.PROMPTS_DIFFER: (12,),
        Fault.EMPTY_PROMPT: (13,),
        Fault.EMPTY_CHOSEN: (14,),
        Fault.EMPTY_REJECTED: (15,),
        Fault.SAME_RESPONSES: (16,),
        Fault.TIED_SCORES: (17,),
        Fault.SCORES_AGAINST_LABEL: (18,),
        Fault.BAD_ROLE: (19,),
    },
    "tldr": {
        Fault.NOT_JSON: (3,),
        Fault.NOT_AN_OBJECT: (4,),
        Fault.MISSING_KEY: (5, 11),
        Fault.WRONG_TYPE: (6, 7, 8, 9, 10),
        Fault.NOT_UNICODE: (12,),
        Fault.EMPTY_PROMPT: (13, 14),
        Fault.EMPTY_CHOSEN: (15,),
        Fault.EMPTY_REJECTED: (16,),
        Fault.SAME_RESPONSES: (17,),
        Fault.NOT_TWO_RESPONSES: (18,),
        Fault.BAD_CHOICE: (19,),
    },
}
ROWS = {"hh": 17, "ultrafeedback": 19, "tldr": 19}


@pytest.fixture(autouse=True)
def _fixtures_are_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_DATA_DIR", str(FIXTURES))


def loaded(schema: str):
    name, subset, split = PLACES[schema]
    return load_preferences(name, schema=schema, subset=subset, split=split, revision=REVISION)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_fault_is_counted_and_named_with_its_rows(schema):
    report = loaded(schema).report
    assert report.faults == {
        fault: FaultyRows(len(rows), rows) for fault, rows in FAULTS[schema].items()
    }
    assert report.rows == ROWS[schema]
    assert report.kept == ROWS[schema] - sum(len(rows) for rows in FAULTS[schema].values())


def test_the_fixtures_have_every_fault():
    of_problems = {Fault.EMPTY_QUESTION, Fault.BAD_LEVEL, Fault.NO_ANSWER}  # test_problems.py
    assert {fault for faults in FAULTS.values() for fault in faults} == set(Fault) - of_problems


def test_hh_by_hand():
    pairs = loaded("hh").preferences
    assert pairs[0] == Preference(
        "\n\nHuman: How do I keep basil alive indoors?\n\nAssistant:",
        " Give it a sunny sill and water it when the soil is dry.",
        " Basil cannot live indoors.",
        {"row": 1},
    )
    # The split is at the last assistant turn, not at the first.
    assert pairs[1].prompt.endswith("sill.\n\nHuman: And in winter?\n\nAssistant:")
    assert pairs[1].chosen == " Keep it off the cold glass."


def test_hh_keeps_every_character_of_the_dialogue():
    lines = (FIXTURES / "hh_rlhf_harmless_base_test.jsonl").read_text("utf-8").splitlines()
    for pair in loaded("hh").preferences:
        row = json.loads(lines[int(pair.meta["row"]) - 1])
        assert pair.prompt + pair.chosen == row["chosen"]
        assert pair.prompt + pair.rejected == row["rejected"]


def test_ultrafeedback_by_hand():
    pairs = loaded("ultrafeedback").preferences
    assert pairs[1] == Preference(
        "\n\nSystem: Be brief.\n\nHuman: Name three prime numbers.\n\nAssistant: 2, 3, 5."
        "\n\nHuman: Three more?\n\nAssistant:",
        " 7, 11, 13.",
        " 8, 10, 12.",
        {"score_chosen": 9.0, "score_rejected": 1.5, "row": 2},
    )


def test_tldr_by_hand():
    first, second = loaded("tldr").preferences
    assert first == Preference(
        "SUBREDDIT: r/advice\n\nTITLE: The ladder\n\nPOST: My neighbour borrowed my ladder in May. "
        "It is October, and he says that I gave it to him. I want it back without a quarrel."
        "\n\nTL;DR:",
        " Neighbour keeps my ladder; how do I get it back in peace?",
        " I have a ladder.",
        {"row": 1},
    )
    # Here choice is 1.
    assert second.chosen.startswith(" He kept")
    assert second.rejected == " Ladders."


def test_a_report_tells_counts_and_rows_and_no_text():
    rows = [{"chosen": "a secret", "rejected": "another"}] * 7 + [{}]
    kept, report = read_rows(rows, SCHEMAS["hh"])
    assert kept == []
    assert report.lines() == [
        "0 of 8 rows are whole pairs",
        "1 left out: missing key (row 8)",
        "7 left out: no assistant turn (row 1, 2, 3, 4, 5, ...)",
    ]


# What JSON can spell, with the keys and roles that lead readers deeper.
KEYS = ("chosen", "rejected", "score_chosen", "score_rejected", "info", "summaries", "choice")
INNER = ("role", "content", "text", "post", "title", "subreddit")
WORDS = st.sampled_from(["", "user", "assistant", "\n\nHuman: a\n\nAssistant: b", "\ud800"])
LEAVES = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("schema", SCHEMAS)
@given(row=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_row_is_a_pair_or_has_a_fault(schema, row):
    kept, report = read_rows([row], SCHEMAS[schema])
    assert len(kept) + sum(bad.count for bad in report.faults.values()) == 1
    for pair in kept:
        assert pair.prompt.strip()
        assert pair.chosen.strip() != pair.rejected.strip()


TURN = st.text("aé🏞 \n", max_size=6)


@given(turns=st.lists(TURN, min_size=1, max_size=5), end=TURN, other=TURN)
def test_a_dialogue_of_any_length_is_split_at_its_last_assistant_turn(turns, end, other):
    marks = ["\n\nHuman:", "\n\nAssistant:"]
    prompt = "".join(marks[i % 2] + turn for i, turn in enumerate(turns)) + "\n\nAssistant:"
    kept, report = read_rows([{"chosen": prompt + end, "rejected": prompt + other}], SCHEMAS["hh"])
    whole = "".join(turns).strip() and end.strip() and other.strip()
    assert len(kept) == bool(whole and end.strip() != other.strip())
    assert report.rows == len(kept) + sum(bad.count for bad in report.faults.values())
    for pair in kept:
        assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, end, other)
