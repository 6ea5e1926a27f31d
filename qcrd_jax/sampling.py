"""Greedy and temperature decoding, compiled into one `lax.while_loop` with an explicit KV cache.

`sample` decodes R sequences per question from one student. `sample_each` does so for a stack of
students at once, each with its own questions: the loop is outside of the `vmap`, so that it stays
one loop whose cache is updated in place. Both are pure and may be called inside a jitted step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from qcrd_jax.models.protocol import Context, Params, Student

__all__ = [
    'Samples',
    'draw',
    'generate',
    'sample',
    'sample_each',
    'sequence_keys',
    'without_padding',
]


class Samples(NamedTuple):
    """Decoded sequences; a sequence ends with its EOS, or at the maximal length without one."""

    ids: Int[Array, '*batch T']  # pad after the end
    log_probs: Float[
        Array, '*batch T'
    ]  # nats, under the student *before* temperature; 0 after the end
    mask: Bool[Array, '*batch T']  # up to and including EOS


class _State(NamedTuple):
    """What the loop carries."""

    position: Int[Array, '']  # of the token that is decoded next
    token: Int[Array, '*batch']  # the last one decoded
    finished: Bool[Array, '*batch']
    samples: Samples  # buffers of the full length, written up to `position`
    cache: Any


def sequence_keys(key: Key[Array, ''], rows: Int[Array, ' B'], count: int) -> Key[Array, 'B R']:
    """One key per sequence, made of the question's number and the sequence's: [B, count].

    What is drawn for a question then depends neither on the batch it is in nor on its neighbours.
    """

    def fold(row: Int[Array, ''], index: Int[Array, '']) -> Key[Array, '']:
        return jax.random.fold_in(jax.random.fold_in(key, row), index)

    return jax.vmap(lambda row: jax.vmap(lambda i: fold(row, i))(jnp.arange(count)))(rows)


def generate(
    student: Student,
    params: Params,
    prompts: Int[Array, 'B S'],
    key: Key[Array, ''],
    *,
    max_length: int,
    temperature: float = 0.0,
    count: int = 1,
) -> Samples:
    """Encodes prompts and decodes `count` sequences for each, with one key for all of them.

    Args:
      student: the model.
      params: its parameters.
      prompts: token ids, filled up with the student's pad id.
      key: the draws of question i are those of its number, i.
      max_length: tokens decoded at most, EOS included.
      temperature: the logits are divided by it; 0 decodes greedily.
      count: sequences per question.

    Returns:
      `Samples` of shape [B, count, max_length].

    Raises:
      ValueError: as `sample`.
    """
    context = student.encode(params, prompts, prompts != student.pad_id)
    keys = sequence_keys(key, jnp.arange(prompts.shape[0]), count)
    return sample(student, params, context, keys, max_length=max_length, temperature=temperature)


def sample(
    student: Student,
    params: Params,
    context: Context,
    keys: Key[Array, 'B R'],
    *,
    max_length: int,
    temperature: float,
    limits: Int[Array, ' B'] | None = None,
    stop_at_eos: bool = True,
) -> Samples:
    """Decodes R sequences per question by pure ancestral sampling (no top-k, no top-p).

    The pad token is never drawn; probabilities are the student's own, pad's included.

    Args:
      student: the model.
      params: its parameters.
      context: the encoded questions, shared by the R sequences of each.
      keys: one per sequence (`sequence_keys`); at temperature 0 only their shape is read.
      max_length: tokens decoded at most, EOS included.
      temperature: the logits are divided by it; 0 decodes greedily.
      limits: tokens decoded at most for each question, where that is less than `max_length`; what
        is decoded up to there does not depend on it.
      stop_at_eos: False decodes all `max_length` tokens whatever they are (for benchmarks).

    Returns:
      `Samples` of shape [B, R, max_length].

    Raises:
      ValueError: if `temperature` is negative or `max_length` is not positive.
    """
    params = student.cast_for_decoding(params)
    cache = student.start_decoding(params, context, keys.shape[-1], max_length)
    return _decode(
        lambda cache, token: student.decode_step(params, cache, token),
        cache,
        student,
        keys,
        limits,
        max_length=max_length,
        temperature=temperature,
        stop_at_eos=stop_at_eos,
    )


def sample_each(
    student: Student,
    params: Params,
    contexts: Context,
    keys: Key[Array, 'J B R'],
    *,
    max_length: int,
    temperature: float,
    limits: Int[Array, 'J B'] | None = None,
    stop_at_eos: bool = True,
) -> Samples:
    """`sample` for J parameter trees, stacked on a leading axis, with J batches of questions.

    The sequences are those of J calls of `sample`; there are J times fewer sequential steps.
    """
    axes, weights = student.cache_axes, student.decoding_axes
    params = jax.vmap(student.cast_for_decoding, out_axes=weights)(params)
    start = jax.vmap(student.start_decoding, in_axes=(weights, 0, None, None), out_axes=axes)
    step = jax.vmap(student.decode_step, in_axes=(weights, axes, 0), out_axes=(0, axes))
    cache = start(params, contexts, keys.shape[-1], max_length)
    return _decode(
        lambda cache, token: step(params, cache, token),
        cache,
        student,
        keys,
        limits,
        max_length=max_length,
        temperature=temperature,
        stop_at_eos=stop_at_eos,
    )


def _decode(
    step: Callable[[Any, Int[Array, '*batch']], tuple[Float[Array, '*batch V'], Any]],
    cache: Any,
    student: Student,
    keys: Key[Array, '*batch'],
    limits: Int[Array, '*questions'] | None,
    *,
    max_length: int,
    temperature: float,
    stop_at_eos: bool,
) -> Samples:
    """Runs `step` until every sequence has its EOS, over any leading axes."""
    if temperature < 0:
        raise ValueError(f'temperature: expected 0 (greedy) or more, got {temperature}.')
    if max_length < 1:
        raise ValueError(f'max_length: expected at least 1 token, got {max_length}.')
    batch = keys.shape

    def advance(state: _State) -> _State:
        logits, cache = step(state.cache, state.token)
        logits = logits.astype(jnp.float32)
        allowed = without_padding(logits, student.pad_id)
        if temperature == 0:
            token = jnp.argmax(allowed, axis=-1).astype(jnp.int32)
        else:
            token = draw(keys, state.position, allowed, temperature)
        log_prob = _log_prob(logits, token)
        live = ~state.finished
        token = jnp.where(live, token, student.pad_id)
        column = Samples(token, jnp.where(live, log_prob, 0.0), live)
        samples = jax.tree.map(
            lambda buffer, new: lax.dynamic_update_index_in_dim(buffer, new, state.position, -1),
            state.samples,
            column,
        )
        finished = state.finished | ((token == student.eos_id) & stop_at_eos)
        if limits is not None:
            finished |= state.position + 1 >= limits[..., None]
        return _State(state.position + 1, token, finished, samples, cache)

    empty = Samples(
        jnp.full((*batch, max_length), student.pad_id, jnp.int32),
        jnp.zeros((*batch, max_length), jnp.float32),
        jnp.zeros((*batch, max_length), bool),
    )
    start = _State(
        jnp.int32(0),
        jnp.full(batch, student.start_id, jnp.int32),
        jnp.zeros(batch, bool),
        empty,
        cache,
    )
    return lax.while_loop(
        lambda state: (state.position < max_length) & ~jnp.all(state.finished), advance, start
    ).samples


def without_padding(logits: Float[Array, '*batch V'], pad_id: int) -> Float[Array, '*batch V']:
    """Logits that never choose padding: inside of a sequence it is no token to whoever reads it."""
    return jnp.where(jnp.arange(logits.shape[-1]) == pad_id, -jnp.inf, logits)


def draw(
    keys: Key[Array, '*batch'],
    position: Int[Array, ''],
    logits: Float[Array, '*batch V'],
    temperature: float | Float[Array, ''],
) -> Int[Array, '*batch']:
    """One token per sequence from softmax(logits / temperature), each with a key of its own."""

    def draw_one(key: Key[Array, ''], logits: Float[Array, ' V']) -> Int[Array, '']:
        return jax.random.categorical(jax.random.fold_in(key, position), logits / temperature)

    for _ in keys.shape:
        draw_one = jax.vmap(draw_one)
    return draw_one(keys, logits).astype(jnp.int32)


def _log_prob(
    logits: Float[Array, '*batch V'], token: Int[Array, '*batch']
) -> Float[Array, '*batch']:
    """Log-probability of the token that was drawn, in nats."""
    chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
