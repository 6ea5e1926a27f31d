"""Programs over any method: the compiled step, the chunk of J steps, and several seeds at once.

The plain step, `take_step`, is the specification. The others give its numbers in less time:

* `take_chunk` samples the negatives of J steps in one decoding loop. Their generators,
  theta_(t - J) to theta_(t - 1), are all known at step t: they are the slots of the ring. A
  `lax.scan` over J updates follows, each of which leaves its parameters in the ring: J times fewer
  sequential decoding steps.
* `over_seeds` makes one method of P runs that only differ in their seed. They have
  parameters, moments, rings, batches and keys of their own, and the same shapes: stacked on an
  axis P they are one program, whose update is the `vmap` of an update. Small students leave
  most of a device idle; together they fill it. Sums may be taken in another order.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key

from qcrd_jax import interruption
from qcrd_jax.data.batches import BatchStream, stacked, windows_of
from qcrd_jax.methods.method import Method
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.rationales import Batch
from qcrd_jax.methods.state import TrainState, step_keys
from qcrd_jax.models.protocol import Params
from qcrd_jax.ring import Ring


@runtime_checkable
class Compiled(Protocol):
    """A compiled `take_step` or `take_chunk`, all but the method as its arguments.

    `lower` takes arrays or their shapes, as that of `jax.jit` does.
    """

    def __call__(self, progress: Any, batch: Batch, key: Array, fixed: Any = None, /) -> Any:
        """Takes the step, or the steps."""
        ...

    def lower(self, progress: Any, batch: Batch, key: Any, fixed: Any = None, /) -> Any:
        """Traces it."""
        ...


class Progress(NamedTuple):
    """What training changes."""

    state: TrainState
    ring: Ring | None


# --- Pure functions -------------------------------------------------------------------------------


def take_step(
    method: Method,
    progress: Progress,
    batch: Batch,
    key: Key[Array, '*seeds'],
    fixed_generator: Params | None = None,
) -> tuple[Progress, Metrics]:
    """One step: `method.sample` from the generator, then `method.update`.

    Args:
      method: of one run, or `over_seeds` of several; all arguments but the step's number are then
        stacked.
      progress: before the step.
      batch: of the step.
      key: the run's base key.
      fixed_generator: what is sampled where there is no ring; None where nothing is.
    """
    state, ring = progress
    generator = fixed_generator if ring is None else ring.generator(state.step)
    sampled = method.sample(generator, batch, step_keys(key, state.step).negatives)
    return _updated(method, progress, batch, sampled, key)


def take_chunk(
    method: Method, progress: Progress, batches: Batch, key: Key[Array, '*seeds']
) -> tuple[Progress, Metrics]:
    """J times `take_step`, whose negatives are sampled together.

    Args:
      method: as `take_step` has it.
      progress: before the first of the J steps.
      batches: of the J steps; every leaf is stacked on a leading axis J.
      key: the run's base key.

    Returns:
      The progress after the steps, and the metrics, stacked on a leading axis J.
    """
    state, ring = progress
    assert ring is not None
    steps = state.step + jnp.arange(ring.lag)
    keys = jax.vmap(step_keys, in_axes=(None, 0))(key, steps).negatives
    # In the order of the slots, so that no slot is copied; then in that of the steps.
    turns = ring.turns(state.step)
    of_slots, slot_keys = jax.tree.map(lambda leaf: leaf[turns], (batches, keys))
    sampled = method.sample(ring.slots, of_slots, slot_keys)
    sampled = jax.tree.map(lambda leaf: leaf[steps % ring.lag], sampled)

    def body(progress: Progress, inputs: Any) -> tuple[Progress, Metrics]:
        batch, drawn = inputs
        return _updated(method, progress, batch, drawn, key)

    return lax.scan(body, progress, (batches, sampled))


def _updated(
    method: Method, progress: Progress, batch: Batch, sampled: Any, key: Array
) -> tuple[Progress, Metrics]:
    """Leaves the parameters in the ring, and takes the step."""
    state, ring = progress
    ring = ring and ring.push(state.step, state.params)
    state, metrics = method.update(state, batch, sampled, key)
    return Progress(state, ring), metrics


def ring_of(method: Method, params: Params) -> Ring | None:
    """Returns the ring before step 0; None for a method that has none.

    Args:
      method: of one run.
      params: theta_0.
    """
    negatives = method.negatives
    if negatives is None or not negatives.lag:
        return None
    return Ring.create(method.student.narrowed(params, negatives.ring_dtype), negatives.lag)


# --- Several seeds --------------------------------------------------------------------------------

# The number of the step is not stacked, for the seeds advance together: what only depends on it (is
# the discriminator's update due?) stays a branch, and does not become the price of both branches.
_SEED_AXES = TrainState(params=0, opt_state=0, step=None, discriminator=0)


@dataclasses.dataclass(frozen=True)
class _Seeds:
    """A method for P seeds. Its generators are sampled by one loop, its updates are a `vmap`.

    (A `vmap` over the whole step would be right and slow: the decoding loop would carry its
    position P times and write its cache by scattering.)
    """

    method: Method

    @property
    def student(self):
        return self.method.student

    @property
    def optimizer(self):
        return self.method.optimizer

    @property
    def negatives(self):
        return self.method.negatives

    def sample(self, generators, batches, keys):
        return self.method.sample(generators, batches, keys)

    def update(self, state, batch, sampled, key):
        update = jax.vmap(
            self.method.update, in_axes=(_SEED_AXES, 0, 0, 0), out_axes=(_SEED_AXES, 0)
        )
        return update(state, batch, sampled, key)


def over_seeds(method: Method) -> Method:
    """Returns the method of P seeds, whose states (`stack`), batches and keys are stacked."""
    return _Seeds(method)


class StackedBatches:
    """The batches of P runs: `batches[step]` is a dict of arrays [P, ...]."""

    def __init__(self, streams: Sequence[BatchStream]):
        self._streams = streams

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        return stacked([stream[step] for stream in self._streams], axis=0)

    def window(self, step: int, count: int) -> dict[str, np.ndarray]:
        """The batches of `count` steps [count, P, ...], in one shape."""
        return stacked(windows_of(self._streams, step, count), axis=1)


def stack(runs: Sequence[Progress]) -> Progress:
    """The progress of P runs, all before the same step, as that of one program."""
    states = [run.state for run in runs]
    state = TrainState(
        params=stack_trees([state.params for state in states]),
        opt_state=stack_trees([state.opt_state for state in states]),
        step=states[0].step,
        discriminator=stack_trees([state.discriminator for state in states]),
    )
    return Progress(state, stack_trees([run.ring for run in runs], axis=1))


def unstack(progress: Progress, place: int) -> Progress:
    """The run at a place of a stacked progress: the inverse of `stack`."""
    state, ring = progress

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[place], tree)

    single = TrainState(
        take(state.params), take(state.opt_state), state.step, take(state.discriminator)
    )
    return Progress(single, jax.tree.map(lambda leaf: leaf[:, place], ring))


def stack_trees(trees: Sequence[Any], axis: int = 0) -> Any:
    """Trees of the same shape on a new axis; None where they are all None."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)


