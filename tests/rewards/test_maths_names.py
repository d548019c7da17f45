"""By hand: what may stand before an equals sign as a name, and numbers that stand there."""

import time
from collections.abc import Iterator

import pytest

from rl.rewards.maths import Verdict
from rl.rewards.maths_decide import decide
from rl.rewards.maths_judge import Judge
from rl.rewards.maths_names import is_name, is_relation
from rl.rewards.maths_plain import clean


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(seconds=10.0) as judge:
        yield judge


NAMES = r"""x | x_1 | f(x) | C(5,2) | (x,y) | a+b | AB | Total | x-intercept | \theta | \text{Area}
f(-1) | f(n+1) | f(1/2) | f'(-2) | f''(0) | f(2) + f(3) | y(t) | \log_{10}(x)
a_{n+1} | a_{n-1} | a_{1,2} | A_{\text{max}} | v_\text{max} | \Delta | \alpha_1
\angle ABC | \angle A | \angle 1 | m\angle A | \angle A + \angle B | \overline{AB}
\vec{v} | \bar{x}_1 | a/b | \frac{a}{b} | \frac{AB}{CD} | \frac{f(x)}{g(x)} | AB/CD
z_1/z_2 | \frac{a+b}{c} | a/b + c"""

NO_NAMES = r"""-x | - x | (-x) | \text{-x} | -a - b | -f(x) | -a/b | \frac{-a}{b}
-\angle A | x - | .x | ' | 2x | 2\angle A | x^2 | a/2 | 2/a | \frac{1}{b} | \frac{AB}{2} | 1/2
\sqrt{x} | \sqrt(9) | a\cdot b | a/a | \frac{a}{a} | x - x | x+x | f(x)/f(x) | a/b/a
ten/two | ten + two | Ten | \pi | \infty | \pm
x(-1) | x(2) | y(3) | log(100) | \log(100) | \log_{10}(100) | \sin(30) | ln(1) | \ln(1) | \gcd(2,4)
/ | a/ | /b | a//b | \angle | \frac{}{} | \frac{a}{} | \overline{} | \overline{3} | a_{} | f(-1"""


@pytest.mark.parametrize("name", " | ".join(NAMES.splitlines()).split(" | "))
def test_a_name_names_what_the_other_side_is(judge: Judge, name: str) -> None:
    assert is_name(name)
    for reference, other in (("12", "120"), (r"2\pi", r"3\pi")):
        for stated in (f"{name} = {reference}", f"${name}={reference}$"):
            assert judge.verify(stated, reference) is Verdict.RIGHT, stated
        assert judge.verify(f"{name} = {other}", reference) is Verdict.WRONG
        assert judge.verify(f"{name} = {other} = {reference}", reference) is Verdict.WRONG
        assert judge.verify(f"{name} = {reference} = {other}", reference) is Verdict.WRONG


@pytest.mark.parametrize("side", " | ".join(NO_NAMES.splitlines()).split(" | "))
def test_what_is_no_name_makes_no_answer_right(judge: Judge, side: str) -> None:
    assert not is_name(side)
    for reference in ("12", r"2\pi"):
        for equals in ("=", " = "):
            verdict = judge.verify(f"{side}{equals}{reference}", reference)
            assert verdict in (Verdict.UNREAD, Verdict.WRONG)


