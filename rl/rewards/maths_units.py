r"""What stands behind a number: a unit of measure, a percent sign, a base, a few words.

A unit may be left out, but not be another one: 5 is 5 cm, 5 m is not 5 cm, and no unit is
converted. Words that may change the number (million, half, or, than, XIX) are no unit.
"""

import re
from collections.abc import Sequence

MOST_WORDS = 4
UNITS = {
    **dict.fromkeys(("cm", "centimeter", "centimetre"), "cm"),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("km", "kilometer", "kilometre"), "km"),
    **dict.fromkeys(("m", "meter", "metre"), "m"),
    **dict.fromkeys(("in", "inch", "inches"), "in"),
    **dict.fromkeys(("ft", "foot", "feet"), "ft"),
    **dict.fromkeys(("yd", "yard"), "yd"),
    **dict.fromkeys(("mi", "mile"), "mi"),
    **dict.fromkeys(("kg", "kilogram"), "kg"),
    **dict.fromkeys(("mg", "milligram"), "mg"),
    **dict.fromkeys(("g", "gram"), "g"),
    **dict.fromkeys(("lb", "lbs", "pound"), "lb"),
    **dict.fromkeys(("oz", "ounce"), "oz"),
    **dict.fromkeys(("l", "liter", "litre"), "l"),
    **dict.fromkeys(("ml", "milliliter", "millilitre"), "ml"),
    **dict.fromkeys(("s", "sec", "second"), "s"),
    **dict.fromkeys(("min", "minute"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour"), "h"),
    **dict.fromkeys(("$", "dollar", "usd"), "$"),
    **dict.fromkeys(("€", "euro"), "€"),
    **dict.fromkeys(("£",), "£"),
    **dict.fromkeys(("¢", "cent"), "¢"),
    **dict.fromkeys(("°", "degree"), "°"),
    **dict.fromkeys(("%", "percent", "pct"), "%"),
    "mph": "mi/h",
    "unit": "unit",
}
SHAPES = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
# A number with one of these is another number, or two of them.
COUNTING = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty"
    r"|(?:hundred|thousand|million|billion|trillion|dozen|score|half|quarter|third|fourth|fifth"
    r"|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s?|halves|pi|squared|cubed|sqrt|root"
    r"|plus|minus|over|point|factorial|mod|base|power|negative|divided|multiplied|or|and|not|no|to"
    r"|sin|cos|tan|log|exp|wrong|false|infinity|infty|inf|nan"
    r"|(?:lakh|lac|crore|kilo|mil|mill|grand|pair|couple|trio)s?|gross|bn|mn|tn|tens|than|off"
    r"|once|twice|thrice|(?:doubl|tripl|trebl|quadrupl|halv)(?:e|ed|ing)"
)
ROMAN = re.compile(r"m{0,3}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})")
WRAP = r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox)\s*\{([^{}]*)\}"
POWER = r"\^\s*(?:\{[23]\}|[23])"
PIECE = re.compile(
    rf"\s*(?:{WRAP}|(?P<base>_\s*(?:\{{[0-9]+\}}|[0-9]+))|(?P<power>{POWER})"
    r"|(?P<word>[A-Za-z]+\.?)|(?P<sign>[%°$€£¢/]))"
)
WRAPPED_PIECE = re.compile(rf"\s*(?:({POWER})|([A-Za-z][A-Za-z.']*)|([%°$€£¢/]))\s*")
TRAILING = re.compile(rf"((?:\s*(?:{WRAP}(?:\s*{POWER})?|°|\$))+)$")


def read_unit(rest: str, *, loose: bool) -> tuple[str, ...] | None:
    r"""The unit that the text behind a number is, in one writing; () if none, None if it is more.

    Words in \text{...} count, and bare words of two letters or more that are listed above: x, ab
    and m are variables, though not in sq m. `loose`: so do other bare words after a space, as in
    "5 m" and "40 rolls"; the first has three letters or is listed.
    """
    words: list[str] = []
    at, rest = 0, rest.rstrip()
    while at < len(rest):
        piece = PIECE.match(rest, at)
        inner = [_bare(piece[0])] if piece else None
        if piece and piece[1] is not None:
            inner = _wrapped(piece[1])
        elif piece and piece["word"]:
            apart = rest[at].isspace() or words[-1:] == ["/"]
            shaped = bool(words) and words[-1].lower().rstrip(".") in SHAPES
            unit = piece["word"].rstrip(".")
            if not _is_unit(unit, first=not words, shaped=shaped, loose=loose and apart):
                return None
        if piece is None or inner is None:
            return None
        words += inner
        at = piece.end()
    words = [word.lower().rstrip(".") for word in words]
    return _in_one_writing(words) if _make_sense(words) else None


def _is_unit(word: str, *, first: bool, shaped: bool, loose: bool) -> bool:
    small = word.lower()
    known = small in UNITS or small in SHAPES or _canonical(word) in UNITS.values()
    if loose:
        return known or len(word) > (2 if first else 1)
    return known and (shaped or len(word) > 1)


def is_number_word(word: str) -> bool:
    """Whether a word in lower case is a number or may change one. (cm and ml are none.)"""
    roman = len(word) > 1 and word not in UNITS and ROMAN.fullmatch(word)
    return bool(roman or COUNTING.fullmatch(word))


def _make_sense(words: Sequence[str]) -> bool:
    """Whether words and signs can be a unit in this order: 5/hour is one, 5/x, 5%% and 5^2 none.

    A shape has a unit behind it, or before it at the end: sq ft, ft sq; 5 sq and 5 sq % are none.
    """
    if len(words) > MOST_WORDS or any(is_number_word(word) for word in words):
        return False
    signs = [word for word in words if not word[0].isalpha()]
    if len(set(signs)) < len(signs) or words[-1:] == ["/"]:
        return False
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word.startswith("_") and len(words) > 1:
            return False
        if word.startswith("^") and not before.isalpha():
            return False
        if word in SHAPES and (before in SHAPES or not (after or before).isalpha()):
            return False
    return words[:1] != ["/"] or len(words[1]) > 2


def split_unit(latex: str) -> tuple[str, tuple[str, ...]]:
    r"""An expression without the unit that it ends with, and that unit; \text{...}, degrees, $."""
    found = TRAILING.search(latex)
    if not found or not latex[: found.start()].strip():
        return latex, ()
    unit = read_unit(found[1], loose=False)
    return (latex, ()) if unit is None else (latex[: found.start()].strip(), unit)


def _wrapped(content: str) -> list[str] | None:
    words = []
    at, content = 0, content.strip()
    while at < len(content):
        piece = WRAPPED_PIECE.match(content, at)
        if piece is None:
            return None
        words.append(_bare(piece[0]))
        at = piece.end()
    return words


def _bare(piece: str) -> str:
    return re.sub(r"[\s{}]", "", piece)


def _canonical(word: str) -> str:
    """A word in lower case and the singular, or the abbreviation of a unit."""
    word = word.lower()
    singular = word.removesuffix("s") if len(word) > 2 else word
    return UNITS.get(word) or UNITS.get(singular) or (singular if len(word) > 3 else word)


def _in_one_writing(words: Sequence[str]) -> tuple[str, ...]:
    """Square feet and feet square as ft ^2, per as /."""
    found: list[str] = []
    shape = ""
    for word in words:
        if word in SHAPES:
            shape = SHAPES[word]
            continue
        found.append("/" if word == "per" else _canonical(word))
        if shape:
            found.append(shape)
            shape = ""
    return (*found, shape) if shape else tuple(found)
