"""Verdicts worked out by hand: writings of one answer, near misses, answers that try it on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rl.errors import UserError
from rl.rewards.maths import Verdict, reference_answer
from rl.rewards.maths_judge import Judge

FIXTURES = Path(__file__).parent.parent / "fixtures" / "maths"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(seconds=10.0) as judge:
        yield judge


def rows(name: str) -> list[dict[str, str]]:
    return [
        json.loads(line)
        for part in ("train", "test")
        for line in (FIXTURES / f"{name}_{part}.jsonl").read_text("utf-8").splitlines()
    ]


# Of each reference in the fixtures: another writing of it, and another answer.
MATH = {
    r"\frac{3}{4}": ("0.75", r"\frac{4}{3}"),
    "102": ("102.0", r"17 \cdot 6"),
    r"\{2,3\}": (r"x = 3 \text{ or } x = 2", "(2,3)"),
    r"[3,\infty)": (r"x \in \left[3, \infty\right)", r"(3,\infty)"),
    r"6\sqrt{2}": (r"6 \cdot \sqrt 2", r"2\sqrt{6}"),
    r"2\sqrt3": (r"\sqrt{12}", r"3\sqrt2"),
    "x^2-2x-15": (r"-15 - 2x + x^{2}", "x^2+2x-15"),
    r"\begin{pmatrix} -5 & 2 \\ 3 & -1 \end{pmatrix}": (
        r"\begin{bmatrix} -5&2\\3&-1 \end{bmatrix}",
        r"\begin{pmatrix} -5 & 3 \\ 2 & -1 \end{pmatrix}",
    ),
    r"15\%": ("15 percent", r"1.5\%"),
    r"55^\circ": ("55", r"55 \text{ rad}"),
    r"36\text{ cm}^2": ("36 square centimeters", r"36\text{ cm}"),
    r"\text{odd}": ("Odd.", r"\text{neither}"),
    r"\dfrac12": (".5", r"\frac21"),
    "56": (r"\frac{112}{2}", "57"),
    r"1+\sqrt5, 1-\sqrt5": (r"1 \pm \sqrt{5}", r"1+\sqrt5"),
    r"\left( 3, \frac{\pi}{2} \right)": (r"(3, \pi/2)", r"\left(\frac{\pi}{2}, 3\right)"),
    "9": ("9.", "-9"),
    "1{,}024{,}000{,}000": (r"1.024 \times 10^{9}", r"1.024 \times 10^{8}"),
    "(-3,5)": (r"x \in (-3, 5)", "[-3,5]"),
    "5+i": ("i + 5", "5-i"),
    r"\frac{3}{11}": (r"0.\overline{27}", "0.27"),
    r"36\pi": (r"\frac{108\pi}{3}", "36"),
    r"(-\infty,-2)\cup(-2,2)\cup(2,\infty)": (
        r"\mathbb{R} \setminus \{-2, 2\}",
        r"(-\infty,-2)\cup(2,\infty)",
    ),
    r"\frac{3}{2}": ("1.5", r"\frac{2}{3}"),
    r"\$1.40": ("1.4 dollars", "140 cents"),
    "y=2x-1": ("y = -1 + 2x", "y=2x+1"),
    r"3\frac{5}{6}": (r"\frac{23}{6}", r"\frac{15}{6}"),
    r"\begin{pmatrix} 3 \\ -2 \\ -4 \end{pmatrix}": (
        r"\begin{pmatrix}3\\-2\\-4.0\end{pmatrix}",
        r"\begin{pmatrix} 3 \\ 2 \\ -4 \end{pmatrix}",
    ),
    r"\frac{\sqrt{6}-\sqrt{2}}{4}": (
        r"\frac{\sqrt6}{4} - \frac{\sqrt2}{4}",
        r"\frac{\sqrt{6}+\sqrt{2}}{4}",
    ),
    "113_4": ("113", "113_5"),
}


def test_references_of_math(judge: Judge) -> None:
    references = [reference_answer(row["solution"], dataset="math") for row in rows("math")]
    assert references == list(MATH)[:2] + references[2:]
    assert sorted(references) == sorted(MATH)
    for reference in references:
        writing, other = MATH[reference]
        assert judge.verify(reference, reference) is Verdict.RIGHT
        assert judge.verify(writing, reference) is Verdict.RIGHT, writing
        verdict = Verdict.UNREAD if other == r"17 \cdot 6" else Verdict.WRONG
        assert judge.verify(other, reference) is verdict, other


def test_references_of_gsm8k(judge: Judge) -> None:
    for row in rows("gsm8k"):
        reference = reference_answer(row["answer"], dataset="gsm8k")
        bare = reference.replace(",", "")
        named = (f"x = {bare} apples", f"{bare}\\text{{ km}}")
        for writing in (reference, bare, f"${bare}$", f"\\${reference}", *named):
            assert judge.verify(writing, reference) is Verdict.RIGHT, writing
        for other in (bare + "1", "1" + bare.removeprefix("-")):
            assert judge.verify(other, reference) is Verdict.WRONG, other
        for other in (f"{bare} or 7", f"{bare} + 0"):
            assert judge.verify(other, reference) is Verdict.UNREAD, other


@pytest.mark.parametrize(
    ("reference", "right"),
    [
        ("1000", "1,000 | 1{,}000 | 1,\\!000 | 1\\,000 | 01000 | +1000.00 | 10^3 | 1e3 | 10^{3}"),
        ("1,000", "1000 | \\$1,000 | $1000$ | \\(1000\\) | 1000 dollars | {1000} | \\text{1000}"),
        ("-5", "- 5 | \u22125 | -5.0 | -\\$5 | \\frac{-10}{2} | \\frac{10}{-2} | -\\frac{10}{2}"),
        ("5", "\uff15 | \u0665 | 5\u200b | \u200e5 | 5 cm | 5\\text{ m} | 5 m | 5^\\circ"),
        ("-1\\frac12", "-3/2 | -1.5 | -1 1/2 | \\dfrac{-3}{2} | -\\tfrac32"),
        ("50\\%", "50 | 0.5 | \\frac12 | 50 percent | 50%"),
        ("0.5", "50\\% | 1/2 | .5"),
        ("0.001", "10^{-3} | 1e-3 | 1 \\cdot 10^{-3}"),
        ("100", "100 sq ft | 100 sq. ft. | 100 sq.ft. | 100 cu ft | 100\\text{ sq ft} | 100sq ft"),
        ("100\\text{ ft}^2", "100 sq ft | 100 Sq. Ft. | 100 square feet | 100 ft sq | 100 ft^2"),
        ("100 cubic feet", "100 cu ft | 100 cu. ft. | 100 ft^3 | 100 | 100\\text{ cu ft}"),
        ("5 sq m", "5 | 5 sq m | 5 sq. metres | 5 square m | 5 sq.m | 5\\text{ m}^2"),
        ("12", "12 \\qquad | 12 \\quad | \\quad 12 | 12\\\\ | 12. \\qquad | 12 \\qquad."),
        ("12", "$12$ \\quad\\\\ | \\underline{\\textbf{12}}"),
        ("12", "\\boldsymbol{12} | \\underline{12} | $\\boldsymbol{12}$"),
        ("12", "x = \\boldsymbol{12} | \\boldsymbol{x = 12} | \\boldsymbol{x} = \\underline{12}."),
        ("12\\%", "\\boldsymbol{12\\%} | \\boldsymbol{12}\\% | \\underline{0.12}"),
        ("12", "\\boldsymbol{12}^\\circ | \\boldsymbol{12}\\text{ cm} | \\boldsymbol{12} cm"),
        ("12", "US$12 | US\\$12 | USD 12 | USD12.00 | x = USD 12 | US$ 12"),
        ("\\$1,200", "US$1,200 | USD 1200 | 1200 USD"),
        ("\\frac{\\pi}{2}", "\\boldsymbol{\\frac{\\pi}{2}}"),
        ("\\frac{\\pi}{2}", "\\underline{\\frac{\\pi}{2}}\\quad | \\pi/2\\\\"),
        ("40", "40 rolls of bread | $x = 39 + 1 = 40$ | x+y = 40 | 40/hour | 40 m/s^2"),
        ("0", "-0 | 0.0 | 0/7"),
        ("5\\text{ cm}", "5 | 5cm | 5 centimetres | 5\\,\\mathrm{cm}"),
        ("\\frac{7}{55}", "0.1\\overline{27} | .1\\overline{27}"),
        ("6\\sqrt2\\text{ cm}", "\\sqrt{72} | \\sqrt{72}\\,\\mathrm{cm} | 6\\sqrt2\\text{ cms}"),
        ("\\text{(C)}", "C | (C) | \\textbf{(C)} | \\text{c}"),
        ("(3,4)", "(x,y) = (3,4) | 3,4 | \\left(3, 4\\right)"),
        ("2\\pi", "\\theta = 2\\pi | 2\\pi\\text{ cm} | 2\\pi, 2\\pi"),
    ],
)  # fmt: skip
def test_writings_of_one_answer(judge: Judge, reference: str, right: str) -> None:
    for stated in right.split(" | "):
        assert judge.verify(stated, reference) is Verdict.RIGHT, stated


@pytest.mark.parametrize(
    ("reference", "unread"),
    [
        ("1000", "10,00 | 1,0000 | 1,000,0 | 1 000 | 0,001 | 1000x | 999+1 | 1000!"),
        ("5", "5x | 5m | 5 x | 5 million | five | 5 or 6 | 3 or 5 | 3, 5 | 5, 5 | \\{5\\}"),
        ("5", "x=5, y=3 | x=3 or x=5 | |5| | \\pm 5 | 5:1 | 5..0 | 5.0.0 | 2+3 | (5"),
        ("5", "\\text{the answer is correct} | right | 5 is correct | True | 5 and a half"),
        ("5", "NaN | inf | 1e999999999 | 10**10**10 | 9^{9^{9}} | 0/0 | 1/0 | \\frac50 | \\infty"),
        ("5", "5\x00 | \ud8005 | 5\x1b[2K | 5\ue000 | \u2164 | 5\u00b2 | 2\u2075 | \u00bd"),
        ("5", "\\frac{5}{1}1 | \\boxed{5} | }5{ | 5\\\\5 | $5$6$"),
        ("5", "5/x | 5/ | 5%x | 5%% | 5_{0 | 5_5 cm | 5 cm^4 | 5 /^2 | 5\\frac03 | or = 5"),
        ("5", "5 x cm | 5 e | 5 apples^"),
        ("5", "5 sq | 5 cu | 5 square | 5\\text{ square} | 5 sq % | 5 sq cu ft | 5 squared"),
        ("25", "5 sq | 5 square | 5 squared"),
        ("12", "1 \\quad 2 | 1\\\\2 | \\boldsymbol{1}2 | \\underline{12}0"),
        ("12", "1\\underline{2} | 12\\quads"),
        ("12", "\\boldsymbol{1}\\boldsymbol{2} | US 12 | USB 12 | -USD 12 | \\boldsymbol{12"),
        ("11/2", "5 \\quad 1/2 | 5\\quad\\frac12"),
        ("52", "5\u00b2 | 5^2 | 5 2"),
        ("0.5", "5,0"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_read_as_one(judge: Judge, reference: str, unread: str) -> None:
    for stated in unread.split(" | "):
        assert judge.verify(stated, reference) is Verdict.UNREAD, stated


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        ("1000", "10^{-3}"),
        ("5", "-5 | 3=5 | 5=3 | 4.999999999999999999"),
        ("1/3", "0.333 | 0.333333333333333 | 33\\% | 3"),
        ("0.5", "50 | 0.05"),
        ("5\\text{ m}", "5\\text{ cm} | 5 km | 500\\text{ cm}"),
        ("1 1/2", "11/2 | 1/2"),
        ("100\\text{ ft}", "100 sq ft | 100 sq. ft. | 100 cu ft | 100 ft sq | 100 square feet"),
        ("100 cubic feet", "100 sq ft | 100 ft | 100 cu in | 100 square feet"),
        ("100\\text{ ft}^2", "100 cu ft | 100 sq m | 100 sq in | 1000 sq ft"),
        ("5 sq m", "5 m | 5 cu m | 25 | 25 sq m | 5 sq cm"),
        ("2\\pi\\text{ ft}", "2\\pi\\text{ sq ft} | 2\\pi\\text{ ft sq} | 2\\pi\\text{ sq}"),
        ("12", "120 \\quad | 120\\\\ | \\boldsymbol{120} | \\underline{-12}"),
        ("12", "USD 120 | US$-12 | US\\$1.2"),
        ("12\\text{ cm}", "USD 12 | US$12 | \\boldsymbol{12} m | \\underline{12\\text{ m}}"),
        ("\\text{odd}", "ddo | \\text{even} | \\text{odd or even} | 0"),
        ("3m", "3 | 3t"),
        ("(2,3)", "\\{2,3\\} | (3,2) | [2,3] | (2,3] | (2,3,3)"),
        ("1,2,3", "1,2,3,4 | 1,2 | 6 | 1,2,3,3.5"),
        ("2\\pi", "3=2\\pi | 2\\pi, 3\\pi | 2\\pi\\text{ or }3\\pi | 6.283185 | \\frac00 | x"),
        ("2\\pi", "2\\pi}, \\boxed{7 | 7 [2\\pi] | final answer is [2\\pi] I hope | \\$2\\pi\\$ 7"),
        ("2\\pi", "7 \\boxed{2\\pi} | 7}, and so on up to \\boxed{2\\pi | @ answer [2\\pi] @"),
        ("6\\sqrt2\\text{ cm}", "6\\sqrt2\\text{ m} | 6\\sqrt2\\text{ cm}^2 | 6 cm"),
        ("2\\pi", "\\foo{2\\pi} \\frac12 | 2\\pi @ \\& | \\log 0 | 2\\pi \\text{ million}"),
    ],
)  # fmt: skip
def test_near_misses_and_tricks(judge: Judge, reference: str, wrong: str) -> None:
    for stated in wrong.split(" | "):
        assert judge.verify(stated, reference) is Verdict.WRONG, stated


@pytest.mark.parametrize("stated", [None, "", " \n\t", "\u200b", "$$", "\\left\\right", "."])
def test_nothing_is_no_answer(judge: Judge, stated: str | None) -> None:
    assert judge.verify(stated, "5") is Verdict.NO_ANSWER


@pytest.mark.parametrize(
    "stated",
    [
        "5" * 501,
        "5" + " " * 500 + "5",
        "9" * 10**6,
        "{" * 10**6,
        ",".join(str(n) for n in range(1001)),
        "\\frac{" * 9 + "1" + "}{2}" * 9,
        "(" * 9 + "5" + ")" * 9,
    ],
)
def test_what_no_reference_is_like_is_not_looked_at(judge: Judge, stated: str) -> None:
    for reference in ("5", r"2\pi"):
        assert judge.verify(stated, reference) is Verdict.TOO_LONG


def test_the_bounds_themselves_are_allowed(judge: Judge) -> None:
    assert judge.verify("  " + "0" * 499 + "5  ", "5") is Verdict.RIGHT
    assert judge.verify("5" * 500, "5" * 500) is Verdict.RIGHT
    assert judge.verify("5" * 499 + "4", "5" * 500) is Verdict.WRONG
    assert judge.verify("{" * 8 + "5" + "}" * 8, "5") is Verdict.UNREAD


def test_a_problem_without_reference_is_an_error(judge: Judge) -> None:
    with pytest.raises(UserError, match="expected a reference answer, got ' '"):
        judge.verify("5", " ")
