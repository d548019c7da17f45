"""Tiny programs: prompts read again by another route, their split, slips, and the constants."""

import re
from collections import Counter
from random import Random

import pytest

from rl.errors import UserError
from rl.tasks.tiny_language import INSTRUCTIONS, run
from rl.tasks.tiny_programs import (
    BOUNDS,
    INPUTS,
    KINDS,
    Judgement,
    TinyPrograms,
    best_constant,
    ends,
    hidden_inputs,
    wanted,
    with_a_slip,
)
from rl.tasks.world import is_heldout
from rl.types import Problem

TASK = TinyPrograms(modulus=10, digits=(1, 2, 3, 4, 5, 6))


def problem(kind: int, prompt: str) -> Problem:
    return Problem(id=0, prompt=prompt, answer=dict(KINDS[kind](9))[prompt], difficulty=kind)


def value_by_prompt(prompt: str, x: int) -> int:
    """f(x) worked out from the prompt's text alone."""
    numbers = [int(n) for n in re.findall(r"[+-]?\d+", prompt)]
    if prompt.startswith("(x"):
        b, d = numbers
        return (x + b) * (x + d)
    if "r" in prompt:
        r, factor, b = numbers
        for _ in range(x):
            r = factor * r + b
        return r
    if prompt.startswith("x<"):
        c, a, b = numbers
        return a if x < c else x + b
    if prompt.count(">") == 3:
        _, a, _, _, c, b = numbers
        return a if x < c else b
    if prompt.count(">") == 2:
        x0, y0, _, y1 = numbers
        return y0 + (y1 - y0) * (x - x0)
    a, b = numbers
    return a * x + b


@pytest.mark.parametrize(
    ("kind", "prompt", "program", "values"),
    [
        (1, "3x+4=", "3x*4+", [4, 7, 10]),
        (1, "3x-4=", "3x*4-", [-4, -1, 2]),
        (2, "(x+2)(x-3)=", "x2+x3-*", [-6, -6, -4]),
        (3, "x<2?5,x+3=", "x2<5x3+?", [5, 5, 5]),
        (3, "x<1?5,x+3=", "x1<5x3+?", [5, 4, 5]),
        (4, "3,2r+1=", "3x[2*1+]", [3, 7, 15]),
        (5, "1>7,2>10=", "3x*4+", [4, 7, 10]),
        (6, "1>2,2>2,3>7=", "x3<27?", [2, 2, 2]),
    ],
)
def test_prompts_by_hand(kind: int, prompt: str, program: str, values: list[int]) -> None:
    found = problem(kind, prompt)
    assert TASK.solution(found) == program
    assert [wanted(found, x) for x in (0, 1, 2)] == values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("largest", [1, 9])
def test_every_prompt_says_what_its_program_does(kind: int, largest: int) -> None:
    prompts = list(KINDS[kind](largest))
    assert len(dict(prompts)) == len(prompts)
    for prompt, program in prompts:
        assert set(prompt + program) <= set(TASK.alphabet)
        assert set(program) <= set(INSTRUCTIONS)
        found = Problem(0, prompt, program, kind)
        assert [wanted(found, x) for x in INPUTS] == [value_by_prompt(prompt, x) for x in INPUTS]
        # No constant passes, and the bounds leave room.
        assert best_constant(found)[1] < 1
        assert max(run(program, x=x, bounds=BOUNDS).steps for x in INPUTS) * 5 <= BOUNDS.steps


def test_shown_inputs_are_not_among_the_hidden_ones() -> None:
    assert hidden_inputs(problem(5, "3>13,4>16=")) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert hidden_inputs(problem(6, "3>2,4>2,5>7=")) == [0, 1, 2, 6, 7, 8, 9]
    for kind, prompt in ((1, "3x+4="), (2, "(x+2)(x-3)="), (3, "x<5?2,x+3="), (4, "3,2r+1=")):
        assert hidden_inputs(problem(kind, prompt)) == list(INPUTS)


