"""The loop: it takes the steps of a run, or of several seeds at once, and does all I/O around them.

Seeds that are before the same step advance in one program (`qcrd_jax.seeds`). After a kill some of
them may be ahead of others by a checkpoint: those behind then catch up first, on their own.
"""

import contextlib
import dataclasses
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from qcrd_jax.runs import assembly
from qcrd_jax.methods import (seeds, metrics as step_metrics)
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.errors import InputError
from qcrd_jax.runs.log import MetricsLog
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.stepping import (Progress, Stepper)
from qcrd_jax.runs.train import (Position, Trained, Trainer)


@dataclasses.dataclass
class _Run:
    """A run while it is trained: its records, and how far it has come."""

    trainer: Trainer
    checkpointer: Checkpointer
    log: MetricsLog
    position: Position


def train(trainers: Sequence[Trainer]) -> list[Trained]:
    """Trains to the last step, from the latest checkpoint if there is one; selects on validation.

    Args:
      trainers: one run, or several that differ in their seed and workdir alone.

    Returns:
      The finished runs.

    Raises:
      InputError: if a gradient is not finite and the configuration says to stop; what was reached
        before is in the checkpoints.
    """
    steps = trainers[0].config.train.steps
    with contextlib.ExitStack() as stack:
        runs = [_open(stack, trainer) for trainer in trainers]
        while (step := min(run.position.step for run in runs)) < steps:
            group = [run for run in runs if run.position.step == step]
            ahead = [run.position.step for run in runs if run.position.step > step]
            _advance(group, min(ahead, default=steps))
    alone = len(runs) == 1
    return [run.trainer.finished(run.position, timed=alone) for run in runs]


def _open(stack: contextlib.ExitStack, trainer: Trainer) -> _Run:
    """Restores a run, or starts it."""
    checkpointer = stack.enter_context(Checkpointer(workdirs.checkpoints(trainer.workdir)))
    position = trainer.restore(checkpointer)
    resumed = position.step if position else None
    log = stack.enter_context(MetricsLog(trainer.workdir, resume_step=resumed))
    if position is None:
        position = trainer.start(log)
        trainer.save(checkpointer, position)
    else:
        print(f'going on from step {position.step}', flush=True)
    return _Run(trainer, checkpointer, log, position)


def _advance(group: Sequence[_Run], limit: int) -> None:
    """Takes the runs of a group, all before the same step, to a later one."""
    settings = group[0].trainer.config.train
    every = (settings.log_every, settings.evaluate_every, settings.checkpoint_every)
    step, stepper = group[0].position.step, _stepper(group)
    progress = _joined(group)
    what = 'train' if len(group) == 1 else f'train {len(group)} seeds'
    saved = time.monotonic()
    with tqdm.tqdm(
        total=settings.steps, initial=step, desc=what, unit='step', mininterval=1
    ) as bar:
        while step < limit:
            stop = min(limit, *(step - step % interval + interval for interval in every))
            progress = _window(group, stepper, progress, step, stop, bar)
            step = stop
            if step % settings.evaluate_every == 0 or step == settings.steps:
                _validate(group, step, progress, bar)
            minutes = (time.monotonic() - saved) / 60
            due = step % settings.checkpoint_every == 0 and minutes >= settings.checkpoint_minutes
            if due or step == limit:
                _save(group, step, limit, progress)
                saved = time.monotonic()


def _stepper(group: Sequence[_Run]) -> Stepper:
    trainers = [run.trainer for run in group]
    first, together = trainers[0], len(group) > 1
    step, chunk = first.programs(together=together)
    streams = [trainer.training_batches() for trainer in trainers]
    keys = [assembly.key_of(trainer.config, 'train') for trainer in trainers]
    fixed = [trainer.fixed_generator() for trainer in trainers]
    return Stepper(
        step,
        chunk,
        seeds.StackedBatches(streams) if together else streams[0],
        jnp.stack(keys) if together else keys[0],
        lag=first.lag,
        fixed_generator=seeds.stack_trees(fixed) if together else fixed[0],
    )


def _joined(group: Sequence[_Run]) -> Progress:
    """The progress of the group as its program takes it."""
    runs = [run.position.progress for run in group]
    return runs[0] if len(runs) == 1 else seeds.stack(runs)


def _of(group: Sequence[_Run], progress: Progress, place: int) -> Progress:
    """The progress of one run of the group."""
    return progress if len(group) == 1 else seeds.unstack(progress, place)


def _window(
    group: Sequence[_Run],
    stepper: Stepper,
    progress: Progress,
    step: int,
    stop: int,
    bar: tqdm.tqdm,
) -> Progress:
    """Takes the steps up to `stop` and logs their means, and a run's share of the time."""
    start, first, window = time.perf_counter(), step, []
    while step < stop:
        before = step
        progress, step, metrics = stepper.advance(progress, step, stop)
        window.append(metrics)
        bar.update(step - before)
    window = jax.device_get(window)
    seconds = (time.perf_counter() - start) / (stop - first) / len(group)
    for place, run in enumerate(group):
        own = window
        if len(group) > 1:
            own = jax.tree.map(lambda leaf, place=place: np.asarray(leaf)[..., place], window)
        _log_window(run, own, first, stop, seconds)
    return progress


def _log_window(run: _Run, window: list[Metrics], first: int, stop: int, seconds: float) -> None:
    values = step_metrics.mean(window)
    values |= {
        'nonfinite': sum(float(np.sum(metrics['nonfinite'][0])) for metrics in window),
        'learning_rate': float(run.trainer.schedule(stop - 1)),
        'seconds_per_step': seconds,
    }
    run.log.write('train', stop, values)
    if values['nonfinite'] and run.trainer.config.train.on_nonfinite == 'stop':
        flags = np.concatenate([np.atleast_1d(metrics['nonfinite'][0]) for metrics in window])
        bad = first + int(np.argmax(flags > 0))
        raise InputError(
            f'step {bad}: the gradient is not finite. The last checkpoint is before it; lower '
            '--config.optimizer.learning_rate, or pass over such steps by '
            '--config.train.on_nonfinite=skip, in another --workdir.'
        )


def _validate(group: Sequence[_Run], step: int, progress: Progress, bar: tqdm.tqdm) -> None:
    for place, run in enumerate(group):
        params = _of(group, progress, place).state.params
        best = run.trainer.validate(run.log, step, params, run.position.best)
        run.position = dataclasses.replace(run.position, best=best)
    accuracies = [run.position.best.accuracy for run in group]
    bar.set_postfix(validation=f'{np.mean(accuracies):.3f} best')


def _save(group: Sequence[_Run], step: int, limit: int, progress: Progress) -> None:
    for place, run in enumerate(group):
        position = dataclasses.replace(
            run.position, step=step, progress=_of(group, progress, place)
        )
        run.trainer.save(run.checkpointer, position)
        if step == limit:  # before that it would be one more copy in memory
            run.position = position
