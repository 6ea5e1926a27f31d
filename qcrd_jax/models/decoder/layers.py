"""The layers of a decoder-only model as Flax Linen modules, scanned.

A sequence is what is there already (the `past`: a question's keys and values, which its R
rationales share) and what is computed (its `own` tokens, [B, R, T]); one softmax goes over both.
Reading a question is the same thing with R = 1 and no past. Groups of sequences, each with a past,
R and T of its own, lie one after another in one stream [B, U, D].

In shapes, G is the number of heads of keys and values, and Q that of the query heads of each.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.models.decoder.config import DecoderConfig
from qcrd_jax.models.dropout import Draws, drop
from qcrd_jax.models.layers import (
    RMSNorm,
    joined_rows,
    parted_rows,
    projected,
    scan_layers,
    whole,
    write_column,
)

_INITIAL = nn.initializers.normal(0.02)  # of every matrix, as transformers draws them


def rotary_frequencies(config: DecoderConfig) -> Float[np.ndarray, ' half']:
    """Returns the angles by which the pairs of a head turn from one position to the next.

    The float32 arithmetic is that of the published checkpoints' own code.
    """
    exponents = np.arange(0, config.d_kv, 2, dtype=np.float32) / np.float32(config.d_kv)
    frequencies = 1 / np.float32(config.rope_theta) ** exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    slow = frequencies / np.float32(scaling.factor)
    if scaling.kind == 'linear':
        return slow
    # How often a pair turns within the length that the model was first trained on.
    turns = scaling.original_positions * frequencies / np.float32(2 * math.pi)
    kept = (turns - scaling.low_turns) / (scaling.high_turns - scaling.low_turns)
    kept = np.clip(kept, 0, 1).astype(np.float32)
    return kept * frequencies + (1 - kept) * slow


class Rotation(NamedTuple):
    """Cosine and sine of the angles by which the pairs of a head are turned, float32."""

    cos: Float[Array, 'B T half']
    sin: Float[Array, 'B T half']

    @classmethod
    def at(cls, config: DecoderConfig, positions: Int[Array, 'B T']) -> 'Rotation':
        """Returns the rotation at each position."""
        angles = positions[..., None].astype(jnp.float32) * rotary_frequencies(config)
        return cls(jnp.cos(angles), jnp.sin(angles))

    def turn(self, x: Float[Array, 'B R T ...']) -> Float[Array, 'B R T ...']:
        """Turns each pair (i, i + H/2) of the last axis, in float32; the dtype stays.

        >>> quarter = Rotation(jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)))
        >>> quarter.turn(jnp.array([[[[3.0, 4.0]]]])).tolist()
        [[[[-4.0, 3.0]]]]
        """
        heads = x.ndim - 4  # axes between the position's and the last
        cos, sin = (
            angle.reshape(angle.shape[0], 1, angle.shape[1], *(1,) * heads, angle.shape[2])
            for angle in self
        )
        first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        turned = [first * cos - second * sin, second * cos + first * sin]
        return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Past(NamedTuple):
    """Turned keys, and values, of tokens that come before; `mask` is True at the real ones.

    For the stacked layers, keys and values have an axis of layers behind that of the questions.
    """

    keys: Float[Array, 'B *layers G S H']
    values: Float[Array, 'B *layers G S H']
    mask: Bool[Array, 'B S']


class Seen(NamedTuple):
    """What the sequences of a group see of themselves.

    Attributes:
      rotation: at their positions.
      mask: True where a token sees another one.
    """

    rotation: Rotation
    mask: Bool[Array, '_ T T']


class Attention(nn.Module):
    """Attention with fewer heads of keys and values than of queries, and rotary positions."""

    config: DecoderConfig
    dtype: Any

    def setup(self):
        c = self.config
        width = (c.num_heads + 2 * c.num_kv_heads) * c.d_kv
        self.query_key_value = self.param('query_key_value', _INITIAL, (c.d_model, width))
        if c.qkv_bias:
            zeros = nn.initializers.zeros
            self.query_key_value_bias = self.param('query_key_value_bias', zeros, (width,))
        if c.qk_norm:
            self.query_norm = RMSNorm(c.norm_epsilon, self.dtype)
            self.key_norm = RMSNorm(c.norm_epsilon, self.dtype)
        self.out = self.param('out', _INITIAL, (c.num_heads * c.d_kv, c.d_model))

    def __call__(
        self,
        x: jax.Array,
        groups: tuple[tuple[int, int], ...],
        seen: Sequence[Seen],
        pasts: Sequence[Past],
        draws: Sequence[Draws | None],
    ) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
        """Attends from x [B, U, D] to the past of each group and, where it may, to x itself.

        Returns:
          The output [B, U, D], and the keys and values [B, R, T, G, H] of every group.
        """
        parts, mixed, own = parted_rows(self._projected(x), groups), [], []
        for part, view, past, each in zip(parts, seen, pasts, draws, strict=True):
            queries, keys, values = self._parted(part, view.rotation)
            mixed.append(self._attended(queries, keys, values, view.mask, past, each))
            own.append((keys, values))
        return self._out(joined_rows(mixed)), own

    def _attended(self, queries, keys, values, mask, past, draws):
        """Returns [B, R, T, N * H] of one group."""
        own = jnp.einsum('brtgqh,brugh->bgrqtu', queries, keys, preferred_element_type=jnp.float32)
        before, own = self._weights(queries, past, own, mask[:, None, None, None])
        # Apart, so that the masks depend on no length; those of [B, G, R, Q, T, *] serve all R.
        rate = self.config.dropout_rate
        before = drop(before, rate, draws, site=0, shared_axis=2)
        own = drop(own, rate, draws, site=1, shared_axis=2)
        mixed = self._mix_past(before, past) + jnp.einsum('bgrqtu,brugh->brtgqh', own, values)
        return _merged(mixed)

    def step(
        self,
        x: jax.Array,
        rotation: Rotation,
        keys: jax.Array,
        values: jax.Array,
        position: jax.Array,
        past: Past,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `__call__`, for one token x [B, R, 1, D] and what is cached of those before it.

        Keys and values are [B * R * G, T, H]: with the axes apart, XLA reshapes them for its
        matrix products, and for that copies them for every token.

        Returns:
          The output [B, R, 1, D], and keys and values with the column at `position` written.
        """
        queries, key, value = self._parted(self._projected(x), rotation)
        batch, rows, _, groups, shared, size = queries.shape
        sequences, length, _ = keys.shape
        keys, values = write_column(keys, key, position), write_column(values, value, position)
        own = jnp.einsum(
            'xqh,xuh->xqu',
            queries.reshape(sequences, shared, size),
            keys,
            preferred_element_type=jnp.float32,
        )
        own = own.reshape(batch, rows, groups, shared, 1, length).swapaxes(1, 2)
        before, own = self._weights(queries, past, own, jnp.arange(length) <= position)
        own = own.swapaxes(1, 2).reshape(sequences, shared, length)
        mixed = self._mix_past(before, past) + (own @ values).reshape(queries.shape)
        return self._out(_merged(mixed)), keys, values

    def _projected(self, x):
        """Returns queries, keys and values of x [..., D], side by side."""
        y = projected(self, 'query_key_value', x, self.query_key_value, self.dtype)
        return y + whole(self.query_key_value_bias, self.dtype) if self.config.qkv_bias else y

    def _parted(self, joined, rotation):
        """Returns turned queries [B, R, T, G, Q, H], turned keys and values [B, R, T, G, H]."""
        c, lead = self.config, joined.shape[:3]
        width = c.num_kv_heads * c.d_kv
        queries, keys, values = jnp.split(
            joined, [c.num_heads * c.d_kv, c.num_heads * c.d_kv + width], axis=-1
        )
        queries = queries.reshape(*lead, c.num_kv_heads, c.num_heads // c.num_kv_heads, c.d_kv)
        keys, values = (part.reshape(*lead, c.num_kv_heads, c.d_kv) for part in (keys, values))
        if c.qk_norm:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        return rotation.turn(queries), rotation.turn(keys), values

    def _weights(self, queries, past, own, own_mask):
        """Returns the weights of the past [B, G, R, Q, T, S] and of x itself, which add up to one.

        The R rows attend to the one past of their question; it is not copied.
        """
        before = jnp.einsum(
            'brtgqh,bgsh->bgrqts', queries, past.keys, preferred_element_type=jnp.float32
        )
        least = jnp.finfo(jnp.float32).min
        scale = self.config.d_kv**-0.5
        scores = [
            jnp.where(past.mask[:, None, None, None, None, :], before * scale, least),
            jnp.where(own_mask, own * scale, least),
        ]
        weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1).astype(self.dtype)
        return jnp.split(weights, [before.shape[-1]], axis=-1)

    def _mix_past(self, weights, past):
        return jnp.einsum('bgrqts,bgsh->brtgqh', weights, past.values)

    def _out(self, mixed):
        return projected(self, 'out', mixed, self.out, self.dtype)


