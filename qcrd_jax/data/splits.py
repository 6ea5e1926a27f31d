"""A dataset in its three splits: what is held out where a split is missing, and a part of it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from qcrd_jax.data.schema import AnswerType, Example, SourceSplits, Splits
from qcrd_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
      splits: its examples, read from disk as they are asked for.
      answer_type: how its answers are compared.
      fingerprint: differs from that of any dataset with other contents.
    """

    splits: Splits
    answer_type: AnswerType
    fingerprint: str

    def with_part_of_train(self, fraction: float) -> 'Dataset':
        """Returns the dataset with a share of its training questions, at least one (Fig. 4).

        The questions are drawn by a seed of their own, and a larger share holds the smaller ones.
        """
        train = self.splits['train']
        count = max(1, round(fraction * len(train)))
        places = np.sort(np.random.default_rng(0).permutation(len(train))[:count])
        return self.with_train(places, f'{count}')

    def with_train(self, places: np.ndarray, name: str) -> 'Dataset':
        """Returns the dataset with some of its training questions.

        Args:
          places: of those among all.
          name: distinguishes them from any others.
        """
        train = Part(self.splits['train'], places)
        return Dataset(
            {**self.splits, 'train': train}, self.answer_type, f'{self.fingerprint}/{name}'
        )


class Part(Sequence[Example]):
    """Some of the examples of a split, read as they are asked for."""

    def __init__(self, examples: Sequence[Example], places: np.ndarray):
        """Takes the examples of a split, and the places in it of those that are wanted."""
        self._examples, self._places = examples, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return self._examples[int(self._places[place])]


def with_validation(splits: SourceSplits) -> SourceSplits:
    """Returns train, validation and test; validation comes out of train where there is none.

    Raises:
      InputError: if a split is empty.
    """
    for split in ('train', 'test'):
        if not splits.get(split):
            raise InputError(f'data.source: the {split} split is empty; give at least one example.')
    train, validation = splits['train'], splits.get('validation')
    if not validation:
        if len(train) < 2:
            raise InputError('data.source: one training example leaves none for validation.')
        train = list(train)
        train_places, validation_places = hold_out(len(train))
        validation = [train[place] for place in validation_places]
        train = [train[place] for place in train_places]
    return {'train': train, 'validation': validation, 'test': splits['test']}


def with_test(splits: SourceSplits) -> SourceSplits:
    """Holds out a tenth of the training questions as test split where there is none."""
    if splits.get('test') or len(splits.get('train', ())) < 3:
        return splits
    train = list(splits['train'])
    kept, held = hold_out(len(train))
    test = [train[place] for place in sorted(held)]
    return {**splits, 'train': [train[place] for place in sorted(kept)], 'test': test}


def hold_out(number: int, share: float = 0.1, seed: int = 0) -> tuple[Sequence[int], Sequence[int]]:
    """Returns the places (kept, held out) of DSS's `train_test_split(test_size=0.1, seed=0)`.

    Hugging Face datasets permutes by NumPy's default generator, takes the share (rounded up) that
    is held out from the front, and keeps the rest in permuted order.
    """
    permutation = np.random.default_rng(seed).permutation(number)
    held = math.ceil(share * number)
    return permutation[held:].tolist(), permutation[:held].tolist()
