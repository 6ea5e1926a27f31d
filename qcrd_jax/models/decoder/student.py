"""A decoder-only student, which reads the question and continues with the rationale.

Qwen2, Qwen3, Llama, SmolLM2 and Mistral are one implementation (`DecoderConfig` distinguishes
them). What it computes is their causal language model on the sequence

    prompt without its last EOS, start_id, targets

and the keys and values of the prompt are computed once for all rationales of a question.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from qcrd_jax.models.decoder import layers as decoder_layers
from qcrd_jax.models.decoder.config import DecoderConfig
from qcrd_jax.models.dropout import draws_of
from qcrd_jax.models.layers import last_true
from qcrd_jax.models.protocol import Dropping, Params


class DecoderContext(NamedTuple):
    """A question that was read, shared by all its rationales.

    Attributes:
      keys: of the prompt, by layer, turned to their positions.
      values: of the prompt, by layer.
      mask: True at the tokens that count: the real ones but the EOS at the end.
      lengths: how many those are, hence the position of the first token of an answer.
    """

    keys: Float[Array, 'B *prompts layers G S H']
    values: Float[Array, 'B *prompts layers G S H']
    mask: Bool[Array, 'B *prompts S']
    lengths: Int[Array, ' B *prompts']


class DecoderCache(NamedTuple):
    """Keys and values while decoding, a tuple entry per layer.

    Attributes:
      keys: of the targets so far; zeros from `position` on.
      values: of the targets so far; zeros from `position` on.
      context_keys: of the prompt, shared by its rationales.
      context_values: of the prompt, shared by its rationales.
      context_mask: True at the prompt's tokens.
      lengths: of the prompts.
      position: how many tokens have been fed.
    """

    keys: tuple[Float[Array, 'BRG T H'], ...]
    values: tuple[Float[Array, 'BRG T H'], ...]
    context_keys: tuple[Float[Array, 'B G S H'], ...]
    context_values: tuple[Float[Array, 'B G S H'], ...]
    context_mask: Bool[Array, 'B S']
    lengths: Int[Array, ' B']
    position: Int[Array, '']


@dataclasses.dataclass(frozen=True)
class DecoderStudent(StudentBase):
    """The functions of `protocol.Student` for one decoder-only architecture.

    Parameters are `{'embedding', 'body'}` and, with an untied head, `'head'`; the layers are
    stacked along the first axis of every leaf under `'layers'`. What `lora` trains beside them is
    `'adapters'`.
    """

    config: DecoderConfig

    @property
    def encoder(self) -> 'DecoderEncoder':
        """The body, which reads text as the student does."""
        return DecoderEncoder(self.config, self.compute_dtype, self.remat)

    @property
    def cache_axes(self) -> DecoderCache:
        """All leaves are stacked but the position."""
        return stacked_axes(DecoderCache)

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters, drawn as transformers draws them."""
        body_key, head_key = jax.random.split(key)
        params = self.encoder.init(body_key)
        if not self.config.tied_head:
            params['head'] = _random_table(self.config, head_key)
        return params

    def encode(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> DecoderContext:
        """Reads each question once, all but an EOS at its end: the answer is still to come."""
        mask = _without_last_eos(tokens, mask, self.eos_id)
        _, own = self.encoder.read(params, tokens, mask, dropout)
        keys, values = (jnp.swapaxes(leaf[:, :, 0], 2, 3) for leaf in own)
        lead = tokens.shape[:-1]
        keys, values = (leaf.reshape(*lead, *leaf.shape[1:]) for leaf in (keys, values))
        return DecoderContext(keys, values, mask, jnp.sum(mask, axis=-1, dtype=jnp.int32))

    def decode_states(
        self,
        params: Params,
        groups: Sequence[tuple[DecoderContext, Int[Array, 'B _ _']]],
        dropout: Sequence[Dropping] | None = None,
    ) -> list[Float[Array, 'B _ _ D']]:
        """Returns what the head reads of the targets of every group, in one pass."""

        def seen(context: DecoderContext, ids: jax.Array) -> decoder_layers.Seen:
            places = jnp.arange(ids.shape[-1])
            rotation = decoder_layers.Rotation.at(self.config, context.lengths[:, None] + places)
            return decoder_layers.Seen(rotation, (places[None, :] <= places[:, None])[None])

        states, _ = apply(
            decoder_layers.Body(self.config, self.compute_dtype, self.remat),
            params['body'],
            [self.embed_shifted(params, ids) for _, ids in groups],
            [seen(*group) for group in groups],
            [decoder_layers.Past(c.keys, c.values, c.mask) for c, _ in groups],
            [draws_of(each) for each in dropout or [None] * len(groups)],
            adapters=params.get('adapters'),
        )
        return states

    def cast_for_decoding(self, params: Params) -> Params:
        """Casts and unstacks the body; the head and the embedding are cast too."""
        return self.cast_stack(params, 'body')

    def start_decoding(
        self, params: Params, context: DecoderContext, num_rationales: int, max_length: int
    ) -> DecoderCache:
        """Returns an empty cache; the context holds all that the parameters are needed for."""
        del params
        c = self.config
        shape = (context.mask.shape[0] * num_rationales * c.num_kv_heads, max_length, c.d_kv)
        empty = tuple(jnp.zeros(shape, self.compute_dtype) for _ in range(c.num_layers))
        return DecoderCache(
            keys=empty,
            values=empty,
            context_keys=tuple(context.keys[:, i] for i in range(c.num_layers)),
            context_values=tuple(context.values[:, i] for i in range(c.num_layers)),
            context_mask=context.mask,
            lengths=context.lengths,
            position=jnp.zeros((), jnp.int32),
        )

    def decode_step(
        self, params: Params, cache: DecoderCache, token: Int[Array, 'B R']
    ) -> tuple[Float[Array, 'B R V'], DecoderCache]:
        """Feeds one token per rationale through all layers."""
        c = self.config
        layer = decoder_layers.Layer(c, self.compute_dtype)
        rotation = decoder_layers.Rotation.at(c, cache.lengths[:, None] + cache.position)
        x = self.embed(params, token[:, :, None])
        keys, values = list(cache.keys), list(cache.values)
        body = unstack(params['body']['layers'])
        adapters = [None] * c.num_layers
        if 'adapters' in params:
            adapters = unstack(params['adapters']['layers'])
        for i, (weights, own) in enumerate(zip(body, adapters, strict=True)):
            past = decoder_layers.Past(
                cache.context_keys[i], cache.context_values[i], cache.context_mask
            )
            x, keys[i], values[i] = apply(
                layer,
                weights,
                x,
                rotation,
                keys[i],
                values[i],
                cache.position,
                past,
                method='step',
                adapters=own,
            )
        body = decoder_layers.Body(c, self.compute_dtype)
        x = apply(body, params['body'], x, method='final')
        cache = cache._replace(keys=tuple(keys), values=tuple(values), position=cache.position + 1)
        return self.read_out(params, x)[:, :, 0], cache

    def lengthen(self, params: Params, cache: DecoderCache, max_length: int) -> DecoderCache:
        """Returns the cache with longer buffers; the parameters are not needed."""
        del params
        return cache._replace(
            keys=longer_buffers(cache.keys, max_length),
            values=longer_buffers(cache.values, max_length),
        )


@dataclasses.dataclass(frozen=True)
class DecoderEncoder(EncoderBase):
    """The functions of `protocol.Encoder`: parameters are `{'embedding', 'body'}`.

    A state sees only the tokens before it, so that only the last ones have seen the whole text. The
    head and the `start_id` of the config are not read.
    """

    config: DecoderConfig

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters, drawn as transformers draws them."""
        c = self.config
        embedding_key, body_key = jax.random.split(key)
        position, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1), bool)
        variables = decoder_layers.Body(c, jnp.float32).init(
            body_key,
            [jnp.zeros((1, 1, 1, c.d_model))],
            [decoder_layers.Seen(decoder_layers.Rotation.at(c, position), mask)],
            [_no_past(c, jnp.float32, 1)],
            [None],
        )
        return {'embedding': _random_table(c, embedding_key), 'body': variables['params']}

    def take(self, params: Params) -> Params:
        """Returns the body's entries of a student's parameters."""
        return {name: params[name] for name in ('embedding', 'body')}

    def states(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B *prompts S D']:
        """Returns the states after the final norm, EOS included wherever it stands."""
        states, _ = self.read(params, tokens, mask, dropout)
        return states.reshape(*tokens.shape, -1)

    def read(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> tuple[Float[Array, 'X 1 S D'], tuple[jax.Array, jax.Array]]:
        """Runs texts; the real tokens stand at the positions 0, 1, ... wherever the padding is.

        Returns:
          The states, and the keys and values [X, layers, 1, S, G, H] of all layers; X is the number
          of texts, prompts of the same question side by side.
        """
        prompts, draws = math.prod(tokens.shape[1:-1]), draws_of(dropout)
        draws = draws and draws.of_each(prompts)
        tokens, mask = (x.reshape(-1, x.shape[-1]) for x in (tokens, mask))
        positions = jnp.maximum(jnp.cumsum(mask, axis=-1) - 1, 0)
        places = jnp.arange(tokens.shape[1])
        causal = places[None, :] <= places[:, None]
        rotation = decoder_layers.Rotation.at(self.config, positions)
        states, own = apply(
            decoder_layers.Body(self.config, self.compute_dtype, self.remat),
            params['body'],
            [self.embed(params, tokens[:, None])],
            [decoder_layers.Seen(rotation, causal & mask[:, None, :])],
            [_no_past(self.config, self.compute_dtype, tokens.shape[0])],
            [draws],
            adapters=params.get('adapters'),
        )
        return states[0], own[0]


def _no_past(config: DecoderConfig, dtype: Any, batch: int) -> decoder_layers.Past:
    shape = (batch, config.num_layers, config.num_kv_heads, 0, config.d_kv)
    nothing = jnp.zeros(shape, dtype)
    return decoder_layers.Past(nothing, nothing, jnp.zeros((batch, 0), bool))


def _without_last_eos(
    tokens: Int[Array, '*prompts S'], mask: Bool[Array, '*prompts S'], eos_id: int
) -> Bool[Array, '*prompts S']:
    """Takes the last real token out of the mask where it is EOS; one in the middle stays."""
    return mask & ~(last_true(mask) & (tokens == eos_id))


def _random_table(config: DecoderConfig, key: jax.Array) -> jax.Array:
    return 0.02 * jax.random.normal(key, (config.vocab_size, config.d_model))
