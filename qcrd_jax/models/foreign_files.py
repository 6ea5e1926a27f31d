"""Reading the files of a folder that somebody else wrote, whatever is in them.

What is opened is a regular file, so that a pipe cannot keep us waiting; how large it is and how
many values it holds are known before it is parsed, so that what it costs is bounded.
"""

import contextlib
import json
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from qcrd_jax.errors import InputError, shown
from qcrd_jax.strict import is_unicode, unique_names

SETTINGS_BYTES = 8 << 20  # of a file of settings; the largest that we know have one or two MiB
SETTINGS_VALUES = 500_000
_DEEPEST = 50  # objects and lists within each other; the deepest that we know have eight
_OPENING = b',[{'  # there are at most as many values as these, and one more
_NO_FILE = 'expected a file, got a folder, pipe or device.'
_LONGEST_NAME = 120  # characters of a name that a message shows


@contextlib.contextmanager
def open_regular(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a regular file to read from; links to one are followed, as the Hub's cache has them.

    Raises:
      InputError: if it cannot be opened, now or while it is read, or is a folder, pipe or device.
    """
    try:
        # Without O_NONBLOCK, a pipe that nobody writes to would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f'{shown_path(path)}: {_NO_FILE}')
        with open(descriptor, 'rb') as file:
            yield file
    except OSError as error:
        raise _unreadable(path, error) from error


def check_size(path: pathlib.Path, most: int) -> None:
    """Refuses what is there and is no regular file, or one of more than so many bytes."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f'{shown_path(path)}: {_NO_FILE}')
    if found.st_size > most:
        raise InputError(
            f'{shown_path(path)}: expected at most {most} bytes, it has {found.st_size}.'
        )


def read_bytes(path: pathlib.Path, most: int) -> bytes:
    """Reads a file of at most so many bytes.

    Raises:
      InputError: if it is longer, or cannot be read.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f'{shown_path(path)}: expected at most {most} bytes, it has more.')
    return data


def read_json_object(
    path: pathlib.Path, *, most: int = SETTINGS_BYTES, values: int = SETTINGS_VALUES
) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
      path: of the file.
      most: bytes that it may have.
      values: how many values it may hold, at any depth.

    Raises:
      InputError: if the file is missing, unreadable, larger, or holds something else; if two values
        of an object have one name.
    """
    return parse_object(shown_path(path), read_bytes(path, most), values=values)


def parse_object(what: str, data: bytes, *, values: int = SETTINGS_VALUES) -> dict[str, Any]:
    """Returns the JSON object that bytes of UTF-8 hold; errors begin with `what` it is."""
    held = 1 + sum(data.count(byte) for byte in _OPENING)
    if held > values:
        raise InputError(f'{what}: expected JSON of at most {values} values, got up to {held}.')
    try:
        value = json.loads(data.decode('utf-8'), object_pairs_hook=unique_names)
    except UnicodeDecodeError as error:
        raise InputError(f'{what}: not UTF-8 text ({error.reason}).') from error
    except ValueError as error:  # a number of 5000 digits is no JSONDecodeError
        raise InputError(f'{what}: not valid JSON ({error}).') from error
    except RecursionError:
        deep = True
    else:
        deep = _is_deep(value)
    if deep:
        raise InputError(f'{what}: expected JSON of at most {_DEEPEST} levels, it is deeper.')
    if b'\\u' in data and not is_unicode(json.dumps(value, ensure_ascii=False)):
        raise InputError(f'{what}: expected characters of Unicode, got half of one (\\ud800).')
    if not isinstance(value, dict):
        raise InputError(f'{what}: expected a JSON object, got {type(value).__name__}.')
    return value


def name(text: object, limit: int = _LONGEST_NAME) -> str:
    r"""Returns a name out of a file as one line of a message shows it.

    >>> print(name('model.norm.weight'), name('two\nlines'))
    model.norm.weight 'two\nlines'
    """
    text = str(text)
    return text if len(text) <= limit and text.isprintable() else shown(text, limit)


def shown_path(path: pathlib.Path) -> str:
    """Returns a path as one line of a message shows it, however long it is."""
    return str(path) if str(path).isprintable() else repr(str(path))


def _unreadable(path: pathlib.Path, error: OSError) -> InputError:
    return InputError(f'{shown_path(path)}: cannot be read ({error.strerror}).')


def some(names: list[str], limit: int = 4) -> str:
    """Returns the first few names and how many more there are."""
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(map(name, names[:limit])) + more


def _is_deep(value: Any) -> bool:
    """Returns whether containers are nested more deeply than `_DEEPEST`."""
    level = [value] if type(value) in (dict, list) else []
    for _ in range(_DEEPEST + 1):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True
