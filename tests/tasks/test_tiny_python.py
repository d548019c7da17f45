"""A program written out in Python ends as the interpreter says it does."""

from random import Random

import pytest

from rl.tasks.tiny_language import INSTRUCTIONS, Bounds, run
from rl.tasks.tiny_programs import BOUNDS, KINDS
from rl.tasks.tiny_python import as_python

TIGHT = Bounds(steps=8, stack=3, largest=50, outputs=2)


def python_end(program: str, x: int, bounds: Bounds) -> tuple[str, tuple[int, ...]]:
    """How the source ends, in the interpreter's words."""
    space: dict[str, object] = {}
    exec(as_python(program, bounds), space)  # noqa: S102 - of instructions on a stack, no other
    try:
        return "ok", tuple(space["f"](x))  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 - a class made by its name
        return type(error).__name__, ()


def both_agree(program: str, x: int, bounds: Bounds) -> str:
    ended = run(program, x=x, bounds=bounds)
    if ended.reason == "syntax":
        assert as_python(program, bounds) == ""
    else:
        assert python_end(program, x, bounds) == (ended.reason, ended.outputs)
    return ended.reason


@pytest.mark.parametrize(
    ("program", "reason", "outputs"),
    [
        ("x3-", "ok", (2,)),
        ("x5%3<", "ok", (1,)),
        ("x0~-2%", "ok", (1,)),  # -5 modulo 2
        ("0x7?", "ok", (7,)),
        ("x[]", "ok", ()),
        ("3x[2*1+]", "size", ()),
        ("9[9[.]]", "steps", ()),
        ("1111", "memory", ()),
        ("123", "output", ()),
        ("1+", "stack", ()),
        ("x0%", "zero", ()),
    ],
)
def test_by_hand(program: str, reason: str, outputs: tuple[int, ...]) -> None:
    bounds = Bounds(steps=30, stack=3, largest=50, outputs=2)
    assert python_end(program, 5, bounds) == (reason, outputs)
    assert both_agree(program, 5, bounds) == reason


def test_right_programs_agree() -> None:
    for kind in KINDS:
        for _, program in list(KINDS[kind](9))[::40]:
            assert both_agree(program, 7, BOUNDS) == "ok"


def test_any_program_agrees() -> None:
    rng, reasons = Random(0), set[str]()
    for _ in range(3000):
        program = "".join(rng.choices("12x" + INSTRUCTIONS, k=rng.randrange(12)))
        reasons.add(both_agree(program, rng.randrange(10), TIGHT))
    assert reasons == {"ok", "syntax", "steps", "memory", "size", "output", "stack", "zero"}
