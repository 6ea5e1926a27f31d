"""The layers of T5 as Flax Linen modules: two stacks, each scanned over its layers.

Heads stand before positions in every attention array, so that both products of attention are
matrix products over the last two axes and no cache is transposed while decoding.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.models.layers import Dropout, RMSNorm, scan_layers, write_column
from qcrd_jax.models.t5.config import ACTIVATIONS, T5Config


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


class Attention(nn.Module):
    """T5's attention: no scaling of the scores, no biases in the projections.

    Projections are matrices [D, N * H]: a weight with an axis of heads would be transposed for
    every token that is decoded.
    """

    config: T5Config
    dtype: Any
    shared_axis: int | None = None

    def setup(self):
        c = self.config
        normal, inner = nn.initializers.normal, c.num_heads * c.d_kv
        self.query = self.param('query', normal((c.d_model * c.d_kv) ** -0.5), (c.d_model, inner))
        self.key = self.param('key', normal(c.d_model**-0.5), (c.d_model, inner))
        self.value = self.param('value', normal(c.d_model**-0.5), (c.d_model, inner))
        self.out = self.param('out', normal(inner**-0.5), (inner, c.d_model))
        self.dropout = Dropout(c.dropout_rate, self.shared_axis)

    def queries(self, x: jax.Array) -> jax.Array:
        """Returns [..., N, T, H] for x [..., T, D]."""
        return self._split(x @ self.query.astype(self.dtype))

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns keys and values [..., N, T, H] for x [..., T, D]."""
        keys, values = (x @ weight.astype(self.dtype) for weight in (self.key, self.value))
        return self._split(keys), self._split(values)

    def attend(
        self,
        queries: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        mask: jax.Array,
        bias: jax.Array | None = None,
    ) -> jax.Array:
        """Returns [..., T, D] for queries [..., N, T, H] and keys and values [..., N, S, H].

        Where a query may see no key at all, its weights are uniform, hence finite.
        """
        weights = self._weights(queries, keys, mask, bias)
        return self._merge(self.dropout(weights) @ values)

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
          The output [B, R, 1, D], and keys and values with the column at `position` written.
        """
        queries, (key, value) = self.queries(x), self.keys_values(x)
        keys, values = write_column(keys, key, position), write_column(values, value, position)
        single = queries.reshape(keys.shape[0], 1, keys.shape[2])
        weights = self._weights(single, keys, mask, bias)
        return self._merge((weights @ values).reshape(queries.shape)), keys, values

    def attend_context(
        self, x: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """As `attend`, from x [B, R, T, D] to one context [B, N, S, H] that the R rows share."""
        batch, rows, length, width = x.shape
        queries = self.queries(x.reshape(batch, rows * length, width))
        weights = self._weights(queries, keys, mask, None)
        # The mask of dropout is laid over [B, N, R, T, S] so that the R rows share it.
        shape = weights.shape
        weights = self.dropout(weights.reshape(*shape[:2], rows, length, -1)).reshape(shape)
        return self._merge(weights @ values).reshape(x.shape)

    def _split(self, x: jax.Array) -> jax.Array:
        x = x.reshape(*x.shape[:-1], self.config.num_heads, self.config.d_kv)
        return jnp.swapaxes(x, -2, -3)

    def _merge(self, x: jax.Array) -> jax.Array:
        x = jnp.swapaxes(x, -2, -3)
        return x.reshape(*x.shape[:-2], -1) @ self.out.astype(self.dtype)

    def _weights(self, queries, keys, mask, bias):
        scores = jnp.einsum('...th,...sh->...ts', queries, keys, preferred_element_type=jnp.float32)
        if bias is not None:
            scores = scores + bias.astype(jnp.float32)
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
        return jax.nn.softmax(scores, axis=-1).astype(self.dtype)


class FeedForward(nn.Module):
    """Two projections with an activation between, or the gated three of v1.1."""

    config: T5Config
    dtype: Any
    shared_axis: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config
        activation = ACTIVATIONS[c.activation]
        wide, narrow = nn.initializers.normal(c.d_model**-0.5), nn.initializers.normal(c.d_ff**-0.5)
        inner = activation(x @ self.param('in', wide, (c.d_model, c.d_ff)).astype(self.dtype))
        if c.gated:
            inner = inner * (x @ self.param('linear', wide, (c.d_model, c.d_ff)).astype(self.dtype))
        inner = Dropout(c.dropout_rate, self.shared_axis)(inner)
        return inner @ self.param('out', narrow, (c.d_ff, c.d_model)).astype(self.dtype)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each normed before and added to the stream."""

    config: T5Config
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array) -> tuple[jax.Array, None]:
        c = self.config
        norm = RMSNorm(c.norm_epsilon, self.dtype, name='attention_norm')
        attention = Attention(c, self.dtype, name='attention')
        normed = norm(x)
        mixed = attention.attend(
            attention.queries(normed), *attention.keys_values(normed), mask, bias
        )
        x = x + Dropout(c.dropout_rate)(mixed)
        normed = RMSNorm(c.norm_epsilon, self.dtype, name='feed_forward_norm')(x)
        inner = FeedForward(c, self.dtype, name='feed_forward')(normed)
        return x + Dropout(c.dropout_rate)(inner), None


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the shared context, and feed-forward."""

    config: T5Config
    dtype: Any

    def setup(self):
        c, dtype = self.config, self.dtype
        self.attention_norm = RMSNorm(c.norm_epsilon, dtype)
        self.attention = Attention(c, dtype, shared_axis=1)
        self.cross_norm = RMSNorm(c.norm_epsilon, dtype)
        self.cross = Attention(c, dtype, shared_axis=2)
        self.feed_forward_norm = RMSNorm(c.norm_epsilon, dtype)
        self.feed_forward = FeedForward(c, dtype, shared_axis=1)
        self.dropout = Dropout(c.dropout_rate, shared_axis=1)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        bias: jax.Array,
        context: jax.Array,
        context_mask: jax.Array,
    ) -> tuple[jax.Array, None]:
        """All targets at once: x [B, R, T, D], context [B, S, D]."""
        normed = self.attention_norm(x)
        keys, values = self.attention.keys_values(normed)
        mixed = self.attention.attend(self.attention.queries(normed), keys, values, mask, bias)
        context_keys, context_values = self.context_keys_values(context)
        return self._rest(x, mixed, context_keys, context_values, context_mask), None

    def context_keys_values(self, context: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values [B, N, S, H] of the context, needed once per question."""
        return self.cross.keys_values(context)

    def step(
        self, x, keys, values, position, mask, bias, context_keys, context_values, context_mask
    ):
        """One target x [B, R, 1, D]; returns its output and the keys and values with its column."""
        mixed, keys, values = self.attention.attend_cached(
            self.attention_norm(x), keys, values, position, mask, bias
        )
        return self._rest(x, mixed, context_keys, context_values, context_mask), keys, values

    def _rest(self, x, mixed, context_keys, context_values, context_mask):
        """What follows self-attention, whose output `mixed` is."""
        x = x + self.dropout(mixed)
        normed = self.cross_norm(x)
        mixed = self.cross.attend_context(normed, context_keys, context_values, context_mask)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class _Stack(nn.Module):
    """What the two stacks share: the scanned layers between dropout and the final norm."""

    config: T5Config
    dtype: Any
    remat: bool = False

    def relative_bias(self, distances: np.ndarray, bidirectional: bool) -> jax.Array:
        """Returns [N, ...]: the bias of each distance, learnt per head and bucket."""
        c = self.config
        table = self.param(
            'relative_bias',
            nn.initializers.normal(c.d_model**-0.5),
            (c.relative_buckets, c.num_heads),
        )
        buckets = relative_buckets(
            distances,
            bidirectional=bidirectional,
            num_buckets=c.relative_buckets,
            max_distance=c.relative_max_distance,
        )
        return jnp.moveaxis(table[buckets], -1, 0)

    def run(self, layer, length, shared_axis, x, *shared):
        """Runs the scanned layers; all but x is the same for every layer."""
        c = self.config
        dropout = Dropout(c.dropout_rate, shared_axis)
        scanned = scan_layers(layer, length, remat=self.remat, in_axes=nn.broadcast)
        x, _ = scanned(c, self.dtype, name='layers')(dropout(x), *shared)
        return dropout(RMSNorm(c.norm_epsilon, self.dtype, name='final_norm')(x))


