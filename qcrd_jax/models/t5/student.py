"""T5 as a student: v1.0, v1.1 and Flan in one implementation (`T5Config` distinguishes them)."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.models.base import (
    EncoderBase,
    StudentBase,
    apply,
    longer_buffers,
    stacked_axes,
    unstack,
)
from qcrd_jax.models.dropout import draws_of
from qcrd_jax.models.protocol import Dropping, Params
from qcrd_jax.models.t5 import layers as t5_layers
from qcrd_jax.models.t5.config import T5Config


class T5Context(NamedTuple):
    """An encoded question, shared by all its rationales.

    Attributes:
      states: the encoder's output.
      mask: True at real tokens; the decoder never sees the others.
    """

    states: Float[Array, 'B *prompts S D']
    mask: Bool[Array, 'B *prompts S']


class T5Cache(NamedTuple):
    """Keys and values while decoding, a tuple entry per layer.

    Attributes:
      keys: of the targets so far; zeros from `position` on.
      values: of the targets so far; zeros from `position` on.
      context_keys: of the question, computed once and shared by its rationales.
      context_values: of the question, computed once and shared by its rationales.
      context_mask: True at the question's real tokens.
      biases: relative position biases by distance, see `DecoderStack.step_biases`.
      position: how many tokens have been fed.
    """

    keys: tuple[Float[Array, 'BRN T H'], ...]
    values: tuple[Float[Array, 'BRN T H'], ...]
    context_keys: tuple[Float[Array, 'B N S H'], ...]
    context_values: tuple[Float[Array, 'B N S H'], ...]
    context_mask: Bool[Array, 'B S']
    biases: Float[Array, 'N W']
    position: Int[Array, '']


@dataclasses.dataclass(frozen=True)
class T5Student(StudentBase):
    """The functions of `protocol.Student` for one T5 architecture.

    Parameters are `{'embedding', 'encoder', 'decoder'}` and, with an untied head, `'head'`; the
    layers of a stack are stacked along the first axis of every leaf under its `'layers'`.
    """

    config: T5Config

    @property
    def encoder(self) -> 'T5Encoder':
        """What encodes the questions."""
        return T5Encoder(self.config, self.compute_dtype, self.remat)

    @property
    def cache_axes(self) -> T5Cache:
        """All leaves are stacked but the position."""
        return stacked_axes(T5Cache)

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters, drawn as T5's own were."""
        c = self.config
        encoder_key, decoder_key, head_key = jax.random.split(key, 3)
        params = self.encoder.init(encoder_key)
        states, mask = jnp.zeros((1, 1, c.d_model)), jnp.ones((1, 1), bool)
        decoder = t5_layers.DecoderStack(c, jnp.float32)
        made = decoder.init(decoder_key, [states[:, None]], states[:, None], mask[:, None], [None])
        params['decoder'] = made['params']
        if not c.tied_head:
            # With no scaling of the decoder's output, this is what gives logits of variance one.
            scale = 1.0 if c.scale_decoder_outputs else c.d_model**-0.5
            params['head'] = scale * jax.random.normal(head_key, (c.vocab_size, c.d_model))
        return params

    def encode(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> T5Context:
        """Encodes each question once, under each of its prompts."""
        return T5Context(self.encoder.states(params, tokens, mask, dropout), mask)

    def decode_states(
        self,
        params: Params,
        groups: Sequence[tuple[T5Context, Int[Array, 'B _ _']]],
        dropout: Sequence[Dropping] | None = None,
    ) -> list[Float[Array, 'B _ _ D']]:
        """Returns what the head reads of the targets of every group, in one pass of the decoder."""
        contexts, targets = zip(*groups, strict=True)
        states = apply(
            t5_layers.DecoderStack(self.config, self.compute_dtype, self.remat),
            params['decoder'],
            [self.embed_shifted(params, ids) for ids in targets],
            jnp.stack([context.states for context in contexts], axis=1),
            jnp.stack([context.mask for context in contexts], axis=1),
            [draws_of(each) for each in dropout or [None] * len(groups)],
        )
        return [self._scaled(part) for part in states]

    def cast_for_decoding(self, params: Params) -> Params:
        """Casts and unstacks the decoder, and casts the tables; the encoder stays as it is."""
        return self.cast_stack(params, 'decoder')

    def start_decoding(
        self, params: Params, context: T5Context, num_rationales: int, max_length: int
    ) -> T5Cache:
        """Returns a cache that is empty but for what cross-attention reads of the context."""
        c = self.config
        decoder = t5_layers.DecoderStack(c, self.compute_dtype)
        biases = apply(decoder, params['decoder'], max_length, method='step_biases')
        shape = (context.mask.shape[0] * num_rationales * c.num_heads, max_length, c.d_kv)
        layer = t5_layers.DecoderLayer(c, self.compute_dtype)
        shared = [
            apply(layer, weights, context.states, method='context_keys_values')
            for weights in unstack(params['decoder']['layers'])
        ]
        return T5Cache(
            keys=tuple(jnp.zeros(shape, self.compute_dtype) for _ in shared),
            values=tuple(jnp.zeros(shape, self.compute_dtype) for _ in shared),
            context_keys=tuple(keys for keys, _ in shared),
            context_values=tuple(values for _, values in shared),
            context_mask=context.mask,
            biases=biases,
            position=jnp.zeros((), jnp.int32),
        )

    def decode_step(
        self, params: Params, cache: T5Cache, token: Int[Array, 'B R']
    ) -> tuple[Float[Array, 'B R V'], T5Cache]:
        """Feeds one token per rationale through all layers."""
        c = self.config
        length = cache.keys[0].shape[1]
        start = length - 1 - cache.position
        bias = jax.lax.dynamic_slice_in_dim(cache.biases, start, length, axis=1)
        bias = jnp.tile(bias, (token.size, 1))[:, None, :]
        mask = jnp.arange(length) <= cache.position
        context_mask = cache.context_mask[:, None, None, :]
        layer = t5_layers.DecoderLayer(c, self.compute_dtype)
        x = self.embed(params, token[:, :, None])
        keys, values = list(cache.keys), list(cache.values)
        for i, weights in enumerate(unstack(params['decoder']['layers'])):
            x, keys[i], values[i] = apply(
                layer,
                weights,
                x,
                keys[i],
                values[i],
                cache.position,
                mask,
                bias,
                cache.context_keys[i],
                cache.context_values[i],
                context_mask,
                method='step',
            )
        decoder = t5_layers.DecoderStack(c, self.compute_dtype)
        x = apply(decoder, params['decoder'], x, method='final')
        cache = cache._replace(keys=tuple(keys), values=tuple(values), position=cache.position + 1)
        return self.read_out(params, self._scaled(x))[:, :, 0], cache

    def lengthen(self, params: Params, cache: T5Cache, max_length: int) -> T5Cache:
        """Returns the cache with longer buffers, and the biases of more distances."""
        decoder = t5_layers.DecoderStack(self.config, self.compute_dtype)
        return cache._replace(
            keys=longer_buffers(cache.keys, max_length),
            values=longer_buffers(cache.values, max_length),
            biases=apply(decoder, params['decoder'], max_length, method='step_biases'),
        )

    def _scaled(self, states: jax.Array) -> jax.Array:
        scaled = self.config.scale_decoder_outputs
        return states * self.config.d_model**-0.5 if scaled else states


@dataclasses.dataclass(frozen=True)
class T5Encoder(EncoderBase):
    """The functions of `protocol.Encoder`: parameters are `{'embedding', 'encoder'}`.

    What the config says of a decoder is not read.
    """

    config: T5Config

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters, drawn as T5's own were."""
        c = self.config
        embedding_key, stack_key = jax.random.split(key)
        stack = t5_layers.EncoderStack(c, jnp.float32)
        states, mask = jnp.zeros((1, 1, c.d_model)), jnp.ones((1, 1), bool)
        return {
            'embedding': jax.random.normal(embedding_key, (c.vocab_size, c.d_model)),
            'encoder': stack.init(stack_key, states, mask)['params'],
        }

    def take(self, params: Params) -> Params:
        """Returns the encoder's entries of a student's parameters."""
        return {name: params[name] for name in ('embedding', 'encoder')}

    def states(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B *prompts S D']:
        """Returns the encoder's output."""
        x = self.embed(params, tokens)
        stack = t5_layers.EncoderStack(self.config, self.compute_dtype, self.remat)
        return apply(stack, params['encoder'], x, mask, draws_of(dropout))
