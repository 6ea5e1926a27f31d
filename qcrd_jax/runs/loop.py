"""The loop: it takes the steps of a run, or of several seeds at once, and does the I/O around them.

Seeds that are before the same step advance in one program (`programs.over_seeds`). After a kill
some of them may be ahead of others by a checkpoint: those behind then catch up first, by
themselves.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from qcrd_jax.data.batches import BatchStream
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.answering import answer_accuracy
from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.methods import metrics, programs
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.programs import Programs, Progress
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs import initial
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.log import MetricsLog
from qcrd_jax.runs.position import Best, Position
from qcrd_jax.runs.pretraining import pretrain_discriminator
from qcrd_jax.runs.run import Run


class _Records(NamedTuple):
    """A run that is being trained, and where its records go."""

    run: Run
    checkpointer: Checkpointer
    log: MetricsLog


class _Group(NamedTuple):
    """Runs that advance in one program."""

    records: Sequence[_Records]
    programs: Programs
    batches: BatchStream
    key: jax.Array
    fixed_generator: Params | None

    @property
    def several(self) -> bool:
        return len(self.records) > 1

    def joined(self, runs: Sequence[Progress]) -> Progress:
        """The progress of the runs as the program takes it."""
        return programs.stack(runs) if self.several else runs[0]

    def of(self, progress: Progress, place: int) -> Progress:
        """The progress of one run."""
        return programs.unstack(progress, place) if self.several else progress


def train(runs: Sequence[Run]) -> list[Position]:
    """Trains to the last step, from the latest checkpoint if there is one; selects on validation.

    Args:
      runs: one run, or several that only differ in their seed and workdir.

    Returns:
      The positions at the last step.

    Raises:
      InputError: if a gradient is not finite and the configuration says to stop; what was reached
        before is in the checkpoints.
    """
    steps = runs[0].config.train.steps
    with contextlib.ExitStack() as stack:
        opened = [_open(stack, run) for run in runs]
        records = [each for each, _ in opened]
        reached = {place: position for place, (_, position) in enumerate(opened)}
        del opened
        while (step := min(position.step for position in reached.values())) < steps:
            group = [place for place, position in reached.items() if position.step == step]
            ahead = [position.step for position in reached.values() if position.step > step]
            # Taken out: nobody else holds the buffers that the steps donate.
            taken = [reached.pop(place) for place in group]
            advanced = _advance([records[i] for i in group], taken, min(ahead, default=steps))
            reached |= zip(group, advanced, strict=True)
    return [reached[place] for place in range(len(runs))]


def validate(run: Run, params: Params) -> Ratio:
    """Greedy accuracy on the validation split."""
    texts = run.answering.labels(params, run.evaluation_batches('validation'))
    _, ratio = answer_accuracy(texts, run.corpus.examples['validation'], run.corpus.answer_type)
    return ratio


def _open(stack: contextlib.ExitStack, run: Run) -> tuple[_Records, Position]:
    """Restores a run, or starts it: then its discriminator is pretrained, if it has one."""
    checkpointer = stack.enter_context(Checkpointer(workdirs.checkpoints(run.workdir)))
    position = positions.restore(run, checkpointer)
    resumed = position.step if position else None
    log = stack.enter_context(MetricsLog(run.workdir, resume_step=resumed))
    if position is not None:
        print(f'resuming from step {position.step}', flush=True)
        return _Records(run, checkpointer, log), position
    theta_0, discriminator, separation = initial.student_parameters(run), None, None
    if run.discriminator is not None:
        params = initial.discriminator_parameters(run, theta_0)
        discriminator, separation = pretrain_discriminator(run, params, log)
    position = positions.first(run, theta_0, discriminator, separation)
    positions.save(run, checkpointer, position)
    return _Records(run, checkpointer, log), position


def _advance(records: Sequence[_Records], taken: list[Position], limit: int) -> list[Position]:
    """Takes runs, all before the same step, to a later one; `taken` is emptied."""
    settings, group = records[0].run.config.train, _group(records)
    every = (settings.log_every, settings.evaluate_every, settings.checkpoint_every)
    step, separations = taken[0].step, [position.separation for position in taken]
    best = [position.best for position in taken]
    progress = group.joined([position.progress for position in taken])
    taken.clear()

    def reached(step: int) -> list[Position]:
        return [
            Position(step, group.of(progress, place), best[place], separations[place])
            for place in range(len(records))
        ]

    what = f'train {len(records)} seeds' if group.several else 'train'
    saved = time.monotonic()
    with tqdm.tqdm(
        total=settings.steps, initial=step, desc=what, unit='step', mininterval=1
    ) as bar:
        while step < limit:
            stop = min(limit, *(step - step % interval + interval for interval in every))
            progress = _window(group, progress, step, stop, bar)
            step = stop
            if step % settings.evaluate_every == 0 or step == settings.steps:
                best = [
                    _select(each, step, group.of(progress, place).state.params, best[place])
                    for place, each in enumerate(records)
                ]
                mean = np.mean([chosen.accuracy for chosen in best])
                bar.set_postfix(validation=f'{mean:.3f} best')
            minutes = (time.monotonic() - saved) / 60
            due = step % settings.checkpoint_every == 0 and minutes >= settings.checkpoint_minutes
            if due or step == limit:
                for each, position in zip(records, reached(step), strict=True):
                    positions.save(each.run, each.checkpointer, position)
                saved = time.monotonic()
    return reached(limit)


def _group(records: Sequence[_Records]) -> _Group:
    runs = [each.run for each in records]
    method, streams = runs[0].method, [run.training_batches() for run in runs]
    keys = [run.key('train') for run in runs]
    fixed = [initial.fixed_generator(run) for run in runs]
    if len(runs) == 1:
        return _Group(records, programs.compiled(method), streams[0], keys[0], fixed[0])
    return _Group(
        records,
        programs.compiled(programs.over_seeds(method)),
        programs.StackedBatches(streams),
        jnp.stack(keys),
        programs.stack_trees(fixed),
    )


def _window(group: _Group, progress: Progress, step: int, stop: int, bar: tqdm.tqdm) -> Progress:
    """Takes the steps up to `stop` and logs their means, and a run's share of the time."""
    start, first, window = time.perf_counter(), step, []
    while step < stop:
        before = step
        progress, step, taken = group.programs.advance(
            progress, group.batches, group.key, step, stop, group.fixed_generator
        )
        window.append(taken)
        bar.update(step - before)
    window = jax.device_get(window)
    seconds = (time.perf_counter() - start) / (stop - first) / len(group.records)
    for place, each in enumerate(group.records):
        own = window
        if group.several:
            own = jax.tree.map(lambda leaf, place=place: np.asarray(leaf)[..., place], window)
        _log_window(each, own, first, stop, seconds)
    return progress


