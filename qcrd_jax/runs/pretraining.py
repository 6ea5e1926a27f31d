"""The discriminator before training: balanced data, its pretraining, and how it separates."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from qcrd_jax import bars, interruption
from qcrd_jax.data import augment, batches, encoding
from qcrd_jax.data.batches import Lengths
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.data.schema import AnswerType, Example, PositivesRule
from qcrd_jax.data.self_consistency import split_samples
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import scoring
from qcrd_jax.evaluation.scoring import Separation
from qcrd_jax.methods.discriminator import joined_length, make_discriminator_step
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.runs.exhaustion import explains
from qcrd_jax.runs.log import Mark, MetricsLog
from qcrd_jax.runs.run import Run
from qcrd_jax.runs.window import Window, close, refuse

_LOG_EVERY = 10  # steps
_WHERE, _REMEDY = 'discriminator, ', '--config.discriminator.learning_rate'
_MEASURED_QUESTIONS = 1000  # that are kept for measuring a discriminator that learns from fewer


class DiscriminatorData(NamedTuple):
    """What the discriminator learns from, and what is held out to measure it."""

    train: Encoded
    held_out: Encoded  # balanced like `train`
    held_out_teacher: Encoded  # the same questions with only the teacher's negatives
    lengths: Lengths


@explains('pretraining')
def pretrain_discriminator(
    run: Run, initial: Callable[[], Params], log: MetricsLog
) -> tuple[DiscriminatorState, Separation]:
    """Pretrains the discriminator of a run that has one (A.3), measures it, and says how it did.

    It has checkpoints of its own in the workdir, from which it resumes after an interruption.

    Args:
      run: the run.
      initial: makes the discriminator's initial parameters; they are donated.
      log: gets the metrics, as phase 'discriminator'.

    Raises:
      InputError: if a gradient is not finite and the configuration says to stop, or too many are
        not.
      Interrupted: if a signal asked the process to end; what was reached is saved.
    """
    config, discriminator = run.config, run.discriminator
    assert discriminator is not None
    settings = config.discriminator
    data = discriminator_data(
        run.corpus,
        positives=config.data.positives,
        samples=config.data.samples,
        corrupt=config.data.augment,
        tagger=augment.load_tagger(config.data.tagger),
        holdout=settings.holdout,
        at_most=_questions(settings),
        seed=config.seed,
    )
    with Checkpointer(workdirs.pretraining(run.workdir)) as checkpointer:
        records = _resume(run, checkpointer, log) or _start(run, checkpointer, initial, log)
        state = _pretrain(run, data, records)
    interruption.check()
    separation = scoring.measure(
        discriminator,
        state.params,
        data.held_out,
        data.held_out_teacher,
        data.lengths,
        batch_size=config.evaluation.batch_size,
    )
    print(separation, flush=True)
    return state, separation


class _Records(NamedTuple):
    """A pretraining under way: what it has reached, and where its records go."""

    state: DiscriminatorState
    window: Window
    checkpointer: Checkpointer
    log: MetricsLog


def _resume(run: Run, checkpointer: Checkpointer, log: MetricsLog) -> _Records | None:
    """Returns what the latest checkpoint holds; None where there is none."""
    assert run.discriminator is not None
    init, optimizer = run.discriminator.init, run.pretraining_optimizer

    def make() -> DiscriminatorState:
        return DiscriminatorState.create(init(jax.random.key(0)), optimizer)

    restored = checkpointer.restore(lambda _: jax.eval_shape(make))
    if restored is None:
        return None
    metadata, step = restored.metadata, restored.step
    workdirs.check_origin(run.workdir, run.config, run.fingerprint, metadata, step)
    print(f'resuming the pretraining of the discriminator from step {restored.step}', flush=True)
    window = Window.from_json(restored.metadata['window'])
    log.rewind(Mark(**restored.metadata['log']))
    return _Records(jax.tree.map(jnp.array, restored.state), window, checkpointer, log)


def _start(
    run: Run, checkpointer: Checkpointer, initial: Callable[[], Params], log: MetricsLog
) -> _Records:
    """Returns the state before the first step, once it is saved: a log implies a checkpoint."""
    workdirs.refuse_remains(run.workdir)
    state = DiscriminatorState.create(initial(), run.pretraining_optimizer)
    records = _Records(state, Window(), checkpointer, log)
    _save(run, records)
    checkpointer.wait()
    return records


def _save(run: Run, records: _Records) -> None:
    step = int(records.state.updates)
    metadata = {
        'config': workdirs.digest(run.config),
        'fingerprint': run.fingerprint,
        'log': records.log.mark(step)._asdict(),
        'window': records.window.to_json(),
    }
    records.checkpointer.save(step, records.state, metadata)


def _pretrain(run: Run, data: DiscriminatorData, records: _Records) -> DiscriminatorState:
    """Takes the steps that are left, only on L_D; saves on the way, and when interrupted.

    The AdamW moments are part of what is returned: without them the first online update would move
    every parameter by the whole learning rate, and undo much of this.
    """
    discriminator, config = run.discriminator, run.config
    assert discriminator is not None
    settings, state, window = config.discriminator, records.state, records.window
    # Of online updates, which are counted from here on, there were none.
    done = functools.partial(dataclasses.replace, updates=jnp.int32(0))
    if not len(data.train):
        return done(state)
    advance = _compiled_step(discriminator, run.pretraining_optimizer, config.loss.discriminator)
    stream = batches.training_batches(
        data.train, data.lengths, batch_size=settings.batch_size, seed=config.seed
    )
    key, first, saved = run.key('pretrain'), int(state.updates), time.monotonic()
    bar = tqdm.trange(
        first,
        settings.pretrain_steps,
        initial=first,
        total=settings.pretrain_steps,
        desc='discriminator',
        unit='step',
        mininterval=1.0,
    )
    for step in bar:
        start, batch = time.perf_counter(), stream[step]
        length = joined_length(batch, discriminator.pad_id)
        state, taken = advance(state, batch, key, length=length)
        taken = jax.device_get(taken)  # waits for the device
        window = window.added(taken).lasted(time.perf_counter() - start)
        after = step + 1
        try:
            refuse(window, taken, step, config.train, _REMEDY, _WHERE)
        except InputError:
            records.log.write('discriminator', after, window.values())
            raise
        if after % _LOG_EVERY == 0 or after == settings.pretrain_steps:
            records.log.write('discriminator', after, window.values())
            window = close(window, after, _REMEDY, _WHERE)
        minutes = (time.monotonic() - saved) / 60
        due = after % _LOG_EVERY == 0 and minutes >= config.train.checkpoint_minutes
        if due or interruption.requested():
            _save(run, records._replace(state=state, window=window))
            saved = time.monotonic()
        if interruption.requested():
            bar.close()
            records.checkpointer.wait()
            interruption.check(f'step {after} of the pretraining is saved')
    return done(state)


def _questions(settings: Any) -> int:
    """How many questions the pretraining visits, and those held out from it."""
    visited = settings.pretrain_steps * settings.batch_size
    return max(math.ceil(visited / (1 - settings.holdout)), _MEASURED_QUESTIONS)


def discriminator_data(
    corpus: Corpus,
    *,
    positives: PositivesRule,
    samples: int,
    corrupt: bool,
    tagger: augment.Tagger,
    holdout: float,
    at_most: int,
    seed: int,
) -> DiscriminatorData:
    """Balances positives and negatives of every question, and holds some questions out (A.3).

    A question with fewer negatives than positives gets corrupted copies of its positives, with
    masked and replaced words, numbers and operators, until there are as many of both.

    Args:
      corpus: its training split is used.
      positives: which samples are positives, see `self_consistency.split_samples`.
      samples: K, teacher samples used per question.
      corrupt: False leaves the classes as they are.
      tagger: finds the words to mask or replace, see `augment.load_tagger`.
      holdout: share of the questions that is held out, at least one question.
      at_most: questions that are used, drawn at random: those that pretraining never visits need
        no corrupted negatives.
      seed: of the corruptions and of the choice of questions.
    """
    examples, answer_type = corpus.examples['train'], corpus.answer_type
    rng = np.random.default_rng(seed)
    used = rng.permutation(len(examples))[:at_most]
    corruption = functools.partial(
        augment.corrupt, rng=rng, arithmetic=answer_type == 'equation', tagger=tagger
    )
    negatives = [
        _balanced_negatives(
            examples[int(place)],
            answer_type,
            positives,
            samples,
            corruption if corrupt else None,
            rng,
        )
        for place in bars.shown(used, 'corrupting', 'questions')
    ]
    encoded = corpus.encoded['train'].take(used)
    balanced = encoding.with_negatives(encoded, corpus.tokenizer, negatives)
    held = max(1, round(holdout * len(used))) if holdout else 0
    both = (balanced.positives.sizes > 0) & (balanced.negatives.sizes > 0)
    most = int(balanced.negatives.sizes.max(initial=1))
    return DiscriminatorData(
        balanced.take(held + np.flatnonzero(both[held:])),
        balanced.take(range(held)),
        encoded.take(range(held)),
        dataclasses.replace(corpus.lengths, negatives=most),
    )


def _balanced_negatives(
    example: Example,
    answer_type: AnswerType,
    positives: PositivesRule,
    samples: int,
    corrupt: Callable[[str], str] | None,
    rng: np.random.Generator,
) -> list[str]:
    split = split_samples(
        example.samples[:samples], example.label, answer_type, positives, example.options
    )
    if corrupt is None:
        return list(split.negatives)
    missing = max(len(split.positives) - len(split.negatives), 0)
    chosen = rng.permutation(len(split.positives))[:missing]
    return [*split.negatives, *(corrupt(split.positives[i]) for i in chosen)]


@functools.lru_cache(maxsize=1)
def _compiled_step(
    discriminator: Discriminator, optimizer: optax.GradientTransformation, kind: str
) -> Callable[..., Any]:
    """The jitted step; several seeds that pretrain one after another compile it once."""
    return jax.jit(
        make_discriminator_step(discriminator, optimizer, kind=kind),
        donate_argnames='state',
        static_argnames='length',
    )