def _merged(mixed: jax.Array) -> jax.Array:
    """Returns [B, R, T, N * H] for heads [B, R, T, G, Q, H]."""
    return mixed.reshape(*mixed.shape[:3], -1)


class FeedForward(nn.Module):
    """SwiGLU: a gate that goes through SiLU times a second projection, and the way back."""

    config: DecoderConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config

        def project(x, name, *shape):
            weight = self.param(name, _INITIAL, shape)
            return projected(self, name, x, weight, self.dtype)

        gate = nn.silu(project(x, 'gate', c.d_model, c.d_ff))
        return project(gate * project(x, 'up', c.d_model, c.d_ff), 'down', c.d_ff, c.d_model)


class Layer(nn.Module):
    """Attention and feed-forward, each normed before and added to the stream.

    Attributes:
      config: the architecture.
      dtype: of the matrix products.
      groups: (R, T) of the groups of sequences.
    """

    config: DecoderConfig
    dtype: Any
    groups: tuple[tuple[int, int], ...] = ()

    def setup(self):
        c = self.config
        self.attention_norm = RMSNorm(c.norm_epsilon, self.dtype)
        self.attention = Attention(c, self.dtype)
        self.feed_forward_norm = RMSNorm(c.norm_epsilon, self.dtype)
        self.feed_forward = FeedForward(c, self.dtype)

    def __call__(
        self,
        x: jax.Array,
        layer: jax.Array,
        draws: tuple[Draws | None, ...],
        seen: tuple[Seen, ...],
        past_masks: tuple[jax.Array, ...],
        past_keys_values: tuple[tuple[jax.Array, jax.Array], ...],
    ) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
        """All tokens at once: x [B, U, D]; returns the output, and keys and values of x."""
        draws = tuple(each and each.in_layer(layer) for each in draws)
        pasts = [Past(*own, mask) for own, mask in zip(past_keys_values, past_masks, strict=True)]
        mixed, own = self.attention(self.attention_norm(x), self.groups, seen, pasts, draws)
        return self._rest(x + mixed), own

    def step(self, x, rotation, keys, values, position, past):
        """One token x [B, R, 1, D]; returns its output and the keys and values with its column."""
        mixed, keys, values = self.attention.step(
            self.attention_norm(x), rotation, keys, values, position, past
        )
        return self._rest(x + mixed), keys, values

    def _rest(self, x):
        return x + self.feed_forward(self.feed_forward_norm(x))


