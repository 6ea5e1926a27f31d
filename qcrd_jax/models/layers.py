"""What the layers of all students share: dropout, the norm, and the weights' layout to decode."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def last_true(mask: Bool[Array, '... S']) -> Bool[Array, '... S']:
    """Returns a mask of the last True of each row alone.

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


def check_compute_dtype(dtype: Any) -> jnp.dtype:
    """Returns the dtype, where it is one that the students compute right in."""
    dtype = jnp.dtype(dtype)
    if dtype not in (jnp.float32, jnp.bfloat16):
        # float16 is no choice: the feed-forward layers of T5 v1.1 overflow in it.
        raise ValueError(f'compute_dtype: expected float32 or bfloat16, got {dtype}')
    return dtype


def dropout_rngs(dropout_key: jax.Array | None) -> dict[str, jax.Array] | None:
    """Returns the random streams of a module: that of dropout, where it is to drop out."""
    return None if dropout_key is None else {'dropout': dropout_key}


def cast_matrices(tree: Any, dtype: Any) -> Any:
    """Casts every leaf but the vectors: norms multiply in float32."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim > 1 else leaf, tree)


def unstack(layers: Any, length: int) -> tuple[Any, ...]:
    """Returns a tuple of single layers; layers that are apart already stay as they are."""
    if isinstance(layers, tuple):
        return layers
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(length))
