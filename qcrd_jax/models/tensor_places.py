"""Where the tensors of a Hugging Face checkpoint are in a tree of parameters, both ways."""

import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.errors import InputError
from qcrd_jax.models.foreign_files import some
from qcrd_jax.models.protocol import Params
from qcrd_jax.models.stored_tensors import Stored, parts


class Place(NamedTuple):
    """Where a tensor of a Hugging Face checkpoint is in our tree.

    Attributes:
      path: keys from the root.
      layer: index along the first axis, for the leaves of stacked layers.
      stored: its shape in the checkpoint.
      transposed: whether it is a linear layer: stored as [out, in], and [in, out] in our tree.
      columns: where it begins along the last axis of our leaf, and how long that is; None: it is
        all of it.
    """

    path: tuple[str, ...]
    layer: int | None
    stored: tuple[int, ...]
    transposed: bool = False
    columns: tuple[int, int] | None = None

    def of(self, leaf: np.ndarray) -> np.ndarray:
        """Returns its part of our leaf, as a view."""
        leaf = leaf if self.layer is None else leaf[self.layer]
        if self.columns is None:
            return leaf
        start, size = self.columns[0], self.stored[0] if self.transposed else self.stored[-1]
        return leaf[..., start : start + size]

    def shape(self, layers: int) -> tuple[int, ...]:
        """Returns the shape of our leaf."""
        shape = self.stored[::-1] if self.transposed else self.stored
        if self.columns is not None:
            shape = (*shape[:-1], self.columns[1])
        return shape if self.layer is None else (layers, *shape)


class Opened(NamedTuple):
    """A checkpoint whose files are mapped and whose tensors have not been read.

    Attributes:
      architecture: what config.json and, for the head, the tensors say.
      places: of every tensor that there has to be.
      tensors: those that are there.
      described_by: what says which tensors there have to be, for messages.
    """

    architecture: Any
    places: dict[str, Place]
    tensors: Mapping[str, Stored]
    described_by: str = 'config.json'


def assemble(where: pathlib.Path, opened: Opened) -> Params:
    """Checks every tensor and puts it in its place, as float32, one after the other.

    Args:
      where: the folder or file of the checkpoint, for messages.
      opened: what is in it.

    Raises:
      InputError: naming the tensors that are missing, not expected, misshaped or not finite.
    """
    check(where, opened)
    layers: dict[tuple[str, ...], int] = {}
    for place in opened.places.values():
        if place.layer is not None:
            layers[place.path] = max(layers.get(place.path, 0), place.layer + 1)
    params: Params = {}
    for name, place in opened.places.items():
        *parents, last = place.path
        node = params
        for key in parents:
            node = node.setdefault(key, {})
        value = opened.tensors[name].values()
        if not all(np.isfinite(part).all() for part in parts(value)):
            raise InputError(f'{opened.tensors[name].file}: tensor {name} holds NaN or infinity.')
        if last not in node:
            node[last] = np.empty(place.shape(layers.get(place.path, 0)), np.float32)
        place.of(node[last])[...] = value.T if place.transposed else value
    return jax.tree.map(jnp.asarray, params)


def take_apart(places: dict[str, Place], params: Params) -> dict[str, np.ndarray]:
    """Returns the float32 tensors of a tree, by their Hugging Face names."""
    tensors = {}
    for name, place in places.items():
        leaf = params
        for key in place.path:
            leaf = leaf[key]
        leaf = place.of(np.asarray(leaf, np.float32))
        tensors[name] = np.ascontiguousarray(leaf.T if place.transposed else leaf)
    return tensors


def require_memory(described_by: pathlib.Path, places: dict[str, Place]) -> None:
    """Refuses a file that describes more parameters than this machine holds as float32.

    Nothing has been allocated or compared then.
    """
    needed = sum(4 * math.prod(place.stored) for place in places.values())
    present = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if needed > present:
        raise InputError(
            f'{described_by}: its sizes make parameters of {needed / 2**30:.0f} GiB, '
            f'and this machine has {present / 2**30:.0f} GiB of memory. Take a smaller student.'
        )


def check(where: pathlib.Path, opened: Opened) -> None:
    """Refuses tensors whose names or shapes are not those of the places; reads no values.

    Raises:
      InputError: naming the tensors that are missing, not expected or misshaped.
    """
    places, tensors = opened.places, opened.tensors
    missing = [name for name in places if name not in tensors]
    extra = [name for name in tensors if name not in places]
    misshaped = [
        f'{name} {tensors[name].shape} where {place.stored} was expected'
        for name, place in places.items()
        if name in tensors and tensors[name].shape != place.stored
    ]
    wrong = [('missing', missing), ('not expected', extra), ('misshaped', misshaped)]
    wrong = [f'{len(names)} {what}: {some(names)}' for what, names in wrong if names]
    if wrong:
        raise InputError(
            f'{where}: the tensors do not fit {opened.described_by}; {"; ".join(wrong)}. '
            f'Check that {opened.described_by} and the weights are of the same model.'
        )
