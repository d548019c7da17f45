"""A language of one-character instructions on a stack of integers, safe to run by construction.

    0-9  push the digit                        x    push the input
    + - *  on the two on top                   %    remainder of a by b, with the sign of b
    <    1 if a < b, else 0                    ?    of c, a, b leave a if c is not 0, else b
    :    copy the top    ~  swap the two on top     ;    drop the top
    [ ]  take n off the stack, then do what stands between n times; not at all if n < 1
    .    nothing

b is the top of the stack and a what lies under it: `x3-` is x - 3. What is on the stack at the end
is the output, the top last.

Every instruction that is done costs a step, each `]` included, so that a loop cannot turn for
free. No instruction reaches anything but the stack. Whatever the text, the work is bounded by its
length and by the bounds, and the end has a reason of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rl.errors import UserError

# ok; not a program; too many steps; too deep a stack; too large an integer; too many values left;
# too few values on the stack for an instruction; a remainder by 0.
Reason = Literal["ok", "syntax", "steps", "memory", "size", "output", "stack", "zero"]
REASONS: tuple[Reason, ...] = get_args(Reason)

NOTHING = "."
TAKES: Mapping[str, int] = {
    **dict.fromkeys("0123456789x.]", 0),
    **dict.fromkeys(":;[", 1),
    **dict.fromkeys("+-*%<~", 2),
    "?": 3,
}
INSTRUCTIONS = "0123456789x+-*%<?:~;[]" + NOTHING

_LEAVES: Mapping[str, Callable[..., tuple[int, ...]]] = {
    "+": lambda a, b: (a + b,),
    "-": lambda a, b: (a - b,),
    "*": lambda a, b: (a * b,),
    "%": lambda a, b: (a % b,),
    "<": lambda a, b: (int(a < b),),
    "?": lambda c, a, b: (a if c else b,),
    ":": lambda a: (a, a),
    "~": lambda a, b: (b, a),
    ";": lambda _: (),
    NOTHING: lambda: (),
}


@dataclass(frozen=True)
class Bounds:
    """How far a program may go: instructions done, values on the stack, size of an integer either
    way from 0, and values left at the end."""

    steps: int
    stack: int
    largest: int
    outputs: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UserError(f"tiny_language: expected bounds of at least 1, got {name}={value}")


@dataclass(frozen=True)
class Ended:
    """How a program ended. `outputs` is empty unless the reason is `ok`."""

    reason: Reason
    outputs: tuple[int, ...]
    steps: int


def is_program(text: str) -> bool:
    """Whether a text is of the language's instructions, and its brackets match."""
    return _brackets(text) is not None


def run(program: str, *, x: int, bounds: Bounds) -> Ended:
    """Run a program, which may be any text, on one input. It never raises."""
    partner = _brackets(program)
    if partner is None:
        return Ended("syntax", (), 0)
    stack: list[int] = []
    turns: list[int] = []  # how often each open loop is still to be done, this time included
    place = steps = 0
    while place < len(program):
        if steps == bounds.steps:
            return Ended("steps", (), steps)
        steps += 1
        instruction = program[place]
        taken = TAKES[instruction]
        if len(stack) < taken:
            return Ended("stack", (), steps)
        values = stack[len(stack) - taken :]
        del stack[len(stack) - taken :]
        if instruction == "%" and values[1] == 0:
            return Ended("zero", (), steps)
        if instruction in "[]":
            place = _turn(place, values, turns, partner)
        else:
            stack += _left(instruction, values, x)
        if len(stack) > bounds.stack:
            return Ended("memory", (), steps)
        if stack and abs(stack[-1]) > bounds.largest:
            return Ended("size", (), steps)
        place += 1
    if len(stack) > bounds.outputs:
        return Ended("output", (), steps)
    return Ended("ok", tuple(stack), steps)


def _left(instruction: str, values: list[int], x: int) -> tuple[int, ...]:
    """What an instruction puts on the stack for the values that it took off."""
    if instruction == "x":
        return (x,)
    if instruction in _LEAVES:
        return _LEAVES[instruction](*values)
    return (int(instruction),)


def _turn(place: int, values: list[int], turns: list[int], partner: dict[int, int]) -> int:
    """The bracket to go on after, this one or its partner; `turns` is brought up to date.

    Only `[` has taken a value: how often its loop is to be done.
    """
    if values:
        if values[0] < 1:
            return partner[place]
        turns.append(values[0])
        return place
    turns[-1] -= 1
    if turns[-1]:
        return partner[place]
    turns.pop()
    return place


def _brackets(program: str) -> dict[int, int] | None:
    """Each bracket's place to its partner's; None where a text is no program."""
    partner: dict[int, int] = {}
    opened: list[int] = []
    for place, instruction in enumerate(program):
        if instruction not in TAKES:
            return None
        if instruction == "[":
            opened.append(place)
        elif instruction == "]":
            if not opened:
                return None
            start = opened.pop()
            partner[start], partner[place] = place, start
    return None if opened else partner