class Body(nn.Module):
    """All layers and the final norm."""

    config: DecoderConfig
    dtype: Any
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        sequences: Sequence[jax.Array],
        seen: Sequence[Seen],
        pasts: Sequence[Past],
        draws: Sequence[Draws | None],
    ) -> tuple[list[jax.Array], list[tuple[jax.Array, jax.Array]]]:
        """Runs groups of sequences [B, R, T, D] in one pass.

        Args:
          sequences: of every group.
          seen: of every group.
          pasts: of every group.
          draws: of every group.

        Returns:
          The states that the head reads out, [B, R, T, D], and the keys and values
          [B, layers, R, T, G, H], of every group.
        """
        c, groups = self.config, tuple((part.shape[1], part.shape[2]) for part in sequences)
        by_layer = (0, nn.broadcast, nn.broadcast, nn.broadcast, 1)
        scanned = scan_layers(Layer, c.num_layers, remat=self.remat, in_axes=by_layer, out_axes=1)
        x, own = scanned(c, self.dtype, name='layers', groups=groups)(
            joined_rows(sequences),
            jnp.arange(c.num_layers),
            tuple(draws),
            tuple(seen),
            tuple(past.mask for past in pasts),
            tuple((past.keys, past.values) for past in pasts),
        )
        return parted_rows(self.final(x), groups), own

    @nn.compact
    def final(self, x: jax.Array) -> jax.Array:
        """Only the final norm, after the layers were run one by one."""
        return RMSNorm(self.config.norm_epsilon, self.dtype, name='final_norm')(x)
