"""The data of a run, tokenised."""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import config_dict

from qcrd_jax.data import batches, encoding
from qcrd_jax.data import tokenizer as tokenizers
from qcrd_jax.data.batches import Lengths
from qcrd_jax.data.encoding import Encoded, Encoding
from qcrd_jax.data.schema import AnswerType, Example, Splits
from qcrd_jax.data.sources import builders
from qcrd_jax.data.sources.builders import Dataset
from qcrd_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The data of a run, tokenised.

    Attributes:
      examples: by split, 'train', 'validation' and 'test'.
      encoded: the same as token ids.
      tokenizer: of the student, and of the discriminator.
      lengths: the one shape of all batches.
      truncations: what the length caps cut.
      answer_type: how answers are compared.
    """

    examples: Splits
    encoded: dict[str, Encoded]
    tokenizer: Any
    lengths: Lengths
    truncations: list[batches.Truncation]
    answer_type: AnswerType


def read_dataset(config: config_dict.ConfigDict, workdir: pathlib.Path) -> Dataset:
    """Reads the dataset, which is written once as ArrayRecord under `data.cache`.

    With `data.fraction` below 1 the training split is a part of it, drawn once and for all: every
    seed and every method sees the same questions, and a larger part holds the smaller ones.
    """
    dataset = builders.load(config.data, workdir / 'data')
    if config.data.fraction < 1:
        dataset = dataset.with_part_of_train(config.data.fraction)
    for name in ('train', 'validation', 'test'):
        if not len(dataset.splits[name]):
            raise InputError(
                f'{config.data.source or config.data.name}: the {name} split is empty; a run '
                'trains on one split, selects on another and reports a third.'
            )
    return dataset


def build_corpus(config, dataset, workdir, *, positives, joint) -> Corpus:
    """Tokenises the dataset, once; trains a tokenizer on it where none is named."""
    data = config.data
    name = config.student.tokenizer or config.student.pretrained
    if name:
        tokenizer = tokenizers.load_tokenizer(name)
    else:
        tokenizer = tokenizers.train_tokenizer(
            _tokenizer_texts(dataset.splits['train']),
            config.student.vocab_size,
            required=data.prefixes,
            split_digits=config.student.split_digits,
        )
    cache = pathlib.Path(data.cache or workdir / 'data') / 'tokens'
    encoded = {
        split: encoding.encode_once(
            examples,
            tokenizer,
            Encoding(
                prefixes=tuple(data.prefixes),
                answer_type=dataset.answer_type,
                positives=positives,
                samples=data.samples,
                # A student is measured by the gold labels, whoever taught it.
                labels=data.labels if split == 'train' else 'gold',
                joint=joint,
            ),
            cache=cache,
            fingerprint=f'{dataset.fingerprint}/{split}',
        )
        for split, examples in dataset.splits.items()
    }
    caps = {
        'source': data.max_source_length,
        'label': data.max_label_length,
        'rationale': data.max_rationale_length,
    }
    lengths, truncations = batches.measure_lengths(encoded, caps, data.length_bucket)
    return Corpus(dataset.splits, encoded, tokenizer, lengths, truncations, dataset.answer_type)


def _tokenizer_texts(examples: Sequence[Example]) -> Iterator[str]:
    """What a tokenizer is trained on: of many questions, some that are evenly spread."""
    for place in range(0, len(examples), math.ceil(len(examples) / 20_000)):
        example = examples[place]
        yield from (example.input, example.label, *(s.rationale for s in example.samples))
