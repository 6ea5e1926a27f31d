"""Losses of states and the table that reads them out, which never hold the logits of all positions.

Logits are the largest array of a step: at T5's vocabulary those of one token take 128 kB. Here they
are made for a few positions at a time, in the loss and once more in its gradient.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.losses.shapes import checked

LOGITS_AT_ONCE = 2**24  # of float32: 64 MiB


@checked
def linear_cross_entropy(
    states: Float[Array, '*batch T D'],
    table: Float[Array, 'V D'],
    targets: Int[Array, '*batch T'],
    at_once: int = LOGITS_AT_ONCE,
) -> Float[Array, '*batch T']:
    """`token_cross_entropy(states @ table.T, targets)`, a few positions at a time, in nats.

    The products are taken in the type of the states and added up in float32, in the gradient too;
    that of the table has the table's own type.

    Args:
      states: what is read out.
      table: rows by token id.
      targets: token ids in [0, V).
      at_once: how many logits are held, at most (those of one position of every row at least).

    >>> states, table = jnp.ones((1, 2, 3)), jnp.zeros((4, 3))
    >>> linear_cross_entropy(states, table, jnp.array([[2, 0]])).round(4)  # log 4
    Array([[1.3863, 1.3863]], dtype=float32)
    """
    return _linear_cross_entropy(states, table, targets, at_once)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _linear_cross_entropy(states, table, targets, at_once):
    return _forward(states, table, targets, at_once)[0]


def _forward(states, table, targets, at_once):
    matrix = table.astype(states.dtype)

    def values(state, target):
        logits = _logits(state, matrix)
        log_total = jax.nn.logsumexp(logits, axis=-1)
        return log_total - _chosen(logits, target), log_total

    parts = _parts(states, table, at_once)
    losses, log_totals = _by_parts(parts, values, states, targets)
    return losses, (states, table, targets, log_totals)


def _backward(at_once, residuals, cotangent):
    states, table, targets, log_totals = residuals
    matrix = table.astype(states.dtype)

    def gradients(total, inputs):
        state, target, log_total, weight = inputs
        probabilities = jnp.exp(_logits(state, matrix) - log_total[..., None])
        chosen = target[..., None] == jnp.arange(table.shape[0])
        slopes = ((probabilities - chosen) * weight[..., None]).astype(states.dtype)
        of_table = jnp.einsum('...v,...d->vd', slopes, state, preferred_element_type=jnp.float32)
        of_state = jnp.einsum('...v,vd->...d', slopes, matrix).astype(states.dtype)
        return total + of_table, of_state

    parts = _parts(states, table, at_once)
    inputs = [_split(leaf, parts, axis) for leaf, axis in (
        (states, -2), (targets, -1), (log_totals, -1), (cotangent.astype(jnp.float32), -1)
    )]  # fmt: skip
    start = jnp.zeros(table.shape, jnp.float32)
    if parts == 1:
        of_table, of_states = gradients(start, [leaf[0] for leaf in inputs])
    else:
        of_table, of_states = lax.scan(gradients, start, inputs)
        of_states = _joined(of_states, states.shape[-2], -2)
    return of_states, of_table.astype(table.dtype), np.zeros(targets.shape, jax.dtypes.float0)


_linear_cross_entropy.defvjp(_forward, _backward)


@checked
def max_probabilities(
    states: Float[Array, '*batch T D'],
    table: Float[Array, 'V D'],
    mask: Bool[Array, '*batch T'] | None = None,
    *,
    at_once: int = LOGITS_AT_ONCE,
) -> Float[Array, '*batch V']:
    """Returns the largest probability of every token over the positions, for MI.

    Args:
      states: what is read out.
      table: rows by token id.
      mask: positions that count; None: all of them. Where none does, the result is 0.
      at_once: how many probabilities are held, at most, in the gradient too.

    >>> states, table = jnp.array([[[0.0], [1.0]]]), jnp.array([[0.0], [1.0]])
    >>> [round(float(largest), 2) for largest in max_probabilities(states, table)[0]]
    [0.5, 0.73]
    """
    matrix = table.astype(states.dtype)
    real = jnp.ones(states.shape[:-1], bool) if mask is None else mask

    @jax.checkpoint
    def pool(largest, inputs):
        state, counts = inputs
        probabilities = jax.nn.softmax(_logits(state, matrix), axis=-1)
        probabilities = jnp.where(counts[..., None], probabilities, 0.0)
        return jnp.maximum(largest, jnp.max(probabilities, axis=-2)), None

    parts = _parts(states, table, at_once)
    start = jnp.full((*states.shape[:-2], table.shape[0]), -1.0)  # below any, so that none ties
    inputs = _split(states, parts, -2), _split(real, parts, -1)
    if parts == 1:
        return pool(start, jax.tree.map(lambda leaf: leaf[0], inputs))[0]
    return lax.scan(pool, start, inputs)[0]


def _logits(states: jax.Array, matrix: jax.Array) -> jax.Array:
    return jnp.einsum('...d,vd->...v', states, matrix, preferred_element_type=jnp.float32)


def _chosen(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


def _parts(states: jax.Array, table: jax.Array, at_once: int) -> int:
    """Into how many parts the positions are cut."""
    *rows, length, _ = states.shape
    column = max(math.prod(rows) * table.shape[0], 1)
    return -(-length // max(min(at_once // column, length), 1)) if length else 1


def _by_parts(parts, function, states, targets):
    if parts == 1:
        return function(states, targets)
    inputs = _split(states, parts, -2), _split(targets, parts, -1)
    found = lax.map(lambda each: function(*each), inputs)
    return jax.tree.map(lambda leaf: _joined(leaf, states.shape[-2], -1), found)


def _split(x: jax.Array, parts: int, axis: int) -> jax.Array:
    """Cuts an axis into parts, on a new first axis; the last part is filled up with zeros."""
    size = -(-x.shape[axis] // parts)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, size * parts - x.shape[axis])
    padded, place = jnp.pad(x, widths), x.ndim + axis
    shape = (*x.shape[:place], parts, size, *x.shape[place + 1 :])
    return jnp.moveaxis(padded.reshape(shape), place, 0)


def _joined(x: jax.Array, length: int, axis: int) -> jax.Array:
    """The inverse of `_split`, for an axis that was `length` long."""
    place = x.ndim - 1 + axis  # of the parts, once they are back before their axis
    x = jnp.moveaxis(x, 0, place)
    x = x.reshape(*x.shape[:place], -1, *x.shape[place + 2 :])
    return lax.slice_in_dim(x, 0, length, axis=place)