@pytest.mark.parametrize(
    ("reference", "verdict", "answers"),
    [
        ("3", "right", r"\sqrt{9} = 3 | \sqrt9=3 | \sqrt(9) = 3 | \sqrt{9} = \frac{6}{2} = 3"),
        ("4", "wrong", r"\sqrt{9} = 4 | \sqrt{9} = 3 | \sqrt(9) = 4 | x = \sqrt{9} = 4"),
        ("-4", "wrong", r"\sqrt{16} = -4"),
        ("3", "unread", r"\sqrt{9} | 3 = \sqrt{9} | \sqrt{8} = 3 | \sqrt 9 1 = 3"),
        ("10", "right", r"\binom{5}{2} = 10 | \dbinom{5}{2} = \frac{20}{2} = 10 | C(5,2) = 10"),
        ("10", "wrong", r"\binom{5}{1} = 10 | \binom{5}{2} = 11 | -\binom{5}{2} = 10"),
        ("10", "unread", r"\binom{5}{2} | 10 = \binom{5}{2} | \binom{n}{2} = 10"),
        ("120", "right", r"5! = 120 | 5! = 5 \cdot 4 \cdot 3 \cdot 2 = 120"),
        ("120", "wrong", "4! = 120 | 5! = 121 | -5! = 120"),
        ("120", "unread", "5!=120 | 5 != 120 | 5!! = 120 | n! = 120 | 5! | 120 = 5!"),
        ("6", "right", r"\gcd(12,18) = 6 | gcd(12, 18) = 6 | \max(6,2) = 6 | lcm(2,3) = 6"),
        ("7", "wrong", r"\gcd(12,18) = 7 | \max(8,7) = 7 | lcm(2,3) = 7 | \min(8,6) = 7"),
        ("12", "wrong", r"a/b = 11 = 12 | f(-1) = 3 \cdot 5 = 12"),
        ("12", "right", r"a/b = 24/2 = 12 | f(-1) = 3 \cdot 4 = 12"),
        ("a/b", "right", "a/b | x = a/b | \\frac{a}{b}"),
        ("a/b", "wrong", "a/b = 12 | 12 = a/b | b/a = a/b | 12 | x/y = a/b"),
        ("a+b", "wrong", "a-b = a+b | a/b = a+b"),
        ("x^2", "right", "f(-x) = x^2 | f(x)+g(x) = x^2"),
        ("x^2", "wrong", "-x = x^2 | -f(x) = x^2 | x/y = x^2"),
        ("2s", "right", "length of side = 2s"),
        ("-x=12", "wrong", "12 | x = 12"),
        ("a/b=12", "right", r"12 | a/b = 12 | \frac{a}{b} = 12 | 12 = a/b"),
        ("a/b=12", "wrong", "13 | b/a = 12 | a/b = 13"),
        (r"\angle A = 12^\circ", "right", r"12 | 12^\circ | \angle A = 12^\circ"),
    ],
)  # fmt: skip
def test_verdicts(judge: Judge, reference: str, verdict: str, answers: str) -> None:
    for stated in answers.split(" | "):
        assert judge.verify(stated, reference) is Verdict(verdict), stated


@pytest.mark.parametrize(
    ("name", "values", "relation"),
    [
        ("a/b", "12", False),
        ("a/b", r"\frac{\sqrt{3}}{2}\text{ cm}", False),
        ("b/a", "a/b", True),
        (r"\frac{x}{a}", r"\frac{y}{b}", True),
        ("a-b", "a+b", True),
        (r"\theta+\phi", r"2\theta", True),
        (r"\theta+\phi", r"2\pi", False),
        ("x+y", "2n", False),
        ("f(x)+g(x)", "x^2", False),
        ("(x,y)", "(x,2x)", False),
        ("y", "2y", False),
        ("length of side", "2s", False),
    ],
)
def test_names_related_to_each_other(name: str, values: str, relation: bool) -> None:
    assert is_relation(name, values) is relation


@pytest.mark.parametrize(
    "piece",
    [
        *("a/", "a+", "a_{", "a_{n+", "f(", "f(-", "(a,", r"\angle ", r"m\angle A+", r"\frac{a"),
        *(r"\overline{", r"\frac{a}{", r"\quad", r"\quad ", "\\\\", " "),
        *(r"\boldsymbol{", "=\\bm{1}"),
        *("USD ", "=US$", "5 sq ft ", "sq ", r"\sqrt", r"\sqrt{9}", r"\binom{99}{49}", "20!*"),
        *("20!", "gcd(9,", r"\gcd(9,9)", "x-", "=x-"),
    ],
)  # fmt: skip
def test_repetition_takes_little_time(piece: str) -> None:
    """Of four times the longest answer."""
    before = time.process_time()
    for tail in ("=5", "x", " = 5", "5"):
        for reference in ("5", r"2\pi"):
            decide(clean("5" + piece * (2000 // len(piece)) + tail), reference)
    assert time.process_time() - before < 0.5
