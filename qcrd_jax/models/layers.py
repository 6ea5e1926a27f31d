"""What the layers of all students share: dropout, the norm, scanning, and a cache's columns."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def last_true(mask: Bool[Array, '... S']) -> Bool[Array, '... S']:
    """Returns a mask of only the last True of each row.

    >>> last_true(jnp.array([[True, True, False], [False, False, False]])).tolist()
    [[False, True, False], [False, False, False]]
    """
    return mask & (jnp.cumsum(mask[..., ::-1], axis=-1)[..., ::-1] == 1)


def dropout_mask(key: jax.Array, rate: float, shape: Sequence[int]) -> jax.Array:
    """Returns a mask that is True with probability 1 - rate, to within 2^-16.

    Sixteen random bits decide an element and each generated word decides two: on a CPU the
    generator is a large part of a training step.
    """
    size = math.prod(shape)
    words = jax.random.bits(key, ((size + 1) // 2,), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size]
    return (halves >= round(rate * 2**16)).reshape(shape)


class Dropout(nn.Module):
    """Dropout that is applied where a `dropout` key came with the call, and only there.

    Attributes:
      rate: probability of dropping.
      shared_axis: axis along which one mask serves all (the rationales of a question).
    """

    rate: float
    shared_axis: int | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.rate == 0.0 or not self.has_rng('dropout'):
            return x
        shape = list(x.shape)
        if self.shared_axis is not None:
            shape[self.shared_axis] = 1
        keep = dropout_mask(self.make_rng('dropout'), self.rate, shape)
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros((), x.dtype))


class RMSNorm(nn.Module):
    """Scales by the root mean square: no mean is subtracted, no bias added, all in float32."""

    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param('scale', nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return (x * jax.lax.rsqrt(mean_square + self.epsilon) * scale).astype(self.dtype)


def scan_layers(layer: type[nn.Module], length: int, *, remat: bool = False, **axes: Any) -> Any:
    """Returns a module of `length` layers with stacked parameters, run one after another.

    Args:
      layer: the module of one layer.
      length: how many.
      remat: keeps what goes into a layer, and computes what is within once more for the gradient.
      axes: `in_axes` and `out_axes` of `flax.linen.scan`.
    """
    in_line = length <= 2
    if remat:
        # In line, the compiler would find both computations alike and do with the first.
        layer = nn.remat(layer, prevent_cse=in_line)
    return nn.scan(
        layer,
        variable_axes={'params': 0},
        split_rngs={'params': True, 'dropout': True},
        length=length,
        # Two layers compile and run faster in line; more of them would compile ever longer.
        unroll=length if in_line else 1,
        **axes,
    )


def write_column(
    buffer: Float[Array, 'X T H'], column: Float[Array, '...'], position: Int[Array, '']
) -> Float[Array, 'X T H']:
    """Writes the keys or values of one token, [X * H] in any shape, at its position of a cache."""
    column = column.reshape(buffer.shape[0], 1, buffer.shape[2])
    return jax.lax.dynamic_update_slice_in_dim(buffer, column, position, axis=1)
