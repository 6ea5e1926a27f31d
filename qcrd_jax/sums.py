"""SHA-256 of the files of a folder, kept in it as `SHA256SUMS`: proof that they are as written.

The file is that of coreutils, a digest and a name a line, so that `sha256sum -c SHA256SUMS` says in
any folder of ours what we say. It is written whole. Whoever writes a folder puts it there before
the folder gets its name, or before the first of the files is replaced: a folder in which something
is missing, changed or half replaced is known as such.
"""

import fnmatch
import functools
import hashlib
import os
import pathlib
import re
import time
from collections.abc import Collection, Iterable

from qcrd_jax import writing
from qcrd_jax.errors import InputError, shown

NAME = 'SHA256SUMS'

_LINE = re.compile(r'(?P<escaped>\\?)(?P<digest>[0-9a-f]{64}) [ *](?P<name>[^\0]+)')
_ESCAPES = {'\\': r'\\', '\n': r'\n', '\r': r'\r'}  # of a name, in a line that begins with \
_UNESCAPED = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPE = re.compile(r'\\[\\nr]')
_LARGEST = 1 << 24  # bytes of a SHA256SUMS; ours have some hundred
_SETTLED = 2.0  # seconds after which another write gives a file another time of change


def write(folder: pathlib.Path, names: Iterable[str] | None = None) -> None:
    """Writes the digests of files into their folder.

    Args:
      folder: of the files.
      names: of the files, relative to the folder, with `/`; None: all in it and below, but for
        hidden ones (locks, temporary files).

    Raises:
      OSError: if a file cannot be read, or the digests cannot be written.
    """
    listed = files_of(folder) if names is None else names
    _write(folder, {name: digest(folder / name) for name in listed})


def update(
    folder: pathlib.Path, names: Iterable[str], *, source: pathlib.Path | None = None
) -> None:
    """Writes the digests of some files of a folder, and keeps those of the others that are there.

    Args:
      folder: holds the digests, or none yet; damaged ones are given up.
      names: of the files.
      source: a folder in which the files still are, where they are about to be moved from it.

    Raises:
      OSError: if a file cannot be read, or the digests cannot be written.
    """
    try:
        kept = read(folder) or {}
    except InputError:
        kept = {}
    kept = {name: value for name, value in kept.items() if (folder / name).is_file()}
    _write(folder, kept | {name: digest((source or folder) / name) for name in names})


def divide(folder: pathlib.Path, other: pathlib.Path) -> None:
    """Gives the digests of files that were moved to another folder to that one.

    Args:
      folder: from which they were moved, with the digests; damaged ones are given up.
      other: where they are now, by the same names.

    Raises:
      OSError: if the digests cannot be written.
    """
    try:
        listed = read(folder) or {}
    except InputError:
        listed = {}
    for place in (other, folder):
        there = {name: value for name, value in listed.items() if (place / name).is_file()}
        if there:
            _write(place, there)
        elif place == folder:
            (folder / NAME).unlink(missing_ok=True)


def read(folder: pathlib.Path) -> dict[str, str] | None:
    """Returns the digests of a folder by the names of the files; None if it has none.

    Raises:
      InputError: if the file is damaged; it names the line.
    """
    path = folder / NAME
    try:
        with open(path, 'rb') as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}).') from error
    *lines, rest = data[:_LARGEST].decode('utf-8', 'surrogateescape').split('\n')
    found = {}
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        match = _LINE.fullmatch(line)
        name = _name(match) if match else ''
        if not match or name in found or not _is_inside(name) or line is rest:
            raise InputError(
                f'{path}, line {number}: expected a SHA-256 and the name of a file of the folder, '
                f'got {shown(line)}.'
            )
        found[name] = match['digest']
    if not found or len(data) > _LARGEST:
        raise InputError(f'{path}: expected some lines of SHA-256, got {len(data)} bytes.')
    return found


def faults(folder: pathlib.Path, names: Collection[str] | None = None) -> list[str]:
    """Returns what is not as it was when the digests were written, in words; [] if all is.

    Args:
      folder: of the files.
      names: of the files that are asked for, each of which must be listed; None: all that are
        listed, and no others may be there, but for hidden ones.
    """
    try:
        listed = read(folder)
    except InputError as error:
        return [str(error).removeprefix(f'{folder}{os.sep}').removesuffix('.')]
    if listed is None:
        return [f'{NAME} is missing']
    asked = {*listed, *files_of(folder)} if names is None else names
    found = ((name, _fault(folder, name, listed)) for name in sorted(asked))
    return [f'{shown(name)} {fault}' for name, fault in found if fault]


def check(folder: pathlib.Path, patterns: Collection[str]) -> None:
    """Refuses a folder that has digests and other files than they say; one without has none.

    Args:
      folder: of the files.
      patterns: of the names of those listed files that are asked for, as `*.safetensors`.

    Raises:
      InputError: naming the folder, the file, and what to do.
    """
    listed = read(folder)
    for name in sorted(listed or ()):
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        if fault := _fault(folder, name, listed or {}):
            raise InputError(
                f'{folder}: {shown(name)} {fault}, by the digests in its {NAME}. Make or copy the '
                f'folder again; if you changed it yourself, delete {folder / NAME} to use it as '
                'it is.'
            )


def files_of(folder: pathlib.Path) -> list[str]:
    """Returns the names of the files in a folder and below, but for hidden ones and the digests."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.')]
        inside = pathlib.Path(root).relative_to(folder)
        found += [(inside / name).as_posix() for name in names if not name.startswith('.')]
    return sorted(name for name in found if name != NAME)


def digest(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    A file that is as it was when it was last read by this process is not read again.

    Raises:
      OSError: if it cannot be read.
    """
    state = os.stat(path)
    times = (state.st_mtime_ns, state.st_ctime_ns)
    if time.time() - max(times) / 1e9 < _SETTLED:  # it may change and keep its times
        return _read_digest(os.fspath(path))
    return _known_digest(os.path.abspath(path), state.st_dev, state.st_ino, state.st_size, *times)


@functools.lru_cache(maxsize=4096)
def _known_digest(path: str, *_: int) -> str:
    return _read_digest(path)


def _read_digest(path: str) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _fault(folder: pathlib.Path, name: str, listed: dict[str, str]) -> str:
    """Returns what is wrong with a file; '' if nothing is."""
    path = folder / name
    if not path.is_file():  # nor is it a device, which might never end
        return 'is missing'
    if name not in listed:
        return 'is not listed'
    try:
        return '' if digest(path) == listed[name] else 'was changed'
    except OSError as error:
        return f'cannot be read ({error.strerror})'


def _write(folder: pathlib.Path, digests: dict[str, str]) -> None:
    if not digests:
        return
    lines = []
    for name, value in sorted(digests.items()):
        escaped = ''.join(_ESCAPES.get(character, character) for character in name)
        mark = '' if escaped == name else '\\'
        lines.append(f'{mark}{value}  {escaped}\n')
    writing.write_bytes(folder / NAME, ''.join(lines).encode('utf-8', 'surrogateescape'))


def _name(line: re.Match[str]) -> str:
    """Returns the name in a line, which escapes it if it begins with a backslash."""
    if not line['escaped']:
        return line['name']
    return _ESCAPE.sub(lambda found: _UNESCAPED[found[0]], line['name'])


def _is_inside(name: str) -> bool:
    """Whether a name leads to nowhere but into the folder."""
    return not name.startswith('/') and '..' not in name.split('/')
