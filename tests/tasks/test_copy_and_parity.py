"""Copy and parity: answers worked by hand, text right as often as asked, at any length."""

from random import Random

import pytest

from rl.models.decoder import MAX_POSITIONS
from rl.tasks import Copy, Parity, World
from rl.tasks.world import is_heldout
from rl.types import Problem

COPY, PARITY = Copy(modulus=2, digits=(4,)), Parity(modulus=2, digits=(4,))


def problem(task: World, asked: str) -> Problem:
    return task._problem(0, f"{asked}=")


def test_answers_by_hand() -> None:
    assert (COPY.answer("1101"), COPY.solution(problem(COPY, "1101"))) == ("1101", "1101")
    assert (PARITY.answer("1101"), PARITY.solution(problem(PARITY, "1101"))) == ("1", "1001")
    five = Parity(modulus=5, digits=(3,))
    assert five.solution(problem(five, "434")) == "421"


def test_a_copy_is_every_digit_and_no_more() -> None:
    asked = problem(COPY, "1101")
    assert COPY.check(asked, "1101", every_step=False)
    for wrong in ("1100", "110", "11011", "", "0101"):
        assert not COPY.check(asked, wrong, every_step=False)
        assert not COPY.check(asked, wrong, every_step=True)


@pytest.mark.parametrize(
    ("response", "answer", "steps"),
    [
        ("1001", True, True),
        ("1111", True, False),  # two slips that cancel
        ("1000", False, False),
        ("001", False, False),
        ("10011", False, False),
        ("100=", False, False),
        ("1=01", False, False),
        ("", False, False),
    ],
)
def test_parity_is_the_last_sum_or_all(response: str, answer: bool, steps: bool) -> None:
    asked = problem(PARITY, "1101")
    assert PARITY.check(asked, response, every_step=False) == answer
    assert PARITY.check(asked, response, every_step=True) == steps


@pytest.mark.parametrize("kind", [Copy, Parity])
@pytest.mark.parametrize("length", [8, 32, 128])
def test_text_is_right_as_often_as_asked_at_every_length(kind: type[World], length: int) -> None:
    task, rng = kind(modulus=2, digits=(length,)), Random(1)
    solved = {str(length): 0.4}
    problems = task.train_problems(600, 2)
    texts = [task.demonstration(p, rng, solved=solved, filler=0.0) for p in problems]
    assert {len(text) for text in texts} == {length}
    assert set("".join(texts)) <= set(task.alphabet)
    share = sum(
        task.check(p, text, every_step=True) for p, text in zip(problems, texts, strict=True)
    )
    assert abs(share / 600 - 0.4) < 4 * (0.4 * 0.6 / 600) ** 0.5
    sure = {str(length): 1.0}
    for p in problems[:20]:
        assert task.demonstration(p, rng, solved=sure, filler=0.0) == task.solution(p)
        assert not is_heldout(p.prompt)
    assert all(is_heldout(p.prompt) for p in task.heldout_problems(5, 3))
    assert 2 * length + 2 <= MAX_POSITIONS


def test_a_slip_in_parity_is_gone_on_from() -> None:
    """Each sum is the one before and its digit, but where it slips."""
    task, rng = Parity(modulus=5, digits=(6,)), Random(4)
    asked = problem(task, "143142")
    slips = 0
    for _ in range(400):
        text = task.demonstration(asked, rng, solved={"6": 0.5}, filler=0.0)
        before = "0" + text[:-1]
        slips += sum(
            (int(b) + int(d)) % 5 != int(now)
            for b, d, now in zip(before, "143142", text, strict=True)
        )
    chance = 1 - 0.5 ** (1 / 6)
    assert abs(slips / 2400 - chance) < 4 * (chance * (1 - chance) / 2400) ** 0.5
