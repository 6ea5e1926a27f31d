"""The loop: it takes the steps of a run, or of several seeds at once, and does the I/O around them.

Seeds that are before the same step advance in one program (`programs.over_seeds`). After a kill
some of them may be ahead of others by a checkpoint: those behind then catch up first, by
themselves.
"""

import contextlib
import functools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import tqdm

from qcrd_jax import interruption, processes
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.answering import answer_accuracy
from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.interruption import Interrupted
from qcrd_jax.methods.compiled import Prepared, Programs
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.programs import Progress
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs import disk, exported, initial, memory, pretraining
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer, UnreadableError
from qcrd_jax.runs.exhaustion import explains
from qcrd_jax.runs.group import Group, Records, group_of, placed
from qcrd_jax.runs.log import MetricsLog, NoLog
from qcrd_jax.runs.position import Best, Position
from qcrd_jax.runs.prefetch import Prefetched
from qcrd_jax.runs.pretrained import Pretrained
from qcrd_jax.runs.pretraining import Pretraining
from qcrd_jax.runs.run import Run
from qcrd_jax.runs.window import close, refuse

_REMEDY = '--config.optimizer.learning_rate'
_GONE: Any = Progress(cast(Any, None), None)  # of a position whose buffers were taken


class _Ahead(NamedTuple):
    """How far runs have come that advance in one program.

    Attributes:
      step: t, of all of them.
      progress: of all of them, as the program takes it.
      positions: of each, but for its step and progress.
    """

    step: int
    progress: Progress
    positions: Sequence[Position]


@explains('training')
def train(runs: Sequence[Run]) -> list[Position]:
    """Trains to the last step, from the latest checkpoint if there is one; selects on validation.

    Args:
      runs: one run, or several that only differ in their seed and workdir.

    Returns:
      The positions at the last step.

    Raises:
      InputError: if a gradient is not finite and the configuration says to stop, or too many are
        not; what was reached before is in the checkpoints.
      Interrupted: if a signal asked the process to end; what was reached is in the checkpoints.
    """
    steps, runs = runs[0].config.train.steps, placed(runs)
    saved = {run.workdir: positions.saved_bytes(run) for run in runs}
    processes.by_first(disk.check, saved)
    _ = [run.fingerprint for run in runs]  # takes long for many questions, and may be interrupted
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruption.polling())
        opened = [_open(stack, run) for run in runs]
        records = [each for each, _ in opened]
        reached = _started(opened, sum(disk.need(*sizes) for sizes in saved.values()))
        del opened
        while going := {
            place: position.step
            for place, position in reached.items()
            if not _is_over(runs[place], position)
        }:
            step = min(going.values())
            group = [place for place, before in going.items() if before == step]
            ahead = [before for before in going.values() if before > step]
            # Taken out: nobody else holds the buffers that the steps donate.
            taken = [reached.pop(place) for place in group]
            advanced = _advance([records[i] for i in group], taken, min(ahead, default=steps))
            reached |= zip(group, advanced, strict=True)
    return [reached[place] for place in range(len(runs))]


@explains('evaluation')
def validate(run: Run, params: Params) -> Ratio:
    """Greedy accuracy on the validation split, of the student that answers (`Run.whole`)."""
    texts = run.answering.labels(params, run.evaluation_batches('validation'))
    _, ratio = answer_accuracy(texts, run.corpus.examples['validation'], run.corpus.answer_type)
    return ratio


_Begun = Position | Pretraining | None  # what a run has: a position, or before it the pretraining


def _open(stack: contextlib.ExitStack, run: Run) -> tuple[Records, _Begun]:
    """Restores a run, or begins it: then the pretraining of its discriminator, if it has one."""
    try:
        return _opened(stack, run)
    except UnreadableError:
        if not run.config.train.restart:
            raise
    processes.by_first(workdirs.set_aside, run.workdir)
    return _opened(stack, run)


def _opened(stack: contextlib.ExitStack, run: Run) -> tuple[Records, _Begun]:
    with contextlib.ExitStack() as own:
        checkpointer = own.enter_context(Checkpointer(workdirs.checkpoints(run.workdir)))
        position = positions.restore(run, checkpointer)
        first, project = processes.is_first(), run.config.train.wandb
        log = own.enter_context(MetricsLog(run.workdir, project) if first else NoLog())
        records, begun = Records(run, checkpointer, log), position
        if position is not None:
            log.rewind(position.log)
            _forget_pretraining(run)  # after a kill
            print(f'resuming from step {position.step}', flush=True)
            step = position.step
            if _is_due(run, step) and position.validated < step:  # it was interrupted in that
                begun = _select(records, position, step, position.progress.state.params)
        elif run.discriminator is not None:
            begun = pretraining.begin(run, log)
        else:
            processes.by_first(workdirs.refuse_remains, run.workdir)
        stack.push(own.pop_all())
    return records, begun


