"""Pretrained discriminators, kept for runs that would pretrain the same.

Cells of a grid differ in what they do to the student; the discriminator that they start from is
often the same, bit for bit. It is kept beside the tokenised data, in the folder `data.cache` that
runs share (a grid's all do), by everything that decides it. A run finds it there, or pretrains its
own and leaves it there: nobody waits for another process, which has a device of its own and may
never finish. What cannot be kept, for want of room or rights, is only said.
"""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from absl import logging
from ml_collections import config_dict

from qcrd_jax import files, processes, syntax
from qcrd_jax.data import caching
from qcrd_jax.errors import InputError, in_units
from qcrd_jax.evaluation.scoring import Separation
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params, parameter_bytes
from qcrd_jax.placement import whole

_ARRAYS, _RECORD = 'discriminator.safetensors', 'record.json'  # files of a folder

# What builds a discriminator and its optimiser, and what pretrains it; all that they import counts.
_CODE = ('qcrd_jax.runs.assembly', 'qcrd_jax.runs.initial', 'qcrd_jax.runs.pretraining')

FIELDS = (
    'seed',
    'data.positives',
    'data.samples',
    'data.augment',
    'data.tagger',
    'discriminator.pretrain_steps',
    'discriminator.batch_size',
    'discriminator.learning_rate',
    'discriminator.holdout',
    'loss.discriminator',
    'optimizer.clip_norm',
    'optimizer.weight_decay',
    'optimizer.b1',
    'optimizer.b2',
    'optimizer.eps',
    'train.on_nonfinite',
    'train.nonfinite_limit',
    'train.deterministic',
    'evaluation.batch_size',
)
"""Fields of the configuration that decide a pretraining, beside those whose effect is compared
itself: on the questions and their tokens, on the architecture and on the initial parameters."""


class Pretrained(NamedTuple):
    """A pretraining that is over.

    Attributes:
      state: the discriminator with its moments; of online updates there were none.
      separation: how it scores.
      lines: what `metrics.jsonl` says of it.
    """

    state: DiscriminatorState
    separation: Separation
    lines: list[dict[str, Any]]


# --- What decides it ------------------------------------------------------------------------------


def key(
    config: config_dict.ConfigDict, data: str, discriminator: Discriminator, initial: Params
) -> str:
    """Returns a digest of everything that decides the pretraining of a run's discriminator.

    The loss of the student, its negatives and its optimiser's learning rate do not: those are the
    axes of the paper's tables.

    Args:
      config: of the run.
      data: digest of what it learns from and is measured on.
      discriminator: the model.
      initial: the discriminator's parameters before the first step.
    """
    values = files.flatten(config.to_dict())
    decides = {
        'code': syntax.code_version(_CODE),
        'device': [jax.__version__, jax.default_backend(), jax.devices()[0].device_kind],
        'fields': {name: values[name] for name in FIELDS},
        'discriminator': repr(discriminator),
        'initial': _digest_of(initial),
        'data': data,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def _digest_of(params: Params) -> str:
    """Of names, shapes, types and bits."""
    digest = hashlib.sha256()
    for name, leaf in _named(params):
        array = whole(leaf)
        digest.update(f'{name} {array.shape} {array.dtype}'.encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# --- On disk --------------------------------------------------------------------------------------


def is_shared(config: config_dict.ConfigDict) -> bool:
    """Whether a run looks for its discriminator where others are, and leaves it there."""
    return bool(config.data.cache) and config.train.share_pretraining


def find(config: config_dict.ConfigDict, key: str, like: DiscriminatorState) -> Pretrained | None:
    """Returns the discriminator that was kept by a key; None if there is none, or no whole one.

    Args:
      config: of the run that looks for it.
      key: of the run.
      like: the shapes of its arrays.
    """
    folder = _folder(config, key)
    found = caching.found(
        folder,
        key=key,
        read=lambda folder: _read(folder, like),
        what='the discriminator is pretrained',
    )
    if found is None:
        return None
    print(f'the discriminator was pretrained before ({folder})', flush=True)
    return found._replace(state=jax.tree.map(jnp.array, found.state))


def keep(
    config: config_dict.ConfigDict, key: str, pretrained: Pretrained, *, reserved: int = 0
) -> None:
    """Keeps a discriminator by its key, if there is room for it; else that is said.

    Args:
      config: of the run that pretrained it.
      key: of the run.
      pretrained: what is kept.
      reserved: bytes of the disk that must stay free.
    """
    folder, size = _folder(config, key), parameter_bytes(pretrained.state)
    pretrained = pretrained._replace(state=jax.tree.map(whole, pretrained.state))
    if not processes.is_first():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder.parent).free) < size + reserved:
            logging.warning(
                'the pretrained discriminator is not kept for other runs: it takes %s, and of the '
                '%s that are free at %s this run needs %s.',
                in_units(size), in_units(free), folder.parent, in_units(reserved),
            )  # fmt: skip
            return
        caching.found_or_made(
            folder,
            key=key,
            make=lambda folder: _write(folder, pretrained),
            read=lambda folder: _read(folder, pretrained.state),
            what='the discriminator is kept',
        )
    except (InputError, OSError) as error:
        logging.warning('the pretrained discriminator is not kept for other runs. %s', error)


def _folder(config: config_dict.ConfigDict, key: str) -> pathlib.Path:
    return pathlib.Path(config.data.cache) / 'discriminators' / key


def _write(folder: pathlib.Path, pretrained: Pretrained) -> None:
    arrays = {name: np.array(leaf, order='C') for name, leaf in _named(pretrained.state)}
    safetensors.numpy.save_file(arrays, folder / _ARRAYS)
    record = {'separation': pretrained.separation._asdict(), 'lines': pretrained.lines}
    files.write_json(folder / _RECORD, record)


def _read(folder: pathlib.Path, like: DiscriminatorState) -> Pretrained:
    """Returns what a folder holds, in the host's memory.

    Raises:
      ValueError: if it holds other arrays than those.
    """
    record = files.read_json(folder / _RECORD)
    arrays = safetensors.numpy.load_file(folder / _ARRAYS)
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in _named(like)}
    if expected != {name: (array.shape, array.dtype) for name, array in arrays.items()}:
        raise ValueError('it holds arrays of other names, shapes or types')
    state = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])
    return Pretrained(state, Separation(**record['separation']), record['lines'])


def _named(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yields the leaves with their paths, in the order of the tree."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator='.'), leaf
