"""How far a run has come: all that training changes, saved and restored as one."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.scoring import Separation
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models.protocol import Params
from qcrd_jax.ring import Ring
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.run import Run


class Best(NamedTuple):
    """The student that validation chose.

    Attributes:
      params: its parameters, in the host's memory.
      step: where it was.
      accuracy: on the validation split; -1 before the first validation.
    """

    params: Params
    step: int
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Position:
    """A run before step `step`.

    Attributes:
      step: t, optimiser steps that were taken.
      progress: student, optimisers, discriminator and ring. Steps donate its buffers: a position
        that was advanced is gone.
      best: the student that validation chose so far.
      separation: how the pretrained discriminator scored; None without one.
    """

    step: int
    progress: Progress
    best: Best
    separation: Separation | None


def first(
    run: Run,
    theta_0: Params,
    discriminator: DiscriminatorState | None = None,
    separation: Separation | None = None,
) -> Position:
    """Returns the position before step 0.

    Args:
      run: the run.
      theta_0: the student's initial parameters; copied where they are donated later.
      discriminator: pretrained; None where the run has none.
      separation: of the pretraining.
    """
    best = Best(jax.device_get(theta_0), 0, -1.0)
    return Position(0, _progress(run, theta_0, discriminator), best, separation)


def _progress(run: Run, theta_0: Params, discriminator: DiscriminatorState | None) -> Progress:
    params = jax.tree.map(jnp.copy, theta_0)
    state = TrainState.create(params, run.method.optimizer, discriminator)
    negatives = run.method.negatives
    ring = Ring.create(params, negatives.lag) if negatives and negatives.lag else None
    return Progress(state, ring)


def shape(run: Run) -> dict[str, Any]:
    """Returns the shapes of what is saved, nothing computed."""

    def make() -> dict[str, Any]:
        theta_0, discriminator = run.student.init(jax.random.key(0)), None
        if run.discriminator is not None:
            params = run.discriminator.init(jax.random.key(0))
            discriminator = DiscriminatorState.create(params, run.discriminator_optimizer)
        return {'progress': _progress(run, theta_0, discriminator), 'best': theta_0}

    return jax.eval_shape(make)


def kept_bytes(run: Run) -> int:
    """Returns what a run keeps in a device's memory from step to step: students, moments, ring."""
    leaves = jax.tree.leaves(shape(run)['progress'])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def save(run: Run, checkpointer: Checkpointer, position: Position) -> None:
    """Starts saving a checkpoint."""
    best, separation = position.best, position.separation
    metadata = {
        'fingerprint': run.fingerprint,
        'best_step': best.step,
        'best_accuracy': best.accuracy,
        'separation': separation._asdict() if separation else None,
    }
    state = {'progress': position.progress, 'best': best.params}
    checkpointer.save(position.step, state, metadata)


def restore(run: Run, checkpointer: Checkpointer) -> Position | None:
    """Returns the position of the latest whole checkpoint, or None where there is none.

    Raises:
      InputError: if no checkpoint is whole, or the data has changed since it was written.
    """
    restored = checkpointer.restore(shape(run))
    if restored is None:
        return None
    metadata = restored.metadata
    changed = [
        split
        for split, fingerprint in run.fingerprint.items()
        if metadata['fingerprint'].get(split) != fingerprint
    ]
    if changed:
        raise InputError(
            f'{run.workdir}: the data ({", ".join(changed)}) has changed since the checkpoint of '
            f'step {restored.step} was written; bring the old data back, or use another --workdir.'
        )
    best = jax.tree.map(np.asarray, restored.state['best'])
    separation = metadata['separation']
    return Position(
        restored.step,
        jax.tree.map(jnp.array, restored.state['progress']),
        Best(best, metadata['best_step'], metadata['best_accuracy']),
        Separation(**separation) if separation else None,
    )


def latest(run: Run) -> Position:
    """Returns the position of the latest checkpoint of the run's workdir.

    Raises:
      InputError: if there is none.
    """
    with Checkpointer(workdirs.checkpoints(run.workdir)) as checkpointer:
        restored = restore(run, checkpointer)
    if restored is None:
        raise InputError(
            f'--workdir: {run.workdir} has no checkpoint; run --mode=train there first.'
        )
    return restored
