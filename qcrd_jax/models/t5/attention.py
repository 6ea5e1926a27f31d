"""T5's attention and its position buckets.

Heads stand before positions in every attention array, so that both products of attention are
matrix products over the last two axes and no cache is transposed while decoding.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.models.dropout import Draws, drop
from qcrd_jax.models.layers import whole, write_column
from qcrd_jax.models.t5.config import T5Config


def relative_buckets(
    distances: np.ndarray, *, bidirectional: bool, num_buckets: int, max_distance: int
) -> np.ndarray:
    """Returns the bucket of each distance (key position minus query position).

    Near distances have a bucket each; farther ones share buckets that widen with the logarithm up
    to `max_distance`. The float32 arithmetic is that of the published checkpoints' own code.
    """
    if bidirectional:
        num_buckets //= 2
        offset = np.where(distances > 0, num_buckets, 0)
        distances = np.abs(distances)
    else:
        offset = 0
        distances = np.maximum(-distances, 0)
    exact = num_buckets // 2
    ratio = np.maximum(distances, 1).astype(np.float32) / np.float32(exact)
    scale = np.float32(math.log(max_distance / exact))
    far = exact + (np.log(ratio) / scale * np.float32(num_buckets - exact)).astype(np.int32)
    far = np.minimum(far, num_buckets - 1)
    return (offset + np.where(distances < exact, distances, far)).astype(np.int32)


def _joined_normal(*scales: float) -> Any:
    """Returns an initialiser of matrices side by side, as many as scales."""

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        widths = shape[-1] // len(scales)
        return jax.random.normal(key, shape) * np.repeat(np.array(scales, np.float32), widths)

    return draw


class Attention(nn.Module):
    """T5's attention: no scaling of the scores, no biases in the projections.

    Projections are matrices [D, N * H]: a weight with an axis of heads would be transposed for
    every token that is decoded. Those of the same input are one matrix, side by side.

    Attributes:
      config: the architecture.
      dtype: of the matrix products.
      site: where in its layer it drops out: its weights here, what it returns at the next one.
      shared_axis: axis of the weights along which one mask of dropout serves all.
      cross: whether keys and values are those of another sequence.
    """

    config: T5Config
    dtype: Any
    site: int
    shared_axis: int | None = None
    cross: bool = False

    def setup(self):
        c = self.config
        inner, query, other = c.num_heads * c.d_kv, (c.d_model * c.d_kv) ** -0.5, c.d_model**-0.5
        if self.cross:
            self.query = self.param('query', _joined_normal(query), (c.d_model, inner))
            matrix = _joined_normal(other, other)
            self.key_value = self.param('key_value', matrix, (c.d_model, 2 * inner))
        else:
            matrix = _joined_normal(query, other, other)
            self.query_key_value = self.param('query_key_value', matrix, (c.d_model, 3 * inner))
        self.out = self.param('out', nn.initializers.normal(inner**-0.5), (inner, c.d_model))

    def project(self, x: jax.Array) -> list[jax.Array]:
        """Returns queries, keys and values [..., T, N * H] for x [..., T, D]."""
        return jnp.split(x @ whole(self.query_key_value, self.dtype), 3, axis=-1)

    def keys_values(self, x: jax.Array) -> list[jax.Array]:
        """Returns keys and values [..., N, S, H] for another sequence [..., S, D]."""
        both = x @ whole(self.key_value, self.dtype)
        return [self.heads(part) for part in jnp.split(both, 2, axis=-1)]

    def queries(self, x: jax.Array) -> jax.Array:
        """Returns the queries [..., T, N * H] of attention to another sequence."""
        return x @ whole(self.query, self.dtype)

    def project_out(self, mixed: jax.Array) -> jax.Array:
        """Returns [..., T, D] for what the heads mixed, [..., T, N * H]."""
        return mixed @ whole(self.out, self.dtype)

    def attend(
        self,
        queries: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        mask: jax.Array,
        bias: jax.Array | None,
        draws: Draws | None,
    ) -> jax.Array:
        """Returns [..., T, N * H] for queries, keys and values of `project`, and a bias [N, T, S].

        Where a query may see no key at all, its weights are uniform, hence finite.
        """
        queries, keys, values = (self.heads(part) for part in (queries, keys, values))
        weights = self._dropped(self._weights(queries, keys, mask, bias), draws)
        return _merged(weights @ values)

    def attend_cached(
        self,
        x: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        position: jax.Array,
        mask: jax.Array,
        bias: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `attend`, for one token x [B, R, 1, D] and what is cached of those before it.

        Keys and values are [B * R * N, T, H]: with the axes apart, XLA reshapes them for its
        matrix products, and for that copies them several times per token.

        Returns:
          What the heads mixed [B, R, 1, N * H], and keys and values with the column at `position`
          written.
        """
        queries, key, value = (self.heads(part) for part in self.project(x))
        keys, values = write_column(keys, key, position), write_column(values, value, position)
        single = queries.reshape(keys.shape[0], 1, keys.shape[2])
        weights = self._weights(single, keys, mask, bias)
        return _merged((weights @ values).reshape(queries.shape)), keys, values

    def attend_context(
        self,
        queries: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        mask: jax.Array,
        draws: Draws | None = None,
    ) -> jax.Array:
        """As `attend`, from queries [B, R, T, N * H] to one context [B, N, S, H] of the R rows."""
        batch, rows, length, _ = queries.shape
        heads = self.heads(queries.reshape(batch, rows * length, -1))
        weights = self._weights(heads, keys, mask, None)
        if draws is not None:
            # The mask of dropout is laid over [B, N, R, T, S] so that the R rows share it.
            apart = weights.reshape(*weights.shape[:2], rows, length, -1)
            weights = self._dropped(apart, draws).reshape(weights.shape)
        return _merged(weights @ values).reshape(queries.shape)

    def heads(self, x: jax.Array) -> jax.Array:
        """Returns [..., N, T, H] for a projection [..., T, N * H]."""
        x = x.reshape(*x.shape[:-1], self.config.num_heads, self.config.d_kv)
        return jnp.swapaxes(x, -2, -3)

    def _weights(self, queries, keys, mask, bias):
        scores = jnp.einsum('...th,...sh->...ts', queries, keys, preferred_element_type=jnp.float32)
        if bias is not None:
            scores = scores + bias.astype(jnp.float32)
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
        return jax.nn.softmax(scores, axis=-1).astype(self.dtype)

    def _dropped(self, weights, draws):
        return drop(weights, self.config.dropout_rate, draws, self.site, self.shared_axis)


def _merged(x: jax.Array) -> jax.Array:
    """Returns [..., T, N * H] for heads [..., N, T, H]."""
    x = jnp.swapaxes(x, -2, -3)
    return x.reshape(*x.shape[:-2], -1)
