"""Examples as token ids: tokenised once, and kept on disk where they are many."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from qcrd_jax import bars
from qcrd_jax.data import caching, targets
from qcrd_jax.data.encoded import RATIONALES, SEQUENCES, Encoded, Groups, Ids, Ragged
from qcrd_jax.data.schema import SEPARATOR, AnswerType, Example, LabelsRule, PositivesRule
from qcrd_jax.data.self_consistency import split_samples, training_label
from qcrd_jax.data.special_tokens import Tokenizer, special_ids, special_tokens

_VERSION = 3  # raise it when the same examples are encoded otherwise
_PART = 2048  # examples that are tokenised at once


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How examples become token ids.

    Attributes:
      prefixes: those of the label task and of the rationale task.
      answer_type: how answers are compared.
      positives: which samples are positives; see `self_consistency.split_samples`.
      samples: K, of each question's samples the first K are used.
      labels: whose labels are learned; see `self_consistency.training_label`.
      joint: the label's target begins with the first rationale (Single-Task, see `targets`).
    """

    prefixes: tuple[str, str]
    answer_type: AnswerType
    positives: PositivesRule = 'self_consistency'
    samples: int = 5
    labels: LabelsRule = 'gold'
    joint: bool = False


def encode(examples: Sequence[Example], tokenizer: Tokenizer, encoding: Encoding) -> Encoded:
    """Tokenises examples; their teacher samples become positives and negatives."""
    split = [
        split_samples(
            example.samples[: encoding.samples],
            example.label,
            encoding.answer_type,
            encoding.positives,
            example.options,
        )
        for example in examples
    ]
    predict_prefix, explain_prefix = encoding.prefixes
    ids = _TokenIds(tokenizer)
    questions = [ids.spelled(example.input, keep=SEPARATOR) for example in examples]
    labels = [
        training_label(example, encoding.answer_type, encoding.labels, encoding.samples)
        for example in examples
    ]
    if encoding.joint:
        rationales = [next(iter(sample.positives), '') for sample in split]
        labels = [targets.join(*pair) for pair in zip(rationales, labels, strict=True)]
    pad_id, eos_id = special_ids(tokenizer)
    return Encoded(
        predict=Ragged.of(ids.of(predict_prefix + question for question in questions)),
        explain=Ragged.of(ids.of(explain_prefix + question for question in questions)),
        question=Ragged.of(ids.of(questions)),
        label=Ragged.of(ids.of(map(ids.spelled, labels), target=True)),
        positives=ids.grouped([sample.positives for sample in split]),
        negatives=ids.grouped([sample.negatives for sample in split]),
        pad_id=pad_id,
        eos_id=eos_id,
    )


def with_negatives(
    encoded: Encoded, tokenizer: Tokenizer, negatives: Sequence[Sequence[str]]
) -> Encoded:
    """Returns the split with other negatives: those given as text, a group for each example."""
    return dataclasses.replace(encoded, negatives=_TokenIds(tokenizer).grouped(negatives))


