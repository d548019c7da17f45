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

from rl.rewards.maths_units import WRAP, read_unit, split_unit

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
    "\u00b2": "^2",
    "\u00b3": "^3",
    "\u00ba": "\u00b0",  # the ordinal sign for the degree sign
    "\uff05": "%",
}
REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|displaystyle)(?![A-Za-z])\s*", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"(?<!\\)\\!", ""),
        (r"^\s*\{([^{}]*)\}\s*$", r"\1"),
        (r"\{,\}", ","),
        (r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ","),
        (r"(?<!\\)\\[,;: ()\[\]]|(?<!\\)\$|~", " "),
        (r"(?<!\\)\\([%$])", r"\1"),
        (r"\s*\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])", "°"),
    )
)

INTEGER = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
DECIMAL = rf"(?:{INTEGER}(?:\.[0-9]*)?|\.[0-9]+)"
SIGN = r"(?P<before>[$€£]?)\s*(?P<sign>[-+]?)\s*(?P<after>[$€£]?)\s*"
TERM = rf"\s*(?:\{{\s*([-+]?{DECIMAL})\s*\}}|([0-9]))"
FRACTION = rf"\\frac{TERM}{TERM}"
# In TeX an exponent without braces is one digit; plain text has more, and no other reading.
EXPONENT = r"(?:\{\s*([-+]?[0-9]{1,4})\s*\}|([-+]?[0-9]{1,4}))"


def _value(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _fraction(whole: str | None, *terms: str | None) -> Fraction | None:
    """whole + top/bottom, of which the fraction must be proper; None over 0."""
    top, bottom = (_value(term) for term in terms if term)
    if not bottom or (whole and not 0 < top / bottom < 1):
        return None
    return (_value(whole) if whole else 0) + top / bottom


def _power(mantissa: str | None, *exponents: str | None) -> Fraction:
    (exponent,) = (int(text) for text in exponents if text)
    return (_value(mantissa) if mantissa else 1) * Fraction(10) ** exponent


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
        (rf"({DECIMAL})(?![0-9])", _value),
    )
)

# What may stand before an equals sign as the name of what is asked for: x, x_1, f(x), (x,y), a+b.
NAME = r"(?:(?!or|and)[A-Za-z]{1,3}|\\[a-z]+)(?:_(?:\w|\{\w+\}))?'?(?:\([A-Za-z0-9, ]*\))?"
NAMES = re.compile(rf"{NAME}(?:\s*[-+]\s*{NAME})*|\(\s*{NAME}(?:\s*,\s*{NAME})*\s*\)")
EQUALS = re.compile(r"(?<![<>!:=])=(?!=)|\\in(?![A-Za-z])")
SEVERAL = re.compile(r"[,;]|(?<![A-Za-z])(?:and|or)(?![A-Za-z])")

WHOLE_WRAP = re.compile(WRAP)
WORDS = re.compile(r"[A-Za-z ,.'()-]*[A-Za-z][A-Za-z ,.'()-]*")
BRACES = (re.compile(r"(?:\\\{|\\lbrace).*(?:\\\}|\\rbrace)"), re.compile(r"[(\[].*[)\]]"))
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


@dataclass(frozen=True)
class Quantity:
    """A number and what it counts; `unit` is () where none is written."""

    value: Fraction
    percent: bool
    unit: tuple[str, ...]

    def same(self, other: "Quantity") -> bool:
        """Equal in value, and in the unit where both write one."""
        if self.unit and other.unit and self.unit != other.unit:
            return False
        if self.percent == other.percent:
            return self.value == other.value
        share, plain = (self, other) if self.percent else (other, self)
        return plain.value in (share.value, share.value / 100)


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
    thin spaces, the dollars around mathematics and a full stop. `\$` becomes a dollar.
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
        value = reader(*found.groups()[3:])
        if value is None:
            continue
        currency = tuple(sign for sign in (found["before"], found["after"]) if sign)
        unit = unit or currency
        return Quantity(
            value=-value if found["sign"] == "-" else value,
            percent="%" in unit,
            unit=tuple(word for word in unit if word != "%"),
        )
    return None


def key(text: str) -> str:
    r"""A clean text without \text{...} around words, and with spaces only between them."""
    unwrapped = WHOLE_WRAP.sub(r" \1 ", text)
    return re.sub(r"(?<![^\W_]) | (?![^\W_])", "", " ".join(unwrapped.split()))


def without_name(text: str) -> str | None:
    r"""What stands behind `x =` or `x \in`; None if there is none or it is not just that.

    x = 2 or x = 3 is 2 or 3; of a chain x = 1 + 1 = 2 it is the last side. 3 = 5 is not just that,
    nor is x = 5, y = 3.
    """
    name = EQUALS.split(text)[0].strip()
    if not NAMES.fullmatch(name):
        return None
    values = re.sub(rf"(?<![\w\\]){re.escape(name)}\s*(?:{EQUALS.pattern})\s*", "", text)
    if not EQUALS.search(values):
        return values.strip()
    return None if SEVERAL.search(values) else EQUALS.split(values)[-1].strip()


def decide(stated: str, reference: str) -> bool | tuple[str, str]:
    r"""Whether a clean answer is right, or else the reference and the answer to ask algebra about.

    Where the reference is a number the answer must be one: 17 \cdot 6 repeats the question, and is
    not 102. Likewise with words. Tuples and intervals are in no way equal to sets in braces, and
    a value is not equal to an equation, except to that of a name: x = 5 is 5, 3 = 5 is not.
    """
    if key(stated) == key(reference):
        return True
    if bool(EQUALS.search(stated)) != bool(EQUALS.search(reference)):
        if EQUALS.search(stated):
            value = without_name(stated)
            if value is None:
                return False
            stated = value
        else:
            reference = without_name(reference) or reference
        if key(stated) == key(reference):
            return True
    expected = quantity(reference)
    if expected is not None:
        found = quantity(stated, loose=True)
        return found is not None and found.same(expected)
    if WHOLE_WRAP.fullmatch(reference) or WHOLE_WRAP.fullmatch(stated):
        word, said = _words(reference), _words(stated)
        if word is not None:
            return said == word
    return _algebra(stated, reference)


def _algebra(stated: str, reference: str) -> bool | tuple[str, str]:
    braces = [[kind.fullmatch(text) is not None for kind in BRACES] for text in (stated, reference)]
    if any(braces[0]) and any(braces[1]) and braces[0] != braces[1]:
        return False
    if "\\boxed" in stated or "\\fbox" in stated or not _balanced(stated):
        return False
    (stated, said), (reference, unit) = split_unit(stated), split_unit(reference)
    if said and unit and said != unit:
        return False
    return _latex(reference), _latex(stated)


def _words(text: str) -> str | None:
    """Words in lower case; None if the text is anything else. (C) is C."""
    whole = WHOLE_WRAP.fullmatch(text)
    bare = whole[1] if whole else text
    if not WORDS.fullmatch(bare):
        return None
    words = " ".join(bare.casefold().split()).removesuffix(".")
    return words[1:-1] if re.fullmatch(r"\([a-z]\)", words) else words


def _balanced(text: str) -> bool:
    depth = 0
    for brace in BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth < 0:
            return False
    return depth == 0


def _latex(text: str) -> str:
    return text.replace("$", "").replace("°", r"^{\circ}")
