"""Programs over any method: the step, its parts for J steps in a row, and several seeds at once.

The plain step, `take_step`, is the specification. The others give its numbers in less time:

* `sample_ahead` samples the negatives of J steps in one decoding loop. Their generators,
  theta_(t - J) to theta_(t - 1), are all known at step t: they are the slots of the ring. J times
  `learn` follows, which leaves the parameters in the ring: J times fewer sequential decoding steps.
* `over_seeds` makes one method of P runs that only differ in their seed. They have
  parameters, moments, rings, batches and keys of their own, and the same shapes: stacked on an
  axis P they are one program, whose update is the `vmap` of an update. Small students leave
  most of a device idle; together they fill it. Sums may be taken in another order.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from qcrd_jax.data.batches import BatchStream, fitted_together, stacked
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.methods.method import Around, Method, over
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.rationales import Batch, Rationales, fitted
from qcrd_jax.methods.state import NOTHING_FIXED, TrainState, step_keys
from qcrd_jax.methods.state import Fixed as Fixed
from qcrd_jax.methods.state import Progress as Progress  # others name it from here
from qcrd_jax.models.protocol import Params
from qcrd_jax.placement import Placement, one_device
from qcrd_jax.ring import Ring

_SELDOM = 10  # steps from one update of the discriminator to the next


# --- Pure functions -------------------------------------------------------------------------------


def take_step(
    method: Method,
    progress: Progress,
    batch: Batch,
    key: Key[Array, '*seeds'],
    fixed: Fixed = NOTHING_FIXED,
) -> tuple[Progress, Metrics]:
    """One step: `method.sample` from the generator, then `method.update`.

    Args:
      method: of one run, or `over_seeds` of several; all arguments but the step's number are then
        stacked.
      progress: before the step.
      batch: of the step.
      key: the run's base key.
      fixed: what is read beside them.
    """
    sampled = sample_now(method, progress, batch, key, fixed)
    return learn(method, progress, batch, sampled, key, fixed)


def questions_of(
    batches: Sequence[Batch], largest: Lengths, pad_id: int, *, positives: bool = False
) -> Batch:
    """What sampling reads of the batches of J steps, [J, ...], on the host.

    Args:
      batches: arrays of NumPy, with or without an axis of seeds.
      largest: the shape that holds them all, in which they are given. (A wider cache costs sampling
        little, and a program for every mixture of shapes would have to be compiled.)
      pad_id: id of padding.
      positives: whether the teacher's are read too.
    """
    widest = {'explain_ids': largest.source}
    names = ['example_mask', 'rationale_limit', 'explain_ids']
    if positives:
        widest['positive_ids'] = largest.rationale
        names += ['positive_mask', 'positive_ids']
    wide = [{name: batch[name] for name in names} for batch in batches]
    for batch in wide:
        for name, length in widest.items():
            ids = batch[name]
            widths = [(0, 0)] * (ids.ndim - 1) + [(0, length - ids.shape[-1])]
            batch[name] = np.pad(ids, widths, constant_values=pad_id)
    questions = stacked(wide)
    if positives:
        return questions
    # No positives: only how long they may be.
    lead = questions['explain_ids'].shape[:-1]
    return questions | {'positive_ids': np.zeros((*lead, 0, largest.rationale), np.int32)}


def sample_ahead(
    method: Method,
    progress: Progress,
    questions: Batch,
    key: Key[Array, '*seeds'],
    fixed: Fixed = NOTHING_FIXED,
) -> Any:
    """What is sampled for the next J steps, in their order, [J, ...]; see `questions_of`."""
    state, ring = progress
    assert ring is not None
    steps = state.step + jnp.arange(ring.lag)
    keys = jax.vmap(step_keys, in_axes=(None, 0))(key, steps).negatives
    # In the order of the slots, so that no slot is copied; then in that of the steps.
    turns = ring.turns(state.step)
    of_slots, slot_keys = jax.tree.map(lambda leaf: leaf[turns], (questions, keys))
    sampled = over(method, fixed.base).sample(ring.slots, of_slots, slot_keys)
    return jax.tree.map(lambda leaf: leaf[steps % ring.lag], sampled)


def of_turn(sampled: Any, turn: int, length: int, pad_id: int) -> Any:
    """What was sampled for one of J steps, as long as the positives of its batch are."""

    def fit(part: Any) -> Any:
        return fitted(part, length, pad_id) if _is_rationales(part) else part

    own = jax.tree.map(lambda leaf: leaf[turn], sampled)
    return jax.tree.map(fit, own, is_leaf=_is_rationales)


def _is_rationales(part: Any) -> bool:
    return isinstance(part, Rationales)


def sample_now(
    method: Method,
    progress: Progress,
    batch: Batch,
    key: Key[Array, '*seeds'],
    fixed: Fixed = NOTHING_FIXED,
) -> Any:
    """What one step learns from beside its batch; see `take_step`."""
    state, ring = progress
    generator = fixed.generator if ring is None else ring.generator(state.step)
    method = over(method, fixed.base)
    return method.sample(generator, batch, step_keys(key, state.step).negatives)


def learn(
    method: Method,
    progress: Progress,
    batch: Batch,
    sampled: Any,
    key: Key[Array, '*seeds'],
    fixed: Fixed = NOTHING_FIXED,
) -> tuple[Progress, Metrics]:
    """Leaves the parameters in the ring, and takes the step."""
    state, ring = progress
    ring = ring and ring.push(state.step, state.params)
    state, metrics = over(method, fixed.base).update(state, batch, sampled, key)
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
class _Seeds(Around):
    """A method for P seeds. Its generators are sampled by one loop, its updates are a `vmap`.

    (A `vmap` over the whole step would be right and slow: the decoding loop would carry its
    position P times and write its cache by scattering.)
    """

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
        return stacked([stream[step] for stream in self._streams])

    def fitted(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batches of a step [P, ...], in the smallest shape that holds them all."""
        return stacked(fitted_together(self._streams, step))

    @property
    def largest(self) -> Lengths:
        """The shape that all batches fit into."""
        return self._streams[0].largest


