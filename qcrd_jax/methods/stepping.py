"""Running the steps: one at a time, or as many at once as the ring has generators for."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.methods import steps
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.rationales import sample_negatives, sample_negatives_together
from qcrd_jax.models.protocol import Params
from qcrd_jax.ring import Ring


class Progress(NamedTuple):
    """What training changes."""

    state: steps.TrainState
    ring: Ring | None


@runtime_checkable
class BatchStream(Protocol):
    """Random access by step; `data.batches.training_batches` is one."""

    def __getitem__(self, step: int) -> dict[str, np.ndarray]: ...


class Stepper:
    """Advances a run. Compiles once per program: the single step, and the chunk of J steps.

    Attributes:
      lag: steps between the student and its generator; 0 without a ring.
    """

    def __init__(
        self,
        step: steps.Step,
        chunk: Callable[..., Any] | None,
        batches: BatchStream,
        key: jax.Array,
        *,
        lag: int = 0,
        fixed_generator: Params | None = None,
    ):
        """Prepares the programs; nothing is compiled yet.

        Args:
          step: of `qcrd_jax.steps`.
          chunk: of `steps.make_qcrd_chunk`, to sample for `lag` steps together; None: one by one.
          batches: of every step.
          key: the run's base key.
          lag: slots of the ring; 0: there is none.
          fixed_generator: sampled at every step in place of a ring.
        """
        self.lag = lag
        self._step = steps.compile_step(step, ring=lag > 0)
        self._chunk = jax.jit(chunk, donate_argnums=(0, 1)) if chunk and lag > 1 else None
        self._batches, self._key, self._fixed = batches, key, fixed_generator

    def advance(self, progress: Progress, step: int, limit: int) -> tuple[Progress, int, Metrics]:
        """Takes one step, or `lag` of them if they all end by `limit`.

        The buffers of `progress` are donated.

        Args:
          progress: before step `step`.
          step: t.
          limit: no step from here on is taken.

        Returns:
          The progress, the next step, and the metrics of what was taken.
        """
        state, ring = progress
        if self._chunk is not None and step + self.lag <= limit:
            batches = [self._batches[t] for t in range(step, step + self.lag)]
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
            state, past, metrics = self._chunk(state, ring.oldest_first(step), stacked, self._key)
            after = step + self.lag
            return Progress(state, Ring.from_oldest_first(past, after)), after, metrics
        batch = self._batches[step]
        if ring is None:
            state, metrics = self._step(state, self._fixed, batch, self._key)
            return Progress(state, None), step + 1, metrics
        past = state.params
        state, metrics = self._step(state, ring.generator(step), batch, self._key)
        return Progress(state, ring.push(step, past)), step + 1, metrics


def sampling_seconds(
    student: Any,
    generators: Sequence[Params],
    batches: Sequence[dict[str, np.ndarray]],
    key: jax.Array,
    how: steps.NegativeSampling,
    *,
    repeats: int = 5,
) -> float:
    """Median wall time of sampling negatives for one step, measured by itself.

    Args:
      student: the model.
      generators: one, or J of them that are sampled together.
      batches: one for each generator.
      key: of the draws.
      how: the sampling.
      repeats: timed runs, after one that compiles.
    """
    if len(generators) == 1:
        sample = jax.jit(lambda params, batch: sample_negatives(student, params, batch, key, how))
        arguments = generators[0], batches[0]
    else:

        def together(params, batch):
            keys = jax.random.split(key, len(generators))
            return sample_negatives_together(student, params, batch, keys, how)

        sample = jax.jit(together)
        arguments = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *generators),
            jax.tree.map(lambda *leaves: np.stack(leaves), *batches),
        )
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(sample(*arguments))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])) / len(generators)