# --- Compiled -------------------------------------------------------------------------------------


def step(method: Method) -> Compiled:
    """Compiles `take_step`; the progress is donated."""
    return jax.jit(functools.partial(take_step, method), donate_argnums=0)


def chunk(method: Method) -> Compiled:
    """Compiles `take_chunk`; the progress is donated."""
    return jax.jit(functools.partial(take_chunk, method), donate_argnums=0)


def lag(method: Method) -> int:
    """Steps between the student and its generator; 0 where there is no ring."""
    return method.negatives.lag if method.negatives else 0


def steps_together(method: Method) -> int:
    """Steps whose negatives one decoding loop samples: those of a chunk, or one."""
    negatives = method.negatives
    return max(negatives.lag, 1) if negatives and negatives.together else 1


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled programs of a method: the single step and, with a ring, the chunk.

    Attributes:
      step: of `step`.
      chunk: of `chunk`, where negatives are sampled for several steps together.
      lag: steps of a chunk, and slots of the ring; 0 without one.
      seen: the shapes that were asked for.
    """

    step: Compiled
    chunk: Compiled | None
    lag: int
    seen: set[Any] = dataclasses.field(default_factory=set, compare=False)

    def advance(
        self,
        progress: Progress,
        batches: BatchStream,
        key: Key[Array, '*seeds'],
        step: int,
        limit: int,
        fixed_generator: Params | None = None,
    ) -> tuple[Progress, int, Metrics]:
        """Takes one step, or a chunk of them if they all end by `limit`.

        The buffers of `progress` are donated.

        Args:
          progress: before step `step`.
          batches: of every step.
          key: the run's base key.
          step: t.
          limit: no step from here on is taken.
          fixed_generator: what is sampled where there is no ring.

        Returns:
          The progress, the next step, and the metrics of what was taken.
        """
        count = self.steps_at_once(step, limit)
        batch = joined(batches, step, count)
        progress, metrics = self.take(progress, batch, key, count, fixed_generator)
        return progress, step + count, metrics

    def steps_at_once(self, step: int, limit: int) -> int:
        """Returns how many steps the next program takes: those of a chunk, or one."""
        return self.lag if self.chunk is not None and step + self.lag <= limit else 1

    def is_new(self, batch: Batch, count: int) -> bool:
        """Whether a program of these shapes is asked for the first time, and compiled."""
        shapes = count, *((name, leaf.shape) for name, leaf in sorted(batch.items()))
        new = shapes not in self.seen
        self.seen.add(shapes)
        return new

    def take(
        self,
        progress: Progress,
        batch: Batch,
        key: Key[Array, '*seeds'],
        count: int,
        fixed_generator: Params | None = None,
    ) -> tuple[Progress, Metrics]:
        """Takes `count` steps, whose batch is that of `joined`; see `advance`."""
        if self.chunk is not None and count == self.lag:
            return self.chunk(progress, batch, key)
        return self.step(progress, batch, key, fixed_generator)

    def greediest(
        self, progress: Any, batch: Any, key: Any, fixed_generator: Any = None, *, steps: int
    ) -> Any:
        """Returns the program, compiled by itself, that takes most memory of those that run.

        Where the same program is run afterwards it is found compiled, so that this costs no time.

        Args:
          progress: arrays or their shapes, as all that follows.
          batch: of any step.
          key: the run's base key.
          fixed_generator: what is sampled where there is no ring.
          steps: in a row; a chunk is taken where they are enough.
        """
        if self.chunk is None or steps < self.lag:
            return self.step.lower(progress, batch, key, fixed_generator).compile()
        batches = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.lag, *leaf.shape), leaf.dtype), batch
        )
        return self.chunk.lower(progress, batches, key).compile()


def joined(batches: BatchStream, step: int, count: int) -> dict[str, np.ndarray]:
    """Returns the batch of a step, or those of `count` steps from there on, stacked."""
    window = batches.window(step, count)
    return window if count > 1 else {name: leaf[0] for name, leaf in window.items()}


@functools.lru_cache(maxsize=1)
def compiled(method: Method) -> Programs:
    """Returns the programs of a method; runs that follow one another compile them once."""
    together = steps_together(method) > 1
    return Programs(step(method), chunk(method) if together else None, lag(method))


def sampling_seconds(
    method: Method,
    generators: Params,
    batches: Sequence[dict[str, np.ndarray]],
    key: Key[Array, ''],
    *,
    repeats: int = 5,
) -> float:
    """Median wall time of sampling for one step, measured by itself.

    Args:
      method: what samples.
      generators: of one batch; of several, as many on a leading axis, sampled together.
      batches: of the same shape.
      key: of the draws.
      repeats: timed runs, after one that compiles.
    """
    sample, arguments = jax.jit(method.sample), (generators, batches[0], key)
    if len(batches) > 1:
        arguments = (generators, stacked(batches), jax.random.split(key, len(batches)))
    seconds = []
    for _ in range(repeats + 1):
        interruption.check()
        start = time.perf_counter()
        jax.block_until_ready(sample(*arguments))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])) / len(batches)
