"""The tiny language: every instruction and every end by hand, arithmetic against Python's own, and
a promise about any text at all."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings, strategies as st

from rl.errors import UserError
from rl.tasks.tiny_language import INSTRUCTIONS, REASONS, TAKES, Bounds, Ended, run

BOUNDS = Bounds(steps=100, stack=4, largest=1000, outputs=2)


def ended(program: str, x: int = 5) -> Ended:
    return run(program, x=x, bounds=BOUNDS)


@pytest.mark.parametrize(
    ("program", "outputs"),
    [
        ("", ()),
        ("7", (7,)),
        ("x", (5,)),
        ("x3-", (2,)),
        ("3x-", (-2,)),
        ("x3+", (8,)),
        ("x3*", (15,)),
        ("x3%", (2,)),
        ("3x-4%", (2,)),  # -2 = -1 * 4 + 2
        ("x03-%", (-1,)),  # 5 = -2 * -3 - 1
        ("x6<", (1,)),
        ("x5<", (0,)),
        ("6x<", (0,)),
        ("x6<27?", (2,)),
        ("x5<27?", (7,)),
        ("01-27?", (2,)),  # any number but 0 is true
        ("x:", (5, 5)),
        ("x3~", (3, 5)),
        ("x3;", (5,)),
        ("..x..", (5,)),
        ("12+3*4-", (5,)),
        ("3x[2*1+]", (127,)),  # 3, 7, 15, 31, 63, 127
        ("10[2*]", (1,)),
        ("101-[2*]", (1,)),
        ("12[3[1+]]", (7,)),
        ("0x[:1+]", None),  # six values
        ("0x[1+]x[1+]", (10,)),
    ],
)
def test_programs_by_hand(program: str, outputs: tuple[int, ...] | None) -> None:
    found = ended(program)
    assert found.outputs == (outputs or ())
    assert (found.reason == "ok") == (outputs is not None)


@pytest.mark.parametrize(
    ("program", "reason", "steps"),
    [
        ("x", "ok", 1),
        ("3x[2*1+]", "ok", 28),  # 3, x and [, then five times four instructions and ]
        ("x=", "syntax", 0),
        ("\u0663", "syntax", 0),  # a digit in another script
        ("1[", "syntax", 0),
        ("]", "syntax", 0),
        ("1]1[", "syntax", 0),
        ("99*9*[]", "steps", 100),
        ("1[99*9*[]]", "steps", 100),
        ("." * 100, "ok", 100),
        ("." * 101, "steps", 100),
        ("1111", "output", 4),
        ("11111", "memory", 5),
        ("111", "output", 3),
        ("11", "ok", 2),
        ("55*5*8*", "ok", 7),  # 1000
        ("55*5*8*1+", "size", 9),
        ("055*5*8*-1-", "size", 11),  # -1001
        ("+", "stack", 1),
        ("1+", "stack", 2),
        ("11?", "stack", 3),
        (":", "stack", 1),
        ("1~", "stack", 2),
        (";", "stack", 1),
        ("[]", "stack", 1),
        ("10%", "zero", 3),
    ],
)
def test_every_end_has_its_reason(program: str, reason: str, steps: int) -> None:
    found = ended(program)
    assert (found.reason, found.steps) == (reason, steps)
    assert reason == "ok" or found.outputs == ()


def test_a_large_input_is_too_large_as_well() -> None:
    assert ended("x", x=1000).outputs == (1000,)
    assert ended("x", x=-1001).reason == "size"
    assert ended("7", x=10**100).outputs == (7,)


def test_the_stack_is_checked_under_what_an_instruction_leaves() -> None:
    """`~` moves the larger value below; it was checked when it was made."""
    assert ended("55*5*8*1~").outputs == (1, 1000)


any_bounds = st.builds(
    Bounds,
    steps=st.integers(1, 300),
    stack=st.integers(1, 8),
    largest=st.integers(1, 10**6),
    outputs=st.integers(1, 9),
)


@settings(max_examples=150)
@given(
    program=st.one_of(st.text(max_size=60), st.text(INSTRUCTIONS, max_size=60)),
    x=st.integers(),
    bounds=any_bounds,
)
@example(program="9" * 5000 + "[" * 5000 + "]" * 5000, x=9, bounds=BOUNDS)
@example(program="[" * 100000, x=0, bounds=BOUNDS)
@example(program="9:[:[:[:[:[]]]]]", x=0, bounds=BOUNDS)
def test_any_text_ends_within_its_bounds(program: str, x: int, bounds: Bounds) -> None:
    found = run(program, x=x, bounds=bounds)
    assert found.reason in REASONS
    assert 0 <= found.steps <= bounds.steps
    assert len(found.outputs) <= bounds.outputs
    assert all(abs(value) <= bounds.largest for value in found.outputs)
    assert found == run(program, x=x, bounds=bounds)


def test_random_programs_come_to_every_end() -> None:
    """The property above is about every reason, not about `syntax` alone."""
    programs = ("1", "=", "9[9[9[]]]", "11111", "99*9*9*9*", "111", "+", "10%")
    assert {ended(program).reason for program in programs} == set(REASONS)


# Expressions as (postfix, value as a function of x), by Python's own arithmetic.
Expression = tuple[str, Callable[[int], int]]


def combine(pair: tuple[Expression, Expression, str]) -> Expression:
    (left, f), (right, g), sign = pair
    value: dict[str, Callable[[int], int]] = {
        "+": lambda x: f(x) + g(x),
        "-": lambda x: f(x) - g(x),
        "*": lambda x: f(x) * g(x),
        "<": lambda x: int(f(x) < g(x)),
    }
    return left + right + sign, value[sign]


def digit(value: int) -> Expression:
    return str(value), lambda _: value


expressions: st.SearchStrategy[Expression] = st.recursive(
    st.one_of(st.integers(0, 9).map(digit), st.just(("x", lambda x: x))),
    lambda inner: st.tuples(inner, inner, st.sampled_from("+-*<")).map(combine),
    max_leaves=8,
)


@settings(max_examples=60)
@given(expression=expressions, x=st.integers(-9, 9))
def test_expressions_are_worth_what_python_says(expression: Expression, x: int) -> None:
    program, value = expression
    roomy = Bounds(steps=100, stack=20, largest=10**12, outputs=1)
    assert run(program, x=x, bounds=roomy) == Ended("ok", (value(x),), len(program))


def test_the_alphabet_is_what_is_understood() -> None:
    assert sorted(INSTRUCTIONS) == sorted(TAKES)
    assert len(INSTRUCTIONS) == 23


@pytest.mark.parametrize("name", ["steps", "stack", "largest", "outputs"])
def test_bounds_of_nothing_are_refused(name: str) -> None:
    given_bounds = {"steps": 9, "stack": 9, "largest": 9, "outputs": 9, name: 0}
    with pytest.raises(UserError, match=f"at least 1, got {name}=0"):
        Bounds(**given_bounds)
