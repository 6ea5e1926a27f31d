"""Dropout whose masks are a function of places: row, position, unit, and where in the model.

A mask of `jax.random` belongs to a shape: the same question, padded to another length or in another
batch, would lose other units. Here every unit asks for its own bits. A row and a position get two
words of Threefry-2x32, JAX's own generator, at that counter; they start a Weyl sequence over
layers, sites and units, each of which is mixed to bits (SplitMix, Steele et al., 2014, in 32 bits,
with the mixing constants of Wellons' hash prospector). So padding is invisible, and a part of a
batch drops what the whole batch drops in its rows. It is also a few operations, which the compiler
puts into the loop that reads them, where a generator takes a good part of a training step.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

_STEP = np.uint32(0x9E3779B9)  # of the Weyl sequence, 2^32 over the golden ratio
_SITE_BITS, _UNIT_BITS = 4, 16  # of its counter; the other 12 are the layer's


class Draws(NamedTuple):
    """What masks are drawn from.

    Attributes:
      words: the key.
      rows: the number of each row, for a part of a batch; None: 0, 1, ...
      layer: number of the layer, up to 4095.
    """

    words: UInt32[Array, '2']
    rows: Int[Array, ' B'] | None = None
    layer: Int[Array, ''] | int = 0

    @classmethod
    def of(cls, key: Key[Array, '']) -> 'Draws':
        """Returns the draws of a key of any generator."""
        words = jax.random.key_data(key).reshape(-1, 2)  # those of 'rbg' are four
        return cls(functools.reduce(lambda a, b: a ^ b, words))

    def of_rows(self, rows: Int[Array, ' B']) -> 'Draws':
        """Returns the draws of the rows of these numbers."""
        return self._replace(rows=rows)

    def of_each(self, count: int) -> 'Draws':
        """Returns the draws of `count` rows, side by side, in the place of every row."""
        if self.rows is None:
            return self
        return self._replace(rows=(self.rows[:, None] * count + jnp.arange(count)).reshape(-1))

    def in_layer(self, layer: Any) -> 'Draws':
        """Returns the draws of a layer."""
        return self._replace(layer=layer)


def draws_of(dropout: 'jax.Array | Draws | None') -> Draws | None:
    """Returns the draws of a key; draws, and None, stay what they are."""
    return dropout if dropout is None or isinstance(dropout, Draws) else Draws.of(dropout)


def drop(
    x: Float[Array, '*shape'],
    rate: float,
    draws: Draws | None,
    site: int,
    shared_axis: int | None = None,
) -> Float[Array, '*shape']:
    """Returns x with units zeroed at a rate and the others scaled up; x itself without draws.

    Args:
      x: rows first; the last two axes are positions and units, or two of positions.
      rate: probability of dropping.
      draws: of the layer.
      site: where in the layer, up to 15.
      shared_axis: axis along which one mask serves all (the rationales of a question).
    """
    if draws is None or rate == 0.0:
        return x
    shape = list(x.shape)
    if shared_axis is not None:
        shape[shared_axis] = 1
    return masked(x, rate, kept(draws, rate, site, tuple(shape)))


def masked(x: Float[Array, '*shape'], rate: float, keep: Bool[Array, '...']) -> Array:
    """Returns x where a mask of `kept` is True, scaled up, and else zero."""
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


def kept(draws: Draws, rate: float, site: int, shape: tuple[int, ...]) -> Bool[Array, '*shape']:
    """Returns a mask that is True with probability 1 - rate.

    Args:
      draws: of the layer.
      rate: probability of dropping.
      site: where in the layer.
      shape: rows first; an element's value depends neither on the number of rows nor on that of
        positions or units.

    Raises:
      ValueError: if there are more rows, sites or units than the counters can hold.
    """
    *lead, positions, units = shape
    rows, inner = lead[0], math.prod(lead[1:])
    for name, size, most in (
        ('rows', rows * inner, 2**31),
        ('sites', site + 1, 2**_SITE_BITS),
        ('units', units, 2**_UNIT_BITS),
    ):
        if size > most:
            raise ValueError(f'dropout: expected at most {most} {name}, got {size}.')

    def along(axis: int) -> jax.Array:
        return lax.broadcasted_iota(jnp.uint32, (*lead, positions), axis)

    numbers = along(0)
    if draws.rows is not None:
        given = draws.rows.astype(jnp.uint32).reshape(rows, *[1] * len(lead))
        numbers = jnp.broadcast_to(given, (*lead, positions))
    row = numbers * np.uint32(inner)
    for axis in range(1, len(lead)):
        row = row + along(axis) * np.uint32(math.prod(lead[axis + 1 :]))
    start, last = threefry2x32_p.bind(*draws.words, row, along(len(lead)))
    layer = jnp.uint32(draws.layer) << np.uint32(_SITE_BITS + _UNIT_BITS)
    counter = (layer | np.uint32(site << _UNIT_BITS)) | lax.iota(jnp.uint32, units)
    bits = _mixed(start[..., None] + counter * _STEP) ^ last[..., None]
    return bits >= np.uint32(round(rate * 2**32))


def _mixed(bits: jax.Array) -> jax.Array:
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0xD35A2D97)
    return bits ^ (bits >> np.uint32(15))
