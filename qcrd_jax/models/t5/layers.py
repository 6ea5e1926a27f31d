"""The layers of T5 as Flax Linen modules: two stacks, each scanned over its layers.

Groups of targets, each with a context, R and T of its own, lie one after another in the decoder's
stream [B, U, D], so that what acts on single tokens acts once on all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from qcrd_jax.models.dropout import Draws, drop
from qcrd_jax.models.layers import RMSNorm, joined_rows, parted_rows, scan_layers, whole
from qcrd_jax.models.t5.attention import Attention, relative_buckets
from qcrd_jax.models.t5.config import ACTIVATIONS, T5Config

# Sites of dropout: in a layer (an attention has two: its weights and its output; so has a
# feed-forward: its inner units and its output), and before and after the layers.
_ATTENTION, _CROSS, _FEED_FORWARD, _BEFORE, _AFTER = 0, 2, 4, 6, 7


class FeedForward(nn.Module):
    """Two projections with an activation between, or the gated three of v1.1."""

    config: T5Config
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, dropped: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Takes x [..., D] and `dropped`, what drops out between the projections."""
        c = self.config
        activation = ACTIVATIONS[c.activation]
        wide, narrow = nn.initializers.normal(c.d_model**-0.5), nn.initializers.normal(c.d_ff**-0.5)
        inner = activation(x @ whole(self.param('in', wide, (c.d_model, c.d_ff)), self.dtype))
        if c.gated:
            inner = inner * (x @ whole(self.param('linear', wide, (c.d_model, c.d_ff)), self.dtype))
        return dropped(inner) @ whole(self.param('out', narrow, (c.d_ff, c.d_model)), self.dtype)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each normed before and added to the stream."""

    config: T5Config
    dtype: Any

    @nn.compact
    def __call__(
        self, x: jax.Array, layer: jax.Array, draws: Draws | None, mask: jax.Array, bias: jax.Array
    ) -> tuple[jax.Array, None]:
        c = self.config
        draws = draws and draws.in_layer(layer)

        def dropped(x: jax.Array, site: int) -> jax.Array:
            return drop(x, c.dropout_rate, draws, site)

        norm = RMSNorm(c.norm_epsilon, self.dtype, name='attention_norm')
        attention = Attention(c, self.dtype, _ATTENTION, name='attention')
        queries, keys, values = attention.project(norm(x))
        mixed = attention.attend(queries, keys, values, mask, bias, draws)
        x = x + dropped(attention.project_out(mixed), _ATTENTION + 1)
        normed = RMSNorm(c.norm_epsilon, self.dtype, name='feed_forward_norm')(x)
        feed_forward = FeedForward(c, self.dtype, name='feed_forward')
        inner = feed_forward(normed, lambda inner: dropped(inner, _FEED_FORWARD))
        return x + dropped(inner, _FEED_FORWARD + 1), None


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the shared context, and feed-forward.

    Attributes:
      config: the architecture.
      dtype: of the matrix products.
      groups: (R, T) of the groups of targets, which lie one after another in the stream.
    """

    config: T5Config
    dtype: Any
    groups: tuple[tuple[int, int], ...] = ()

    def setup(self):
        c, dtype = self.config, self.dtype
        self.attention_norm = RMSNorm(c.norm_epsilon, dtype)
        self.attention = Attention(c, dtype, _ATTENTION, shared_axis=1)
        self.cross_norm = RMSNorm(c.norm_epsilon, dtype)
        self.cross = Attention(c, dtype, _CROSS, shared_axis=2, cross=True)
        self.feed_forward_norm = RMSNorm(c.norm_epsilon, dtype)
        self.feed_forward = FeedForward(c, dtype)

    def __call__(
        self,
        x: jax.Array,
        layer: jax.Array,
        draws: tuple[Draws | None, ...],
        bias: jax.Array,
        contexts: jax.Array,
        context_masks: jax.Array,
    ) -> tuple[jax.Array, None]:
        """All targets at once: x [B, U, D], contexts [B, groups, S, D], bias [N, T, T]."""
        draws = tuple(each and each.in_layer(layer) for each in draws)
        projected = self.attention.project(self.attention_norm(x))
        queries, keys, values = (parted_rows(part, self.groups) for part in projected)
        mixed = []
        for place, (_, length) in enumerate(self.groups):
            causal = jnp.tril(jnp.ones((length, length), bool))
            mixed.append(
                self.attention.attend(
                    queries[place],
                    keys[place],
                    values[place],
                    causal,
                    bias[:, :length, :length],
                    draws[place],
                )
            )
        x = self._added(x, self.attention.project_out(joined_rows(mixed)), draws, _ATTENTION + 1)
        queries = parted_rows(self.cross.queries(self.cross_norm(x)), self.groups)
        keys, values = self.cross.keys_values(contexts)
        mixed = [
            self.cross.attend_context(
                queries[place],
                keys[:, place],
                values[:, place],
                context_masks[:, place, None, None, :],
                draws[place],
            )
            for place in range(len(self.groups))
        ]
        x = self._added(x, self.cross.project_out(joined_rows(mixed)), draws, _CROSS + 1)
        inner = self.feed_forward(
            self.feed_forward_norm(x), lambda inner: self._dropped(inner, draws, _FEED_FORWARD)
        )
        return self._added(x, inner, draws, _FEED_FORWARD + 1), None

    def _added(self, x, y, draws, site):
        return x + self._dropped(y, draws, site)

    def _dropped(self, x, draws, site):
        return drop_rows(x, self.config.dropout_rate, draws, site, self.groups)

    def context_keys_values(self, context: jax.Array) -> list[jax.Array]:
        """Keys and values [B, N, S, H] of the context, needed once per question."""
        return self.cross.keys_values(context)

    def step(
        self, x, keys, values, position, mask, bias, context_keys, context_values, context_mask
    ):
        """One target x [B, R, 1, D]; returns its output and the keys and values with its column."""
        mixed, keys, values = self.attention.attend_cached(
            self.attention_norm(x), keys, values, position, mask, bias
        )
        x = x + self.attention.project_out(mixed)
        mixed = self.cross.attend_context(
            self.cross.queries(self.cross_norm(x)), context_keys, context_values, context_mask
        )
        x = x + self.cross.project_out(mixed)
        inner = self.feed_forward(self.feed_forward_norm(x), lambda inner: inner)
        return x + inner, keys, values


