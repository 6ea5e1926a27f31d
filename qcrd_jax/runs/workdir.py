"""The folder of a run: one writer at a time, and one configuration from its first checkpoint on."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import config_dict

from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.files import flatten

_APART = ('teacher', 'judge', 'pairs', 'reproduce')  # groups that no training reads
_PLACES = ('data.cache',)  # fields that say where something is kept


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the folder for this process; the operating system lets go of it however we end.

    Raises:
      InputError: if another process holds it, it cannot be written, or its path is a pattern.
    """
    files.check_folder('--workdir', workdir)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(workdir))
        except BlockingIOError as error:
            raise InputError(
                f'--workdir: another run is writing to {workdir}; wait for it, or use another.'
            ) from error
        except OSError as error:
            raise InputError(
                f'--workdir: {workdir} cannot be written ({error.strerror}).'
            ) from error
        yield


def checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of the run's checkpoints."""
    return workdir / 'checkpoints'


def started(workdir: pathlib.Path) -> bool:
    """Whether the folder holds a checkpoint, whole or not: work that could be lost."""
    folder = checkpoints(workdir)
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def claim(workdir: pathlib.Path, config: config_dict.ConfigDict) -> None:
    """Writes `config.json`; where there are checkpoints, it must be the one that made them.

    Raises:
      InputError: if the folder holds a run of another configuration; it names the fields.
    """
    path = workdir / 'config.json'
    if not started(workdir):
        files.write_json(path, to_json(config))
        return
    wanted, found = flatten(to_json(config)), flatten(files.read_json(path))
    wanted, found = (
        {
            name: value
            for name, value in flat.items()
            if name.partition('.')[0] not in _APART and name not in _PLACES
        }
        for flat in (wanted, found)
    )
    differing = [
        f'{name} (there {found.get(name)!r}, here {wanted.get(name)!r})'
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        raise InputError(
            f'--workdir: {workdir} holds a run of another configuration: {", ".join(differing)}. '
            'Use its configuration to resume it, or another --workdir.'
        )


def to_json(config: config_dict.ConfigDict) -> dict[str, Any]:
    """The configuration as nested JSON values."""
    return json.loads(json.dumps(config.to_dict()))
