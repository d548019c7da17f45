"""By hand: chains of equations, emphasis, words that change a number, what is only about one."""

from collections.abc import Iterator
from fractions import Fraction

import pytest

from rl.rewards.maths import Verdict
from rl.rewards.maths_arithmetic import arithmetic
from rl.rewards.maths_judge import Judge


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(seconds=10.0) as judge:
        yield judge


@pytest.mark.parametrize(
    ("reference", "verdict", "answers"),
    [
        ("72", "right", "**72** | **72.** | **72**. | *72* | = 72 | = **72** | Total = 72 | 72."),
        ("72", "right", "48+24=72 | 48 + 24 = 72 clips | \\text{Total} = 48 + 24 = 72 | 72 = 72"),
        ("72", "right", "\\$48 + \\$24 = \\$72 | 2(36) = 72 | 144/2 = 72 | 144 \u00f7 2 = 72"),
        ("72", "right", "**72** clips"),
        ("72", "right", "x = 3 x 24 = 72 | \\frac{144}{2} = 72"),
        ("72", "right", "Natalia's clips = 20% \\times 360 = 72"),
        ("72", "unread", "The answer is 72 | Natalia sold 72 clips | 48+24 | 48, 24, 72"),
        ("72", "unread", "48 24 72"),
        ("72", "unread", "48 and 24 = 72 | 70, 71 = 72 | 2y = 72 | y = 72 = 2x | not = 72"),
        ("72", "unread", "two = 72"),
        ("72", "unread", "x \\not= 72 | \\not= 72 | \\ne 72 | x \\ne 72 | = | 72 = | Total ="),
        ("72", "unread", "1/0 = 72"),
        ("72", "wrong", "**71** | = 71 | Total = 71 | 48+25=72 | 72=48+24=71 | 71=72"),
        ("72", "wrong", "Total = 72 = 71"),
        ("72", "wrong", "70 = 71 = 72 | 72 cm = 71 | 48+24=-72"),
        ("72\\text{ ft}", "right", "72 ft = 72 | 72 = 72 ft | 72\\text{ ft} = 72\\text{ ft}"),
        ("72\\text{ ft}", "wrong", "72 sq ft = 72 | 72 cm = 72 | x = 72 cm = 72"),
        ("72", "too_long", "72" + " = 72" * 10),
        ("234", "unread", "2**3**4 | 2**3** | 23*4*"),
        ("18", "unread", "18 lakh | 18 crore | 18 gross | 18 kilo | 18 mil | 18 twice | 18 double"),
        ("18", "unread", "18 tripled | 18 less than | 18 XIX | 18 xix | 18 pairs | 18 couple"),
        ("18", "unread", "18\\text{ pairs} | 18 apples off | \\approx 18 | \u224818 | ~18"),
        ("18", "unread", "x \\approx 18"),
        ("18", "unread", "18 \\approx 18.2 | 18 = \\approx 18 | x = ~18"),
        ("18", "right", "18 cm | 18 mm | 18 ml | 18 more | 18 CM | 18 mixed | 18 apples left"),
        ("70", "unread", "70% off"),
        (".7", "unread", "70% off"),
        (".7", "right", "70% | 0.2 + 0.5 = 70%"),
        ("4", "unread", "y=4=2x+3 | 4=2x+3 | y = 2x+3 = 4"),
        ("y=4", "right", "4 | y=4"),
        ("y=4", "wrong", "y=4=2x+3 | y=4=5 | y=4=2x+3, z=1"),
        ("\\sqrt{3}", "right", "\u221a3 | \u221a(3) | x = \u221a{3} | **\u221a3**"),
        ("\\sqrt{3}", "right", "Total = \\sqrt3"),
        ("\\sqrt{12}", "right", "2\u221a3 | \u221a12 | x = \u221a12 = 2\\sqrt{3} | = 2\\sqrt{3}"),
        ("\\sqrt{3}", "wrong", "\u221a2 | x=\\sqrt{3}=\\sqrt{2} | x=\\sqrt{2}=\\sqrt{3}"),
        ("\\sqrt{3}", "wrong", "x=\\sqrt3=1.7"),
        ("\\sqrt{3}", "wrong", "\\sqrt{3} \\approx 1.7 | \\approx \\sqrt{3} | x \u2248 \u221a3"),
        ("\\sqrt{3}", "wrong", "\\approx 1.7"),
        ("\\approx 1.7", "right", "\\approx 1.7 | \u2248 1.7"),
        ("2\\pi", "wrong", "2\\pi\\text{ lakh} | 2\\pi\\text{ pairs} | \\not= 2\\pi | or = 2\\pi"),
    ],
)  # fmt: skip
def test_verdicts(judge: Judge, reference: str, verdict: str, answers: str) -> None:
    for stated in answers.split(" | "):
        assert judge.verify(stated, reference) is Verdict(verdict), stated


def test_many_numbers_are_not_an_answer(judge: Judge) -> None:
    numbers = [str(n) for n in range(60)]
    for between, verdict in (
        (", ", Verdict.UNREAD),
        (" ", Verdict.UNREAD),
        (" or ", Verdict.UNREAD),
        ("=", Verdict.TOO_LONG),
    ):
        assert judge.verify(between.join(numbers), "59") is verdict
        assert judge.verify(between.join(numbers), "0") is verdict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48+24", Fraction(72)),
        ("1 - 2 - 3", Fraction(-4)),
        ("2 + 3 * 4", Fraction(14)),
        ("8 / 4 / 2", Fraction(1)),
        ("2(3+4)", Fraction(14)),
        ("-(2 - 5)", Fraction(3)),
        ("--2", Fraction(2)),
        ("1,000 + .5", Fraction(2001, 2)),
        (r"\frac{1}{3} \times 2", Fraction(2, 3)),
        (r"6 \div 4", Fraction(3, 2)),
        ("3^2 + 4^{2}", Fraction(25)),
        ("50% * 30", Fraction(15)),
        ("5! - 20", Fraction(100)),
        (r"2\binom{5}{2} + \binom{2}{5}", Fraction(20)),
        (r"\sqrt{9} - \sqrt4", Fraction(1)),
        (r"-\sqrt{3^2 + 4^2}", Fraction(-5)),
        (r"\sqrt{6.25}", Fraction(5, 2)),
        (r"\gcd(12, 18) + lcm(4,6)", Fraction(18)),
        (r"\max(3,7) - \min(3, 7)", Fraction(4)),
        *((text, None) for text in ("", "()", "2 3", "2 +", "* 2", "(2", "2)", "1/0", "x", "2y")),
        *((text, None) for text in ("5!!", "21!", "2.5!", "(3)!", "3^2!", r"\binom{5}{x}")),
        *((text, None) for text in (r"\sqrt{2}", r"\sqrt{-4}", r"\sqrt 16", r"2\sqrt9", "gcd(4)")),
        *((text, None) for text in ("2^10", "2^3^2", "(2)^3", "9**9", "1 = 1", "(" * 400)),
    ],
)
def test_arithmetic(text: str, value: Fraction | None) -> None:
    assert arithmetic(text) == value