def _started(opened: Sequence[tuple[Records, _Begun]], reserved: int) -> dict[int, Position]:
    """Returns the positions of runs by their places, after the pretraining of those that start.

    Args:
      opened: the runs, by `_open`.
      reserved: bytes of the disk that their training needs.
    """
    reached = {place: each for place, (_, each) in enumerate(opened) if isinstance(each, Position)}
    starting = {place: each for place, each in enumerate(opened) if place not in reached}
    theta = {place: initial.student_parameters(each.run) for place, (each, _) in starting.items()}
    begun = {place: each for place, (_, each) in starting.items() if isinstance(each, Pretraining)}
    make = [
        functools.partial(initial.discriminator_parameters, each.run, theta[place])
        for place, each in begun.items()
    ]
    pretrained = pretraining.pretrain([*begun.values()], make, reserved=reserved)
    done = dict(zip(begun, pretrained, strict=True))
    del make, pretrained
    for place, (records, _) in starting.items():
        reached[place] = _start(records, theta.pop(place), done.pop(place, None))
    return reached


def _start(records: Records, theta_0: Params, pretrained: Pretrained | None) -> Position:
    """Saves the position before the first step, which ends the pretraining of a discriminator."""
    run, log = records.run, records.log
    discriminator, separation = pretrained[:2] if pretrained else (None, None)
    position = positions.first(run, theta_0, log.mark(0), discriminator, separation)
    exported.describe(run)
    positions.save(run, records.checkpointer, position)
    records.checkpointer.wait()  # so that lines of the log imply a checkpoint
    _forget_pretraining(run)
    return position


def _forget_pretraining(run: Run) -> None:
    if processes.is_first():
        shutil.rmtree(workdirs.pretraining(run.workdir), ignore_errors=True)


def _advance(records: Sequence[Records], taken: list[Position], limit: int) -> list[Position]:
    """Takes runs, all before the same step, to a later one; `taken` is emptied.

    Raises:
      Interrupted: if a signal asked the process to end; what was reached is saved.
    """
    settings = records[0].run.config.train
    generators = [initial.fixed_generator(each.run) for each in records]
    group = group_of(records, generators)
    every = (settings.log_every, settings.evaluate_every, settings.checkpoint_every)
    progress = group.joined([position.progress for position in taken])
    # Nobody else holds what the steps donate.
    ahead = _Ahead(taken[0].step, progress, [replace(each, progress=_GONE) for each in taken])
    taken.clear()
    del progress
    _check_memory(group, ahead, limit)

    def reached(place: int) -> Position:
        progress = group.of(ahead.progress, place)
        return replace(ahead.positions[place], step=ahead.step, progress=progress)

    def save() -> None:
        for place, each in enumerate(records):
            if ahead.step not in each.checkpointer.steps():  # nothing was done since it resumed
                positions.save(each.run, each.checkpointer, reached(place))

    what = f'train {len(records)} seeds' if group.several else 'train'

    def stop_after(step: int) -> int:
        return min(limit, *(step - step % interval + interval for interval in every))

    saved = time.monotonic()
    with (
        tqdm.tqdm(
            total=settings.steps,
            initial=ahead.step,
            desc=what,
            unit='step',
            mininterval=1,
            disable=not processes.is_first(),
        ) as bar,
        Prefetched(
            group.prepared,
            _programs(group.programs, ahead.step, limit, stop_after),
        ) as made,
    ):
        try:
            while ahead.step < limit:
                stop = stop_after(ahead.step)
                ahead = _window(group, ahead, stop, made, bar)
                processes.agree_on_signals()
                interruption.check()
                if _is_due(records[0].run, stop):
                    ahead = _validated(group, ahead, bar)
                over = any(
                    _is_over(each.run, replace(position, step=ahead.step))
                    for each, position in zip(records, ahead.positions, strict=True)
                )
                minutes = (time.monotonic() - saved) / 60
                due = stop % settings.checkpoint_every == 0
                late = due and processes.agreed(minutes >= settings.checkpoint_minutes)
                if late or stop == limit or over:
                    save()
                    saved = time.monotonic()
                if over:  # of a seed; the others go on without it
                    break
        except Interrupted as error:
            bar.close()
            save()
            for each in records:
                each.checkpointer.wait()
            raise Interrupted(error.number, f'step {ahead.step} is saved') from None
    return [reached(place) for place in range(len(records))]


def _check_memory(group: Group, ahead: _Ahead, limit: int) -> None:
    """Compiles the programs of the largest shape; refuses what memory does not hold."""
    print('compiling the training step', flush=True)
    largest = Prepared((group.batches[ahead.step],))
    (batch,) = group.programs.placed(largest).batches
    memory.check(
        group.records[0].run,
        group.programs,
        ahead.progress,
        batch,
        group.key,
        group.fixed,
        steps=limit - ahead.step,
    )