def test_each_test_ends_in_its_own_way() -> None:
    """3x + 4, by a program that is right, wrong, and at fault in turn: x % (x - 2) and so on."""
    line = problem(1, "3x+4=")
    assert ends(line, "3x*4+", range(3)) == ["passed"] * 3
    assert ends(line, "x4+", range(3)) == ["passed", "wrong", "wrong"]
    assert ends(line, "3x*4+x1-[;]", range(4)) == ["passed", "passed", "wrong", "stack"]
    assert ends(line, "3x*4+01x-%;3x*4+", range(3)) == ["output", "zero", "output"]
    assert ends(line, "x[99*9*[]]4", range(2)) == ["passed", "steps"]
    assert TASK.share(line, "x4+") == 0.1
    assert TASK.share(line, "3x*4+x1-[;]") == 0.2
    assert TASK.share(line, "4x3*+") == 1.0
    assert TASK.share(line, "no") == 0.0


@pytest.mark.parametrize(
    ("kind", "prompt", "value", "share"),
    [
        (1, "3x+4=", 4, 0.1),
        (2, "(x+2)(x-3)=", -6, 0.2),  # -6 at 0 and 1
        (3, "x<9?2,x+3=", 2, 0.9),
        (3, "x<5?8,x+3=", 8, 0.6),  # 8 at 0 to 4, and 5 + 3
        (4, "3,2r+1=", 3, 0.1),
        (5, "1>7,2>10=", 4, 0.125),
        (6, "3>2,4>2,5>7=", 7, 4 / 7),
        (6, "1>2,2>2,3>7=", 7, 6 / 7),
        (6, "5>2,6>2,7>8=", 2, 5 / 7),
    ],
)
def test_a_constant_program_scores(kind: int, prompt: str, value: int, share: float) -> None:
    found = problem(kind, prompt)
    assert best_constant(found) == (value, share)
    program = str(value) if value >= 0 else f"0{-value}-"
    assert TASK.share(found, program) == share
    assert not TASK.check(found, program, every_step=False)


def test_best_constant_is_the_best() -> None:
    for p in TASK.train_problems(60, seed=4):
        value, share = best_constant(p)
        digits = [TASK.share(p, str(n)) for n in range(10)]
        assert max(digits) == share if value in range(10) else max(digits) <= share


def test_the_hole_is_wide_for_branches_and_steps_only() -> None:
    means = {}
    for kind in KINDS:
        shares = [
            best_constant(Problem(0, prompt, program, kind))[1]
            for prompt, program in KINDS[kind](9)
        ]
        means[kind] = sum(shares) / len(shares)
    assert means == pytest.approx(
        {1: 0.1, 2: 0.147, 3: 0.518, 4: 0.1, 5: 0.125, 6: 0.686}, abs=2e-3
    )