class EncoderStack(_Stack):
    """Embedded questions in, encoded questions out."""

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        positions = np.arange(x.shape[1])
        bias = self.relative_bias(positions[None, :] - positions[:, None], bidirectional=True)
        return self.run(
            EncoderLayer, self.config.encoder_layers, None, x, mask[:, None, None, :], bias
        )


class DecoderStack(_Stack):
    """Embedded, shifted targets in, the states that the head reads out."""

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array, context_mask: jax.Array) -> jax.Array:
        positions = np.arange(x.shape[2])
        distances = positions[None, :] - positions[:, None]
        bias = self.relative_bias(distances, bidirectional=False)
        return self.run(
            DecoderLayer,
            self.config.decoder_layers,
            1,
            x,
            jnp.asarray(distances <= 0),
            bias,
            context,
            context_mask[:, None, None, :],
        )

    @nn.compact
    def step_biases(self, max_length: int) -> jax.Array:
        """Returns [N, 2T - 1]: from T - 1 - p on, the T biases that position p sees."""
        return self.relative_bias(np.arange(2 * max_length - 1) - (max_length - 1), False)

    @nn.compact
    def final(self, x: jax.Array) -> jax.Array:
        """Only the final norm, after the layers were run one by one."""
        return RMSNorm(self.config.norm_epsilon, self.dtype, name='final_norm')(x)
