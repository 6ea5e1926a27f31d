"""The discriminator's pretraining: resumed, found where it was done before, several seeds at once.

Seeds that are before the same step advance in one program, where memory holds it; after a kill
those that are behind catch up first.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from qcrd_jax import interruption, processes
from qcrd_jax.data import batches
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import scoring
from qcrd_jax.methods.metrics import Metrics
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models.protocol import Params
from qcrd_jax.placement import Placement
from qcrd_jax.runs import discriminator_data, pretrained, pretraining_steps
from qcrd_jax.runs import log as metrics_log
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.discriminator_data import DiscriminatorData
from qcrd_jax.runs.exhaustion import explained
from qcrd_jax.runs.log import Mark, MetricsLog
from qcrd_jax.runs.pretrained import Pretrained
from qcrd_jax.runs.run import Run
from qcrd_jax.runs.window import Window, close, refuse

_LOG_EVERY = 10  # steps
_PHASE = 'discriminator'  # of the log
_WHERE, _REMEDY = 'discriminator, ', '--config.discriminator.learning_rate'


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """How far the pretraining of a run's discriminator has come.

    Attributes:
      run: that has a discriminator.
      log: of the run; gets the metrics, as phase 'discriminator'.
      step: before which it is.
      window: the steps since its last line of the log.
      key: by which it is kept for other runs (`pretrained`); '' where it is not.
      state: None before the first step, where the parameters are still to be made. Steps donate
        its buffers.
    """

    run: Run
    log: MetricsLog
    step: int = 0
    window: Window = dataclasses.field(default_factory=Window)
    key: str = ''
    state: DiscriminatorState | None = None


# --- Saved and resumed ----------------------------------------------------------------------------


def begin(run: Run, log: MetricsLog) -> Pretraining:
    """Resumes a pretraining from its latest checkpoint, or begins one, and saves that.

    It has checkpoints of its own in the workdir, until it is over. That of step 0 holds no arrays,
    for they are made anew: it is there so that a log implies a checkpoint.

    Args:
      run: that has a discriminator, and no checkpoint of its training.
      log: of the run.

    Raises:
      UnreadableError: if there was a run, and nothing to resume it from.
    """
    with Checkpointer(workdirs.pretraining(run.workdir)) as checkpointer:
        resumed = _resume(run, log, checkpointer)
        if resumed is not None:
            return resumed
        processes.by_first(workdirs.refuse_remains, run.workdir)
        begun = Pretraining(run, log)
        _save(begun, checkpointer)
        return begun


def _resume(run: Run, log: MetricsLog, checkpointer: Checkpointer) -> Pretraining | None:
    """Returns what the latest checkpoint holds; None where there is none."""

    def shape(metadata: dict[str, Any]) -> Any:
        place = run.placement
        shapes = _shape(run) if metadata['log']['step'] else _NOTHING
        return place.living(shapes, place.parameters(shapes))

    restored = checkpointer.restore(shape)
    if restored is None:
        return None
    metadata, step = restored.metadata, restored.step
    workdirs.check_origin(run.workdir, run.config, run.fingerprint, metadata, step)
    print(f'resuming the pretraining of the discriminator from step {step}', flush=True)
    log.rewind(Mark(**metadata['log']))
    state = None
    if step:
        own = jax.tree.map(jnp.array, restored.state)
        state = run.placement.placed(own, run.placement.parameters(own))
    window = Window.from_json(metadata['window'])
    return Pretraining(run, log, step, window, metadata['key'], state)


def _shape(run: Run) -> DiscriminatorState:
    """The shapes of what a pretraining changes, nothing computed."""
    assert run.discriminator is not None
    init, optimizer = run.discriminator.init, run.pretraining_optimizer
    return jax.eval_shape(lambda: DiscriminatorState.create(init(jax.random.key(0)), optimizer))


_NOTHING = {'step': np.int32(0)}  # what a checkpoint of step 0 holds


def _save(reached: Pretraining, checkpointer: Checkpointer) -> None:
    run, step = reached.run, reached.step
    metadata = {
        'config': workdirs.digest(run.config),
        'fingerprint': run.fingerprint,
        'log': reached.log.mark(step)._asdict(),
        'window': reached.window.to_json(),
        'key': reached.key,
    }
    checkpointer.save(step, reached.state if step else _NOTHING, metadata)


# --- From beginning to end ------------------------------------------------------------------------


def pretrain(
    begun: Sequence[Pretraining], initial: Sequence[Callable[[], Params]], *, reserved: int = 0
) -> list[Pretrained]:
    """Pretrains discriminators (A.3), measures them, and says how they did.

    One that was pretrained before, for a run of which everything was the same that decides it, is
    not pretrained again: its parameters, its moments and its lines of the log are taken over.

    Args:
      begun: by `begin`; of one run, or of several that only differ in their seed and workdir.
      initial: for each, makes the discriminator's initial parameters; they are donated.
      reserved: bytes of the disk that training needs: where they are not left, no discriminator is
        kept for other runs.

    Raises:
      InputError: if a gradient is not finite and the configuration says to stop, or too many are
        not.
      Interrupted: if a signal asked the process to end; what was reached is saved.
    """
    if not begun:
        return []
    done: dict[int, Pretrained] = {}
    left: dict[int, Pretraining] = {}
    run = begun[0].run
    with explained(run.config, 'pretraining', run.corpus.lengths):
        for place, (each, make) in enumerate(zip(begun, initial, strict=True)):
            interruption.check()
            found = _found_or_started(each, make)
            if isinstance(found, Pretrained):
                done[place] = found
            else:
                left[place] = found
        data = {
            place: discriminator_data.of_config(each.run.config, each.run.corpus)
            for place, each in left.items()
        }
        _take_steps(left, data)
        for place in sorted(left):
            interruption.check()
            done[place] = _finished(left.pop(place), data.pop(place), reserved)
    return [done[place] for place in range(len(begun))]


def _found_or_started(begun: Pretraining, make: Callable[[], Params]) -> Pretrained | Pretraining:
    """Returns what was pretrained before; else the pretraining, which has a state then."""
    if begun.state is not None:
        return begun
    run, params, key = begun.run, make(), ''
    if pretrained.is_shared(run.config):
        assert run.discriminator is not None
        data = discriminator_data.digest(run.config, run.corpus)
        key = pretrained.key(run.config, data, run.discriminator, params)
        found = pretrained.find(run.config, key, _shape(run))
        if processes.of_all(found is not None) and found is not None:
            for record in found.lines:
                values = {name: record[name] for name in record if name not in ('phase', 'step')}
                begun.log.write(record['phase'], record['step'], values)
            print(found.separation, flush=True)
            place = run.placement
            return found._replace(state=place.placed(found.state, place.parameters(found.state)))
    state = run.placement.made(
        lambda params: DiscriminatorState.create(params, run.pretraining_optimizer),
        run.placement.parameters,
        params,
    )
    return dataclasses.replace(begun, key=key, state=state)


def _finished(reached: Pretraining, data: DiscriminatorData, reserved: int) -> Pretrained:
    """Measures a discriminator after its last step, and keeps it for other runs.

    The AdamW moments are part of it: without them the first online update would move every
    parameter by the whole learning rate, and undo much of this.

    Args:
      reached: the pretraining.
      data: that it is measured on.
      reserved: see `pretrain`.
    """
    run, state = reached.run, reached.state
    assert run.discriminator is not None and state is not None
    separation = scoring.measure(
        run.discriminator,
        state.params,
        data.held_out,
        data.held_out_teacher,
        data.lengths,
        batch_size=run.config.evaluation.batch_size,
        placement=run.placement,
    )
    print(separation, flush=True)
    # Of online updates, which are counted from here on, there were none.
    state = dataclasses.replace(state, updates=jnp.int32(0))
    lines = metrics_log.read(run.workdir, _PHASE) if processes.is_first() else []
    done = Pretrained(state, separation, lines)
    if reached.key:
        pretrained.keep(run.config, reached.key, done, reserved=reserved)
    return done


# --- Steps ----------------------------------------------------------------------------------------


def _take_steps(left: dict[int, Pretraining], data: Mapping[int, DiscriminatorData]) -> None:
    """Takes the steps that are left, only on L_D; `left` is brought to the last one.

    Without a question that has both kinds of rationales there are none.
    """
    learning = [place for place in left if len(data[place].train)]
    steps = left[learning[0]].run.config.discriminator.pretrain_steps if learning else 0
    while (step := min((left[place].step for place in learning), default=steps)) < steps:
        group = [place for place in learning if left[place].step == step]
        ahead = [left[place].step for place in learning if left[place].step > step]
        # Taken out: nobody else holds the buffers that the steps donate.
        taken = [left.pop(place) for place in group]
        own = [data[place] for place in group]
        left |= zip(group, _advance(taken, own, min(ahead, default=steps)), strict=True)


def _advance(
    taken: list[Pretraining], data: Sequence[DiscriminatorData], limit: int
) -> list[Pretraining]:
    """Takes pretrainings, all before the same step, to a later one; `taken` is emptied.

    Raises:
      Interrupted: if a signal asked the process to end; what was reached is saved.
    """
    runs, first = [each.run for each in taken], taken[0].step
    config, several, saved = runs[0].config, len(runs) > 1, time.monotonic()
    kind, optimizer = config.loss.discriminator, runs[0].pretraining_optimizer
    place = runs[0].placement
    if several:
        place = Placement.of_seeds([run.placement for run in runs])
    advance = pretraining_steps.compiled(runs[0].discriminator, optimizer, kind, several, place)
    streams = [_stream(*each) for each in zip(runs, data, strict=True)]
    pad_id = data[0].train.pad_id
    keys, states = [run.key('pretrain') for run in runs], [each.state for each in taken]
    key = jnp.stack(keys) if several else keys[0]
    state = place.joined(states) if several else states[0]
    # Nobody else holds what the steps donate.
    reached = [dataclasses.replace(each, state=None) for each in taken]
    taken.clear()
    del states

    def whole() -> list[Pretraining]:
        return [
            dataclasses.replace(each, state=place.taken_apart(state, i) if several else state)
            for i, each in enumerate(reached)
        ]

    with contextlib.ExitStack() as stack:
        folders = [workdirs.pretraining(run.workdir) for run in runs]
        checkpointers = [stack.enter_context(Checkpointer(folder)) for folder in folders]
        bar = stack.enter_context(_bar(first, config.discriminator.pretrain_steps, len(runs)))
        for step in range(first, limit):
            start = time.perf_counter()
            batch, length = pretraining_steps.batch(streams, step, pad_id)
            batch = place.placed(batch, place.rows(batch))
            state, metrics = advance(state, batch, key, length=length)
            metrics = place.host(metrics)  # waits for the device
            seconds = (time.perf_counter() - start) / len(runs)
            reached = [
                _added(each, _of(metrics, i) if several else metrics, seconds)
                for i, each in enumerate(reached)
            ]
            bar.update()
            after, minutes = step + 1, (time.monotonic() - saved) / 60
            due = after % _LOG_EVERY == 0
            if due:
                processes.agree_on_signals()
                due = processes.agreed(minutes >= config.train.checkpoint_minutes)
            if due or interruption.requested():
                for each, checkpointer in zip(whole(), checkpointers, strict=True):
                    _save(each, checkpointer)
                saved = time.monotonic()
            if interruption.requested():
                bar.close()
                for checkpointer in checkpointers:
                    checkpointer.wait()
                interruption.check(f'step {after} of the pretraining is saved')
    return whole()


def _added(reached: Pretraining, taken: Metrics, seconds: float) -> Pretraining:
    """Returns a pretraining after one more step, whose window is logged if it ends there."""
    config, log, after = reached.run.config, reached.log, reached.step + 1
    window = reached.window.added(taken).lasted(seconds)
    try:
        refuse(window, taken, reached.step, config.train, _REMEDY, _WHERE)
    except InputError:
        log.write(_PHASE, after, window.values())
        raise
    if after % _LOG_EVERY == 0 or after == config.discriminator.pretrain_steps:
        log.write(_PHASE, after, window.values())
        window = close(window, after, _REMEDY, _WHERE)
    return dataclasses.replace(reached, step=after, window=window)


def _bar(first: int, steps: int, count: int) -> tqdm.tqdm:
    what = 'discriminator' if count == 1 else f'{count} discriminators'
    first_only = not processes.is_first()
    return tqdm.tqdm(
        initial=first, total=steps, desc=what, unit='step', mininterval=1.0, disable=first_only
    )


def _stream(run: Run, data: DiscriminatorData) -> BatchStream:
    size, seed = run.config.discriminator.batch_size, run.config.seed
    return batches.training_batches(data.train, data.lengths, batch_size=size, seed=seed)


def _of(tree: Any, place: int) -> Any:
    """What belongs to the run at a place of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[place], tree)
