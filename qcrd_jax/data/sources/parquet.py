"""Rows of Parquet files, a batch at a time.

pyarrow takes a while to import, so it is imported where it is needed.
"""

import pathlib
import re
from collections.abc import Collection, Iterator
from typing import Any

from qcrd_jax.errors import InputError

FIELDS = (
    'id', 'input', 'label', 'split', 'options', 'samples', 'teacher', 'text', 'sample',
    'reasoning', 'reasoning_content', 'messages', 'conversations',
)  # fmt: skip
"""The columns that are read; a file may have others, however large."""

_SPLIT = re.compile(r'(train|validation|valid|dev|test)(?![a-z])')
_BATCH = 256  # rows in memory as Python objects
# What a file of texts may decode to: compressed they have a tenth, and values may be repeated.
_RATIO = 100
_SMALL_CHUNK = 1 << 20  # bytes of a column that any group of rows may have
_SMALL_FILE = 1 << 30  # bytes that any file may decode to
_BUFFER = 1 << 20  # bytes read at once of a column


def is_parquet(path: pathlib.Path) -> bool:
    """Returns whether the path is that of a Parquet file, by its name."""
    return path.suffix.lower() == '.parquet'


def shards(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Returns the Parquet files of a path, in the order of their names.

    Args:
      path: a Parquet file, which is the only one; a folder: those in it, or else those in its
        folder `data`, as datasets lie on the Hub (`data/train-00000-of-00002.parquet`).

    Returns:
      The files; () where there are none.
    """
    if is_parquet(path) and path.is_file():
        return (path,)
    for folder in (path, path / 'data'):
        files = folder.iterdir() if folder.is_dir() else ()
        found = sorted(file for file in files if is_parquet(file) and file.is_file())
        if found:
            return tuple(found)
    return ()


def split_of(path: pathlib.Path) -> str | None:
    """Returns the split that the name of a shard begins with, if it does.

    Examples:
      >>> split_of(pathlib.Path('data/test-00000-of-00001.parquet'))
      'test'
      >>> split_of(pathlib.Path('trainers.parquet')) is None
      True
    """
    match = _SPLIT.match(path.name)
    return match.group(1) if match else None


def rows(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (number from 1, record) of the rows of a Parquet file, with the columns of `FIELDS`.

    Raises:
      InputError: if the file is missing or is no Parquet, or decodes to more than texts do.
    """
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with (
            open(path, 'rb') as opened,  # pyarrow would take some paths for something else
            pyarrow.parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False) as file,
        ):
            columns = [name for name in file.schema_arrow.names if name in FIELDS]
            if not columns:
                raise InputError(
                    f'{path}: expected columns "input" and "label", got '
                    f'{", ".join(file.schema_arrow.names) or "none"}.'
                )
            _check_sizes(path, file.metadata, columns)
            decoded, most = 0, _SMALL_FILE + _RATIO * path.stat().st_size
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                decoded += batch.nbytes
                if decoded > most:
                    raise InputError(
                        f'{path}: its first {number + len(batch)} rows decode to {decoded} bytes; '
                        f'expected at most {most} of a file of that size.'
                    )
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f'{path}: cannot be read as Parquet ({reason}).') from error
    except (pyarrow.ArrowException, UnicodeDecodeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f'{path}: cannot be read as Parquet after row {number} ({error}).'
        ) from error


def _check_sizes(path: pathlib.Path, metadata: Any, columns: Collection[str]) -> None:
    """Refuses columns that unpack to much more than they take, before pyarrow unpacks them."""
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(place)
            if chunk.path_in_schema.split('.')[0] not in columns:
                continue
            packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
            if not 0 <= unpacked <= _SMALL_CHUNK + _RATIO * packed:
                raise InputError(
                    f'{path}: column {chunk.path_in_schema!r} unpacks from {packed} bytes to '
                    f'{unpacked}; expected at most {_RATIO} times as many.'
                )
