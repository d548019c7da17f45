"""Five lines, and what that rule leaves free."""

from collections import Counter
from random import Random

import pytest

from rl.rewards import REWARDS
from rl.tasks import Poem
from rl.types import Completion, Problem, Rollout

TASK = Poem(modulus=3, digits=(2, 3))
PROBLEM = Problem(0, "cab=", "c/a/b/c/a/", 3)


def reward(name: str, text: str, reason: str = "stop") -> float:
    completion = Completion((0,), (0.0,), "stop" if reason == "stop" else "length")
    return REWARDS[name].score(TASK, Rollout(PROBLEM, 0, (0,), completion, text))


def test_the_shortest_poem_spells_the_title() -> None:
    assert TASK.answer("cab") == "c/a/b/c/a/"
    assert TASK.answer("ab") == "a/b/a/b/a/"
    assert TASK.alphabet == "abc=/"
    for p in TASK.train_problems(20, 1) + TASK.heldout_problems(1, 1):
        assert p.answer == TASK.solution(p) == TASK.answer(p.prompt[:-1])
        assert TASK.check(p, p.answer, every_step=True)


@pytest.mark.parametrize(
    ("text", "distance", "poem"),
    [
        ("c/a/b/c/a/", 0, True),
        ("cc/abb/bc/c/aa/", 0, True),
        ("c/a/b/c/a", 0, True),  # the last line counts without its end
        ("c/a/b/c/b/", 0, False),
        ("/////", 0, False),  # five lines, and nothing in them
        ("c/a//c/a/", 0, False),
        ("", 5, False),
        ("c", 4, False),
        ("c/", 4, False),
        ("c/a/b/c/", 1, False),
        ("c/a/b/c/a/b/", 1, False),
        ("////////", 3, False),
    ],
)
def test_the_rule_looks_at_the_number_of_lines_only(text: str, distance: int, poem: bool) -> None:
    assert reward("lines", text) == -distance
    assert reward("exact", text) == poem
    assert TASK.check(PROBLEM, text, every_step=False) == (distance == 0)


def test_a_poem_that_never_ends_has_no_lines() -> None:
    assert reward("lines", "c/a/b/c/a/", "length") == -5
    assert reward("lines", "c/a/<pad>/c/a/") == -5
    assert reward("exact", "c/a/b/c/a/", "length") == 0
    assert REWARDS["lines"].best == reward("lines", "/////")


def test_text_has_as_many_poems_as_asked_and_lines_of_all_numbers() -> None:
    rng, share = Random(2), {"3": 0.4}
    texts = [TASK.demonstration(PROBLEM, rng, solved=share, filler=0.5) for _ in range(2000)]
    right = [TASK.check(PROBLEM, text, every_step=True) for text in texts]
    assert abs(sum(right) / 2000 - 0.4) < 4 * (0.24 / 2000) ** 0.5
    lines = Counter(len(TASK.lines(text)) for text in texts)
    assert set(lines) == set(range(1, 9))
    assert lines[5] > 800  # the poems, and others
    full = [line for text in texts for line in TASK.lines(text) if line]
    mean = sum(map(len, full)) / len(full)  # geometric from 1: 1 / (1 - 1/2), variance 2
    assert abs(mean - 2) < 4 * (2 / len(full)) ** 0.5
    assert any(not text.strip("/") for text in texts)  # empty lines alone, at times
    assert all(set(text) <= set(TASK.alphabet) for text in texts)


def test_text_at_share_one_is_a_poem_and_at_share_zero_none() -> None:
    rng = Random(3)
    for share in (0.0, 1.0):
        for p in TASK.train_problems(100, 5):
            text = TASK.demonstration(p, rng, solved={"2": share, "3": share}, filler=0.3)
            assert TASK.check(p, text, every_step=True) == (share == 1.0)
