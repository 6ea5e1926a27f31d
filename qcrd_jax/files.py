"""Files that no reader ever sees half of, and folders that one process holds at a time."""

import codecs
import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from absl import logging

from qcrd_jax.errors import InputError, shown

_PATTERN = frozenset('*?[\0')  # what no folder of ours may have in its path


@contextlib.contextmanager
def replacing(path: os.PathLike | str) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` once the block has ended without an error."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: os.PathLike | str, data: bytes) -> None:
    """Writes `data` to `path` whole or not at all (temporary file, fsync, rename)."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: os.PathLike | str, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode('utf-8'))


def write_json(path: os.PathLike | str, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + '\n')


@contextlib.contextmanager
def locked(folder: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a folder for this process; the operating system lets go of it however we end.

    Args:
      folder: is created.
      wait: whether to wait for a process that holds it.

    Raises:
      BlockingIOError: if another process holds it, and nobody waits.
      OSError: if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            logging.info('waiting for another process, which holds %s', folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def read_jsonl(path: os.PathLike | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object) of a JSON-lines file, skipping blank lines.

    Raises:
      InputError: if the file cannot be read, or a line is no JSON object; it names file and line.
    """
    for number, _, record in object_lines(path):
        yield number, record


def object_lines(path: os.PathLike | str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields (line number from 1, byte offset, object) of a JSON-lines file, without blank lines.

    Raises:
      InputError: if the file cannot be read, or a line is no JSON object; it names file and line.
    """
    offset = 0
    try:
        with open(path, 'rb') as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    offset, line = len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
                if not line.isspace():
                    yield number, offset, parse_object(path, number, line.decode())
                offset += len(line)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); check the path.') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not UTF-8 text ({error.reason}); re-encode it.') from error


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
        record = json.loads(line, object_pairs_hook=_unique)
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object, of which JSON would keep the last of two values of a name."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the name {shown(twice)} is there twice')
    return value


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


def is_unicode(text: str) -> bool:
    """Returns whether UTF-8 can hold the text: there is no half of a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_surrogates(text: str) -> str:
    r"""Joins pairs of surrogates and replaces single ones by U+FFFD, so that UTF-8 can hold it.

    JSON can escape half a character (`"\ud83d"`), and what a model wrote and a length limit cut
    sometimes ends in one.

    Examples:
      >>> without_surrogates('\ud83d\ude00') == '\N{GRINNING FACE}'
      True
    """
    return text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
