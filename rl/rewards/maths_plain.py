r"""Answers that need no algebra: plain numbers and words, compared exactly.

A number is a sign, digits with commas where they part thousands, decimals, and then nothing more,
or a fraction (a/b, \frac{a}{b}), a mixed number (2\frac13, 2 1/3: the fraction is proper), a power
of ten (1.5 \times 10^3, 1.5e3) or a repeating decimal (0.\overline{27}); before it a currency sign,
behind it a unit (rl.rewards.maths_units). Values are fractions.Fraction: 0.333 is not 1/3.

Percent: n% is n, as graders of MATH have it, and it is n/100. So 50% is 50 and is 0.5, while 50 is
not 0.5.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from rl.rewards.maths_units import WRAP, read_unit

LONGEST = 500  # characters of an answer
DEEPEST = 8  # brackets in each other; a parser of LaTeX may take twice as long for each more

SYMBOLS = {
    **dict.fromkeys("\u2212\ufe63\uff0d", "-"),
    "\u00d7": r"\times ",
    "\u00b7": r"\cdot ",
    "\u03c0": r"\pi ",
    "\u221e": r"\infty ",
    "\u222a": r"\cup ",
    "\u2264": r"\le ",
    "\u2265": r"\ge ",
    "\u00f7": r"\div ",
    "\u2248": r"\approx ",
    "\u00b2": "^2",
    "\u00b3": "^3",
    "\u00ba": "\u00b0",  # the ordinal sign for the degree sign
    "\uff05": "%",
}
QUAD = r"\\q?quad(?![A-Za-z])"
BOLD = r"\\(?:boldsymbol|bm|underline)(?![A-Za-z])"
BRACED = r"((?:[^{}]|\{[^{}]*\})*)"
REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Emphasis, which stands apart: 2**3** is none.
        (r"(?:^|(?<=[\s=]))(\*{1,3})(?!\s)([^*]+)(?<!\s)\1(?=[\s.]|$)", r"\2"),
        (r"(^|=)\s*~", r"\1 \\approx "),  # elsewhere a space that breaks no line
        (r"(^|=)\s*US(?:D|\\?\$)\s*(?=[-+]?[0-9.])", r"\1\\$"),
        (r"\u221a\s*(?:([0-9]+|[A-Za-z])|\(([^()]*)\))", r"\\sqrt{\1\2}"),
        (r"\u221a", r"\\sqrt "),
        (r"\\(?:left|right|displaystyle)(?![A-Za-z])\s*", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"(?<!\\)\\!", ""),
        (r"^\s*\{([^{}]*)\}\s*$", r"\1"),
        (r"\{,\}", ","),
        (r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ","),
        (r"(?<!\\)\\[,;: ()\[\]]|(?<!\\)\$|~", " "),
        (r"(?<!\\)\\([%$])", r"\1"),
        # Layout at the ends only: 5 \quad 1/2 is two numbers, and a matrix has \\ inside.
        (rf"^(?:\s|{QUAD})+|(?<![\s\\])(?:\s|{QUAD}|\\)+\.?$", ""),
        (r"\s*\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])", "°"),
        (rf"(^|=)\s*{BOLD}\s*\{{{BRACED}\}}(?=[\s=°%]|\\text|\\mathrm|\.?$)", r"\1\2"),
    )
)

INTEGER = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
DECIMAL = rf"(?:{INTEGER}(?:\.[0-9]*)?|\.[0-9]+)"
SIGN = r"(?P<before>[$€£]?)\s*(?P<sign>[-+]?)\s*(?P<after>[$€£]?)\s*"
TERM = rf"\s*(?:\{{\s*([-+]?{DECIMAL})\s*\}}|([0-9]))"
FRACTION = rf"\\frac{TERM}{TERM}"
# In TeX an exponent without braces is one digit; plain text has more, and no other reading.
EXPONENT = r"(?:\{\s*([-+]?[0-9]{1,4})\s*\}|([-+]?[0-9]{1,4}))"


def value(text: str) -> Fraction:
    """Of decimal digits with or without commas."""
    return Fraction(text.replace(",", ""))


def _fraction(whole: str | None, *terms: str | None) -> Fraction | None:
    """whole + top/bottom, of which the fraction must be proper; None over 0."""
    top, bottom = (value(term) for term in terms if term)
    if not bottom or (whole and not 0 < top / bottom < 1):
        return None
    return (value(whole) if whole else 0) + top / bottom


def _power(mantissa: str | None, *exponents: str | None) -> Fraction:
    (exponent,) = (int(text) for text in exponents if text)
    return (value(mantissa) if mantissa else 1) * Fraction(10) ** exponent


def _repeating(whole: str, once: str, again: str) -> Fraction:
    """0.1\\overline{27} is (127 - 1) / 990."""
    repeats = int(once + again) - int(once or 0)
    return int(whole or 0) + Fraction(repeats, 10 ** len(once) * (10 ** len(again) - 1))


Reader = Callable[..., Fraction | None]
NUMBERS: tuple[tuple[re.Pattern[str], Reader], ...] = tuple(
    (re.compile(SIGN + pattern), reader)
    for pattern, reader in (
        (rf"({INTEGER})\s*{FRACTION}", _fraction),
        (rf"({INTEGER})\s+([0-9]+)/([0-9]+)(?![0-9])", _fraction),
        (rf"(){FRACTION}", _fraction),
        (rf"()({DECIMAL})\s*/\s*({DECIMAL})(?![0-9])", _fraction),
        (rf"({DECIMAL})\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*{EXPONENT}(?![0-9])", _power),
        (rf"()10\s*\^\s*{EXPONENT}(?![0-9])", _power),
        (rf"({DECIMAL})[eE]([-+]?[0-9]{{1,4}})(?![0-9])", _power),
        (r"([0-9]*)\.([0-9]*)\\overline\s*\{\s*([0-9]+)\s*\}", _repeating),
        (rf"({DECIMAL})(?![0-9])", value),
    )
)

WHOLE_WRAP = re.compile(WRAP)


@dataclass(frozen=True)
class Quantity:
    """A number and what it counts; `unit` is () where none is written."""

    value: Fraction
    percent: bool
    unit: tuple[str, ...]

    def same(self, other: "Quantity") -> bool:
        """Equal in value, and in the unit where both write one."""
        if self.has_other_unit(other):
            return False
        if self.percent == other.percent:
            return self.value == other.value
        share, plain = (self, other) if self.percent else (other, self)
        return plain.value in (share.value, share.value / 100)

    def has_other_unit(self, other: "Quantity") -> bool:
        """Whether both write a unit, and not the same one."""
        return bool(self.unit and other.unit and self.unit != other.unit)


def too_long(text: str) -> bool:
    """Whether an answer is longer than `LONGEST`, or its brackets are deeper than `DEEPEST`."""
    if len(text) > LONGEST:
        return True
    depth = deepest = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        deepest = max(deepest, depth)
    return deepest > DEEPEST


def readable(text: str) -> bool:
    """No control character but white space, no half of a surrogate pair, nothing unassigned."""
    return all(c.isspace() or unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn") for c in text)


def clean(text: str) -> str:
    r"""An answer in a plainer writing that means the same.

    Decimal digits of every script become ASCII, invisible characters go, and so do \left, \right,
    thin spaces, the dollars around mathematics, emphasis by asterisks, \boldsymbol or \underline, a
    \quad or \\ at an end and a full stop. `\$`, USD and US$ become a dollar, a root sign \sqrt.
    """
    plain = "".join(
        SYMBOLS.get(c) or str(unicodedata.decimal(c, c))
        for c in text
        if unicodedata.category(c) != "Cf"
    )
    for pattern, replacement in REWRITES:
        plain = pattern.sub(replacement, plain)
    return " ".join(plain.split()).removesuffix(".").strip()


def quantity(text: str, *, loose: bool = False) -> Quantity | None:
    """The number that a clean text is, with its unit; None if it is anything else.

    `loose` lets a few words that are no known unit stand behind it.
    """
    whole = WHOLE_WRAP.fullmatch(text)
    text = whole[1].strip() if whole else text
    for pattern, reader in NUMBERS:
        found = pattern.match(text)
        unit = found and read_unit(text[found.end() :], loose=loose)
        if found is None or unit is None:
            continue
        number = reader(*found.groups()[3:])
        if number is None:
            continue
        currency = tuple(sign for sign in (found["before"], found["after"]) if sign)
        unit = unit or currency
        return Quantity(
            value=-number if found["sign"] == "-" else number,
            percent="%" in unit,
            unit=tuple(word for word in unit if word != "%"),
        )
    return None


def key(text: str) -> str:
    r"""A clean text without \text{...} around words, and with spaces only between them."""
    unwrapped = WHOLE_WRAP.sub(r" \1 ", text)
    return re.sub(r"(?<![^\W_]) | (?![^\W_])", "", " ".join(unwrapped.split()))
