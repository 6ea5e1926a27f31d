"""The folder of a run: one writer at a time, and one configuration from its first checkpoint on."""

import contextlib
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from absl import logging
from ml_collections import config_dict

from qcrd_jax import files, sums
from qcrd_jax.errors import InputError
from qcrd_jax.files import flatten
from qcrd_jax.runs.checkpoint import Checkpointer, UnreadableError

_APART = ('teacher', 'judge', 'pairs', 'reproduce')  # groups that no training reads
# Fields that change no number of a run but by rounding: where something is kept or computed, and
# what is done after a fault.
_FREE = (
    'data.cache', 'train.restart', 'train.keep_state', 'train.share_pretraining', 'mesh.data',
    'mesh.fsdp',
)  # fmt: skip
_TRACES = (  # what only a run leaves, in the order in which it is named
    'checkpoints',
    'checkpoints-damaged',
    'pretraining',
    'metrics.jsonl',
    'metrics-damaged.jsonl',
    'summary.json',
    'predictions.jsonl',
    'scores.json',
    'examples.jsonl',
    'case_study.jsonl',
    'hf',
    'report',
)


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the folder for this process; the operating system lets go of it however we end.

    What a killed process left half written in it is removed.

    Raises:
      InputError: if another process holds it, it cannot be written, or its path is a pattern.
    """
    files.check_folder('--workdir', workdir)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(workdir))
        except BlockingIOError as error:
            raise InputError(
                f'--workdir: another run ({files.holder(workdir)}) is writing to {workdir}; wait '
                'for it, or use another.'
            ) from error
        except OSError as error:
            raise InputError(
                f'--workdir: {workdir} cannot be written ({error.strerror}); mend that, or use '
                'another --workdir.'
            ) from error
        for folder in (workdir, workdir / 'report'):
            files.remove_leftovers(folder)
        yield


def checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of the run's checkpoints."""
    return workdir / 'checkpoints'


def pretraining(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of the checkpoints of the discriminator's pretraining, until it is over."""
    return workdir / 'pretraining'


def started(workdir: pathlib.Path) -> bool:
    """Whether the folder holds a checkpoint, whole or not: work that could be lost."""
    return any(_steps(folder) for folder in (checkpoints(workdir), pretraining(workdir)))


def claim(workdir: pathlib.Path, config: config_dict.ConfigDict) -> None:
    """Writes `config.json`; where there are checkpoints, it must be the one that made them.

    Raises:
      InputError: if the folder holds a run of another configuration, whose fields it names, or what
        is left of a run without a checkpoint.
    """
    path = workdir / 'config.json'
    if not started(workdir):
        if config.train.restart and remains(workdir):
            set_aside(workdir)
        refuse_remains(workdir)
        files.write_json(path, to_json(config))
        return
    try:
        there = files.read_json(path)
    except InputError as error:
        _write_again(workdir, config, error)
        return
    wanted, found = _bound(to_json(config)), _bound(there)
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


def _write_again(workdir: pathlib.Path, config: config_dict.ConfigDict, why: InputError) -> None:
    """Writes a config.json that cannot be read, if the checkpoints say that this is theirs."""
    for folder in filter(_steps, (checkpoints(workdir), pretraining(workdir))):
        with Checkpointer(folder) as checkpointer:
            metadata = checkpointer.metadata()
        if metadata is not None and metadata.get('config') == digest(config):
            logging.error('%s It is written again: the checkpoints are of this configuration.', why)
            files.write_json(workdir / 'config.json', to_json(config))
            return
    raise InputError(
        f'{why} Its checkpoints are of another configuration than this one: use theirs, which '
        'writes it again, or another --workdir.'
    )


def refuse_remains(workdir: pathlib.Path) -> None:
    """Refuses to start anew where a run was; to be called where there is no checkpoint.

    Raises:
      UnreadableError: if there is anything of a run; it names what.
    """
    if left := remains(workdir):
        raise UnreadableError(
            f'--workdir: {workdir} holds {", ".join(left)} of a run, but no checkpoint to resume '
            'from. Bring its checkpoints back; or start anew by --config.train.restart=True, which '
            'sets aside what is there; or use another --workdir.'
        )


def check_origin(
    workdir: pathlib.Path,
    config: config_dict.ConfigDict,
    fingerprint: Mapping[str, str],
    metadata: Mapping[str, Any],
    step: int,
) -> None:
    """Refuses a checkpoint of other data or of another configuration.

    Args:
      workdir: of the run.
      config: of the run.
      fingerprint: of its data, by split.
      metadata: of the checkpoint.
      step: of the checkpoint.

    Raises:
      InputError: naming the splits that have changed, or the folder of the checkpoint.
    """
    changed = [
        split for split, own in fingerprint.items() if metadata['fingerprint'].get(split) != own
    ]
    if changed:
        raise InputError(
            f'{workdir}: the data ({", ".join(changed)}) has changed since the checkpoint of step '
            f'{step} was written; bring the old data back, or use another --workdir.'
        )
    if metadata['config'] != digest(config):
        raise InputError(
            f'{workdir}: the checkpoint of step {step} is of a run of another configuration than '
            'the config.json beside it. If it was copied there, delete its folder, '
            f'{checkpoints(workdir) / str(step)}; or use another --workdir.'
        )


def remains(workdir: pathlib.Path) -> list[str]:
    """What a folder holds of a run, by name; nothing where one was killed before it had begun."""
    return [name for name in _TRACES if _is_trace(workdir / name)]


def set_aside(workdir: pathlib.Path) -> None:
    """Moves what there is of a run to a folder of its own in the workdir; nothing is removed."""
    number = 1
    while (aside := workdir / f'previous-{number}').exists():
        number += 1
    aside.mkdir()
    for name in (*_TRACES, 'tensorboard'):
        if (workdir / name).exists():
            (workdir / name).rename(aside / name)
    sums.divide(workdir, aside)
    if (workdir / 'config.json').is_file():  # the run that starts anew may be of the same one
        shutil.copy2(workdir / 'config.json', aside / 'config.json')
    logging.error('%s: a run that cannot be resumed was set aside as %s.', workdir, aside)


def digest(config: config_dict.ConfigDict) -> str:
    """A digest of the fields that a run is bound to."""
    text = json.dumps(_bound(to_json(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(config: config_dict.ConfigDict) -> dict[str, Any]:
    """The configuration as nested JSON values."""
    return json.loads(json.dumps(config.to_dict()))


def _bound(tree: dict[str, Any]) -> dict[str, Any]:
    """The fields that a run is bound to, by their dotted names."""
    return {
        name: value
        for name, value in flatten(tree).items()
        if name.partition('.')[0] not in _APART and name not in _FREE
    }


def _steps(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.isdigit()]


def _is_trace(path: pathlib.Path) -> bool:
    """Whether something is there; the first save of a run is nothing yet until it is whole."""
    if not path.is_dir():
        return path.exists() and path.stat().st_size > 0
    return any(not inner.name.startswith('0.orbax-checkpoint-tmp') for inner in path.iterdir())
