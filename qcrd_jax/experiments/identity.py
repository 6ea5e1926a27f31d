"""What distinguishes a run from any other: the name of its folder.

It differs wherever anything does that could change a number, so that no table ever mixes results of
two settings or of two versions of the code; and only there, so that nothing is run twice.
"""

import functools
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import config_dict

from qcrd_jax import files, syntax
from qcrd_jax.data.sources import builders
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.methods.table import CONTESTED, METHODS
from qcrd_jax.models.gguf_files import is_gguf

RUNNING = ('qcrd_jax.runs.assembly', 'qcrd_jax.runs.loop', 'qcrd_jax.runs.results')
"""What trains and finishes a run; what they import counts with them."""

COUNTING = ('qcrd_jax.data.sources.builders', 'qcrd_jax.data.summary')
"""What reads and counts a dataset."""

# What is no part of a run: its seed and its fold, which name its folder; the grid; whom to ask for
# answers and verdicts; where data is kept and numbers are computed, and what is done after a fault
# or at the end.
_APART = (
    'seed', 'data.fold', 'reproduce', 'teacher', 'judge', 'pairs', 'data.cache',
    'train.restart', 'train.keep_state', 'train.share_pretraining', 'train.wandb', 'mesh',
)  # fmt: skip

# What changes no number of a run. `train.log_every` and `train.checkpoint_every` do not belong
# here: they end the windows of steps that are one program, which rounds otherwise than single
# steps. Nor does `evaluation.batch_size`, for the same reason.
_NO_EFFECT = ('train.checkpoint_minutes',)

LOCAL = ('student.pretrained', 'student.tokenizer', 'discriminator.pretrained', 'negatives.fixed')
"""Fields that name a checkpoint: a folder, a GGUF file, or an id of the Hub."""


def of_run(config: config_dict.ConfigDict, needed: Mapping[str, str] | None = None) -> str:
    """Returns the name of the runs of a resolved configuration, whatever their seed.

    It is made of the fields that training or evaluation read, of the contents of the files and
    folders that they name, of the version of the code, and of the runs that others need.

    Args:
      config: of a cell, with its own fields.
      needed: identities of other runs, by the field that names their student.

    Raises:
      InputError: if a source of the data is missing.
    """
    read = fields_read(config)
    # What a name stands for counts, where it can be read, and not where that is kept.
    contents = {
        name: _checkpoint_digest(read[name]) or read[name] for name in LOCAL if name in read
    }
    return _digest([read | contents | _data_contents(config), dict(needed or {}), code_version()])


def of_count(config: config_dict.ConfigDict) -> str:
    """Returns the name of a dataset's figures, which no field but those of the data changes.

    Raises:
      InputError: if a source of the data is missing.
    """
    names = {'data.name', 'data.samples', 'data.fraction', 'data.leaks', 'data.folds', 'data.fold'}
    names |= _of_source(config)
    read = {name: value for name, value in _fields(config).items() if _is_in(name, names)}
    return _digest([read | _data_contents(config), counting_version()])


def code_version() -> str:
    """A digest of the code that trains and evaluates."""
    return syntax.code_version(RUNNING)


def counting_version() -> str:
    """A digest of the code that reads and counts a dataset."""
    return syntax.code_version(COUNTING)


def fields_read(config: config_dict.ConfigDict) -> dict[str, Any]:
    """Returns the fields that can change a number of a run, by their dotted names.

    A field counts unless it is known not to be read: a new one does from the first day.
    """
    student = config.student
    unread = {*_APART, *_NO_EFFECT, *CONTESTED, *_SOURCES}
    read = {*METHODS[config.method].reads(config), *_of_source(config)}
    weighs = METHODS[config.method].weighs(config)
    random_scores = weighs and not config.discriminator.pretrained
    if student.pretrained:
        unread.add('student.size')
        if not random_scores:
            unread.add('student.version')
    if student.tokenizer or student.pretrained:  # no tokenizer is trained
        unread |= {'student.vocab_size', 'student.split_digits'}
    return {
        name: value
        for name, value in _fields(config).items()
        if not _is_in(name, unread) or _is_in(name, read)
    }


def fields_ignored(config: config_dict.ConfigDict) -> set[str]:
    """Returns the fields of a run that change none of its numbers.

    Where they differ, two configurations are one run all the same.
    """
    everything = _fields(config).keys() - fields_read(config).keys()
    return {name for name in everything if not _is_in(name, _APART)}


# --- What a source of data reads ------------------------------------------------------------------

_SOURCES = (
    'data.source',
    'data.release',
    'data.teacher_samples',
    'data.answer_type',
    'data.classes',
    *(f'data.{name}' for name, entry in DATASETS.items() if entry.generator),
)


def _of_source(config: config_dict.ConfigDict) -> set[str]:
    """Those of `_SOURCES` that the configuration's dataset is made by."""
    data, entry = config.data, DATASETS[config.data.name]
    if entry.generator:
        return {f'data.{data.name}'}
    read = {'data.source', 'data.teacher_samples'}
    if entry.answer_type is None:
        read |= {'data.answer_type', 'data.classes'}
    elif not (data.source or data.teacher_samples):
        read.add('data.release')
    return read


def _data_contents(config: config_dict.ConfigDict) -> dict[str, str]:
    """The contents of the files that the data is read from, in place of their names."""
    contents = builders.sources_digest(config.data)
    return dict.fromkeys(('data.source', 'data.teacher_samples'), contents) if contents else {}


# --- Digests --------------------------------------------------------------------------------------


def _fields(config: config_dict.ConfigDict) -> dict[str, Any]:
    """Every field by its dotted name."""
    return files.flatten(config.to_dict())


def _is_in(name: str, groups: Iterable[str]) -> bool:
    """Whether a field is one of those names, or in a group of such a name."""
    return any(name == group or name.startswith(f'{group}.') for group in groups)


@functools.cache
def _checkpoint_digest(name: str) -> str:
    """Of the files of a local checkpoint; '' for a Hub id, whose name has to do."""
    folder = pathlib.Path(name).expanduser()
    if is_gguf(name) and folder.is_file():
        with open(folder, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    if not name or not folder.is_dir():
        return ''
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in ('.json', '.safetensors', '.model') and path.is_file():  # and no pipe
            with open(path, 'rb') as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, 'sha256').digest())
    return digest.hexdigest()


def _digest(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
