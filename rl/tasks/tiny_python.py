"""Tiny programs written out as Python, for a judge that runs Python.

Each instruction is a line that takes values off a stack and puts others on; a loop is a `for`. The
bounds are counted as rl.tasks.tiny_language counts them, so that both end alike: with the same
value, or with the same reason, which is here the name of an exception. Python nests 20 loops at
most.
"""

from collections.abc import Mapping

from rl.tasks.tiny_language import Bounds, is_program

# `{...}` are the bounds.
FRAME = """\
def f(x):
    stack, done = [], 0

    def end(reason):
        raise type(reason, (Exception,), {{}})

    def take(count):
        nonlocal done
        if done == {steps}:
            end("steps")
        done += 1
        if len(stack) < count:
            end("stack")
        taken = stack[len(stack) - count:]
        del stack[len(stack) - count:]
        return taken

    def put(*values):
        stack.extend(values)
        if len(stack) > {stack}:
            end("memory")
        if abs(stack[-1]) > {largest}:
            end("size")

{lines}
    if len(stack) > {outputs}:
        end("output")
    return stack
"""
LINES: Mapping[str, str] = {
    **{digit: f"take(0); put({digit})" for digit in "0123456789"},
    "x": "take(0); put(x)",
    "+": "a, b = take(2); put(a + b)",
    "-": "a, b = take(2); put(a - b)",
    "*": "a, b = take(2); put(a * b)",
    "%": "a, b = take(2); put(a % b if b else end('zero'))",
    "<": "a, b = take(2); put(int(a < b))",
    "?": "c, a, b = take(3); put(a if c else b)",
    ":": "(a,) = take(1); put(a, a)",
    "~": "a, b = take(2); put(b, a)",
    ";": "take(1)",
    ".": "take(0)",
    "[": "for _ in range(take(1)[0]):",
    "]": "take(0)",
}


def as_python(program: str, bounds: Bounds) -> str:
    """The source of `f(x)`, which returns the list of what is left on the stack.

    Empty for a text that is no program.
    """
    if not is_program(program):
        return ""
    lines, depth = [], 1
    for instruction in program:
        lines.append("    " * depth + LINES[instruction])
        depth += {"[": 1, "]": -1}.get(instruction, 0)
    return FRAME.format(lines="\n".join(lines), **vars(bounds))
