"""Cross-validation: all questions of a dataset in folds, each of which is the test set once.

Which fold a question is in depends on its text and on nothing else: not on the run's seed, on the
order of files, or on the split that the question was released in.
"""

import hashlib
import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from qcrd_jax.data.schema import SPLITS, AnswerType, Example
from qcrd_jax.data.splits import Dataset, Part, hold_out
from qcrd_jax.data.wording import wording
from qcrd_jax.errors import InputError

_SALT = 'folds 0'  # seeds the permutation; another one is another partition


def cross_validated(dataset: Dataset, folds: int, fold: int) -> Dataset:
    """Returns a dataset whose test split is one fold of all its questions.

    The questions of all three splits are pooled with their teacher's samples. Those of the same
    wording (see `wording`: case, spacing and punctuation aside) stay together, so that no test
    question is trained on word for word; near ones, such as SVAMP's variations of one problem, may
    stand in different folds, as they do in different splits of the release. The folds differ by a
    question at most where no wording is there twice. Of the wordings that are not in the fold a
    tenth is the validation split, drawn as `hold_out` does, and the others are the training split.

    A question without teacher samples (DSS has none for some test sets) is trained on its label
    only, like any other; a line of the log says how many training questions are.

    Args:
      dataset: with its splits as they were released.
      folds: F, into how many parts the questions go, at least 2.
      fold: which of them is the test split, 0 to F - 1.

    Returns:
      The dataset, all of whose questions are there; over the F folds each is a test question once.

    Raises:
      ValueError: if there is no such fold.
      InputError: if there are too few different questions for F folds with validation and training
        questions beside them.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f'expected folds >= 2 and fold in [0, folds), got {folds} and {fold}.')
    pool = _Pool([dataset.splits[split] for split in SPLITS])
    groups = _by_wording(pool, dataset.answer_type)
    if len(groups) < max(folds, 3):
        raise InputError(
            f'data.folds: {len(pool)} questions of {len(groups)} different wordings are too few '
            f'for {folds} folds and a validation set; give at least {max(folds, 3)}, or fewer '
            'folds.'
        )
    of_group = _dealt([len(group) for group in groups], folds)
    rest = [group for group, its in zip(groups, of_group, strict=True) if its != fold]
    kept, held = hold_out(len(rest))
    parts = {
        'train': [rest[place] for place in sorted(kept)],
        'validation': [rest[place] for place in sorted(held)],
        'test': [group for group, its in zip(groups, of_group, strict=True) if its == fold],
    }
    if not parts['train']:
        raise InputError(
            f'data.folds: fold {fold} of {folds} leaves no question to train on beside one for '
            'validation; give more questions.'
        )
    splits: dict[str, Sequence[Example]] = {
        split: Part(pool, np.array([*itertools.chain.from_iterable(part)], np.int64))
        for split, part in parts.items()
    }
    _say_unanswered(splits['train'], fold)
    name = f'{dataset.fingerprint}/fold{fold}of{folds}'
    return Dataset(splits, dataset.answer_type, name)


def _by_wording(pool: Sequence[Example], answer_type: AnswerType) -> list[list[int]]:
    """Returns the places of the questions of each wording, in an order that texts decide."""
    groups: dict[bytes, list[tuple[bytes, str, int]]] = {}
    for place, example in enumerate(pool):
        key = _digest(wording(example, answer_type))
        content = _digest((example.input, example.label, example.options))
        groups.setdefault(key, []).append((content, example.id, place))
    return [[place for *_, place in sorted(groups[key])] for key in sorted(groups)]


def _digest(content: Any) -> bytes:
    return hashlib.sha256(repr((_SALT, content)).encode(errors='surrogatepass')).digest()


def _dealt(sizes: Sequence[int], folds: int) -> list[int]:
    """Deals groups out, each to the fold that has the fewest questions, the first of them."""
    heap = [(0, fold) for fold in range(folds)]
    dealt = []
    for size in sizes:
        number, fold = heap[0]
        heapq.heapreplace(heap, (number + size, fold))
        dealt.append(fold)
    return dealt


def _say_unanswered(train: Sequence[Example], fold: int) -> None:
    without = sum(not example.samples for example in train)
    if without:
        logging.warning(
            'data.folds: %d of %d training questions of fold %d have no answer of the teacher and '
            'are trained on their label only; annotate them (docs/teacher.md) and name the answers '
            'by --config.data.teacher_samples.',
            without, len(train), fold,
        )  # fmt: skip


class _Pool(Sequence[Example]):
    """The examples of several splits as one sequence, read as they are asked for."""

    def __init__(self, parts: Sequence[Sequence[Example]]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place: Any) -> Any:
        part = int(np.searchsorted(self._ends, place, 'right'))
        return self._parts[part][int(place) - (int(self._ends[part - 1]) if part else 0)]

    def __iter__(self) -> Iterator[Example]:
        return itertools.chain.from_iterable(self._parts)
