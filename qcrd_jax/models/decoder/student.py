"""Qwen2.5 as a student: a decoder alone, which reads the question and goes on with the rationale.

What it computes is Qwen2's causal language model on the sequence

    prompt without its last EOS, start_id, targets

and the keys and values of the prompt are computed once for all rationales of a question.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.models.decoder import layers as qwen2_layers
from qcrd_jax.models.decoder.config import Qwen2Config
from qcrd_jax.models.layers import (
    cast_matrices,
    check_compute_dtype,
    dropout_rngs,
    last_true,
    unstack,
)
from qcrd_jax.models.protocol import Params


class Qwen2Context(NamedTuple):
    """A question that was read, shared by all its rationales.

    Attributes:
      keys: of the prompt, by layer, turned to their positions.
      values: of the prompt, by layer.
      mask: True at the tokens that count: the real ones but the EOS at the end.
      lengths: how many those are, hence the position of the first token of an answer.
    """

    keys: Float[Array, 'B layers G S H']
    values: Float[Array, 'B layers G S H']
    mask: Bool[Array, 'B S']
    lengths: Int[Array, ' B']


class Qwen2Cache(NamedTuple):
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
class Qwen2Student:
    """The functions of `protocol.Student` for one Qwen2.5 architecture.

    Parameters are `{'embedding', 'body'}` and, with an untied head, `'head'`; the layers are
    stacked along the first axis of every leaf under `'layers'`.

    Attributes:
      config: the architecture.
      compute_dtype: of the matrix products, float32 or bfloat16. Parameters, softmax, rotary
        positions, the statistics of the norms and the logits are float32 in either case.
    """

    config: Qwen2Config
    compute_dtype: Any = jnp.float32

    def __post_init__(self):
        object.__setattr__(self, 'compute_dtype', check_compute_dtype(self.compute_dtype))

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def pad_id(self) -> int:
        return self.config.pad_id

    @property
    def eos_id(self) -> int:
        return self.config.eos_id

    @property
    def start_id(self) -> int:
        return self.config.start_id

    @property
    def encoder(self) -> 'Qwen2Encoder':
        return Qwen2Encoder(self.config, self.compute_dtype)

    @property
    def cache_axes(self) -> Qwen2Cache:
        return Qwen2Cache(*(0 for _ in Qwen2Cache._fields))._replace(position=None)

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters, drawn as Qwen's own code draws them."""
        body_key, head_key = jax.random.split(key)
        params = self.encoder.init(body_key)
        if not self.config.tied_head:
            params['head'] = _random_table(self.config, head_key)
        return params

    def encode(
        self,
        params: Params,
        tokens: Int[Array, 'B S'],
        mask: Bool[Array, 'B S'],
        dropout_key: jax.Array | None = None,
    ) -> Qwen2Context:
        """Reads each question once, all but an EOS at its end: the answer is still to come."""
        mask = _without_last_eos(tokens, mask, self.eos_id)
        _, own = _read(self.config, self.compute_dtype, params, tokens, mask, dropout_key)
        keys, values = (jnp.swapaxes(leaf[:, :, 0], 2, 3) for leaf in own)
        return Qwen2Context(keys, values, mask, jnp.sum(mask, axis=-1, dtype=jnp.int32))

    def decode(
        self,
        params: Params,
        context: Qwen2Context,
        targets: Int[Array, 'B R T'],
        dropout_key: jax.Array | None = None,
    ) -> Float[Array, 'B R T V']:
        """Returns float32 logits of every target token given those before it (teacher forcing).

        Padding at the end of a target needs no mask, for no real token looks ahead.
        """
        shifted = jnp.pad(
            targets[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=self.start_id
        )
        places = jnp.arange(targets.shape[-1])
        states, _ = qwen2_layers.Body(self.config, self.compute_dtype).apply(
            {'params': params['body']},
            params['embedding'][shifted].astype(self.compute_dtype),
            qwen2_layers.Rotation.at(self.config, context.lengths[:, None] + places),
            (places[None, :] <= places[:, None])[None],
            qwen2_layers.Past(context.keys, context.values, context.mask),
            rngs=dropout_rngs(dropout_key),
        )
        return self._logits(params, states)

    def cast_for_decoding(self, params: Params) -> Params:
        """Returns parameters of which `decode_step` reads every weight just once.

        The matrices are cast to `compute_dtype` and the layers unstacked: a slice of a stacked
        array would be copied for every token.
        """
        tables = {name: params[name] for name in ('embedding', 'head') if name in params}
        layers = tuple(
            cast_matrices(layer, self.compute_dtype)
            for layer in unstack(params['body']['layers'], self.config.num_layers)
        )
        tables = cast_matrices(tables, self.compute_dtype)
        return {**params, **tables, 'body': {**params['body'], 'layers': layers}}

    def start_decoding(
        self, params: Params, context: Qwen2Context, num_rationales: int, max_length: int
    ) -> Qwen2Cache:
        """Returns the cache before the first token, its buffers `max_length` long.

        Args:
          params: not read; the context holds all that was computed with them.
          context: of `encode`.
          num_rationales: R, the sequences decoded per question.
          max_length: T, the largest number of `decode_step` calls.
        """
        del params
        c = self.config
        shape = (context.mask.shape[0] * num_rationales * c.num_kv_heads, max_length, c.d_kv)
        empty = tuple(jnp.zeros(shape, self.compute_dtype) for _ in range(c.num_layers))
        return Qwen2Cache(
            keys=empty,
            values=empty,
            context_keys=tuple(context.keys[:, i] for i in range(c.num_layers)),
            context_values=tuple(context.values[:, i] for i in range(c.num_layers)),
            context_mask=context.mask,
            lengths=context.lengths,
            position=jnp.zeros((), jnp.int32),
        )

    def decode_step(
        self, params: Params, cache: Qwen2Cache, token: Int[Array, 'B R']
    ) -> tuple[Float[Array, 'B R V'], Qwen2Cache]:
        """Feeds one token per rationale (the first is `start_id`), returns the next one's logits.

        Only the new column of the keys and values is written; in a loop that carries the cache
        this happens in place.
        """
        c = self.config
        layer = qwen2_layers.Layer(c, self.compute_dtype)
        rotation = qwen2_layers.Rotation.at(c, cache.lengths[:, None] + cache.position)
        x = params['embedding'][token[:, :, None]].astype(self.compute_dtype)
        keys, values = list(cache.keys), list(cache.values)
        for i, weights in enumerate(unstack(params['body']['layers'], c.num_layers)):
            past = qwen2_layers.Past(
                cache.context_keys[i], cache.context_values[i], cache.context_mask
            )
            x, keys[i], values[i] = layer.apply(
                {'params': weights},
                x,
                rotation,
                keys[i],
                values[i],
                cache.position,
                past,
                method='step',
            )
        body = qwen2_layers.Body(c, self.compute_dtype)
        x = body.apply({'params': params['body']}, x, method='final')
        cache = cache._replace(keys=tuple(keys), values=tuple(values), position=cache.position + 1)
        return self._logits(params, x)[:, :, 0], cache

    def _logits(self, params: Params, states: jax.Array) -> jax.Array:
        head = params['embedding' if self.config.tied_head else 'head']
        return jnp.einsum(
            'brtd,vd->brtv',
            states,
            head.astype(self.compute_dtype),
            preferred_element_type=jnp.float32,
        )


@dataclasses.dataclass(frozen=True)
class Qwen2Encoder:
    """The functions of `protocol.Encoder`: parameters are `{'embedding', 'body'}`.

    A state sees the tokens before it alone, so that only the last ones have seen the whole text.

    Attributes:
      config: the architecture; its head and `start_id` are not read.
      compute_dtype: as `Qwen2Student` has it.
    """

    config: Qwen2Config
    compute_dtype: Any = jnp.float32

    def __post_init__(self):
        object.__setattr__(self, 'compute_dtype', check_compute_dtype(self.compute_dtype))

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def pad_id(self) -> int:
        return self.config.pad_id

    @property
    def eos_id(self) -> int:
        return self.config.eos_id

    @property
    def width(self) -> int:
        return self.config.d_model

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters, drawn as Qwen's own code draws them."""
        c = self.config
        embedding_key, body_key = jax.random.split(key)
        position, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1), bool)
        variables = qwen2_layers.Body(c, jnp.float32).init(
            body_key,
            jnp.zeros((1, 1, 1, c.d_model)),
            qwen2_layers.Rotation.at(c, position),
            mask,
            _no_past(c, jnp.float32, 1),
        )
        return {'embedding': _random_table(c, embedding_key), 'body': variables['params']}

    def take(self, params: Params) -> Params:
        """Returns the body's entries of a student's parameters."""
        return {name: params[name] for name in ('embedding', 'body')}

    def states(
        self,
        params: Params,
        tokens: Int[Array, 'B S'],
        mask: Bool[Array, 'B S'],
        dropout_key: jax.Array | None = None,
    ) -> Float[Array, 'B S D']:
        """Returns the states after the final norm, EOS included wherever it stands."""
        states, _ = _read(self.config, self.compute_dtype, params, tokens, mask, dropout_key)
        return states[:, 0]


