"""Metrics of steps as (sum, count) pairs: added up over any number of steps, divided once."""

import functools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Metrics = dict[str, tuple[Any, Any]]  # name -> (sum, count), arrays of a device or of NumPy
Totals = dict[str, tuple[float, float]]  # name -> (sum, count) over steps


def single(value: Float[Array, ''], parts: int = 1) -> tuple[Array, Array]:
    """A metric of a step as a whole, or what one of several parts of its batch adds to it."""
    return jnp.asarray(value, jnp.float32), jnp.float32(1 / parts)


def over(values: Float[Array, '*shape'], mask: Bool[Array, '*shape']) -> tuple[Array, Array]:
    """A metric of single rationales or questions: the sum over the mask and how many there are."""
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total, jnp.sum(mask).astype(jnp.float32)


def padding(ids: Iterable[Int[Array, '...']], pad_id: int) -> tuple[Array, Array]:
    """The share of padding among the tokens that a step computes with."""
    ids = list(ids)
    pads = sum(jnp.sum(each == pad_id, dtype=jnp.float32) for each in ids)
    return jnp.asarray(pads, jnp.float32), jnp.float32(sum(each.size for each in ids))


def add(totals: Totals, metrics: Metrics) -> Totals:
    """Adds the metrics of a step, or of several with a leading axis, to totals; in float64."""
    added = dict(totals)
    for name, pair in metrics.items():
        total, count = (float(np.sum(np.asarray(part, np.float64))) for part in pair)
        before = totals.get(name, (0.0, 0.0))
        added[name] = (before[0] + total, before[1] + count)
    return added


def divide(totals: Totals) -> dict[str, float | None]:
    """The mean of every metric, as Python floats; None where nothing was counted."""
    return {name: total / count if count else None for name, (total, count) in totals.items()}


def mean(metrics: Iterable[Metrics]) -> dict[str, float | None]:
    """The mean of every metric over steps, as Python floats; None where nothing was counted.

    Args:
      metrics: of single steps, or of several with a leading axis.
    """
    return divide(functools.reduce(add, metrics, {}))
