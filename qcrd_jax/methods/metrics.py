"""Metrics of steps as (sum, count) pairs: added up over any number of steps, divided once."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Metrics = dict[str, tuple[Any, Any]]  # name -> (sum, count), arrays of a device or of NumPy


def single(value: Float[Array, '']) -> tuple[Array, Array]:
    """A metric of a step as a whole."""
    return jnp.asarray(value, jnp.float32), jnp.float32(1)


def over(values: Float[Array, '*shape'], mask: Bool[Array, '*shape']) -> tuple[Array, Array]:
    """A metric of single rationales or questions: the sum over the mask and how many there are."""
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total, jnp.sum(mask).astype(jnp.float32)


def mean(metrics: Iterable[Metrics]) -> dict[str, float | None]:
    """The mean of every metric over steps, as Python floats; None where nothing was counted.

    Args:
      metrics: of single steps, or of several with a leading axis.
    """
    totals: dict[str, list[float]] = {}
    for step in metrics:
        for name, (total, count) in step.items():
            entry = totals.setdefault(name, [0.0, 0.0])
            entry[0] += float(np.sum(np.asarray(total, np.float64)))
            entry[1] += float(np.sum(np.asarray(count, np.float64)))
    return {name: total / count if count else None for name, (total, count) in totals.items()}
