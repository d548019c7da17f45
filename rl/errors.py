"""The one error that users are meant to read."""

import sys
from collections.abc import Callable

WIDEST = 500


class UserError(Exception):
    """Bad input: the message says what was expected, what came and what to do.

    The command line prints it without a traceback and exits with status 2. It may quote any
    input: long lines are cut, and characters that would steer a terminal are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(_line(line) for line in message.split("\n")))


def _line(text: str) -> str:
    cut = text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut
    )


def exit_status(command: Callable[[], int | None]) -> int:
    """The status that a command returns, 0 for None; 2 after the one message of its error."""
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