def _programs(
    made: Programs, step: int, limit: int, stop_after: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Yields the first step of every step or chunk up to `limit`, and the number of its steps."""
    while step < limit:
        count = made.steps_at_once(step, stop_after(step))
        yield step, count
        step += count


def _window(group: Group, ahead: _Ahead, stop: int, made: Prefetched, bar: tqdm.tqdm) -> _Ahead:
    """Takes the steps up to `stop` and logs their means; fewer if a signal came in between."""
    start, waited, (step, progress, runs) = time.perf_counter(), 0.0, ahead
    flying: tuple[int, Metrics] | None = None  # a program that may still run, and its first step
    while step < stop and not interruption.requested():
        before, asked = step, time.perf_counter()
        ready = made.next()
        if flying is None or _is_done(flying[1]):  # the device had nothing to do meanwhile
            waited += time.perf_counter() - asked
        with _said(group.programs.is_new(ready), bar):
            progress, taken = group.programs.take(progress, ready, group.key, group.fixed)
        step += len(ready.batches)
        if flying is not None:  # one runs while the next one is prepared, and no more wait
            runs = _added(group, runs, *flying)
        flying = before, taken
        bar.update(step - before)
    if flying is not None:
        runs = _added(group, runs, *flying)
    seconds = time.perf_counter() - start
    runs = [
        replace(run, window=run.window.lasted(seconds / len(group.records), waited / seconds))
        for run in runs
    ]
    if step == stop:
        runs = [_logged(*each, stop) for each in zip(group.records, runs, strict=True)]
    return _Ahead(step, progress, runs)


def _is_done(taken: Metrics) -> bool:
    return all(leaf.is_ready() for leaf in jax.tree.leaves(taken))


@contextlib.contextmanager
def _said(compiles: bool, bar: tqdm.tqdm) -> Iterator[None]:
    """Says in the bar that a program is compiled, while it is."""
    compiles = compiles and not bar.disable
    usual = bar.desc if compiles else ''
    if compiles:
        bar.set_description(f'{usual} (compiling)')
    yield
    if compiles:
        bar.set_description(usual)


def _added(group: Group, runs: Sequence[Position], before: int, taken: Metrics) -> list[Position]:
    """Adds the metrics of steps to the windows of the runs; waits until they are there."""
    taken, added = jax.device_get(taken), []
    for place, (each, run) in enumerate(zip(group.records, runs, strict=True)):
        own = taken
        if group.several:
            own = jax.tree.map(lambda leaf, place=place: np.asarray(leaf)[..., place], taken)
        run = replace(run, window=run.window.added(own))
        try:
            refuse(run.window, own, before, each.run.config.train, _REMEDY)
        except InputError:
            _write(each, run, before + np.size(own['nonfinite'][0]))
            raise
        added.append(run)
    return added


def _logged(records: Records, position: Position, step: int) -> Position:
    """Logs the window that ends with the step before `step`, and begins another."""
    _write(records, position, step)
    window = close(position.window, step, _REMEDY)
    return replace(position, window=window, log=records.log.mark(step))


def _write(records: Records, position: Position, step: int) -> None:
    learning_rate = float(np.asarray(records.run.schedule(step - 1)))
    values = position.window.values() | {'learning_rate': learning_rate}
    records.log.write('train', step, values)


def _is_due(run: Run, step: int) -> bool:
    """Whether the student is validated after that many steps."""
    train = run.config.train
    return step > 0 and (step % train.evaluate_every == 0 or step == train.steps)


def _is_over(run: Run, position: Position) -> bool:
    """Whether a run has taken its steps, or validation found no better student for too long."""
    train, step = run.config.train, position.step
    if step >= train.steps:
        return True
    waited = (position.validated - position.best.step) // train.evaluate_every
    return 0 < train.patience <= waited and position.validated == step


def _validated(group: Group, ahead: _Ahead, bar: tqdm.tqdm) -> _Ahead:
    """Validates the students of all runs."""
    runs = [
        _select(each, run, ahead.step, group.of(ahead.progress, place).state.params)
        for place, (each, run) in enumerate(zip(group.records, ahead.positions, strict=True))
    ]
    mean = np.mean([run.best.accuracy for run in runs])
    bar.set_postfix(validation=f'{mean:.3f} best')
    return ahead._replace(positions=runs)


def _select(records: Records, position: Position, step: int, params: Params) -> Position:
    """Validates a student, and keeps it if it is better than the best so far."""
    ratio, best = validate(records.run, records.run.whole(params)), position.best
    accuracy = ratio.numerator / ratio.denominator
    better = accuracy > best.accuracy
    values = {'accuracy': accuracy, 'correct': ratio.numerator, 'total': ratio.denominator}
    records.log.write('validation', step, values | {'best': better})
    if better:
        best = Best(records.run.placement.host(params), step, accuracy)
    return replace(position, best=best, validated=step, log=records.log.mark(step))
