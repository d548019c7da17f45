r"""What may stand before an equals sign as the name of what is asked for: x, f(-1), \angle A.

A name has no value of its own, so x = 12 states 12. Sums and quotients of different names are
names too, as nothing says what they are worth; -x, 2x, x - x and a/a are none.
"""

import re

from rl.rewards.maths_plain import WHOLE_WRAP
from rl.rewards.maths_units import COUNTING, is_number_word

# Without pi, which is a number.
GREEK = (
    r"\\(?:alpha|beta|(?:var)?(?:epsilon|theta|rho|sigma|phi)|zeta|eta|iota|kappa|mu|nu|xi|tau|chi"
    r"|[Gg]amma|[Dd]elta|[Ll]ambda|[Uu]psilon|[Pp]si|[Oo]mega|Theta|Xi|Pi|Sigma|Phi|ell)"
    r"(?![A-Za-z])"
)
LETTERS = r"(?!or|and)[A-Za-z]{1,3}"
# Of numbers these are numbers: log(100) has a value, though f(100) has none. And x(2) is a product.
KNOWN = r"(?:sin|cos|tan|log|ln|exp|gcd|lcm|max|min|det|deg|dim)"
ANGLE = rf"m?\\angle\s*(?:[0-9]|{LETTERS})"
DRAWN = rf"\\(?:overline|overrightarrow|vec|bar|hat|widehat)\s*\{{\s*{LETTERS}\s*\}}"
INDEX = r"(?:_(?:\w|\{[\w+, -]+\}|\{?\\(?:text|mathrm)\{[A-Za-z ]+\}\}?))?'{0,3}"
HEAD = rf"(?:{ANGLE}|{LETTERS}|{GREEK}|\\{KNOWN}(?![A-Za-z])|{DRAWN}){INDEX}"
NAME = (
    rf"(?:(?!(?:\\?{KNOWN}|[xyz])(?![A-Za-z])){HEAD}\([A-Za-z0-9,.+/ -]*\)"
    rf"|{HEAD}(?:\([A-Za-z, ]*\))?)"
)
SUM = rf"\s*{NAME}(?:\s*[-+/]\s*{NAME})*\s*"
NAMES = re.compile(rf"{SUM}|\(\s*{NAME}(?:\s*,\s*{NAME})*\s*\)|\\frac\s*\{{{SUM}\}}\s*\{{{SUM}\}}")
ONE_NAME = re.compile(rf"(?<![A-Za-z\\]){NAME}")
LETTER_OR_COMMAND = re.compile(rf"({GREEK})|\\[A-Za-z]+|([A-Za-z])")

WORDS = re.compile(r"[A-Za-z ,.'()-]*[A-Za-z][A-Za-z ,.'()-]*")


def is_name(side: str) -> bool:
    """Whether the first side of an equation names what the others are: x, Total, nothing."""
    if not side:
        return True
    if NAMES.fullmatch(side):
        names = [name[0] for name in ONE_NAME.finditer(side)]
        return len(set(names)) == len(names) and not any(map(_is_number, names))
    text = words(side)
    if text is None or not text[0].isalpha() or text.endswith("-"):
        return False
    return not any(map(is_number_word, re.findall(r"[a-z]+", text)))


def is_relation(name: str, values: str) -> bool:
    r"""Whether a sum or a quotient of names relates them to each other, and does not name a value.

    So does b/a = a/b or a - b = a + b. Any letter in the value of a quotient makes it a relation:
    x/a = y/b is the equation of a line.
    """
    if not NAMES.fullmatch(name) or len(ONE_NAME.findall(name)) < 2:
        return False
    letters = _letters(values)
    if "/" in name or "\\frac" in name:
        return bool(letters)
    return not letters.isdisjoint(_letters(re.sub(r"\([^()]*\)", "", name)))


def words(text: str) -> str | None:
    """Words in lower case; None if the text is anything else. (C) is C."""
    whole = WHOLE_WRAP.fullmatch(text)
    bare = whole[1] if whole else text
    if not WORDS.fullmatch(bare):
        return None
    found = " ".join(bare.casefold().split()).removesuffix(".")
    return found[1:-1] if re.fullmatch(r"\([a-z]\)", found) else found


def _is_number(name: str) -> bool:
    """Whether a name is a number word: ten is one, the line TEN is none."""
    return not name.isupper() and COUNTING.fullmatch(name.lower()) is not None


def _letters(text: str) -> set[str]:
    r"""The letters in a text, Greek ones too, but none of commands and of \text{...}."""
    found = LETTER_OR_COMMAND.findall(WHOLE_WRAP.sub(" ", text))
    return {greek or letter for greek, letter in found} - {""}
