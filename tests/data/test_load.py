"""Where preference data come from: files in either layout, real ones where they are."""

import gzip
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rl.data import (
    Fault,
    data_directory,
    length_rules,
    load_preferences,
    split_by_prompt,
)
from rl.errors import UserError
from rl.types import Preference

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = "Anthropic/hh-rlhf/harmless-base"
PART = {"schema": "hh", "subset": "harmless-base", "split": "test", "revision": COMMIT}


def load(**changed):
    return load_preferences(**{"name": "Anthropic/hh-rlhf", **PART, **changed})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RL_DATA_DIR", str(tmp_path))
    return tmp_path


def rows(count):
    text = "\n\nHuman: {} plus one?\n\nAssistant: {}"
    return [
        {"chosen": text.format(i, i + 1), "rejected": text.format(i, i + 2)} for i in range(count)
    ]


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(data), path)
        return
    text = "".join(json.dumps(row) + "\n" for row in data).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize(
    "path",
    [
        f"{HUB}/test.jsonl.gz",
        f"{HUB}/test.jsonl",
        f"{HUB}/test.parquet",
        f"{HUB}/data/test.parquet",
        f"{HUB}/test-00000-of-00001.parquet",
        "hh_rlhf_harmless_base_test.jsonl",
        "hh_rlhf_harmless_base_test.jsonl.gz",
        "hh_rlhf_harmless_base_test.parquet",
    ],
)
def test_a_split_is_found_in_both_layouts(folder, path):
    put(folder / path, rows(3))
    found = load()
    assert [pair.chosen for pair in found.preferences] == [" 1", " 2", " 3"]
    assert found.source.startswith(f"{path} sha256 ")
    assert str(folder) not in found.source


def test_pieces_are_read_in_their_order_and_all_of_them(folder):
    for i in range(2):
        put(folder / f"{HUB}/test-0000{i}-of-00002.parquet", rows(4)[2 * i : 2 * i + 2])
    assert [pair.meta["row"] for pair in load().preferences] == [1, 2, 3, 4]
    assert [pair.chosen for pair in load().preferences] == [" 1", " 2", " 3", " 4"]
    (folder / f"{HUB}/test-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="expected all pieces"):
        load()


def test_a_parquet_file_has_faults_by_row_too(folder):
    put(folder / f"{HUB}/test.parquet", [*rows(2), {"chosen": None, "rejected": "x"}])
    report = load().report
    assert report.faults[Fault.WRONG_TYPE].first == (3,)
    assert (report.rows, report.kept) == (3, 2)


@pytest.mark.parametrize("suffix", ["jsonl.gz", "parquet"])
def test_a_damaged_file_is_named(folder, suffix):
    path = folder / f"{HUB}/test.{suffix}"
    put(path, rows(2000))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=f"test.{suffix}: cannot be read .* fetch it again"):
        load()


@pytest.mark.usefixtures("folder")
def test_what_is_missing_is_told_with_the_names_looked_for():
    with pytest.raises(UserError, match=f"{HUB}/test, .*hh_rlhf_harmless_base_test with") as told:
        load()
    assert "unset RL_DATA_DIR" in str(told.value)


def test_rows_that_are_no_pairs_at_all_are_an_error_that_says_why(folder):
    put(folder / f"{HUB}/test.jsonl", [{"text": "x"}])
    with pytest.raises(UserError, match=r"0 of 1 rows .* missing key \(row 1\)"):
        load()


def test_the_variable_must_name_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("RL_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(UserError, match="RL_DATA_DIR: expected a folder"):
        data_directory()
    monkeypatch.setenv("RL_DATA_DIR", "")
    assert data_directory() is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"schema": "hhh"}, "schema: expected one of hh, ultrafeedback, tldr, got 'hhh'"),
        ({"name": "hh-rlhf"}, "name: expected owner/name"),
        ({"name": "../x/y"}, "name: expected owner/name"),
        ({"revision": "main"}, "revision: expected a commit"),
    ],
)
def test_bad_arguments(monkeypatch, changed, told):
    monkeypatch.delenv("RL_DATA_DIR", raising=False)
    with pytest.raises(UserError, match=told):
        load(**changed)


