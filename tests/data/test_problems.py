"""Published problems: rows, faults, difficulties, and where they are looked for."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rl.data import Fault, WordProblem, data_directory, load_problems
from rl.data.problems import read_gsm8k, read_math
from rl.data.schemas import FaultyRowError
from rl.errors import UserError

FIXTURES = Path(__file__).parent.parent / "fixtures" / "maths"
REVISION = "a" * 40
MARKED = "<<1+1=2>>"


def solution(calculations: int, answer: str = "7") -> str:
    return f"So {MARKED * calculations} it is.\n#### {answer}"


@pytest.mark.parametrize(
    ("marked", "difficulty"), [(0, 1), (1, 1), (2, 2), (8, 8), (9, 8), (12, 8)]
)
def test_calculations_are_the_difficulty_of_gsm8k(marked: int, difficulty: int) -> None:
    row = {"question": " How many? ", "answer": solution(marked, "1,234")}
    assert read_gsm8k(row) == WordProblem("How many?", "1,234", difficulty)


@pytest.mark.parametrize("level", ["Level 3", 3, "3"])
def test_levels_are_the_difficulty_of_math(level: Any) -> None:
    row = {"problem": "Find $x$.", "level": level, "solution": r"So $x=\boxed{\frac{1}{2}}$."}
    assert read_math(row) == WordProblem("Find $x$.", r"\frac{1}{2}", 3)


GOOD = {"problem": "Find $x$.", "level": "Level 3", "solution": r"\boxed{2}"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"problem": " "}, Fault.EMPTY_QUESTION),
        ({"level": "Level ?"}, Fault.BAD_LEVEL),
        ({"level": 6}, Fault.BAD_LEVEL),
        ({"solution": "It is 2."}, Fault.NO_ANSWER),
        ({"solution": None}, Fault.WRONG_TYPE),
        ({"problem": "\ud800"}, Fault.NOT_UNICODE),
    ],
)
def test_a_row_that_is_no_problem_has_a_fault(change: dict[str, Any], fault: Fault) -> None:
    with pytest.raises(FaultyRowError) as caught:
        read_math({**GOOD, **change})
    assert caught.value.fault is fault
    with pytest.raises(FaultyRowError) as caught:
        read_math({key: value for key, value in GOOD.items() if key not in change})
    assert caught.value.fault is Fault.MISSING_KEY


def load(kind: str, *subsets: str, split: str = "train") -> Any:
    name = {"gsm8k": "openai/gsm8k", "math": "EleutherAI/hendrycks_math"}[kind]
    return load_problems(name, kind=kind, subsets=subsets, split=split, revision=REVISION)


def test_one_layout_and_the_other_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one file beside others, which holds all subsets, and as the hub lays it out."""
    monkeypatch.setenv("RL_DATA_DIR", str(tmp_path))
    shutil.copyfile(FIXTURES / "math_train.jsonl", tmp_path / "hendrycks_math_train.jsonl")
    flat = load("math", "algebra", "prealgebra")
    assert len(flat.problems) == flat.reports[0].kept == 20
    assert len(flat.reports) == 1
    text = (FIXTURES / "math_train.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    hub = tmp_path / "EleutherAI" / "hendrycks_math"
    for subset, part in (("algebra", rows[:12]), ("prealgebra", rows[12:])):
        (hub / subset).mkdir(parents=True)
        pd.DataFrame(part).to_parquet(hub / subset / "train-00000-of-00001.parquet")
    pieces = load("math", "algebra", "prealgebra")
    assert pieces.problems == flat.problems
    assert [report.kept for report in pieces.reports] == [12, 8]
    assert pieces.source.count(" sha256 ") == 2


def test_the_smallest_sets_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_DATA_DIR", str(tmp_path))
    shutil.copyfile(FIXTURES / "gsm8k_train.jsonl", tmp_path / "gsm8k_train.jsonl")
    (tmp_path / "gsm8k_test.jsonl").write_text('{"question": "?", "answer": "no"}\n[]\n')
    first = load("gsm8k", "main").problems[0]
    assert first.question.startswith("A baker fills 12 trays with 15 rolls each")
    assert (first.answer, first.difficulty) == ("40", 2)
    with pytest.raises(UserError) as caught:
        load("gsm8k", "main", split="test")
    assert str(caught.value) == (
        "openai/gsm8k main test: expected problems of gsm8k, but 0 of 2 rows are whole problems; "
        "1 left out: not a JSON object (row 2); 1 left out: solution without a final answer (row 1)"
    )
    with pytest.raises(
        UserError, match=r"as one of openai/gsm8k/main/dev, .*, gsm8k_main_dev, gsm"
    ):
        load("gsm8k", "main", split="dev")


@pytest.mark.parametrize(
    ("split", "rows", "counts"),
    [
        ("train", 7473, {1: 499, 2: 2175, 3: 2137, 4: 1424, 5: 785, 6: 287, 7: 123, 8: 43}),
        ("test", 1319, {1: 83, 2: 357, 3: 364, 4: 290, 5: 138, 6: 57, 7: 21, 8: 9}),
    ],
)
def test_real_gsm8k_is_read_whole(split: str, rows: int, counts: dict[int, int]) -> None:
    folder = data_directory()
    if folder is None or not list(folder.glob(f"gsm8k_{split}.jsonl*")):
        pytest.skip("needs real GSM8K: set RL_DATA_DIR to a folder with gsm8k_train.jsonl")
    found = load("gsm8k", "main", split=split)
    assert found.reports[0].rows == len(found.problems) == rows
    assert Counter(problem.difficulty for problem in found.problems) == counts
    # Every reference is a whole number, some with commas between thousands.
    numbers = [problem.answer.replace(",", "") for problem in found.problems]
    assert all(number.removeprefix("-").isdecimal() for number in numbers)


def test_no_real_question_is_on_both_sides() -> None:
    folder = data_directory()
    if folder is None or not list(folder.glob("gsm8k_train.jsonl*")):
        pytest.skip("needs real GSM8K: set RL_DATA_DIR to a folder with gsm8k_train.jsonl")
    train, test = (
        {p.question for p in load("gsm8k", "main", split=s).problems} for s in ("train", "test")
    )
    assert not train & test
