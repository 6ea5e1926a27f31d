"""The one exception that is meant for the person at the keyboard, and when memory ran out."""

import errno
import re
from typing import Any


class InputError(ValueError):
    """Something the user can put right.

    The message names the file, line or field, what was expected, what came, and what to do.
    `run.py` prints it without a traceback and exits with status 1.
    """


class OutOfMemory(InputError):
    """Memory does not hold what was asked for; the message names the fields to lower."""


# As the runtimes of CPU and GPU, and the libraries of a GPU, say it.
_EXHAUSTED = re.compile(
    r'RESOURCE_EXHAUSTED|out of memory|CUDA_ERROR_OUT_OF_MEMORY|STATUS_ALLOC_FAILED', re.IGNORECASE
)
_ASKED = re.compile(r'\b(\d+(?:\.\d*)?) ?([KMGTP]i)?B(?:ytes)?\b', re.IGNORECASE)


def is_exhaustion(error: BaseException | None) -> bool:
    """Says whether an error, or one that it was raised from, is memory that ran out.

    JAX raises a `RuntimeError` of its own for it, NumPy and Python a `MemoryError`.

    >>> is_exhaustion(RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 64 bytes.'))
    True
    >>> is_exhaustion(ValueError('RESOURCE_EXHAUSTED'))
    False
    """
    while error is not None:
        if isinstance(error, MemoryError | OutOfMemory):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and _EXHAUSTED.search(str(error)):
            return True
        error = error.__cause__
    return False


def asked_for(error: BaseException) -> str:
    """Returns how much memory an exhaustion says that was asked for at once; '' if it does not.

    >>> asked_for(RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 3221225472 bytes.'))
    '3.0 GiB'
    """
    found = _ASKED.search(str(error))
    if found is None:
        return ''
    prefix = (found[2] or '').upper()[:1]
    return in_units(float(found[1]) * 2 ** (10 * ' KMGTP'.index(prefix or ' ')))


def in_units(size: int | float) -> str:
    """Returns a number of bytes as a person reads it.

    >>> in_units(1.5 * 2**30), in_units(20)
    ('1.5 GiB', '20 bytes')
    """
    for unit, power in (('PiB', 50), ('TiB', 40), ('GiB', 30), ('MiB', 20), ('KiB', 10)):
        if size >= 2**power:
            return f'{size / 2**power:.1f} {unit}'
    return f'{size:.0f} bytes'


def first_line(text: str) -> str:
    """Returns the first line of what a library says, as a message can show it."""
    line = (text.strip().splitlines() or [''])[0][:200]
    return ''.join(letter if letter.isprintable() else ' ' for letter in line)


def reason(error: Exception) -> str:
    r"""Returns what went wrong in a library, in a line: the kind of the error and its first line.

    >>> reason(ValueError('no such array\nat line 7'))
    'ValueError: no such array'
    """
    return f'{type(error).__name__}: {first_line(str(error))}'


def shown(value: Any, limit: int = 80) -> str:
    """Returns the value as a message shows it: its `repr`, cut if it is long."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + '...'
