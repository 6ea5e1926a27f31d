"""Files that appear whole or not at all; what `files` and `sums` stand on."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO


def temporary(path: pathlib.Path) -> pathlib.Path:
    """Returns where a process writes what is to become `path`, beside it."""
    return path.with_name(f'.{path.name}.{os.getpid()}.tmp')


@contextlib.contextmanager
def replacing(path: os.PathLike | str) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` once the block has ended without an error."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary(path)
    try:
        with open(unfinished, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None:  # of a write; it is to be named in what is said of it
            error.filename = os.fspath(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: os.PathLike | str, data: bytes) -> None:
    """Writes `data` to `path` whole or not at all (temporary file, fsync, rename)."""
    with replacing(path) as file:
        file.write(data)
