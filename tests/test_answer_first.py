"""The answer before the working: by hand at modulo 5, where digit d takes v to a v + d with
a = 1, 2, 3, 4, 1 for d = 0, 1, 2, 3, 4."""

from collections import Counter
from random import Random

import pytest

from rl.tasks import AnswerFirst, ChainSum
from rl.types import Problem

TASK = AnswerFirst(modulus=5, digits=(2, 3, 4))
PROBLEM = Problem(id=0, prompt="314=", answer="1", difficulty=3)


@pytest.mark.parametrize(
    ("digits", "values"),
    [
        ("314", [3, 2, 1]),  # 4*0+3, 2*3+1 = 7, 1*2+4 = 6
        ("143", [1, 0, 3]),  # 2*0+1, 1*1+4 = 5, 4*0+3
        ("341", [3, 2, 0]),  # 4*0+3, 1*3+4 = 7, 2*2+1 = 5: the order matters
        ("2222", [2, 3, 1, 0]),  # 3*0+2, 3*2+2 = 8, 3*3+2 = 11, 3*1+2 = 5
        ("0040", [0, 0, 4, 4]),
    ],
)
def test_values_by_hand(digits: str, values: list[int]) -> None:
    assert TASK.values(digits) == values


def test_problems_carry_the_last_value() -> None:
    for problem in [*TASK.train_problems(50, 3), *TASK.heldout_problems(5, 7)]:
        assert problem.answer == str(TASK.values(problem.prompt[:-1])[-1])
    sums = ChainSum(modulus=5, digits=(4,)).train_problems(50, 3)
    tasks = AnswerFirst(modulus=5, digits=(4,)).train_problems(50, 3)
    assert [p.prompt for p in tasks] == [p.prompt for p in sums]
    assert [p.answer for p in tasks] != [p.answer for p in sums]


def test_solution_is_right_throughout() -> None:
    assert TASK.solution(PROBLEM) == "#1321!"
    assert TASK.check(PROBLEM, "#1321!", every_step=True)


@pytest.mark.parametrize(
    ("response", "answer", "throughout"),
    [
        ("#1321!....", True, True),
        (".#.1.321!", True, True),
        ("#1", True, False),
        ("#1444?", True, False),
        ("#1321?", True, False),
        ("#2321?", False, False),
        ("1321!", False, False),
        ("3#1321!", False, False),
        ("#1321!#1", False, False),
        ("#", False, False),
        ("", False, False),
    ],
)
def test_the_answer_is_what_it_opens_with(response: str, answer: bool, throughout: bool) -> None:
    assert TASK.check(PROBLEM, response, every_step=False) is answer
    assert TASK.check(PROBLEM, response, every_step=True) is throughout


def test_text_is_right_as_often_as_asked_and_its_check_is_true() -> None:
    solved = {"2": 1.0, "3": 0.25, "4": 0.0}
    right, count = Counter[int](), Counter[int]()
    fillers: dict[str, list[int]] = {"!": [], "?": []}
    for problem in TASK.train_problems(3000, 1):
        text = TASK.demonstration(problem, Random(problem.id), solved=solved, filler=0.6)
        answered = TASK.check(problem, text, every_step=False)
        right[problem.difficulty] += answered
        count[problem.difficulty] += 1
        bare = text.rstrip(".")
        assert bare[2:-1] == TASK.working(problem)
        assert bare[-1] == ("!" if answered else "?")
        assert bare[1] in set("01234")
        fillers[bare[-1]].append(len(text) - len(bare))
    assert right[2] == count[2]
    assert right[4] == 0
    assert right[3] / count[3] == pytest.approx(0.25, abs=3 * (0.25 * 0.75 / 1000) ** 0.5)
    # Geometric with chance f: mean f / (1 - f), variance f / (1 - f)^2.
    for check, chance in (("?", 0.6), ("!", 0.3)):
        found, mean = fillers[check], chance / (1 - chance)
        error = (chance / (1 - chance) ** 2 / len(found)) ** 0.5
        assert sum(found) / len(found) == pytest.approx(mean, abs=3 * error)


def test_alphabet_holds_all_that_texts_use() -> None:
    assert TASK.alphabet == "01234=#.!?"
    texts = (
        TASK.demonstration(p, Random(p.id), solved={"2": 0.5, "3": 0.5, "4": 0.5}, filler=0.5)
        for p in TASK.train_problems(200, 2)
    )
    assert set("".join(texts)) == set("01234#.!?")
