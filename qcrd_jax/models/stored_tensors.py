"""Tensors in mapped files: they cost memory when they are looked at, and then little."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_PART = 1 << 22  # values of a tensor that are looked at together


class StoredTensor(NamedTuple):
    """A tensor in a mapped file.

    Attributes:
      file: where it is, for messages.
      data: its values, in the dtype they are stored in.
    """

    file: pathlib.Path
    data: np.ndarray


def parts(tensor: StoredTensor) -> Iterator[np.ndarray]:
    """Yields a tensor's values in pieces that take little memory to look at."""
    flat = tensor.data.reshape(-1)
    for start in range(0, flat.size, _PART):
        yield flat[start : start + _PART]


def same_values(one: StoredTensor, other: StoredTensor, shape: tuple[int, ...]) -> bool:
    """Returns whether two tensors have a shape and the same values, which else are not read."""
    if not one.data.shape == other.data.shape == shape:
        return False
    return all(map(np.array_equal, parts(one), parts(other)))