class _TokenIds:
    """Tokenises many texts at once: a call for each would take many times longer."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        # What is unknown is unknown, however it is written.
        special = [text for text in special_tokens(tokenizer) if text != tokenizer.unk_token]
        self._special = re.compile('|'.join(map(re.escape, sorted(special, key=len)[::-1])))

    def spelled(self, text: str, keep: str = '') -> str:
        """Returns a text in which no special token is spelled as such: what was written is text.

        `</s>` in a rationale would be an EOS in the middle of it; it becomes `< /s>`.

        Args:
          text: of a dataset or a teacher.
          keep: the special token that is meant as such.
        """
        return self._special.sub(lambda found: _apart(found[0], keep), text)

    def of(self, texts: Iterable[str], *, target: bool = False) -> list[Ids]:
        """Returns the ids of texts, up to EOS.

        Args:
          texts: to tokenise.
          target: whether they are what a student writes: no BOS of the tokenizer is in front of an
            answer, which in a decoder-only student stands behind the prompt.
        """
        texts = list(texts)
        if not texts:
            return []
        distinct = list(dict.fromkeys(texts))  # teachers repeat themselves
        encodings = self._tokenizer(
            distinct, add_special_tokens=not target, return_attention_mask=False
        )['input_ids']
        eos = self._tokenizer.eos_token_id
        # Not every tokenizer appends EOS; a target without it would never learn to end.
        arrays = [
            np.array(ids if ids and ids[-1] == eos else [*ids, eos], np.int32) for ids in encodings
        ]
        by_text = dict(zip(distinct, arrays, strict=True)) | {'': np.zeros(0, np.int32)}
        return [by_text[text] for text in texts]

    def grouped(self, groups: Sequence[Sequence[str]]) -> Groups:
        flat: Iterator[Ids] = iter(
            self.of((self.spelled(text) for group in groups for text in group), target=True)
        )
        return Groups.of([[next(flat) for _ in group] for group in groups])


def _apart(token: str, keep: str) -> str:
    return token if token == keep else f'{token[:1]} {token[1:]}'


# --- On disk --------------------------------------------------------------------------------------


def encode_once(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    encoding: Encoding,
    *,
    cache: pathlib.Path,
    fingerprint: str,
) -> Encoded:
    """Tokenises examples part by part into files, or finds them tokenised already.

    The result reads the files as they are needed: half a million questions take little memory.

    Args:
      examples: of one split.
      tokenizer: appends EOS.
      encoding: how.
      cache: folder of tokenised splits; each has a folder of its own in it.
      fingerprint: differs from that of any other examples.

    Raises:
      InputError: if the split cannot be kept there.
    """
    ids = special_ids(tokenizer)
    backend: Any = tokenizer.backend_tokenizer

    def make(folder: pathlib.Path) -> None:
        starts = bars.shown(range(0, len(examples), _PART), 'tokenising', 'parts')
        parts = (encode(examples[start : start + _PART], tokenizer, encoding) for start in starts)
        _store(folder, parts)

    key = _digest(fingerprint, _VERSION, encoding, ids, backend.to_str())
    return caching.found_or_made(
        cache / key,
        key=key,
        make=make,
        read=lambda folder: _load(folder, len(examples), tokenizer),
        what='the split is tokenised',
    )


def _arrays(encoded: Encoded) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every array that makes up a split, by the name of its file."""
    for field in SEQUENCES:
        sequences: Ragged = getattr(encoded, field)
        yield f'{field}.ids', sequences.items
        yield f'{field}.sizes', sequences.sizes
    for field in RATIONALES:
        groups: Groups = getattr(encoded, field)
        yield f'{field}.ids', groups.items.items
        yield f'{field}.sizes', groups.items.sizes
        yield f'{field}.groups', groups.sizes


def _store(folder: pathlib.Path, parts: Iterable[Encoded]) -> None:
    """Writes the parts one after another."""
    for part in parts:
        for name, array in _arrays(part):
            with open(folder / name, 'ab') as file:
                file.write(array.tobytes())


def _load(folder: pathlib.Path, examples: int, tokenizer: Tokenizer) -> Encoded:
    """Returns the split that was stored.

    Raises:
      OSError: if a file is missing.
      ValueError: if the files do not hold a split of so many examples, in ids of the tokenizer.
    """
    sequences = [_ragged(folder, field) for field in SEQUENCES]
    groups = [
        Groups(_ragged(folder, field), _map(folder / f'{field}.groups')) for field in RATIONALES
    ]
    for field, spans in zip((*SEQUENCES, *RATIONALES), (*sequences, *groups), strict=True):
        if len(spans) != examples:
            raise ValueError(f'{field} of {len(spans)} examples, where {examples} were expected')
    # Not `len(tokenizer)`: some vocabularies have gaps.
    vocabulary = max(tokenizer.get_vocab().values(), default=-1) + 1
    for ragged in (*sequences, *(group.items for group in groups)):
        if len(ragged.items) and not 0 <= ragged.items.min() <= ragged.items.max() < vocabulary:
            raise ValueError(f'token ids outside of the vocabulary of {vocabulary}')
    for spans in (*sequences, *groups, *(group.items for group in groups)):
        _check_sizes(spans.sizes, len(spans.items))
    predict, explain, question, label = sequences
    positives, negatives = groups
    return Encoded(predict, explain, question, label, positives, negatives, *special_ids(tokenizer))


def _check_sizes(sizes: np.ndarray, total: int) -> None:
    """Refuses sizes that are not those of so many items. None is so large that a sum overflows."""
    if not len(sizes):
        right = not total
    elif sizes.min() < 0 or sizes.max() > total or len(sizes) * total >= 1 << 63:
        right = False
    else:
        right = sizes.sum() == total
    if not right:
        raise ValueError(f'sizes that do not add up to {total}')


def _ragged(folder: pathlib.Path, field: str) -> Ragged:
    return Ragged(_map(folder / f'{field}.ids'), _map(folder / f'{field}.sizes'))


def _map(path: pathlib.Path) -> np.ndarray:
    dtype = np.int32 if path.suffix == '.ids' else np.int64
    return np.memmap(path, dtype, 'r') if path.stat().st_size else np.zeros(0, dtype)


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(str(part).encode()).digest())
    return digest.hexdigest()[:16]
