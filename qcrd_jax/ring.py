"""The ring of past parameters: what makes "j iterations before" exact.

QCRD's negatives at step t come from the student as it was j iterations earlier (section 3.2.1,
appendix A.2). With I optimiser steps per iteration the generator is theta_(t - j I), and theta_0
before step j I. The ring has j I slots; before step t they hold exactly

    theta_(t - j I), ..., theta_(t - 1)          (theta_0 for negative indices).

Step t samples from the oldest slot, which is also the one that theta_t replaces. The slots are the
leading axis of every leaf: all of them are sampled as they lie, and a slot is written in place
where the ring's buffers are donated. Each slot is a whole parameter tree in device memory: a ring
costs j I times the student, or half of that where its matrices are kept in bfloat16.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from qcrd_jax.models.protocol import Params

__all__ = ['Ring']


@functools.partial(jax.tree_util.register_dataclass, data_fields=['slots'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Ring:
    """Past parameters; theta_s is in slot s modulo the number of slots.

    Immutable: `push` returns a new ring. A pytree, so that Orbax saves it as it is.
    """

    slots: Any  # a parameter tree whose leaves have an axis of slots before their own

    @classmethod
    def create(cls, params: Params, lag: int) -> 'Ring':
        """Returns the ring before step 0: `lag` times theta_0.

        Args:
          params: theta_0, in the types that the ring keeps.
          lag: optimiser steps between the student and its generator (j times I).

        Raises:
          ValueError: if `lag` is not positive.
        """
        if lag < 1:
            raise ValueError(f'lag: expected at least 1 step, got {lag}.')
        return cls(jax.tree.map(lambda leaf: jnp.repeat(leaf[None], lag, axis=0), params))

    @property
    def lag(self) -> int:
        """Optimiser steps between the student and its generator."""
        return jax.tree.leaves(self.slots)[0].shape[0]

    def generator(self, step: int | Int[Array, '']) -> Params:
        """Returns theta_max(step - lag, 0), before `push(step, ...)`."""
        slot = step % self.lag
        return jax.tree.map(
            lambda leaf: lax.dynamic_index_in_dim(leaf, slot, keepdims=False), self.slots
        )

    def push(self, step: int | Int[Array, ''], params: Params) -> 'Ring':
        """Returns the ring with theta_step in the place of theta_(step - lag)."""
        slot = step % self.lag

        def write(leaf: jax.Array, new: jax.Array) -> jax.Array:
            return lax.dynamic_update_index_in_dim(leaf, new.astype(leaf.dtype), slot, 0)

        return Ring(jax.tree.map(write, self.slots, params))

    def turns(self, step: int | Int[Array, '']) -> Int[Array, ' J']:
        """Returns for every slot how many steps after `step` it is sampled: 0 to lag - 1."""
        return (jnp.arange(self.lag) - step) % self.lag
