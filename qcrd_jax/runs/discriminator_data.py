"""What the discriminator learns from before training: balanced data, and what is held out (A.3)."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import config_dict

from qcrd_jax import bars
from qcrd_jax.data import augment, batches, encoding
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.data.schema import AnswerType, Example, PositivesRule
from qcrd_jax.data.self_consistency import split_samples

_MEASURED_QUESTIONS = 1000  # that are kept for measuring a discriminator that learns from fewer


class DiscriminatorData(NamedTuple):
    """What the discriminator learns from, and what is held out to measure it."""

    train: Encoded
    held_out: Encoded  # balanced like `train`
    held_out_teacher: Encoded  # the same questions with only the teacher's negatives
    lengths: Lengths


def of_config(config: config_dict.ConfigDict, corpus: Corpus) -> DiscriminatorData:
    """Returns what the discriminator of a run is pretrained and measured on."""
    return discriminator_data(
        corpus,
        positives=config.data.positives,
        samples=config.data.samples,
        corrupt=config.data.augment,
        tagger=augment.load_tagger(config.data.tagger),
        holdout=config.discriminator.holdout,
        at_most=_questions(config.discriminator),
        seed=config.seed,
    )


def digest(config: config_dict.ConfigDict, corpus: Corpus) -> str:
    """Returns a digest of the questions that `of_config` uses, of whose texts it is made.

    It is not one of the corrupted negatives, which the questions, the tokenizer and the settings
    decide: making them takes a while.
    """
    places = _places(corpus, _questions(config.discriminator), np.random.default_rng(config.seed))
    backend = corpus.tokenizer.backend_tokenizer
    tokens = batches.fingerprint(
        corpus.encoded['train'].take(places),
        corpus.lengths,
        batch_size=config.discriminator.batch_size,
        seed=config.seed,
    )
    made = hashlib.sha256(f'{corpus.answer_type} {tokens} {backend.to_str()}'.encode())
    for place in places:
        example = corpus.examples['train'][int(place)]
        texts = json.dumps(dataclasses.asdict(example), sort_keys=True)
        made.update(f'{texts}\n'.encode())
    return made.hexdigest()


def _questions(settings: Any) -> int:
    """How many questions the pretraining visits, and those held out from it."""
    visited = settings.pretrain_steps * settings.batch_size
    return max(math.ceil(visited / (1 - settings.holdout)), _MEASURED_QUESTIONS)


def _places(corpus: Corpus, at_most: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(len(corpus.examples['train']))[:at_most]


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
    used = _places(corpus, at_most, rng)
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
