"""Programs over any method: the compiled step, the chunk of J steps, and several seeds at once.

The plain step, `take_step`, is the specification. The others give its numbers in less time:

* `take_chunk` samples the negatives of J steps in one decoding loop. Their generators,
  theta_(t - J) to theta_(t - 1), are all known at step t. A `lax.scan` over J updates follows and
  collects theta_t to theta_(t + J - 1), the next ring: J times fewer sequential decoding steps.
* `over_seeds` makes one method of P runs that only differ in their seed. They have
  parameters, moments, rings, batches and keys of their own, and the same shapes: stacked on a
  leading axis P they are one program, whose update is the `vmap` of an update. Small students leave
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
from qcrd_jax.data.batches import BatchStream
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

    def __call__(self, state: TrainState, past: Any, batch: Batch, key: Array, /) -> Any:
        """Takes the step, or the steps."""
        ...

    def lower(self, state: Any, past: Any, batch: Any, key: Any, /) -> Any:
        """Traces it."""
        ...


class Progress(NamedTuple):
    """What training changes."""

    state: TrainState
    ring: Ring | None


# --- Pure functions -------------------------------------------------------------------------------


def take_step(
    method: Method,
    state: TrainState,
    generator: Params | None,
    batch: Batch,
    key: Key[Array, '*seeds'],
) -> tuple[TrainState, Metrics]:
    """One step: `method.sample` from the generator, then `method.update`.

    Args:
      method: of one run, or `over_seeds` of several; all arguments but the step's number are then
        stacked.
      state: before the step.
      generator: the past parameters that are sampled; None where the method samples nothing.
      batch: of the step.
      key: the run's base key.
    """
    sampled = method.sample(generator, batch, step_keys(key, state.step).negatives)
    return method.update(state, batch, sampled, key)


def take_chunk(
    method: Method,
    state: TrainState,
    past: tuple[Params, ...],
    batches: Batch,
    key: Key[Array, '*seeds'],
) -> tuple[TrainState, tuple[Params, ...], Metrics]:
    """J times `take_step`, whose negatives are sampled together.

    Args:
      method: as `take_step` has it.
      state: before the first of the J steps.
      past: the generators of the J steps, oldest first.
      batches: of the J steps; every leaf is stacked on a leading axis J.
      key: the run's base key.

    Returns:
      The state, the parameters that the J steps began from (the next ring, oldest first), and the
      metrics, stacked on a leading axis J.
    """
    steps = state.step + jnp.arange(len(past))
    generators = jax.tree.map(lambda *slots: jnp.stack(slots), *past)
    sampling_keys = jax.vmap(step_keys, in_axes=(None, 0))(key, steps).negatives
    sampled = method.sample(generators, batches, sampling_keys)

    def body(state, inputs):
        batch, sampled = inputs
        new_state, metrics = method.update(state, batch, sampled, key)
        return new_state, (state.params, metrics)

    state, (trajectory, metrics) = lax.scan(body, state, (batches, sampled))
    past = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], trajectory) for i in range(len(past)))
    return state, past, metrics


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
        return _stack_host([stream[step] for stream in self._streams])


def stack(runs: Sequence[Progress]) -> Progress:
    """The progress of P runs, all before the same step, as that of one program."""
    states = [run.state for run in runs]
    state = TrainState(
        params=stack_trees([state.params for state in states]),
        opt_state=stack_trees([state.opt_state for state in states]),
        step=states[0].step,
        discriminator=stack_trees([state.discriminator for state in states]),
    )
    slots = [run.ring.slots for run in runs if run.ring is not None]
    if not slots:
        return Progress(state, None)
    return Progress(state, Ring(tuple(stack_trees(slot) for slot in zip(*slots, strict=True))))


def unstack(progress: Progress, place: int) -> Progress:
    """The run at a place of a stacked progress: the inverse of `stack`."""

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[place], tree)

    state, ring = progress
    single = TrainState(
        take(state.params), take(state.opt_state), state.step, take(state.discriminator)
    )
    return Progress(single, Ring(tuple(take(slot) for slot in ring.slots)) if ring else None)


def stack_trees(trees: Sequence[Any]) -> Any:
    """Trees of the same shape on a new leading axis; None where they are all None."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _stack_host(batches: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


# --- Compiled -------------------------------------------------------------------------------------


class _WithRing:
    """The jitted step with a ring, called as all others are."""

    def __init__(self, run: Any):
        self._run = run

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*self._split(*arguments))

    def lower(self, *arguments: Any) -> Any:
        return self._run.lower(*self._split(*arguments))

    @staticmethod
    def _split(state, generator, batch, key):
        return generator, dataclasses.replace(state, params=None), state.params, batch, key


