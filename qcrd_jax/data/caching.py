"""Folders of `data.cache`: made once, by one process, and found whole or made again.

A folder is made beside its place, gets its digests (`sums`), and then its name; a lock beside it
sees to it that one process does so, while others wait and find it made. Who finds it whole takes
no lock, so that a cache that nobody may write to serves as well.
"""

import pathlib
import shutil
from collections.abc import Callable
from typing import TypeVar

from absl import logging

from qcrd_jax import files, sums
from qcrd_jax.errors import InputError, reason, shown

T = TypeVar('T')

_KEY = 'KEY'  # name of the file


def found_or_made(
    folder: pathlib.Path,
    *,
    key: str,
    make: Callable[[pathlib.Path], None],
    read: Callable[[pathlib.Path], T],
    what: str,
) -> T:
    """Returns what a folder of a cache holds, which is made if it is not there, or not whole.

    Args:
      folder: whose files never change once it has its name.
      key: what the folder is of. It is written into it: one that was renamed is not whole.
      make: writes the files into an empty folder, which becomes this one.
      read: opens a folder whose digests are right. Whatever it raises, the folder is not whole.
      what: is in it, for messages: 'the split is tokenised'.

    Raises:
      InputError: if it cannot be made; it names the folder.
    """
    fault, content = _opened(folder, key, read)
    lock = f'.{folder.name}.lock'
    try:
        if not fault:
            if any(any(folder.parent.glob(pattern)) for pattern in _leftovers(folder)):
                _tidy(folder, lock)
            return content[0]
        with files.locked(folder.parent, wait=True, name=lock):
            _remove_leftovers(folder)
            fault, content = _opened(folder, key, read)  # another process may have made it
            if not fault:
                return content[0]
            if folder.exists():
                logging.error('%s is not whole (%s): %s again.', folder, fault, what)
            _make(folder, key, make)
            fault, content = _opened(folder, key, read)
    except OSError as error:
        raise InputError(
            f'data.cache: {folder} ({fault}) cannot be written ({error}). Make room or delete the '
            'folder, or name another by --config.data.cache.'
        ) from error
    if fault:
        raise InputError(
            f'data.cache: {folder} was just written and is not what was written ({fault}). '
            'Delete the folder, and name one on another disk by --config.data.cache.'
        )
    return content[0]


def found(
    folder: pathlib.Path, *, key: str, read: Callable[[pathlib.Path], T], what: str
) -> T | None:
    """Returns what a folder of a cache holds; None if it is not there, or not whole, which is said.

    Args:
      folder: as `found_or_made` has it, which makes it.
      key: what the folder is of.
      read: opens a folder whose digests are right. Whatever it raises, the folder is not whole.
      what: is made if it is not whole, for the message: 'the split is tokenised'.
    """
    fault, content = _opened(folder, key, read)
    if not fault:
        return content[0]
    if folder.exists():
        logging.error('%s is not whole (%s): %s again.', folder, fault, what)
    return None


def _opened(
    folder: pathlib.Path, key: str, read: Callable[[pathlib.Path], T]
) -> tuple[str, tuple[T, ...]]:
    """Returns what is wrong with a folder, or '' and its content."""
    if not folder.is_dir():
        return 'it is not there', ()
    if faults := sums.faults(folder):
        more = f', and {len(faults) - 3} more' if len(faults) > 3 else ''
        return ', '.join(faults[:3]) + more, ()
    try:
        if (found := (folder / _KEY).read_text(encoding='utf-8')) != key:
            return f'it is {shown(found)}, renamed', ()
        return '', (read(folder),)
    except Exception as error:  # its digests are right, and another program wrote it
        return reason(error), ()


def _make(folder: pathlib.Path, key: str, make: Callable[[pathlib.Path], None]) -> None:
    """Puts a folder in its place; until then what is there stays as it is."""
    unfinished = files.temporary(folder)
    unfinished.mkdir(parents=True)
    try:
        make(unfinished)
        files.write_text(unfinished / _KEY, key)
        sums.write(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _leftovers(folder: pathlib.Path) -> tuple[str, str]:
    """Patterns of what killed processes leave beside a folder: ours, and TFDS by itself."""
    return f'.{folder.name}.*.tmp', f'incomplete.*_{folder.name}'


def _remove_leftovers(folder: pathlib.Path) -> None:
    for pattern in _leftovers(folder):
        files.remove_leftovers(folder.parent, pattern)


def _tidy(folder: pathlib.Path, lock: str) -> None:
    """Removes what killed processes left beside a folder, unless one is at work there."""
    try:
        with files.locked(folder.parent, name=lock):
            _remove_leftovers(folder)
    except OSError:  # held by another process, or not for us to write
        pass
