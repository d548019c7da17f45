"""The one error that users are meant to read."""


class UserError(Exception):
    """Bad input: the message says what was expected, what came and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
