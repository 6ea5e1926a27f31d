"""What a method of training is: a frozen value with two pure functions, and what they share.

A step of any method is `sampled = sample(generator, batch, key)`, then `update(state, batch,
sampled, key)`. They are apart so that `programs` can sample for several steps, or for several
seeds, in one decoding loop; who adds a method writes these two and nothing about compilation.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import optax
from jaxtyping import Array, Float, Int, Key

from qcrd_jax.methods.metrics import Metrics, single
from qcrd_jax.methods.optimizers import apply_if_finite
from qcrd_jax.methods.parts import summed
from qcrd_jax.methods.rationales import Batch, NegativeSampling
from qcrd_jax.methods.state import TrainState
from qcrd_jax.models.lora import LoraStudent
from qcrd_jax.models.protocol import Params, Student


@runtime_checkable
class Method(Protocol):
    """A frozen, hashable object (static under `jax.jit`) of pure functions.

    Metrics are (sum, count) pairs, so that means over many steps are exact. A step whose gradient
    is not finite leaves the student as it was and counts under 'nonfinite'.
    """

    @property
    def student(self) -> Student:
        """The model that is trained."""
        ...

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """The student's optimiser."""
        ...

    @property
    def negatives(self) -> NegativeSampling | None:
        """How past parameters are sampled; None where the method samples nothing."""
        ...

    def sample(self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']) -> Any:
        """What the generators write for the questions of the batches, a pytree for `update`.

        Args:
          generators: past parameters; every leaf has the leading axes of `keys`. None where the
            method samples nothing.
          batches: as `data.batches` makes them, with the same leading axes before B.
          keys: one for each generator (`state.StepKeys.negatives`).
        """
        ...

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """Takes the step that `state` stands before.

        Args:
          state: theta_t and all that goes with it.
          batch: of this step.
          sampled: of `sample`.
          key: the run's base key; the number of the step is folded in here.
        """
        ...


@runtime_checkable
class Spreading(Protocol):
    """A method that has to know over how many devices the questions of a batch are spread."""

    def spread(self, shards: int) -> Method:
        """Returns the method for so many devices; its numbers stay as they are."""
        ...


@dataclasses.dataclass(frozen=True)
class Around:
    """What a method around another one has from it."""

    method: Method

    @property
    def student(self) -> Student:
        """That of the method."""
        return self.method.student

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """That of the method."""
        return self.method.optimizer

    @property
    def negatives(self) -> NegativeSampling | None:
        """That of the method."""
        return self.method.negatives


def over(method: Method, base: Params | None) -> Method:
    """Returns the method whose student computes beside frozen weights; itself where there are none.

    Args:
      method: of a student with adapters, or any.
      base: the frozen weights, inside of a program; None where all weights are trained.
    """
    if base is None:
        return method
    if isinstance(method, Around):
        return dataclasses.replace(method, method=over(method.method, base))
    student = method.student
    assert isinstance(student, LoraStudent)
    return dataclasses.replace(cast(Any, method), student=student.over(base))


def update_student(
    state: TrainState,
    optimizer: optax.GradientTransformation,
    loss_fn: Callable[[Params, Any, Int[Array, ' rows']], tuple[Float[Array, ''], Metrics]],
    inputs: Any,
    *,
    parts: int = 1,
) -> tuple[TrainState, Metrics]:
    """Differentiates, clips and applies; adds the metrics that all methods share.

    Args:
      state: before the step.
      optimizer: the student's.
      loss_fn: what some rows of the inputs, of the numbers that it gets too, add to the loss.
      inputs: a pytree of arrays whose first axis is that of the questions.
      parts: into how many parts the questions are cut, whose gradients are taken one after another
        and added up (gradient accumulation).
    """
    (loss, metrics), gradient = summed(loss_fn, state.params, inputs, parts)
    params, opt_state, finite = apply_if_finite(optimizer, gradient, state.opt_state, state.params)
    metrics = metrics | {
        'loss': single(loss),
        'gradient_norm': single(optax.tree.norm(gradient)),
        'nonfinite': single(1.0 - finite),
    }
    new_state = dataclasses.replace(state, params=params, opt_state=opt_state, step=state.step + 1)
    return new_state, metrics