def pair(prompt, chosen="a", rejected="b"):
    return Preference(prompt, chosen, rejected)


def test_no_prompt_and_no_dialogue_is_on_both_sides():
    pairs = []
    for i in range(1000):
        opening = f"\n\nHuman: question {i}\n\nAssistant:"
        pairs += [pair(opening), pair(opening, "c"), pair(f"{opening} x\n\nHuman: y\n\nAssistant:")]
    parts = [split_by_prompt(pairs, folds=5, fold=fold) for fold in range(5)]
    train, heldout = parts[1]
    sides = [{p.prompt.split("\n\nAssistant:")[0] for p in side} for side in (train, heldout)]
    assert not sides[0] & sides[1]
    assert len(train) + len(heldout) == 3000
    # Four standard errors of 1,000 openings.
    assert abs(len(sides[1]) / 1000 - 0.2) < 4 * (0.2 * 0.8 / 1000) ** 0.5
    # Each pair is held out once.
    assert sorted(p.prompt + p.chosen for _, part in parts for p in part) == sorted(
        p.prompt + p.chosen for p in pairs
    )
    # Rows keep their order and sides when others come or go.
    some = pairs[::7]
    kept = {p.prompt for p in heldout}
    assert split_by_prompt(some, folds=5, fold=1) == (
        [p for p in some if p.prompt not in kept],
        [p for p in some if p.prompt in kept],
    )
    for folds, fold in ((1, 0), (5, 5), (5, -1)):
        with pytest.raises(ValueError, match="expected folds >= 2 and fold in"):
            split_by_prompt(pairs, folds=folds, fold=fold)


def test_length_rules_by_hand():
    pairs = [pair("p", "long", "s"), pair("p", "s ", "long"), pair("p", "s", "long"), pair("p")]
    rules = length_rules(pairs)
    assert (rules.longer, rules.shorter, rules.ties) == (1, 2, 1)
    assert rules.longer_is_better == pytest.approx(1 / 3)
    assert rules.shorter_is_better == pytest.approx(2 / 3)
    assert rules.better_rule_with_ties == pytest.approx((2 + 0.5) / 4)
    with pytest.raises(ValueError, match="ties only"):
        _ = length_rules([pair("p")]).longer_is_better
    with pytest.raises(ValueError, match="got none"):
        _ = length_rules([]).better_rule_with_ties


@pytest.fixture(scope="module")
def real():
    folder = data_directory()
    if folder is None or not list(folder.glob("**/*hh_rlhf_harmless_base_test.jsonl*")):
        pytest.skip(
            "needs real preferences: set RL_DATA_DIR to a folder with HH-RLHF's "
            "hh_rlhf_harmless_base_test.jsonl.gz"
        )
    return load()


def test_real_preferences_are_read_with_their_faults_counted(real):
    assert real.report.rows == 2312
    assert {fault: bad.count for fault, bad in real.report.faults.items()} == {
        Fault.PROMPTS_DIFFER: 5,
        Fault.EMPTY_CHOSEN: 4,
    }
    assert real.report.kept == 2303


def test_length_rules_on_real_preferences(real):
    rules = length_rules(real.preferences)
    assert rules.longer + rules.shorter + rules.ties == 2303
    assert rules.ties == 11
    assert rules.longer_is_better == pytest.approx(0.445, abs=0.0005)
    assert rules.shorter_is_better == pytest.approx(0.555, abs=0.0005)


def test_real_dialogues_stay_on_one_side(real):
    train, heldout = split_by_prompt(real.preferences, folds=5, fold=0)
    assert not {p.prompt for p in train} & {p.prompt for p in heldout}
    openings = Counter(p.prompt.split("\n\nAssistant:")[0] for p in real.preferences)
    assert sum(count > 1 for count in openings.values()) > 100
    assert 0.15 < len(heldout) / len(real.preferences) < 0.25
