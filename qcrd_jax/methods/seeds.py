"""Several seeds of one run, trained together in one program.

P runs that differ in their seed alone have parameters, moments, rings, batches and keys of their
own, and the same shapes: stacked on a leading axis P they are one program whose step is the `vmap`
of a step. Small students leave most of a device idle; together they fill it. The numbers are those
of P single runs up to the order of floating-point sums.

The number of the step is not stacked, for the seeds advance together: what depends on it alone (is
the discriminator's update due?) stays a branch, and does not become the price of both branches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qcrd_jax.methods.objectives import Contrast, MutualInformation
from qcrd_jax.methods.rationales import NegativeSampling, no_rationales, sample_negatives_together
from qcrd_jax.methods.stepping import BatchStream, Progress
from qcrd_jax.methods.steps import Step, TrainState, make_qcrd_update, scan_updates, step_keys
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Student
from qcrd_jax.ring import Ring

_AXES = TrainState(params=0, opt_state=0, step=None, discriminator=0)


def over_seeds(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step (or the update of one) for P seeds: all arguments but the step's number are stacked.

    For steps that sample nothing. One that samples would be right and slow: under `vmap` the
    decoding loop would carry its position P times and write its cache by scattering.
    """
    return jax.vmap(step, in_axes=(_AXES, 0, 0, 0), out_axes=(_AXES, 0))


def make_qcrd_step(
    student: Student,
    optimizer: optax.GradientTransformation,
    discriminator: Discriminator | None,
    discriminator_optimizer: optax.GradientTransformation | None,
    contrast: Contrast,
    negatives: NegativeSampling | None,
    shared: MutualInformation | None = None,
) -> Step:
    """`steps.make_qcrd_step` for P seeds, whose negatives one decoding loop samples."""
    update = over_seeds(
        make_qcrd_update(
            student, optimizer, discriminator, discriminator_optimizer, contrast, shared
        )
    )

    def step(state, generators, batches, keys):
        if negatives is None:
            sampled = jax.vmap(no_rationales)(batches)
        else:
            sampling_keys, _, _ = jax.vmap(step_keys, in_axes=(0, None))(keys, state.step)
            sampled = sample_negatives_together(
                student, generators, batches, sampling_keys, negatives
            )
        return update(state, batches, sampled, keys)

    return step


def make_qcrd_chunk(
    student: Student,
    optimizer: optax.GradientTransformation,
    discriminator: Discriminator | None,
    discriminator_optimizer: optax.GradientTransformation | None,
    contrast: Contrast,
    negatives: NegativeSampling,
    shared: MutualInformation | None = None,
) -> Callable[..., Any]:
    """`steps.make_qcrd_chunk` for P seeds: one decoding loop samples for J steps of all of them.

    Returns:
      `chunk(state, past, batches, keys)` with `past` a tuple of J stacked trees, oldest first,
      and every leaf of `batches` and of the metrics [J, P, ...].
    """
    update = over_seeds(
        make_qcrd_update(
            student, optimizer, discriminator, discriminator_optimizer, contrast, shared
        )
    )

    def chunk(state, past, batches, keys):
        lag, seeds = len(past), keys.shape[0]
        generators = jax.tree.map(lambda *slots: jnp.concatenate(slots), *past)
        by_seed = jax.vmap(step_keys, in_axes=(0, None))
        sampling_keys, _, _ = jax.vmap(by_seed, in_axes=(None, 0))(
            keys, state.step + jnp.arange(lag)
        )
        flat = jax.tree.map(lambda leaf: leaf.reshape(lag * seeds, *leaf.shape[2:]), batches)
        sampled = sample_negatives_together(
            student, generators, flat, sampling_keys.reshape(-1), negatives
        )
        sampled = jax.tree.map(lambda leaf: leaf.reshape(lag, seeds, *leaf.shape[1:]), sampled)
        state, trajectory, metrics = scan_updates(update, state, batches, sampled, keys)
        past = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], trajectory) for i in range(lag))
        return state, past, metrics

    return chunk


class StackedBatches:
    """The batches of P runs: `batches[step]` is a dict of arrays [P, ...]."""

    def __init__(self, streams: Sequence[BatchStream]):
        self._streams = streams

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        batches = [stream[step] for stream in self._streams]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


def stack(runs: Sequence[Progress]) -> Progress:
    """The progress of P runs, all before the same step, as that of one program."""
    states = [run.state for run in runs]
    state = TrainState(
        params=stack_trees([state.params for state in states]),
        opt_state=stack_trees([state.opt_state for state in states]),
        step=states[0].step,
        discriminator=stack_trees([state.discriminator for state in states]),
    )
    if runs[0].ring is None:
        return Progress(state, None)
    slots = zip(*(run.ring.slots for run in runs), strict=True)
    return Progress(state, Ring(tuple(stack_trees(slot) for slot in slots)))


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