def _log_window(
    records: _Records, window: list[Metrics], first: int, stop: int, seconds: float
) -> None:
    run = records.run
    values = metrics.mean(window)
    values |= {
        'nonfinite': sum(float(np.sum(taken['nonfinite'][0])) for taken in window),
        'learning_rate': float(np.asarray(run.schedule(stop - 1))),
        'seconds_per_step': seconds,
    }
    records.log.write('train', stop, values)
    if values['nonfinite'] and run.config.train.on_nonfinite == 'stop':
        flags = np.concatenate([np.atleast_1d(taken['nonfinite'][0]) for taken in window])
        bad = first + int(np.argmax(flags > 0))
        raise InputError(
            f'step {bad}: the gradient is not finite. The last checkpoint is before it; lower '
            '--config.optimizer.learning_rate, or pass over such steps by '
            '--config.train.on_nonfinite=skip, in another --workdir.'
        )


def _select(records: _Records, step: int, params: Params, best: Best) -> Best:
    """Validates a student, and keeps it if it is better than the best so far."""
    ratio = validate(records.run, params)
    accuracy = ratio.numerator / ratio.denominator
    better = accuracy > best.accuracy
    values = {'accuracy': accuracy, 'correct': ratio.numerator, 'total': ratio.denominator}
    records.log.write('validation', step, values | {'best': better})
    return Best(jax.device_get(params), step, accuracy) if better else best
