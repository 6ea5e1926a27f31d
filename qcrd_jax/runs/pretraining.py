"""The discriminator before training: balanced data, its pretraining, and how it separates."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jaxtyping import Array, Float, Int

from qcrd_jax.methods import metrics as step_metrics
from qcrd_jax.data import (augment, batches, encoding)
from qcrd_jax.data.batches import Lengths
from qcrd_jax.data.encoding import Encoded
from qcrd_jax.data.schema import (AnswerType, Example)
from qcrd_jax.data.self_consistency import split_samples
from qcrd_jax.evaluation.metrics import roc_auc
from qcrd_jax.methods.discriminator import (DiscriminatorState, joined_length, make_discriminator_step, score_rationales)
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params


class Separation(NamedTuple):
    """How the discriminator scores rationales of questions that it was not pretrained on.

    Attributes:
      auc: area under the ROC curve, positives against all negatives; None without both kinds.
      auc_teacher: the same against the teacher's own negatives, the corrupted ones left out.
      positive_score: mean score of the positives.
      negative_score: mean score of the negatives.
    """

    auc: float | None
    auc_teacher: float | None
    positive_score: float | None
    negative_score: float | None


class JudgeData(NamedTuple):
    """What the discriminator learns from, and what is held out to measure it."""

    train: Encoded
    held_out: Encoded  # balanced like `train`
    held_out_teacher: Encoded  # the same questions with the teacher's negatives alone
    lengths: Lengths


def judge_data(
    examples: Sequence[Example],
    encoded: Encoded,
    lengths: Lengths,
    tokenizer: Any,
    *,
    answer_type: AnswerType,
    positives: str,
    samples: int,
    corrupt: bool,
    tagger: augment.Tagger,
    holdout: float,
    at_most: int,
    seed: int,
) -> JudgeData:
    """Balances positives and negatives of every question, and holds some questions out (A.3).

    A question with fewer negatives than positives gets corrupted copies of its positives, with
    masked and replaced words, numbers and operators, until there are as many of both.

    Args:
      examples: the training split.
      encoded: the same, tokenised.
      lengths: the shape of the run's batches.
      tokenizer: of the student.
      answer_type: how answers are compared; arithmetic has its numbers and operators corrupted.
      positives: which samples are positives, see `self_consistency.split_samples`.
      samples: K, teacher samples used per question.
      corrupt: False leaves the classes as they are.
      tagger: finds the words to mask or replace, see `augment.load_tagger`.
      holdout: share of the questions that is held out, at least one question.
      at_most: questions that are used, drawn at random: those that pretraining never visits need
        no corrupted negatives.
      seed: of the corruptions and of the choice of questions.
    """
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
    encoded = encoded.take(used)
    balanced = encoding.with_negatives(encoded, tokenizer, negatives)
    held = max(1, round(holdout * len(used))) if holdout else 0
    both = (balanced.positives.sizes > 0) & (balanced.negatives.sizes > 0)
    return JudgeData(
        balanced.take(held + np.flatnonzero(both[held:])),
        balanced.take(range(held)),
        encoded.take(range(held)),
        dataclasses.replace(lengths, negatives=int(balanced.negatives.sizes.max(initial=1))),
    )


def _balanced_negatives(
    example: Example,
    answer_type: AnswerType,
    positives: str,
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
    data: JudgeData,
    *,
    steps: int,
    batch_size: int,
    kind: str,
    key: jax.Array,
    seed: int,
    log: Callable[[int, dict[str, Any]], None],
    log_every: int = 10,
) -> DiscriminatorState:
    """Trains the discriminator on L_D alone.

    Its AdamW moments are part of what is returned: without them the first online update would move
    every parameter by the whole learning rate, and undo much of this.

    Args:
      discriminator: the judge.
      params: its initial parameters; they are donated.
      optimizer: of this pretraining; the online one must be of the same kind.
      data: of `judge_data`.
      steps: optimiser steps.
      batch_size: questions per step.
      kind: which L_D.
      key: of dropout.
      seed: of the order of the questions.
      log: called with a step and its metrics.
      log_every: steps between calls of `log`.
    """
    state = DiscriminatorState(params, optimizer.init(params), jnp.int32(0))
    if not len(data.train):
        return state
    step = _compiled_step(discriminator, optimizer, kind)
    stream = batches.training_batches(data.train, data.lengths, batch_size=batch_size, seed=seed)
    window, start = [], time.perf_counter()
    for t in tqdm.trange(steps, desc='discriminator', unit='step', mininterval=1.0):
        batch = stream[t]
        length = joined_length(batch, discriminator.pad_id)
        state, metrics = step(state, batch, key, length=length)
        window.append(metrics)
        if (t + 1) % log_every == 0 or t + 1 == steps:
            values = step_metrics.mean(window)  # waits for the device
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


def measure(
    discriminator: Discriminator, params: Params, data: JudgeData, *, batch_size: int
) -> Separation:
    """Scores the rationales that were held out."""
    positive, negative = score_split(
        discriminator, params, data.held_out, data.lengths, batch_size=batch_size
    )
    _, teacher = score_split(
        discriminator, params, data.held_out_teacher, data.lengths, batch_size=batch_size
    )
    return Separation(
        roc_auc(positive, negative),
        roc_auc(positive, teacher),
        float(positive.mean()) if positive.size else None,
        float(negative.mean()) if negative.size else None,
    )


def score_split(
    discriminator: Discriminator,
    params: Params,
    encoded: Encoded,
    lengths: Lengths,
    *,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of all positives and of all negatives of a split."""
    positive, negative = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for batch in batches.evaluation_batches(encoded, lengths, batch_size=batch_size):
        for kind, scores in (('positive', positive), ('negative', negative)):
            values = score(discriminator, params, batch['question_ids'], batch[f'{kind}_ids'])
            scores.append(values[batch[f'{kind}_mask'] & batch['example_mask'][:, None]])
    return np.concatenate(positive), np.concatenate(negative)


@functools.partial(jax.jit, static_argnums=0)
def _score(
    discriminator: Discriminator,
    params: Params,
    question_ids: Int[Array, 'B S'],
    rationale_ids: Int[Array, 'B R T'],
) -> Float[Array, 'B R']:
    batch = {'question_ids': question_ids}
    return score_rationales(discriminator, params, batch, rationale_ids, None)


def score(
    discriminator: Discriminator,
    params: Params,
    question_ids: Int[np.ndarray, 'B S'],
    rationale_ids: Int[Array | np.ndarray, 'B R T'],
) -> Float[np.ndarray, 'B R']:
    """D(x, r) of eq. 1, outside of any step."""
    return np.asarray(_score(discriminator, params, question_ids, rationale_ids))
