"""What a step changes: student and discriminator, their optimisers, the number of the step."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from qcrd_jax.models.protocol import Params
from qcrd_jax.ring import Ring


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=['params', 'opt_state', 'updates'], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class DiscriminatorState:
    """The discriminator, its own optimiser, and how often it was updated online.

    Pytrees hold shapes, shardings or masks as well as arrays: their fields are not type-checked.
    """

    params: Any
    opt_state: Any
    updates: Any  # int32 []

    @classmethod
    def create(
        cls, params: Params, optimizer: optax.GradientTransformation
    ) -> 'DiscriminatorState':
        """Returns the state before the first update."""
        return cls(params, optimizer.init(params), jnp.int32(0))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['params', 'opt_state', 'step', 'discriminator'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class TrainState:
    """theta_t, its optimiser, t, and the discriminator (None where a method has none)."""

    params: Any  # theta_t
    opt_state: Any
    step: Any  # t, int32 []
    discriminator: Any = None  # DiscriminatorState

    @classmethod
    def create(
        cls,
        params: Params,
        optimizer: optax.GradientTransformation,
        discriminator: DiscriminatorState | None = None,
    ) -> 'TrainState':
        """Returns the state before step 0."""
        return cls(params, optimizer.init(params), jnp.int32(0), discriminator)


class Progress(NamedTuple):
    """What training changes."""

    state: TrainState
    ring: Ring | None


class Fixed(NamedTuple):
    """What steps read and training does not change.

    Attributes:
      generator: what is sampled where there is no ring; None where nothing is. That of several
        seeds is stacked.
      base: the frozen weights of a student with adapters (`models.lora`), which seeds share; None
        where all weights are trained.
    """

    generator: Params | None = None
    base: Params | None = None


NOTHING_FIXED = Fixed()
"""Of steps that sample from a ring or not at all, and train all weights."""


class StepKeys(NamedTuple):
    """What a step draws with."""

    negatives: Key[Array, '*lead']  # sampling from the generator
    student: Key[Array, '*lead']  # its dropout
    discriminator: Key[Array, '*lead']  # its dropout


def step_keys(key: Key[Array, '*lead'], step: Int[Array, '']) -> StepKeys:
    """The keys of step t of a run, or of several runs whose base keys are stacked.

    Args:
      key: the run's base key.
      step: t.
    """
    if key.ndim:
        return jax.vmap(step_keys, in_axes=(0, None))(key, step)
    return StepKeys(*jax.random.split(jax.random.fold_in(key, step), 3))