def test_the_share_is_right_as_asked_and_slips_fail() -> None:
    solved = {"1": 1.0, "2": 0.25, "3": 0.0, "4": 0.5, "5": 0.5, "6": 0.75}
    right, count = Counter[int](), Counter[int]()
    for p in TASK.train_problems(1200, seed=1):
        text = TASK.demonstration(p, Random(p.id), solved=solved, filler=0.2)
        assert set(text) <= set(INSTRUCTIONS)
        passed = TASK.check(p, text, every_step=False)
        assert passed == (text.replace(".", "") == p.answer) or p.difficulty in (5, 6)
        right[p.difficulty] += passed
        count[p.difficulty] += 1
    assert right[1] == count[1]
    assert right[3] == 0
    for kind in (2, 4, 5, 6):
        share, n = solved[str(kind)], count[kind]
        assert abs(right[kind] / n - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_scores_range_from_nothing_to_all() -> None:
    """Slips and constants: there is something to climb, and something to be stuck on."""
    solved = {str(kind): 0.5 for kind in KINDS}
    shares = Counter(
        round(TASK.share(p, TASK.demonstration(p, Random(p.id), solved=solved, filler=0.0)), 1)
        for p in TASK.train_problems(1000, seed=2)
    )
    assert shares[1.0] == pytest.approx(500, abs=64)
    assert all(shares[level / 10] >= 1 for level in range(10))


def test_one_wrong_text_in_four_is_a_number_of_the_prompt() -> None:
    step, rng, none = problem(6, "3>2,4>2,5>7="), Random(0), {"6": 0.0}
    texts = [TASK.demonstration(step, rng, solved=none, filler=0.0) for _ in range(1200)]
    digits = Counter(text for text in texts if len(text) == 1)
    assert abs(digits.total() - 300) < 4 * (1200 * 3 / 16) ** 0.5
    assert set(digits) == set("32457")
    assert abs(digits["2"] - 100) < 4 * (300 * 2 / 9) ** 0.5  # two of the prompt's six digits
    assert max(TASK.share(step, text) for text in digits) == best_constant(step)[1]


def test_a_slip_changes_one_character() -> None:
    rng, lengths = Random(0), Counter[int]()
    for _ in range(900):
        slipped = with_a_slip("3x[2*1+]", rng)
        lengths[len(slipped)] += 1
        assert slipped != "3x[2*1+]"
        if len(slipped) == 8:
            (pair,) = [(a, b) for a, b in zip("3x[2*1+]", slipped, strict=True) if a != b]
            assert any(set(pair) <= set(c) for c in ("0123456789", "+-*%<", "x:~;", "[]?"))
    assert set(lengths) == {7, 8}
    assert abs(lengths[7] - 300) < 4 * (900 * 2 / 9) ** 0.5


def test_splits_are_fixed_by_the_text_and_disjoint() -> None:
    train = {p.prompt for seed in range(4) for p in TASK.train_problems(500, seed)}
    held = [p.prompt for p in TASK.heldout_problems(40, seed=7)]
    assert not any(map(is_heldout, train))
    assert all(map(is_heldout, held))
    assert len(held) == len(set(held))
    everything = TASK.heldout_problems(10**6, seed=0)
    assert {p.prompt for p in everything if p.difficulty == 1} == {
        prompt for prompt, _ in KINDS[1](9) if is_heldout(prompt)
    }
    assert Counter(p.difficulty for p in TASK.heldout_problems(40, seed=7)) == {
        **dict.fromkeys((2, 3, 4, 5, 6), 40),
        1: 27,  # all there are
    }
    # Literal prompts: the same split in every process, on every machine.
    assert [p for p, _ in KINDS[1](9) if is_heldout(p)][:4] == [
        *("1x-4=", "1x+6=", "1x+7=", "2x-7=")
    ]


def test_seeds_decide() -> None:
    for draw in (TASK.train_problems, TASK.heldout_problems):
        assert draw(50, 1) == draw(50, 1)
        assert draw(50, 1) != draw(50, 2)
        assert [p.id for p in draw(50, 1)] == list(range(len(draw(50, 1))))
    for p in TASK.train_problems(200, 3):
        assert p.answer == dict(KINDS[p.difficulty](9))[p.prompt]


def test_kinds_are_uniform_and_only_those_asked_for() -> None:
    task = TinyPrograms(modulus=4, digits=(6, 2))
    assert task.difficulties == (2, 6)
    counts = Counter(p.difficulty for p in task.train_problems(1000, seed=5))
    assert set(counts) == {2, 6}
    assert abs(counts[2] - 500) < 4 * 250**0.5


def test_the_alphabet() -> None:
    assert TASK.alphabet == "0123456789x+-*%<?:~;[].(),r>="
    assert len(set(TASK.alphabet)) == len(TASK.alphabet)


def test_bad_settings_are_one_clear_error() -> None:
    for modulus in (1, 11):
        with pytest.raises(UserError, match=f"task.modulus: expected 2 to 10, got {modulus}"):
            TinyPrograms(modulus=modulus, digits=(1,))
    with pytest.raises(
        UserError, match=r"task.digits: expected some of the kinds 1, 2, 3, 4, 5, 6 of .*, got 7"
    ):
        TinyPrograms(modulus=10, digits=(7,))
    with pytest.raises(UserError, match="got none"):
        TinyPrograms(modulus=10, digits=())
    with pytest.raises(UserError, match=r"held-out prompts of kind 1 .* raise task.modulus"):
        TinyPrograms(modulus=2, digits=(1,)).heldout_problems(4, seed=0)


def test_the_answer_is_the_program_of_the_prompt() -> None:
    for p in TASK.train_problems(100, seed=6):
        assert TASK.answer(p.prompt[:-1]) == p.answer


def test_a_judgement_tells_the_first_fault_and_counts_the_rest() -> None:
    line = problem(1, "3x+4=")
    assert TASK.judge(line, "3x*4+", INPUTS) == Judgement("passed", 10, 10)
    assert TASK.judge(line, "x4+", INPUTS) == Judgement("wrong", 1, 10)
    assert TASK.judge(line, "3x*4+x[;]", (0, 2, 1)) == Judgement("stack", 1, 3)
    assert TASK.judge(line, "x4+", (0,)) == Judgement("passed", 1, 1)