def drop_rows(
    x: Float[Array, 'B U X'],
    rate: float,
    draws: Sequence[Draws | None],
    site: int,
    groups: Sequence[tuple[int, int]],
) -> Float[Array, 'B U X']:
    """`drop` for groups of targets one after another; the R targets of a group share its mask."""
    if all(each is None for each in draws) or rate == 0.0:
        return x
    parts = [
        drop(part, rate, each, site, shared_axis=1)
        for part, each in zip(parted_rows(x, groups), draws, strict=True)
    ]
    return joined_rows(parts)


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

    def run(self, layer, length, x, *shared, **attributes):
        """Runs the scanned layers; all but x and the layer's number is the same for every layer."""
        axes = (0, *[nn.broadcast] * len(shared))
        scanned = scan_layers(layer, length, remat=self.remat, in_axes=axes)
        layers = scanned(self.config, self.dtype, name='layers', **attributes)
        return layers(x, jnp.arange(length), *shared)[0]


class EncoderStack(_Stack):
    """Embedded questions in, encoded questions out."""

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, draws: Draws | None = None) -> jax.Array:
        """Takes x [B, ..., S, D] and its mask [B, ..., S]."""
        c = self.config
        positions = np.arange(x.shape[-2])
        bias = self.relative_bias(positions[None, :] - positions[:, None], bidirectional=True)
        x = drop(x, c.dropout_rate, draws, _BEFORE)
        x = self.run(EncoderLayer, c.encoder_layers, x, draws, mask[..., None, None, :], bias)
        normed = RMSNorm(c.norm_epsilon, self.dtype, name='final_norm')(x)
        return drop(normed, c.dropout_rate, draws, _AFTER)


class DecoderStack(_Stack):
    """Embedded, shifted targets in, the states that the head reads out."""

    @nn.compact
    def __call__(
        self,
        targets: Sequence[jax.Array],
        contexts: jax.Array,
        context_masks: jax.Array,
        draws: Sequence[Draws | None],
    ) -> list[jax.Array]:
        """Runs groups of targets [B, R, T, D] in one pass.

        Args:
          targets: of every group.
          contexts: [B, groups, S, D].
          context_masks: [B, groups, S].
          draws: of every group.
        """
        c, groups = self.config, tuple((part.shape[1], part.shape[2]) for part in targets)
        positions = np.arange(max(length for _, length in groups))
        bias = self.relative_bias(positions[None, :] - positions[:, None], bidirectional=False)
        x = drop_rows(joined_rows(targets), c.dropout_rate, draws, _BEFORE, groups)
        shared = tuple(draws), bias, contexts, context_masks
        x = self.run(DecoderLayer, c.decoder_layers, x, *shared, groups=groups)
        x = drop_rows(self.final(x), c.dropout_rate, draws, _AFTER, groups)
        return parted_rows(x, groups)

    @nn.compact
    def step_biases(self, max_length: int) -> jax.Array:
        """Returns [N, 2T - 1]: from T - 1 - p on, the T biases that position p sees."""
        return self.relative_bias(np.arange(2 * max_length - 1) - (max_length - 1), False)

    @nn.compact
    def final(self, x: jax.Array) -> jax.Array:
        """Only the final norm, after the layers were run one by one."""
        return RMSNorm(self.config.norm_epsilon, self.dtype, name='final_norm')(x)
