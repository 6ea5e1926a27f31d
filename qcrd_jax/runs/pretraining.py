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

from qcrd_jax.data import augment, batches, encoding
from qcrd_jax.data.batches import Lengths
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.data.schema import AnswerType, Example, PositivesRule
from qcrd_jax.data.self_consistency import split_samples
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import scoring
from qcrd_jax.evaluation.scoring import Separation
from qcrd_jax.methods import metrics
from qcrd_jax.methods.discriminator import joined_length, make_discriminator_step
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params
from qcrd_jax.runs.log import MetricsLog
from qcrd_jax.runs.run import Run

_MEASURED_QUESTIONS = 1000  # that are kept for measuring a discriminator that learns from fewer


class DiscriminatorData(NamedTuple):
    """What the discriminator learns from, and what is held out to measure it."""

    train: Encoded
    held_out: Encoded  # balanced like `train`
    held_out_teacher: Encoded  # the same questions with only the teacher's negatives
    lengths: Lengths


def pretrain_discriminator(
    run: Run, params: Params, log: MetricsLog
) -> tuple[DiscriminatorState, Separation]:
    """Pretrains the discriminator of a run that has one (A.3), measures it, and says how it did.

    Args:
      run: the run.
      params: the discriminator's initial ones; they are donated.
      log: gets the metrics, as phase 'discriminator'.

    Raises:
      InputError: if a gradient is not finite and the configuration says to stop.
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

    def write(step: int, values: dict[str, Any]) -> None:
        log.write('discriminator', step, values)
        if values['nonfinite'] and config.train.on_nonfinite == 'stop':
            raise InputError(
                f'discriminator, before step {step}: the gradient is not finite; lower '
                '--config.discriminator.learning_rate, or pass over such steps by '
                '--config.train.on_nonfinite=skip.'
            )

    state = pretrain(
        discriminator,
        params,
        run.pretraining_optimizer,
        data,
        steps=settings.pretrain_steps,
        batch_size=settings.batch_size,
        kind=config.loss.discriminator,
        key=run.key('pretrain'),
        seed=config.seed,
        log=write,
    )
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
        for place in used
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


def pretrain(
    discriminator: Discriminator,
    params: Params,
    optimizer: optax.GradientTransformation,
    data: DiscriminatorData,
    *,
    steps: int,
    batch_size: int,
    kind: str,
    key: jax.Array,
    seed: int,
    log: Callable[[int, dict[str, Any]], None],
    log_every: int = 10,
) -> DiscriminatorState:
    """Trains the discriminator, only on L_D.

    Its AdamW moments are part of what is returned: without them the first online update would move
    every parameter by the whole learning rate, and undo much of this.

    Args:
      discriminator: the model.
      params: its initial parameters; they are donated.
      optimizer: of this pretraining; the online one must be of the same kind.
      data: of `discriminator_data`.
      steps: optimiser steps.
      batch_size: questions per step.
      kind: which L_D.
      key: of dropout.
      seed: of the order of the questions.
      log: called with a step and its metrics.
      log_every: steps between calls of `log`.
    """
    state = DiscriminatorState.create(params, optimizer)
    if not len(data.train):
        return state
    step = _compiled_step(discriminator, optimizer, kind)
    stream = batches.training_batches(data.train, data.lengths, batch_size=batch_size, seed=seed)
    window, start = [], time.perf_counter()
    for t in tqdm.trange(steps, desc='discriminator', unit='step', mininterval=1.0):
        batch = stream[t]
        length = joined_length(batch, discriminator.pad_id)
        state, taken = step(state, batch, key, length=length)
        window.append(taken)
        if (t + 1) % log_every == 0 or t + 1 == steps:
            values = metrics.mean(window)  # waits for the device
            seconds = (time.perf_counter() - start) / len(window)
            log(t + 1, values | {'seconds_per_step': seconds})
            window, start = [], time.perf_counter()
    return dataclasses.replace(state, updates=jnp.int32(0))  # of online updates there were none


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
