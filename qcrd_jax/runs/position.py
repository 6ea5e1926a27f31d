"""How far a run has come: all that training changes, saved and restored as one."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.scoring import Separation
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models.protocol import Params, parameter_bytes
from qcrd_jax.runs import frozen, scales
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.log import Mark
from qcrd_jax.runs.run import Run
from qcrd_jax.runs.scales import Scales
from qcrd_jax.runs.window import Window


class Best(NamedTuple):
    """The student that validation chose.

    Attributes:
      params: what was trained of it, in the host's memory: all its parameters, or adapters.
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
        that was advanced is gone. Of a finished run only the discriminator may be left.
      best: the student that validation chose so far.
      separation: how the pretrained discriminator scored; None without one.
      scales: of the weights of the student before training.
      log: where the log was.
      window: the steps since its last line of phase 'train'.
      validated: the last step whose student was validated; 0 before the first.
    """

    step: int
    progress: Progress
    best: Best
    separation: Separation | None
    scales: Scales
    log: Mark
    window: Window = dataclasses.field(default_factory=Window)
    validated: int = 0


def first(
    run: Run,
    theta_0: Params,
    log: Mark,
    discriminator: DiscriminatorState | None = None,
    separation: Separation | None = None,
) -> Position:
    """Returns the position before step 0.

    Args:
      run: the run.
      theta_0: the student's initial parameters; copied where they are donated later.
      log: where the log is.
      discriminator: pretrained; None where the run has none.
      separation: of the pretraining.
    """
    best = Best(run.placement.host(theta_0), 0, -1.0)
    progress = run.beginning(theta_0, discriminator)
    return Position(0, progress, best, separation, scales.of(run.whole(best.params)), log)


def shape(run: Run, finished: bool = False) -> dict[str, Any]:
    """Returns the shapes of what is saved, nothing computed.

    Args:
      run: the run.
      finished: of a finished run, whose ring and moments are not kept.
    """
    progress = run.progress_shape
    left = _what_is_left(progress) if finished else progress
    saved = {'progress': left, 'best': progress.state.params}
    where = {'progress': run.layout(left), 'best': run.placement.parameters(saved['best'])}
    return run.placement.living(saved, where)


def _what_is_left(progress: Progress) -> Progress:
    """The progress of a finished run, without what only further steps would need."""
    state, discriminator = progress.state, progress.state.discriminator
    if discriminator is not None:
        discriminator = dataclasses.replace(discriminator, opt_state=None)
    return Progress(TrainState(None, None, state.step, discriminator), None)


def saved_bytes(run: Run) -> tuple[int, int]:
    """Returns how many bytes a checkpoint of a run holds at most, and its student as exported."""
    student = jax.eval_shape(run.student.init, jax.random.key(0))
    return parameter_bytes(shape(run)), parameter_bytes(student)


def save(run: Run, checkpointer: Checkpointer, position: Position) -> None:
    """Starts saving a checkpoint."""
    checkpointer.save(position.step, *_saved(run, position, position.progress, finished=False))


def save_finished(run: Run, checkpointer: Checkpointer, position: Position) -> None:
    """Saves a finished run in the place of its checkpoints, without ring and moments."""
    left = _what_is_left(position.progress)
    checkpointer.replace(position.step, *_saved(run, position, left, finished=True))


def _saved(
    run: Run, position: Position, progress: Progress, *, finished: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the arrays of a checkpoint, and its metadata."""
    best, separation = position.best, position.separation
    metadata = {
        'config': workdirs.digest(run.config),
        'fingerprint': run.fingerprint,
        'finished': finished,
        'best_step': best.step,
        'best_accuracy': best.accuracy,
        'frozen': run.frozen and run.frozen.digest,
        'separation': separation._asdict() if separation else None,
        'scales': position.scales,
        'log': position.log._asdict(),
        'window': position.window.to_json(),
        'validated': position.validated,
    }
    return {'progress': progress, 'best': best.params}, metadata


def restore(run: Run, checkpointer: Checkpointer) -> Position | None:
    """Returns the position of the latest whole checkpoint, or None where there is none.

    Raises:
      InputError: if no checkpoint is whole, or the data has changed since it was written.
    """
    restored = checkpointer.restore(lambda metadata: shape(run, metadata.get('finished', False)))
    if restored is None:
        return None
    metadata = restored.metadata
    workdirs.check_origin(run.workdir, run.config, run.fingerprint, metadata, restored.step)
    frozen.check(run.frozen, run.config, metadata)
    best = run.placement.host(restored.state['best'])
    separation = metadata['separation']
    return Position(
        step=restored.step,
        progress=_placed(run, restored.state['progress']),
        best=Best(best, metadata['best_step'], metadata['best_accuracy']),
        separation=Separation(**separation) if separation else None,
        scales=metadata['scales'],
        log=Mark(**metadata['log']),
        window=Window.from_json(metadata['window']),
        validated=metadata['validated'],
    )


def _placed(run: Run, progress: Progress) -> Progress:
    """A restored progress where it lives, in buffers of its own."""
    own = jax.tree.map(jnp.copy, progress)  # equal ones share one
    if run.placement.alone:
        return own
    return run.placement.placed(own, run.layout(own))


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
