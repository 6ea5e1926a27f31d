"""The one exception that is meant for the person at the keyboard."""

from typing import Any


class InputError(ValueError):
    """Something the user can put right.

    The message names the file, line or field, what was expected, what came, and what to do.
    `run.py` prints it without a traceback and exits with status 1.
    """


def shown(value: Any, limit: int = 80) -> str:
    """Returns the value as a message shows it: its `repr`, cut if it is long."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + '...'