def step(method: Method) -> Compiled:
    """Compiles `take_step` with donated buffers; it is traced once for one shape of batch.

    With a ring the generator's buffers become theta_(t + 1), and theta_t is left for the ring.
    Without one the state is donated, and the generator (a fixed one, or None) is left.
    """
    if not lag(method):
        return jax.jit(functools.partial(take_step, method), donate_argnames='state')

    # Donated buffers go to outputs of their shape in order: the generator's to the new parameters,
    # each moment's to itself.
    @functools.partial(jax.jit, donate_argnames=('generator', 'rest'), keep_unused=True)
    def run(generator, rest, params, batch, key):
        return take_step(method, dataclasses.replace(rest, params=params), generator, batch, key)

    return _WithRing(run)


def chunk(method: Method) -> Compiled:
    """Compiles `take_chunk`; state and ring are donated."""
    return jax.jit(functools.partial(take_chunk, method), donate_argnames=('state', 'past'))


def lag(method: Method) -> int:
    """Steps between the student and its generator; 0 where there is no ring."""
    return method.negatives.lag if method.negatives else 0


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled programs of a method: the single step and, with a ring, the chunk.

    Attributes:
      step: of `step`.
      chunk: of `chunk`, where negatives are sampled for several steps together.
      lag: steps of a chunk, and slots of the ring; 0 without one.
    """

    step: Compiled
    chunk: Compiled | None
    lag: int

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
        progress, metrics = self.take(progress, batch, key, step, count, fixed_generator)
        return progress, step + count, metrics

    def steps_at_once(self, step: int, limit: int) -> int:
        """Returns how many steps the next program takes: those of a chunk, or one."""
        return self.lag if self.chunk is not None and step + self.lag <= limit else 1

    def take(
        self,
        progress: Progress,
        batch: Batch,
        key: Key[Array, '*seeds'],
        step: int,
        count: int,
        fixed_generator: Params | None = None,
    ) -> tuple[Progress, Metrics]:
        """Takes `count` steps, whose batch is that of `joined`; see `advance`."""
        state, ring = progress
        if ring is None:
            state, metrics = self.step(state, fixed_generator, batch, key)
            return Progress(state, None), metrics
        if self.chunk is not None and count == self.lag:
            state, past, metrics = self.chunk(state, ring.oldest_first(step), batch, key)
            return Progress(state, Ring.from_oldest_first(past, step + count)), metrics
        past = state.params
        state, metrics = self.step(state, ring.generator(step), batch, key)
        return Progress(state, ring.push(step, past)), metrics

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
        state, ring = progress
        if ring is None:
            return self.step.lower(state, fixed_generator, batch, key).compile()
        if self.chunk is None or steps < self.lag:
            return self.step.lower(state, ring.slots[0], batch, key).compile()
        batches = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.lag, *leaf.shape), leaf.dtype), batch
        )
        return self.chunk.lower(state, ring.slots, batches, key).compile()


def joined(batches: BatchStream, step: int, count: int) -> dict[str, np.ndarray]:
    """Returns the batch of a step, or those of `count` steps from there on, stacked."""
    if count == 1:
        return batches[step]
    return _stack_host([batches[t] for t in range(step, step + count)])


@functools.lru_cache(maxsize=1)
def compiled(method: Method) -> Programs:
    """Returns the programs of a method; runs that follow one another compile them once."""
    together = lag(method) > 1 and method.negatives is not None and method.negatives.together
    return Programs(step(method), chunk(method) if together else None, lag(method))


def sampling_seconds(
    method: Method,
    generators: Sequence[Params],
    batches: Sequence[dict[str, np.ndarray]],
    key: Key[Array, ''],
    *,
    repeats: int = 5,
) -> float:
    """Median wall time of sampling for one step, measured by itself.

    Args:
      method: what samples.
      generators: one, or J of them that are sampled together.
      batches: one for each generator.
      key: of the draws.
      repeats: timed runs, after one that compiles.
    """
    sample, arguments = jax.jit(method.sample), (generators[0], batches[0], key)
    if len(generators) > 1:
        keys = jax.random.split(key, len(generators))
        arguments = (stack_trees(generators), _stack_host(batches), keys)
    seconds = []
    for _ in range(repeats + 1):
        interruption.check()
        start = time.perf_counter()
        jax.block_until_ready(sample(*arguments))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])) / len(generators)
