"""Rows of Parquet files, a batch at a time.

pyarrow takes a while to import, so it is imported where it is needed.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

from qcrd_jax.errors import InputError

FIELDS = (
    'id', 'input', 'label', 'split', 'options', 'samples', 'teacher', 'text', 'sample',
    'reasoning', 'reasoning_content', 'messages', 'conversations',
)  # fmt: skip
"""The columns that are read; a file may have others, however large."""

_SPLIT = re.compile(r'(train|validation|valid|dev|test)(?![a-z])')
_BATCH = 256  # rows in memory as Python objects
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
      InputError: if the file is missing or is no Parquet.
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
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
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
