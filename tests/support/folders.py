"""Folders of checkpoints in tests: changed, damaged, compared."""

import json
import pathlib

import jax
import numpy as np
import safetensors.numpy

from qcrd_jax import sums
from qcrd_jax.models import huggingface


def tensors_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a folder, by name."""
    return safetensors.numpy.load_file(folder / 'model.safetensors')


def rewrite(folder: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes other tensors into a folder."""
    safetensors.numpy.save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


def without_digests(folder: pathlib.Path) -> pathlib.Path:
    """Removes the digests of a folder, as it would be from elsewhere, so that it can be changed."""
    (folder / sums.NAME).unlink()
    return folder


def set_config(folder: pathlib.Path, **fields) -> None:
    """Changes fields of a folder's config.json; `...` as a value removes one."""
    path = folder / 'config.json'
    raw = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: x for name, x in raw.items() if x is not ...}))


def config_of(folder: pathlib.Path, **raw):
    """Returns the architecture that a config.json of these fields describes."""
    (folder / 'config.json').write_text('{}')
    set_config(folder, **raw)
    return huggingface.read_config(folder / 'config.json')


def shard(folder: pathlib.Path, count: int) -> dict[str, str]:
    """Splits a folder's tensors over files; returns the file of each."""
    tensors, weight_map = tensors_of(folder), {}
    for i in range(count):
        file = f'model-{i + 1:05}-of-{count:05}.safetensors'
        part = {name: tensors[name] for name in sorted(tensors)[i::count]}
        safetensors.numpy.save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / 'model.safetensors').unlink()
    index = {'metadata': {}, 'weight_map': weight_map}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    return weight_map


def assert_same(ours, theirs) -> None:
    """Asserts that two trees have one structure and equal leaves."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