def _read(
    config: Qwen2Config,
    compute_dtype: Any,
    params: Params,
    tokens: Int[Array, 'B S'],
    mask: Bool[Array, 'B S'],
    dropout_key: jax.Array | None,
) -> tuple[Float[Array, 'B 1 S D'], tuple[jax.Array, jax.Array]]:
    """Runs texts; the real tokens stand at the positions 0, 1, ... wherever the padding is."""
    positions = jnp.maximum(jnp.cumsum(mask, axis=-1) - 1, 0)
    places = jnp.arange(tokens.shape[1])
    causal = places[None, :] <= places[:, None]
    return qwen2_layers.Body(config, compute_dtype).apply(
        {'params': params['body']},
        params['embedding'][tokens[:, None]].astype(compute_dtype),
        qwen2_layers.Rotation.at(config, positions),
        causal & mask[:, None, :],
        _no_past(config, compute_dtype, tokens.shape[0]),
        rngs=dropout_rngs(dropout_key),
    )


def _no_past(config: Qwen2Config, dtype: Any, batch: int) -> qwen2_layers.Past:
    shape = (batch, config.num_layers, config.num_kv_heads, 0, config.d_kv)
    nothing = jnp.zeros(shape, dtype)
    return qwen2_layers.Past(nothing, nothing, jnp.zeros((batch, 0), bool))


def _without_last_eos(
    tokens: Int[Array, 'B S'], mask: Bool[Array, 'B S'], eos_id: int
) -> Bool[Array, 'B S']:
    """Takes the last real token out of the mask where it is EOS; one in the middle stays."""
    return mask & ~(last_true(mask) & (tokens == eos_id))


def _random_table(config: Qwen2Config, key: jax.Array) -> jax.Array:
    return 0.02 * jax.random.normal(key, (config.vocab_size, config.d_model))
