"""Learning from a batch in parts: what a part adds to a mean, and what the parts add up to."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from qcrd_jax.models.protocol import Params


def share(
    values: Float[Array, '*shape'], mask: Any, whole: Int[Array, ''] | int
) -> Float[Array, '']:
    """What the values that a mask keeps add to a mean over `whole` of them."""
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total / jnp.maximum(whole, 1)


def summed(loss_fn: Callable[..., Any], params: Params, inputs: Any, parts: int) -> Any:
    """Returns ((loss, metrics), gradient), added up over the parts of a batch.

    A part has every `parts`-th question: where questions are spread over devices, each device has
    as many in every part, and none changes places.

    Args:
      loss_fn: as `update_student` has it.
      params: that are learned.
      inputs: a pytree of arrays whose first axis is that of the questions.
      parts: how many; they divide the questions.
    """
    differentiate = jax.value_and_grad(loss_fn, has_aux=True)
    numbers = jnp.arange(jax.tree.leaves(inputs)[0].shape[0], dtype=jnp.int32)
    if parts == 1:
        return differentiate(params, inputs, numbers)

    def cut(leaf: Array) -> Array:
        return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

    all_parts = jax.tree.map(cut, (inputs, numbers))
    one = jax.tree.map(lambda leaf: leaf[0], all_parts)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(differentiate, params, *one)
    )

    def add(total, part):
        return jax.tree.map(jnp.add, total, differentiate(params, *part)), None

    return lax.scan(add, zeros, all_parts)[0]
