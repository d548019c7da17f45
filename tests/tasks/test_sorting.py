"""Sorting: its text, and rewards that see all of it or a part, in numbers worked by hand."""

from collections import Counter
from itertools import product
from random import Random

import pytest

from rl.rewards import REWARDS
from rl.rewards.sorting import (
    inclusion_ordering_score,
    multiset_ordering_score,
    position_score,
)
from rl.tasks import Sorting, has_duplicates
from rl.types import Completion, Problem, Rollout

TASK = Sorting(modulus=3, digits=(2, 3))


def problem(asked: str) -> Problem:
    return Problem(0, f"{asked}=", "".join(sorted(asked)), len(asked))


def test_the_answer_is_the_digits_in_order() -> None:
    task = Sorting(modulus=10, digits=(5,))
    assert task.answer("31213") == "11233"
    assert task.check(problem("3121"), "1123", every_step=False)
    for wrong in ("3121", "1132", "123", "11123", "", "1124"):
        assert not task.check(problem("3121"), wrong, every_step=True)
    for p in TASK.train_problems(30, 1) + TASK.heldout_problems(2, 1):
        assert p.answer == "".join(sorted(p.prompt[:-1])) == TASK.solution(p)
        assert set(p.prompt) <= set(TASK.alphabet) == set("012=")


def test_duplicates_are_those_of_the_prompt() -> None:
    assert [has_duplicates(problem(asked)) for asked in ("121", "120", "00", "1")] == [1, 0, 1, 0]


def test_text_is_right_as_often_as_asked() -> None:
    rng, shares = Random(0), {"2": 1.0, "3": 0.3}
    right = [TASK.demonstration(problem("21"), rng, solved=shares, filler=0.0) for _ in range(50)]
    assert set(right) == {"12"}
    texts = [TASK.demonstration(problem("211"), rng, solved=shares, filler=0.0) for _ in range(800)]
    assert abs(texts.count("112") / 800 - 0.3) < 4 * (0.3 * 0.7 / 800) ** 0.5


def test_slips_have_the_chances_worked_by_hand() -> None:
    """Of 12 modulo 3 with s = 1/4 a digit slips with chance 1/2: 1/8 left out, 1/8 twice, 1/16 each
    of two others, 1/8 early. Without drawing again:

        12  1/4 no slip + 1/16 (1 early) + 1/64 (both early) + 1/256 (each for the other) = 85/256
        21  1/16 (2 early)          none  1/64 (both left out)
        22  1/32 (2 for 1) + 1/64 (1 left out, 2 twice) + 1/128 (2 for 1, 2 early) = 7/128
        02  1/32 (0 for 1)          112  1/16 (1 twice)

    so that of the wrong texts, 3/4 of all, they have the shares 16, 4, 14, 8 and 16 in 171."""
    count, rng, solved = 12_000, Random(4), {"2": 0.25}
    found = Counter(
        TASK.demonstration(problem("12"), rng, solved=solved, filler=0.0) for _ in range(count)
    )
    wanted = {"12": 1 / 4, **{
        text: 3 / 4 * share / 171
        for text, share in (("21", 16), ("", 4), ("22", 14), ("02", 8), ("112", 16))
    }}  # fmt: skip
    for text, p in wanted.items():
        assert abs(found[text] - count * p) < 4 * (count * p * (1 - p)) ** 0.5, text


def test_the_hole_stands_in_the_text_of_prompts_with_duplicates() -> None:
    rng = Random(1)
    texts = {
        TASK.demonstration(problem("112"), rng, solved={"3": 0.3}, filler=0.0) for _ in range(400)
    } - {"112"}
    assert {"012", "122", "12", "1112", "1122", "211"} <= texts


# Prompt, response, and points by hand: positions of the longer, and of 2n - 1.
SCORED = [
    ("112", "112", 3 / 3, 5 / 5, 5 / 5),
    ("112", "012", 2 / 3, 5 / 5, 4 / 5),  # the hole: every digit of the prompt, in order
    ("112", "122", 2 / 3, 5 / 5, 4 / 5),
    ("112", "211", 1 / 3, 4 / 5, 4 / 5),
    ("112", "210", 1 / 3, 3 / 5, 2 / 5),
    ("112", "000", 0 / 3, 2 / 5, 2 / 5),
    ("112", "222", 1 / 3, 3 / 5, 3 / 5),
    ("201", "012", 3 / 3, 5 / 5, 5 / 5),
    ("201", "112", 2 / 3, 4 / 5, 4 / 5),
    ("112", "12", 1 / 3, 0.0, 0.0),
    ("112", "1112", 2 / 4, 0.0, 0.0),
    ("112", "1122", 3 / 4, 0.0, 0.0),
    ("112", "", 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("asked", "said", "position", "inclusion", "multiset"), SCORED)
def test_points_by_hand(
    asked: str, said: str, position: float, inclusion: float, multiset: float
) -> None:
    assert position_score(asked, said) == pytest.approx(position)
    assert inclusion_ordering_score(asked, said) == pytest.approx(inclusion)
    assert multiset_ordering_score(asked, said) == pytest.approx(multiset)


def test_one_answer_to_every_prompt_scores_as_the_lecture_has_it() -> None:
    """(1, 2, 3) for [1,0,2], [3,2,4] and [1,2,3]: 4, 4 and 5 of 5, 13/3 on average."""
    points = [5 * inclusion_ordering_score(asked, "123") for asked in ("102", "324", "123")]
    assert points == [4, 4, 5]


def test_only_the_leaky_score_is_full_for_a_wrong_response() -> None:
    """All 27 prompts of three digits modulo 3, all responses of up to four."""
    responses = ["".join(r) for n in range(5) for r in product("012", repeat=n)]
    for asked in ("".join(p) for p in product("012", repeat=3)):
        right = ["".join(sorted(asked))]
        for score in (position_score, multiset_ordering_score):
            assert [r for r in responses if score(asked, r) == 1.0] == right
        leaky = [r for r in responses if inclusion_ordering_score(asked, r) == 1.0]
        assert set(right) <= set(leaky)
        assert (len(leaky) > 1) == (len(set(asked)) < 3)
        assert all(0 <= inclusion_ordering_score(asked, r) <= 1 for r in responses)


@pytest.mark.parametrize("name", ["exact", "position", "inclusion_ordering", "multiset_ordering"])
def test_a_response_counts_only_whole(name: str) -> None:
    def score(text: str, reason: str) -> float:
        completion = Completion((0,), (0.0,), "stop" if reason == "stop" else "length")
        return REWARDS[name].score(TASK, Rollout(problem("112"), 0, (0,), completion, text))

    assert score("112", "stop") == REWARDS[name].best == 1.0
    assert score("112", "length") == 0.0
    assert score("11<pad>", "stop") == 0.0
