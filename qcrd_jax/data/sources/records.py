"""Records of questions and answers: JSON lines, a Parquet file, or a folder of Parquet files.

They are read in order once, and again by their place, as they are asked for. JSON lines are read
where they are. Parquet has no place to read one record from: its rows are copied to JSON lines
first, in a file that has no name and is gone with its last reader.
"""

import bisect
import contextlib
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from qcrd_jax.data.sources import parquet
from qcrd_jax.errors import InputError
from qcrd_jax.files import object_lines, parse_object


class Placed(NamedTuple):
    """A record, its number from 1, and its byte offset."""

    number: int
    offset: int
    record: dict[str, Any]


class RecordFile:
    """A file or folder of records.

    Args:
      path: a file of JSON lines, a `.parquet` file, or a folder of those (see `parquet.shards`).
      scratch: folder on whose disk the rows of Parquet find room; None: that of temporary files.

    Raises:
      InputError: if it is missing or cannot be read; it names file and line or row.
    """

    def __init__(self, path: pathlib.Path | str, scratch: pathlib.Path | None = None):
        self.path = pathlib.Path(path)
        self._shards = parquet.shards(self.path)
        self._starts: list[int] = []  # how many rows the shards before each hold
        self._copy = self._copied(scratch) if self._shards else None

    def __iter__(self) -> Iterator[Placed]:
        if self._copy is None:
            for line in object_lines(self.path):
                yield Placed(*line)
            return
        offset = number = 0
        while line := self._line(self._copy, offset):
            number += 1
            yield Placed(number, offset, json.loads(line))
            offset += len(line)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens what `read` reads from."""
        if self._copy is not None:
            yield self._copy
            return
        with open(self.path, 'rb') as file:
            yield file

    def read(self, file: BinaryIO, offset: int) -> dict[str, Any]:
        """Returns the record at an offset of the file that `open` gave."""
        return parse_object(self.path, 0, self._line(file, offset).decode())

    def where(self, number: int) -> str:
        """Returns how an error calls the record of that number: its file, and its line or row."""
        if self._shards in ((), (self.path,)):
            return f'{self.path}, {self.short(number)}'
        shard, row = self._row(number)
        return f'{shard}, row {row}'

    def short(self, number: int) -> str:
        """Returns the same without a path that the reader knows already."""
        if not self._shards:
            return f'line {number}'
        shard, row = self._row(number)
        return f'row {row}' if shard == self.path else f'row {row} of {shard.name}'

    def _row(self, number: int) -> tuple[pathlib.Path, int]:
        place = bisect.bisect_left(self._starts, number) - 1
        return self._shards[place], number - self._starts[place]

    def _copied(self, scratch: pathlib.Path | None) -> BinaryIO:
        """Returns a file of the shards' rows as JSON lines, and notes where each shard begins."""
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        copy = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 -- it is open as long as we are
        number = 0
        for shard in self._shards:
            self._starts.append(number)
            split = parquet.split_of(shard) if shard != self.path else None
            for row, record in parquet.rows(shard):
                number += 1
                if split and record.get('split') is None:
                    record['split'] = split
                copy.write(_line_of(record, f'{shard}, row {row}'))
        return copy

    @staticmethod
    def _line(file: BinaryIO, offset: int) -> bytes:
        file.seek(offset)  # readers share the copy: none relies on where another left it
        return file.readline()


def _line_of(record: dict[str, Any], where: str) -> bytes:
    line = {}
    for name, value in record.items():
        try:
            line[name] = json.dumps(value)
        except (TypeError, ValueError) as error:  # bytes, dates
            expected = 'texts, numbers, lists and structs'
            raise InputError(f'{where}: field {name!r}: expected {expected} ({error}).') from error
    return b'{%s}\n' % ', '.join(f'{json.dumps(name)}: {line[name]}' for name in line).encode()
