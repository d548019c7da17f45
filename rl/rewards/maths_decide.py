r"""Whether a clean answer is the reference, or which comparisons by algebra say so.

An equation states its last side, and no other side may say anything else: x = 1 + 1 = 2 is 2, while
x = 1 = 2 is nothing. The first side may be a name (rl.rewards.maths_names).
"""

import re
from collections.abc import Iterable

from rl.rewards.maths import Verdict
from rl.rewards.maths_arithmetic import arithmetic
from rl.rewards.maths_names import is_name, is_relation, words
from rl.rewards.maths_plain import WHOLE_WRAP, Quantity, key, quantity
from rl.rewards.maths_units import split_unit

MOST_SIDES = 10  # of a chain of equations: each may take a comparison

EQUALS = re.compile(r"(?<!\\not)(?<![<>!:=])=(?!=)|\\in(?![A-Za-z])")
SEVERAL = re.compile(r"[,;]|(?<![A-Za-z])(?:and|or)(?![A-Za-z])")
ABOUT = re.compile(r"\\(?:thick)?(?:approx|approxeq|simeq)(?![A-Za-z])")

BRACES = (re.compile(r"(?:\\\{|\\lbrace).*(?:\\\}|\\rbrace)"), re.compile(r"[(\[].*[)\]]"))
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)

# A verdict, or pairs of reference and answer that must all be equal by algebra.
Decision = Verdict | list[tuple[str, str]]


def decide(stated: str, reference: str) -> Decision:
    r"""The verdict, or the pairs of reference and answer to ask algebra about, all to be equal.

    Where the reference is a number the answer must be one: 17 \cdot 6 repeats the question, and is
    not 102. Likewise with words. Tuples and intervals are in no way equal to sets in braces, and
    a value is not equal to an equation, except to that of a name: x = 5 is 5, 3 = 5 is not. What is
    about something is only the same text.
    """
    if key(stated) == key(reference):
        return Verdict.RIGHT
    sides = EQUALS.split(stated)
    if len(sides) > MOST_SIDES:
        return Verdict.TOO_LONG
    if len(sides) == 1:
        reference = _value_of_name(reference)
        if key(stated) == key(reference):
            return Verdict.RIGHT
    expected = quantity(reference)
    if expected is not None:
        return _number(stated, expected)
    if ABOUT.search(stated):
        return Verdict.WRONG
    return _equation(stated, reference) if len(sides) > 1 else _value(stated, reference)


def _equation(stated: str, reference: str) -> Decision:
    """The decision on an equation, or on a chain of them."""
    if not EQUALS.search(reference):
        values = without_name(stated)
        return Verdict.WRONG if values is None else _all(_value(v, reference) for v in values)
    if all(len(EQUALS.split(part)) < 3 for part in SEVERAL.split(stated)):
        return _value(stated, reference)
    if SEVERAL.search(stated):
        return Verdict.WRONG
    first, *sides = EQUALS.split(stated)
    return _all(_value(f"{first}={side}", reference) for side in sides)


def without_name(text: str) -> list[str] | None:
    r"""What stands behind `x =`, `x \in` or `Total =`; None if there is no name or more than that.

    x = 2 or x = 3 is 2 or 3; of a chain x = 1 + 1 = 2 it is each later side. 3 = 5 has no name, and
    x = 5, y = 3 is more.
    """
    name, *values = (side.strip() for side in EQUALS.split(text))
    if not values or not is_name(name) or is_relation(name, " ".join(values)):
        return None
    if not name or not SEVERAL.search(text):
        return values
    again = rf"(?<![\w\\]){re.escape(name)}\s*(?:{EQUALS.pattern})\s*"
    one = re.sub(again, "", text).strip()
    return None if EQUALS.search(one) else [one]


def _value_of_name(reference: str) -> str:
    values = without_name(reference)
    return reference if values is None else values[-1]


def _number(stated: str, expected: Quantity) -> Verdict:
    """The verdict on a number, or on a chain of equations that ends with one."""
    first, *sides = (side.strip() for side in EQUALS.split(stated))
    if not sides or not is_name(first):
        sides = [first, *sides]
    found = quantity(sides[-1], loose=True)
    if found is None:
        return Verdict.UNREAD
    for side in sides[:-1]:
        worth = arithmetic(side)
        plain = None if worth is None else Quantity(value=worth, percent=False, unit=())
        working = quantity(side, loose=True) or plain
        if working is None:
            return Verdict.UNREAD
        if not working.same(found) or working.has_other_unit(expected):
            return Verdict.WRONG
    return Verdict.RIGHT if found.same(expected) else Verdict.WRONG


def _value(stated: str, reference: str) -> Decision:
    """The decision on one value, or on one equation for another."""
    if key(stated) == key(reference):
        return Verdict.RIGHT
    if WHOLE_WRAP.fullmatch(reference) or WHOLE_WRAP.fullmatch(stated):
        word, said = words(reference), words(stated)
        if word is not None:
            return Verdict.RIGHT if said == word else Verdict.WRONG
    return _algebra(stated, reference)


def _all(decisions: Iterable[Decision]) -> Decision:
    """One decision that is right where all of them are."""
    questions: list[tuple[str, str]] = []
    for decision in decisions:
        if isinstance(decision, list):
            questions += decision
        elif decision is not Verdict.RIGHT:
            return decision
    return questions or Verdict.RIGHT


def _algebra(stated: str, reference: str) -> Decision:
    braces = [[kind.fullmatch(text) is not None for kind in BRACES] for text in (stated, reference)]
    if any(braces[0]) and any(braces[1]) and braces[0] != braces[1]:
        return Verdict.WRONG
    if "\\boxed" in stated or "\\fbox" in stated or not _balanced(stated):
        return Verdict.WRONG
    (stated, said), (reference, unit) = split_unit(stated), split_unit(reference)
    if said and unit and said != unit:
        return Verdict.WRONG
    return [(_latex(reference), _latex(stated))]


def _balanced(text: str) -> bool:
    depth = 0
    for brace in BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth < 0:
            return False
    return depth == 0


def _latex(text: str) -> str:
    return text.replace("$", "").replace("°", r"^{\circ}")
