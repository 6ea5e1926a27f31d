"""The data of a run as token ids: a dataset, the tokenizer of its student, and one batch shape."""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from qcrd_jax.data import encoding
from qcrd_jax.data import tokenizer as tokenizers
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.data.encoding import Encoding
from qcrd_jax.data.lengths import Lengths, Truncation, measure_lengths
from qcrd_jax.data.schema import AnswerType, Example, PositivesRule, Splits
from qcrd_jax.data.splits import Dataset

_TOKENIZER_QUESTIONS = 20_000  # that a tokenizer is trained on, at most


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
    truncations: list[Truncation]
    answer_type: AnswerType


def build_corpus(
    config: Any, dataset: Dataset, workdir: pathlib.Path, *, positives: PositivesRule, joint: bool
) -> Corpus:
    """Tokenises a dataset, once; trains a tokenizer on it where none is named.

    Args:
      config: of the run; its groups `data` and `student` are read.
      dataset: of `builders.load`.
      workdir: of the run; the token ids are kept in it, unless `data.cache` names a folder.
      positives: which of the teacher's samples the method takes as positives.
      joint: whether rationale and label are one target (see `targets`).
    """
    data = config.data
    name = config.student.tokenizer or config.student.pretrained
    if name:
        tokenizer = tokenizers.load_tokenizer(name)
    else:
        tokenizer = tokenizers.train_tokenizer(
            _texts(dataset.splits['train']),
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
    lengths, truncations = measure_lengths(encoded, caps, data.length_bucket)
    return Corpus(dataset.splits, encoded, tokenizer, lengths, truncations, dataset.answer_type)


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    """What a tokenizer is trained on: of many questions, some that are evenly spaced."""
    for place in range(0, len(examples), math.ceil(len(examples) / _TOKENIZER_QUESTIONS)):
        example = examples[place]
        yield from (example.input, example.label, *(s.rationale for s in example.samples))
