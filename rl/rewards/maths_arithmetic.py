r"""The exact value of sums and products of plain numbers: 48+24, 2(3+4), \frac{1}{2} \times 10.

An answer's working is read with it, as in 48+24=72, 5! = 120 and \gcd(12, 18) = 6. No more than
that is: no names, no roots but those of squares.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import comb, factorial, gcd, isqrt, lcm

from rl.rewards.maths_plain import DECIMAL, too_long, value

FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
BINOMIAL = re.compile(r"\\[dt]?binom\s*\{\s*([0-9]{1,2})\s*\}\s*\{\s*([0-9]{1,2})\s*\}")
ROOT = re.compile(r"\\sqrt\s*(?:\{([^{}]*)\}|([0-9])(?![0-9]))")
OF_WHOLES = re.compile(r"\\?(?<![A-Za-z])(gcd|lcm|max|min)\s*\(([0-9]+(?:\s*,\s*[0-9]+)+)\)")
WHOLES: Mapping[str, Callable[..., int]] = {"gcd": gcd, "lcm": lcm, "max": max, "min": min}
LARGEST_FACTORIAL = 20
# An exponent has one digit and belongs to a number, and factorials and binomials are small, so no
# value has many more digits than the text.
TOKEN = re.compile(
    rf"\s*(?:[$€£]?(?P<number>{DECIMAL})"
    r"(?:\s*\^\s*\{?(?P<power>[0-9])(?![0-9])\}?|(?P<factorial>\s*!))?"
    r"(?P<percent>\s*%)?|(?P<sign>[-+*/()]|\\sqrt(?=\())|(?P<times>\\(?:times|cdot)(?![A-Za-z])|x)"
    r"|(?P<by>\\div(?![A-Za-z])))\s*"
)


def arithmetic(text: str) -> Fraction | None:
    """The value of a clean text; None if it is anything but arithmetic, or divides by 0."""
    if too_long(text):
        return None
    text = BINOMIAL.sub(lambda found: f"({comb(int(found[1]), int(found[2]))})", text)
    text = OF_WHOLES.sub(_of_wholes, text)
    text = ROOT.sub(r"\\sqrt(\1\2)", text)
    try:
        tokens = _tokens(FRACTION.sub(r"((\1)/(\2))", text))
        found = _sum(tokens)
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    return None if tokens else found


def _tokens(text: str) -> list[Fraction | str]:
    """Numbers and signs, the last one first; none if there is anything else."""
    tokens: list[Fraction | str] = []
    at = 0
    while at < len(text):
        token = TOKEN.match(text, at)
        if token is None:
            return []
        if token["number"]:
            number = value(token["number"]) ** int(token["power"] or 1)
            if token["factorial"]:
                number = _factorial(number)
            tokens.append(number / 100 if token["percent"] else number)
        else:
            tokens.append(token["sign"] or ("*" if token["times"] else "/"))
        at = token.end()
    return tokens[::-1]


def _sum(tokens: list[Fraction | str]) -> Fraction:
    total = _product(tokens)
    while tokens and tokens[-1] in ("+", "-"):
        sign = 1 if tokens.pop() == "+" else -1
        total += sign * _product(tokens)
    return total


def _product(tokens: list[Fraction | str]) -> Fraction:
    product = _factor(tokens)
    while tokens and tokens[-1] in ("*", "/", "("):  # 2(36) is a product too
        sign = "*" if tokens[-1] == "(" else tokens.pop()
        factor = _factor(tokens)
        product = product * factor if sign == "*" else product / factor
    return product


def _factor(tokens: list[Fraction | str]) -> Fraction:
    sign = 1
    while tokens[-1] == "-":
        tokens.pop()
        sign = -sign
    first = tokens.pop()
    if isinstance(first, Fraction):
        return sign * first
    if first == "\\sqrt":
        return sign * _root(_factor(tokens))
    if first != "(":
        raise ValueError(first)
    inner = _sum(tokens)
    if tokens.pop() != ")":
        raise ValueError(")")
    return sign * inner


def _of_wholes(found: re.Match[str]) -> str:
    return f"({WHOLES[found[1]](*map(int, found[2].split(',')))})"


def _factorial(number: Fraction) -> Fraction:
    if number.denominator != 1 or number > LARGEST_FACTORIAL:
        raise ValueError(number)
    return Fraction(factorial(int(number)))


def _root(square: Fraction) -> Fraction:
    if square < 0:
        raise ValueError(square)
    root = Fraction(isqrt(square.numerator), isqrt(square.denominator))
    if root**2 != square:
        raise ValueError(square)
    return root
