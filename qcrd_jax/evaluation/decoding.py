"""Decoding many questions at once, in which those that have their end cost no more.

Questions are encoded a few at a time, each few only as long as the longest of them, and decoded
together, from short buffers on. Whenever half of the rows are done, the others continue in half as
many; whenever the buffers are full, they are made twice as long. Numbers of rows are powers of two
but for the first, and lengths double, so that few programs are compiled, and the same ones for
labels and rationales, greedy and drawn at any temperature.

A question is a batch of its own for the student (`jax.vmap`): the first axis of all that is kept
is that of the questions, whatever the student keeps.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from qcrd_jax import interruption, sampling
from qcrd_jax.models.protocol import Cache, Params, Student
from qcrd_jax.placement import Placement, one_device

ENCODED = 16  # questions that are encoded at once
FEWEST = 8  # rows; fewer take as long
SHORTEST = 32  # tokens of the first buffers


class Asked(NamedTuple):
    """Questions, and what is drawn for them.

    Attributes:
      prompts: padded at their end.
      rows: a number for each question, which seeds what is drawn for it.
      key: of all draws; not read at temperature 0.
      temperature: 0 decodes greedily.
    """

    prompts: Int[np.ndarray, 'B S']
    rows: Int[np.ndarray, ' B']
    key: Key[Array, '']
    temperature: float = 0.0


class _Rows(NamedTuple):
    """Questions that are decoded together; T is the length of their buffers."""

    places: Int[Array, ' B']  # of the questions among those asked
    keys: Key[Array, ' B']
    token: Int[Array, ' B']  # the last one decoded
    finished: Bool[Array, ' B']
    ids: Int[Array, 'B T']  # pad from `position` on, and after the end
    position: Int[Array, '']  # of the token that is decoded next
    cache: Cache  # of a batch of one question each, stacked


def cast_params(student: Student, params: Params, placement: Placement | None = None) -> Params:
    """Returns parameters that decode, made once for many calls of `decode`; whole everywhere."""
    return _cast(student, placement or one_device(), params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _cast(student: Student, placement: Placement, params: Params) -> Params:
    return placement.shared(student.cast_for_decoding(params))


def decode(
    student: Student,
    params: Params,
    cast: Params,
    asked: Asked,
    max_length: int,
    placement: Placement | None = None,
) -> Int[np.ndarray, 'B T']:
    """Decodes a sequence for every question: that of `sampling.sample`, without its log-probs.

    Args:
      student: the model.
      params: its parameters.
      cast: those of `cast_params`.
      asked: the questions; neighbours should be about as long.
      max_length: T, tokens decoded at most.
      placement: where parameters and questions live; None: on one device.

    Returns:
      Sequences that end with their EOS, or at the maximal length without one; pad after the end.

    Raises:
      ValueError: if the temperature is negative or `max_length` is not positive.
    """
    if asked.temperature < 0 or max_length < 1:
        raise ValueError(
            'expected a temperature of 0 (greedy) or more and at least 1 token, got '
            f'{asked.temperature} and {max_length}.'
        )
    ids = np.full((len(asked.rows), max_length), student.pad_id, np.int32)
    place = placement or one_device()
    rows = _begin(student, place, params, cast, asked, min(SHORTEST, max_length))
    temperature = jnp.float32(asked.temperature)
    while True:
        interruption.check()
        rows, seen = _run(student, place, cast, rows, temperature)
        places, finished, written, position = place.host(seen)
        (size, length), live = written.shape, int(np.sum(~finished))
        real = places < len(ids)
        ids[places[real], :length] = written[real]
        if not live or position == max_length:
            return ids
        while live <= _next_size(size):
            size = _next_size(size)
        length = _longer(length, max_length) if position == length else length
        rows = _resized(student, place, cast, rows, size, length)


def fitting_length(longest: int, length: int) -> int:
    """Returns the least of few lengths that holds `longest` tokens.

    Each is about 0.7 of the next longer one; all but the longest, `length`, are multiples of 8.

    >>> [fitting_length(longest, 88) for longest in (88, 65, 64, 48, 40, 32, 3)]
    [88, 88, 64, 48, 48, 32, 8]
    >>> [fitting_length(longest, 30) for longest in (30, 24, 9, 8)], fitting_length(3, 5)
    ([30, 24, 16, 8], 5)
    """
    fitting, exact = length, length / 2**0.5
    while (shorter := -int(-exact // 8) * 8) >= longest and exact > 4:
        fitting, exact = min(fitting, shorter), exact / 2**0.5
    return fitting


def _first_size(count: int) -> int:
    """The number of rows that questions are begun in: a multiple of `FEWEST`."""
    return -(-count // FEWEST) * FEWEST


def _next_size(size: int) -> int:
    """The number of rows that come after `size`: a smaller power of two, and 0 after few."""
    smaller = 1 << ((size - 1).bit_length() - 1)
    return smaller if smaller >= FEWEST else 0


def _longer(length: int, max_length: int) -> int:
    """The next length of the buffers: twice as long, or the last if little would be missing."""
    return max_length if length * 3 > max_length else length * 2


def _begin(
    student: Student, place: Placement, params: Params, cast: Params, asked: Asked, length: int
) -> _Rows:
    """Encodes the questions; rows without one are finished."""
    count = len(asked.rows)
    size = _first_size(count)
    numbers = np.resize(asked.rows, size)
    return _Rows(
        places=jnp.arange(size, dtype=jnp.int32),
        keys=sampling.sequence_keys(asked.key, jnp.asarray(numbers), 1)[:, 0],
        token=jnp.full(size, student.start_id, jnp.int32),
        finished=jnp.arange(size) >= count,
        ids=jnp.full((size, length), student.pad_id, jnp.int32),
        position=jnp.int32(0),
        cache=_encoded(student, place, params, cast, asked, size, length),
    )


def _encoded(
    student: Student,
    place: Placement,
    params: Params,
    cast: Params,
    asked: Asked,
    size: int,
    length: int,
) -> Cache:
    """The cache of all questions before the first token, in `size` rows."""
    count, source_length = asked.prompts.shape
    sizes = source_length - np.argmax(asked.prompts[:, ::-1] != student.pad_id, axis=1)
    few, cache = min(ENCODED, size), None
    for start in range(0, size, few):
        interruption.check()
        start = min(start, size - few)  # the last few overlap with those before
        chosen = np.minimum(np.arange(start, start + few), count - 1)
        fitting = fitting_length(int(sizes[chosen].max()), source_length)
        prompts = asked.prompts[chosen, :fitting]
        prompts = place.placed(prompts, place.rows(prompts))
        part = _start(student, place, params, cast, prompts, source_length, length)
        if cache is None:
            cache = _empty(student, place, part, size)
        cache = _written(student, place, cache, part, jnp.int32(start))
    return cache


@functools.partial(jax.jit, static_argnames=('student', 'place', 'size'))
def _empty(student: Student, place: Placement, part: Cache, size: int) -> Cache:
    """A cache of so many questions, of which nothing is written yet."""
    return _spread(
        student,
        place,
        _stacked(
            lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), student.cache_axes, part
        ),
    )


@functools.partial(jax.jit, static_argnames=('student', 'place', 'source_length', 'max_length'))
def _start(
    student: Student,
    place: Placement,
    params: Params,
    cast: Params,
    prompts: Int[Array, 'B s'],
    source_length: int,
    max_length: int,
) -> Cache:
    """The caches before the first token, as if the prompts were padded to `source_length`."""

    def start(prompts: Int[Array, 'B s']) -> Cache:
        context = student.encode(params, prompts, prompts != student.pad_id)
        single = jax.tree.map(lambda leaf: leaf[:, None], context)
        stacked = jax.vmap(
            student.start_decoding, in_axes=(None, 0, None, None), out_axes=student.cache_axes
        )
        return stacked(cast, single, 1, max_length)

    padded = jax.ShapeDtypeStruct((len(prompts), source_length), prompts.dtype)
    with place.reading():
        begun = start(prompts)
    cache = jax.tree.map(
        lambda leaf, longer: _padded(leaf, longer.shape), begun, jax.eval_shape(start, padded)
    )
    return _spread(student, place, cache)


@functools.partial(jax.jit, static_argnames=('student', 'place'), donate_argnames='cache')
def _written(
    student: Student, place: Placement, cache: Cache, part: Cache, start: Int[Array, '']
) -> Cache:
    """The cache with some of its questions replaced, in place."""

    def write(leaf: jax.Array, rows: jax.Array) -> jax.Array:
        return lax.dynamic_update_slice_in_dim(leaf, rows, start, 0)

    return _spread(student, place, _stacked(write, student.cache_axes, cache, part))


def _spread(student: Student, place: Placement, cache: Cache) -> Cache:
    """A cache whose questions are spread over the devices."""
    return _stacked(
        lambda leaf: place.constrained(leaf, place.rows(leaf)), student.cache_axes, cache
    )


@functools.partial(jax.jit, static_argnames=('student', 'place'), donate_argnames='rows')
def _run(
    student: Student, place: Placement, cast: Params, rows: _Rows, temperature: Float[Array, '']
) -> tuple[_Rows, Any]:
    """Decodes until the others fit in the next number of rows, or the buffers are full.

    Returns:
      The rows; and of them places, what is finished, ids and position, whole everywhere.
    """
    size, length = rows.ids.shape
    enough = _next_size(size)
    axes = student.cache_axes
    step = jax.vmap(student.decode_step, in_axes=(None, axes, 0), out_axes=(0, axes))

    def advance(rows: _Rows) -> _Rows:
        logits, cache = step(cast, rows.cache, rows.token[:, None, None])
        logits = logits.astype(jnp.float32).reshape(size, -1)
        allowed = sampling.without_padding(logits, student.pad_id)
        token = _token(rows.keys, rows.position, allowed, temperature)
        token = jnp.where(rows.finished, student.pad_id, token)
        return rows._replace(
            token=token,
            finished=rows.finished | (token == student.eos_id),
            ids=lax.dynamic_update_index_in_dim(rows.ids, token, rows.position, 1),
            position=rows.position + 1,
            cache=cache,
        )

    spread, cache = rows[:5], _spread(student, place, rows.cache)
    rows = _Rows._make((*place.constrained(spread, place.rows(spread)), rows.position, cache))
    rows = lax.while_loop(
        lambda rows: (rows.position < length) & (jnp.sum(~rows.finished) > enough), advance, rows
    )
    return rows, place.shared((rows.places, rows.finished, rows.ids, rows.position))


def _token(
    keys: Key[Array, ' B'],
    position: Int[Array, ''],
    logits: Float[Array, 'B V'],
    temperature: Float[Array, ''],
) -> Int[Array, ' B']:
    """The next token, as `sampling.sample` takes it; one program for every temperature."""
    return lax.cond(
        temperature == 0,
        lambda: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        lambda: sampling.draw(keys, position, logits, temperature),
    )


@functools.partial(jax.jit, static_argnames=('student', 'place', 'size', 'length'))
def _resized(
    student: Student, place: Placement, cast: Params, rows: _Rows, size: int, length: int
) -> _Rows:
    """The rows that are not finished, among `size`, with buffers of another length."""
    chosen = jnp.argsort(rows.finished, stable=True)[:size]
    places, keys, token, finished, ids = (leaf[chosen] for leaf in rows[:5])
    cache = _stacked(lambda leaf: leaf[chosen], student.cache_axes, rows.cache)
    more = length - ids.shape[1]
    if more:
        ids = jnp.pad(ids, ((0, 0), (0, more)), constant_values=student.pad_id)
        axes = student.cache_axes
        lengthen = jax.vmap(student.lengthen, in_axes=(None, axes, None), out_axes=axes)
        cache = lengthen(cast, cache, length)
    own = places, keys, token, finished, ids
    cache = _spread(student, place, cache)
    return _Rows._make((*place.constrained(own, place.rows(own)), rows.position, cache))


def _stacked(function: Callable[..., jax.Array], axes: Any, *trees: Any) -> Any:
    """Maps the leaves that are stacked; what all questions share is that of the first tree."""
    return jax.tree.map(
        lambda axis, *parts: parts[0] if axis is None else jax.tree.map(function, *parts),
        axes,
        *trees,
        is_leaf=lambda axis: axis is None,
    )


def _padded(leaf: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Zeros at the ends of the axes up to a shape."""
    missing = [(0, to - size, 0) for size, to in zip(leaf.shape, shape, strict=True)]
    return lax.pad(leaf, jnp.zeros((), leaf.dtype), missing)
