"""Tensors in mapped files: they cost memory when they are looked at, and then little."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

_PART = 1 << 22  # values of a tensor that are looked at together


class Stored(Protocol):
    """A tensor in a mapped file, in whatever form: its shape is known, its values can be had."""

    @property
    def file(self) -> pathlib.Path:
        """Where it is, for messages."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its values."""
        ...

    def values(self) -> np.ndarray:
        """Returns its values, of a floating type."""
        ...


class StoredTensor(NamedTuple):
    """A tensor whose values are in the file as they are.

    Attributes:
      file: where it is, for messages.
      data: its values, in the dtype they are stored in.
    """

    file: pathlib.Path
    data: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its values."""
        return self.data.shape

    def values(self) -> np.ndarray:
        """Returns its values, still mapped."""
        return self.data


def parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yields values in pieces that take little memory to look at."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _PART):
        yield flat[start : start + _PART]


def same_values(one: StoredTensor, other: StoredTensor, shape: tuple[int, ...]) -> bool:
    """Returns whether two tensors have a shape and the same values, which else are not read."""
    if not one.data.shape == other.data.shape == shape:
        return False
    return all(map(np.array_equal, parts(one.data), parts(other.data)))
