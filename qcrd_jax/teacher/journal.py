"""An append-only file of JSON lines whose every line is whole, on disk, and there once.

A record counts from the moment `append` returns: it was written by one system call and synced. A
process killed at any moment leaves at most one torn line at the end, which the next one cuts off;
that record was never counted, and is made again.
"""

import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from qcrd_jax.errors import InputError

_CHUNK = 1 << 16  # bytes read at once in search of the last line's beginning


class Journal:
    """One writer's hold on a journal; used in a `with` block.

    Args:
      path: of the file; it and its folder are created.
      key: the fields that distinguish a record from every other; none: records need not differ.

    Raises:
      InputError: if another process holds the file.
    """

    def __init__(self, path: pathlib.Path, key: Sequence[str] = ()):
        self.path = path
        self.key = tuple(key)
        self._present: set[int] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise InputError(
                f'{path}: another process is writing to it; wait for it, or use another --workdir.'
            ) from error
        self._cut_torn_line()
        _sync_folder(path.parent)

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # the lock goes with it

    def replay(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (line number from 1, record) of all that is there; to be exhausted before use.

        Raises:
          InputError: if a line is damaged, or is the record of an earlier line once more.
        """
        self._present.clear()
        for number, record in read(self.path):
            if self.key:
                try:
                    identity = digest(record, self.key)
                except KeyError as error:
                    raise _damaged(self.path, number, f'one without field {error}') from error
                if identity in self._present:
                    named = {field: record[field] for field in self.key}
                    raise InputError(
                        f'{self.path}, line {number}: repeats an earlier record '
                        f'({_shorten(named)}). Remove one of the two lines.'
                    )
                self._present.add(identity)
            yield number, record

    def __contains__(self, record: Mapping[str, Any]) -> bool:
        """Whether a record with the same key is there."""
        return digest(record, self.key) in self._present

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes the record; when this returns, it is on disk.

        Raises:
          ValueError: if a record with its key is there already.
          OSError: if the disk is full or fails; the file is then as it was.
        """
        self.extend([record])

    def extend(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes several records by one system call and one sync.

        A process killed meanwhile leaves some of the first of them, and perhaps a torn one.

        Raises:
          ValueError: if a record with the key of one is there already, or twice among them.
          OSError: if the disk is full or fails; the file is then as it was.
        """
        added: set[int] = set()
        for record in records if self.key else ():
            identity = digest(record, self.key)
            if identity in self._present or identity in added:
                raise ValueError(f'{self.path}: {_shorten(record)} is recorded already.')
            added.add(identity)
        # Half a surrogate pair is the one thing that UTF-8 cannot hold; JSON has an escape for it.
        lines = b''.join(
            json.dumps(record, ensure_ascii=False).encode('utf-8', 'backslashreplace') + b'\n'
            for record in records
        )
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, lines) != len(lines):
                raise OSError(f'{self.path}: the disk is full.')
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)
            raise
        self._present |= added

    def _cut_torn_line(self) -> None:
        """Moves what follows the last newline, if anything does, to a file beside this one."""
        end = os.fstat(self._file).st_size
        start, tail = end, b''
        while start > 0 and b'\n' not in tail:
            size = min(_CHUNK, start)
            start -= size
            tail = os.pread(self._file, size, start) + tail
        torn = tail[tail.rfind(b'\n') + 1 :]
        if not torn:
            return
        aside = self.path.with_name(f'{self.path.name}.torn')
        with open(aside, 'ab') as file:
            file.write(torn + b'\n')
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(self._file, end - len(torn))
        os.fsync(self._file)
        logging.warning(
            '%s: its last line was torn by a crash and is cut off; it is kept in %s.',
            self.path, aside.name,
        )  # fmt: skip


def digest(record: Mapping[str, Any], key: Sequence[str]) -> int:
    """Returns 128 bits that stand for the record's key, in a fraction of its memory."""
    values = json.dumps([record[field] for field in key])
    return int.from_bytes(hashlib.blake2b(values.encode(), digest_size=16).digest())


def read(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, record) of a journal that nobody needs to hold.

    Raises:
      InputError: if a line is damaged; it names file and line.
    """
    with open(path, 'rb') as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _damaged(path, number, f'not valid JSON ({error})') from error
            if not isinstance(record, dict):
                raise _damaged(path, number, f'a JSON {type(record).__name__}')
            yield number, record


def _damaged(path: pathlib.Path, number: int, what: str) -> InputError:
    return InputError(
        f'{path}, line {number}: expected a JSON object, got {what}. Mend the line, or remove it: '
        'its record is then made again.'
    )


def _sync_folder(folder: pathlib.Path) -> None:
    """Makes sure that a new file's name survives a power failure as well as its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _shorten(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + '...'