def stack(runs: Sequence[Progress], placement: Placement | None = None) -> Progress:
    """The progress of P runs, all before the same step, as that of one program.

    Args:
      runs: each where `placement.of_seed` has it.
      placement: of the P seeds; None: on one device.
    """
    joined, states = (placement or one_device()).joined, [run.state for run in runs]
    state = TrainState(
        params=joined([state.params for state in states]),
        opt_state=joined([state.opt_state for state in states]),
        step=jax.device_put(states[0].step, placement and placement.everywhere),
        discriminator=joined([state.discriminator for state in states]),
    )
    return Progress(state, joined([run.ring for run in runs], axis=1))


def unstack(progress: Progress, place: int, placement: Placement | None = None) -> Progress:
    """The run at a place of a stacked progress: the inverse of `stack`."""
    (state, ring), place_of = progress, placement or one_device()

    def take(tree: Any, axis: int = 0) -> Any:
        return place_of.taken_apart(tree, place, axis)

    step = state.step if place_of.alone else jnp.int32(place_of.host(state.step))
    single = TrainState(take(state.params), take(state.opt_state), step, take(state.discriminator))
    return Progress(single, take(ring, axis=1))


def stack_trees(trees: Sequence[Any]) -> Any:
    """Trees of the same shape on a new first axis; None where they are all None."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def lag(method: Method) -> int:
    """Steps between the student and its generator; 0 where there is no ring."""
    return method.negatives.lag if method.negatives else 0


def reads_negatives(method: Method) -> bool:
    """Whether the teacher's negatives are read in so many steps that their length matters."""
    contrast, discriminator = (getattr(method, f, None) for f in ('contrast', 'discriminator'))
    if contrast is None:
        return False
    updates = discriminator is not None and 0 < contrast.update_every < _SELDOM
    return contrast.teacher_negatives or updates


def steps_together(method: Method) -> int:
    """Steps whose negatives one decoding loop samples: those of a chunk, or one."""
    negatives = method.negatives
    return max(negatives.lag, 1) if negatives and negatives.together else 1
