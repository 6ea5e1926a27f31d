"""Files that no reader ever sees half of, and folders that one process holds at a time."""

import codecs
import contextlib
import datetime
import fcntl
import io
import json
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

from absl import logging

from qcrd_jax import interruption
from qcrd_jax.errors import InputError, shown
from qcrd_jax.strict import is_unicode as is_unicode
from qcrd_jax.strict import unique_names
from qcrd_jax.writing import replacing as replacing
from qcrd_jax.writing import temporary as temporary
from qcrd_jax.writing import write_bytes as write_bytes

LOCK = '.lock'

_PATTERN = frozenset('*?[\0')  # what no folder of ours may have in its path
_PATIENCE = 3.0  # seconds of waiting for a lock in silence
_PAUSE = 0.05  # seconds between two attempts to take it


def write_text(path: os.PathLike | str, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode('utf-8'))


def write_json(path: os.PathLike | str, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + '\n')


@contextlib.contextmanager
def locked(folder: pathlib.Path, *, wait: bool = False, name: str = LOCK) -> Iterator[None]:
    """Holds a folder for this process; the operating system lets go of it however we end.

    The lock file says who holds it: see `holder`.

    Args:
      folder: is created.
      wait: whether to wait for a process that holds it; who that is is said after some seconds.
      name: of the lock file; locks of other names do not exclude each other.

    Raises:
      BlockingIOError: if another process holds it, and nobody waits.
      OSError: if it cannot be written.
      Interrupted: if a signal asks the process to end while it waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not emptied as it is opened: another process may hold it and have its name in it.
    with open(os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666), 'r+b', 0) as lock:
        _acquire(lock, folder, wait, name)
        # On a full disk nobody learns who holds it; it is held all the same.
        with contextlib.suppress(OSError):
            lock.truncate(0)
            lock.write(_signature())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.truncate(0)


def holder(folder: pathlib.Path, name: str = LOCK) -> str:
    """Returns who holds a folder that is locked: 'process 12 on host x, since 2026-01-02T03:04:05'.

    It is 'another process' where the lock does not say.
    """
    try:
        with open(folder / name, 'rb') as lock:
            record = json.loads(lock.read(1000))
        host, process, since = (str(record[field]) for field in ('host', 'process', 'since'))
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return 'another process'
    parts = [part if part.isprintable() else shown(part) for part in (process, host, since)]
    return 'process {} on host {}, since {}'.format(*(part[:80] for part in parts))


def _acquire(lock: io.FileIO, folder: pathlib.Path, wait: bool, name: str) -> None:
    """Takes a lock, or waits for it."""
    begun, said = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
        if not said and time.monotonic() - begun > _PATIENCE:
            logging.warning('waiting for %s, which holds %s', holder(folder, name), folder)
            said = True
        interruption.check()
        time.sleep(_PAUSE)


def _signature() -> bytes:
    now = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
    record = {'host': socket.gethostname(), 'process': os.getpid(), 'since': now}
    return f'{json.dumps(record)}\n'.encode()


def remove_leftovers(folder: pathlib.Path, pattern: str = '.*.tmp') -> None:
    """Removes what a process that was killed left half written in a folder.

    Only for who holds the folder: of anybody else it may be half written yet.

    Args:
      folder: is not searched below.
      pattern: of the names of files and folders; by default those of `temporary`.
    """
    for path in folder.glob(pattern):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def check_folder(field: str, folder: os.PathLike | str) -> None:
    """Refuses a folder in which Orbax and TFDS would not find again what they write.

    They take `*`, `?` and `[` in a path for those of a pattern, so that a checkpoint in `run[1]` is
    not whole, and they take no path that is not Unicode.

    Raises:
      InputError: if the absolute path is such a one; it names the field.
    """
    path = os.path.abspath(folder)
    if not _PATTERN.isdisjoint(path) or not is_unicode(path):
        raise InputError(
            f'{field}: expected a path of Unicode characters without *, ? and [, which the '
            f'libraries for checkpoints and datasets take for patterns, got {path!r}. Use another '
            'folder.'
        )


def read_json(path: os.PathLike | str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      InputError: if it is missing or damaged.
    """
    value = read_json_value(path)
    if not isinstance(value, dict):
        raise InputError(f'{path}: expected a JSON object, got {type(value).__name__}.')
    return value


def read_json_value(path: os.PathLike | str) -> Any:
    """Reads a file of JSON, whatever it holds.

    Raises:
      InputError: if it is missing or damaged.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f'{path}: cannot be read as JSON ({error}).') from error


def write_jsonl(path: os.PathLike | str, records: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line, the whole file or nothing."""
    with replacing(path) as file:
        for record in records:
            file.write((json.dumps(record, ensure_ascii=False) + '\n').encode('utf-8'))


def read_jsonl(
    path: os.PathLike | str | int, name: str = ''
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object) of a JSON-lines file, skipping blank lines.

    Args:
      path: of the file, or the number of one that is open and stays so.
      name: what errors call it; '': its path.

    Raises:
      InputError: if the file cannot be read, or a line is no JSON object; it names file and line.
    """
    for number, _, record in object_lines(path, name):
        yield number, record


def object_lines(
    path: os.PathLike | str | int, name: str = ''
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields (line number from 1, byte offset, object) of a JSON-lines file, without blank lines.

    Args, Raises: those of `read_jsonl`.
    """
    offset, name = 0, name or str(path)
    try:
        with open(path, 'rb', closefd=not isinstance(path, int)) as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    offset, line = len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
                if not line.isspace():
                    yield number, offset, parse_object(name, number, line.decode())
                offset += len(line)
    except OSError as error:
        raise InputError(f'{name}: cannot be read ({error.strerror}); check the path.') from error
    except UnicodeDecodeError as error:
        raise InputError(
            f'{name}, line {number}: not UTF-8 text ({error.reason}); re-encode it.'
        ) from error


def count_lines(path: os.PathLike | str) -> int:
    """Returns how many lines of a text file are not blank."""
    with open(path, 'rb') as file:
        return sum(1 for line in file if not line.isspace())


def parse_object(path: os.PathLike | str, number: int, line: str) -> dict[str, Any]:
    """Returns the JSON object of one line.

    Raises:
      InputError: if it is none; it names file and line.
    """
    where = f'{path}, line {number}'
    try:
        record = json.loads(line, object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is no JSONDecodeError
        raise InputError(
            f'{where}: not valid JSON ({error}); expected one JSON object a line. '
            'Mend or remove the line.'
        ) from error
    if not isinstance(record, dict):
        raise InputError(
            f'{where}: expected a JSON object, got {type(record).__name__}. '
            'Mend or remove the line.'
        )
    return record


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a nested dict by their dotted names, in order.

    Examples:
      >>> flatten({'seed': 0, 'data': {'name': 'mwp', 'mwp': {'train': 40}}})
      {'seed': 0, 'data.name': 'mwp', 'data.mwp.train': 40}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            for inner, leaf in flatten(value).items():
                flat[f'{name}.{inner}'] = leaf
        else:
            flat[name] = value
    return flat


def without_surrogates(text: str) -> str:
    r"""Joins pairs of surrogates and replaces single ones by U+FFFD, so that UTF-8 can hold it.

    JSON can escape half a character (`"\ud83d"`), and what a model wrote and a length limit cut
    sometimes ends in one.

    Examples:
      >>> without_surrogates('\ud83d\ude00') == '\N{GRINNING FACE}'
      True
    """
    return text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
