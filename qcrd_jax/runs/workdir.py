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

CONFIG = 'config.json'
APART = ('teacher', 'judge', 'pairs', 'reproduce')  # groups that no training reads
# Fields that change no number of a training but by rounding: where something is kept or computed,
# what is done after a fault, what is looked at when all is done. The data is compared itself.
_FREE = (
    'data.source', 'data.teacher_samples', 'data.cache', 'train.restart', 'train.keep_state',
    'train.share_pretraining', 'train.wandb', 'mesh.data', 'mesh.fsdp', 'evaluation.batch_size',
    'evaluation.together', 'evaluation.examples', 'evaluation.temperatures',
    'evaluation.rationales', 'evaluation.case_temperatures',
)  # fmt: skip
# Fields that name a folder or a file, where there is one of the name.
_MODELS = ('student.pretrained', 'student.tokenizer', 'discriminator.pretrained', 'negatives.fixed')
_PLACES = ('data.source', 'data.teacher_samples', 'data.cache', *_MODELS)
_STUDENTS_OWN = ('discriminator.pretrained', 'student')
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


def finished(workdir: pathlib.Path) -> bool:
    """Whether the folder holds the results of a run that came to its end."""
    return (workdir / 'summary.json').is_file()


def claim(workdir: pathlib.Path, config: config_dict.ConfigDict) -> None:
    """Writes `config.json`; where there are checkpoints, it must be the one that made them.

    Paths are written whole, so that the run is found again from any folder.

    Raises:
      InputError: if the folder holds a run of another configuration, whose fields it names, or what
        is left of a run without a checkpoint.
    """
    if not started(workdir):
        if config.train.restart and remains(workdir):
            set_aside(workdir)
        refuse_remains(workdir)
        files.write_json(workdir / CONFIG, _located(to_json(config)))
        return
    try:
        there = files.read_json(workdir / CONFIG)
    except InputError as error:
        _write_again(workdir, config, error)
        return
    _refuse_another(workdir, there, config)


def join(workdir: pathlib.Path, config: config_dict.ConfigDict) -> None:
    """Refuses another configuration than that of the run in a workdir; writes nothing.

    Raises:
      InputError: if it is another, whose fields it names, or that of the run cannot be read.
    """
    _refuse_another(workdir, files.read_json(workdir / CONFIG), config)


def _refuse_another(
    workdir: pathlib.Path, there: dict[str, Any], config: config_dict.ConfigDict
) -> None:
    wanted, found = (_bound(_located(tree)) for tree in (to_json(config), there))
    differing = [
        f'{name} (there {found.get(name)!r}, here {wanted.get(name)!r})'
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if differing:
        raise InputError(
            f'--workdir: {workdir} holds a run of another configuration: {", ".join(differing)}. '
            'Leave out --config, and the run uses its own; or use another --workdir. (Where files '
            f'were moved, write their new place into {workdir / CONFIG}.)'
        )


def _write_again(workdir: pathlib.Path, config: config_dict.ConfigDict, why: InputError) -> None:
    """Writes a config.json that cannot be read, if the checkpoints say that this is theirs."""
    for folder in filter(_steps, (checkpoints(workdir), pretraining(workdir))):
        with Checkpointer(folder) as checkpointer:
            metadata = checkpointer.metadata()
        if metadata is not None and metadata.get('config') == digest(config):
            logging.error('%s It is written again: the checkpoints are of this configuration.', why)
            files.write_json(workdir / CONFIG, _located(to_json(config)))
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
    for name in (*_TRACES, 'student', 'tensorboard', 'provenance.json'):
        if (workdir / name).exists():
            (workdir / name).rename(aside / name)
    sums.divide(workdir, aside)
    if (workdir / CONFIG).is_file():  # the run that starts anew may be of the same one
        shutil.copy2(workdir / 'config.json', aside / CONFIG)
    logging.error('%s: a run that cannot be resumed was set aside as %s.', workdir, aside)


def digest(config: config_dict.ConfigDict) -> str:
    """A digest of the fields that a run is bound to, wherever the files are that they name."""
    bound = _bound(to_json(config))
    text = json.dumps({n: v for n, v in bound.items() if n not in _PLACES}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(config: config_dict.ConfigDict) -> dict[str, Any]:
    """The configuration as nested JSON values."""
    return json.loads(json.dumps(config.to_dict()))


def _located(tree: dict[str, Any]) -> dict[str, Any]:
    """The configuration with whole paths for those that are there."""
    changed = dict(tree)
    for name in _PLACES:
        group, field = name.split('.')
        value = changed.get(group, {}).get(field)
        named = isinstance(value, str) and value and (name, value) != _STUDENTS_OWN
        if named and (path := pathlib.Path(value).expanduser()).exists():
            changed[group] = changed[group] | {field: str(path.absolute())}
    return changed


def _bound(tree: dict[str, Any]) -> dict[str, Any]:
    """The fields that a run is bound to, by their dotted names."""
    flat = flatten(tree)
    if flat.get('train.epochs'):
        flat.pop('train.steps', None)  # which follow from the data
    return {
        name: value
        for name, value in flat.items()
        if name.partition('.')[0] not in APART and name not in _FREE
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
