"""How much disk a run takes, said and seen to before it starts."""

import pathlib
import shutil
from collections.abc import Mapping

from qcrd_jax.errors import InputError, in_units
from qcrd_jax.runs import workdir as workdirs

_AT_ONCE = 3  # checkpoints: two that are kept, and one that is being written
_REST = 10_000_000  # bytes of logs, predictions and the report


def need(checkpoint: int, student: int) -> int:
    """Returns how many bytes a run's workdir takes at most, prepared data apart.

    Checkpoints are compressed and hold equal arrays once: what they really take is less.

    Args:
      checkpoint: bytes of one.
      student: bytes of the student that is exported.
    """
    return _AT_ONCE * checkpoint + student + _REST


def check(saved: Mapping[pathlib.Path, tuple[int, int]]) -> None:
    """Says how much disk runs that are new will take, and refuses runs where that is not there.

    Args:
      saved: by workdir, bytes of a checkpoint and of the student.

    Raises:
      InputError: if it is not; it names the fields that make checkpoints smaller.
    """
    wanted = sum(need(*sizes) for sizes in saved.values())
    folder, count = next(iter(saved)), len(saved)
    folder.mkdir(parents=True, exist_ok=True)
    free, there = shutil.disk_usage(folder).free, sum(map(used, saved))
    if not any(map(workdirs.started, saved)):
        where = f'{folder}' if count == 1 else f'{count} runs as {folder}'
        print(f'disk: up to {in_units(wanted)} for {where}; {in_units(free)} are free', flush=True)
    if wanted > free + there:
        raise InputError(
            f'--workdir: {folder} lies where {in_units(free)} are free, and {in_units(wanted)} are '
            f'expected to be, of which {in_units(there)} are taken already: {_AT_ONCE} checkpoints '
            'at a time and the exported student. Free space, use another --workdir, or lower '
            '--config.negatives.lag or the size of student and discriminator.'
        )


def used(workdir: pathlib.Path) -> int:
    """Returns how many bytes of what is counted a workdir holds already."""
    folders = (workdirs.checkpoints(workdir), workdirs.pretraining(workdir), workdir / 'hf')
    files = (path for folder in folders if folder.is_dir() for path in folder.rglob('*'))
    return sum(path.stat().st_size for path in files if path.is_file())
