"""A split as token ids, whoever tokenised it: sequences of different lengths, stored end to end."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

SEQUENCES = ('predict', 'explain', 'question', 'label')
RATIONALES = ('positives', 'negatives')

Ids = np.ndarray  # one sequence of token ids, int32
Spans = TypeVar('Spans', bound='_Spans')


class _Spans(Sequence):
    """Entry i is `items[starts[i] : starts[i] + sizes[i]]`.

    Attributes:
      items: of all entries.
      sizes: how many each entry has.
      starts: where they start; one after another, unless said otherwise.
    """

    def __init__(self, items: Any, sizes: np.ndarray, starts: np.ndarray | None = None):
        self.items = items
        self.sizes = np.asarray(sizes, np.int64)
        self.starts = _one_after_another(self.sizes) if starts is None else starts

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        start = self.starts[place]
        return self.items[start : start + self.sizes[place]]

    def take(self: Spans, places: np.ndarray) -> Spans:
        """Returns the entries at `places`, without copying their items."""
        return type(self)(self.items, self.sizes[places], self.starts[places])


class Ragged(_Spans):
    """Sequences of token ids; `items` holds the ids, int32."""

    @classmethod
    def of(cls, sequences: Iterable[Ids]) -> 'Ragged':
        """Stores the sequences one after another."""
        sequences = list(sequences)
        ids = np.concatenate([np.zeros(0, np.int32), *sequences]).astype(np.int32, copy=False)
        return cls(ids, np.array([len(sequence) for sequence in sequences], np.int64))


class Groups(_Spans):
    """Groups of sequences, a question's rationales; `items` is a `Ragged` of all sequences."""

    @classmethod
    def of(cls, groups: Sequence[Sequence[Ids]]) -> 'Groups':
        """Stores the sequences of the groups one after another."""
        sequences = Ragged.of(itertools.chain.from_iterable(groups))
        return cls(sequences, np.array([len(group) for group in groups], np.int64))

    def flat(self) -> Ragged:
        """Returns the sequences of all groups, in the order of the groups."""
        within = np.arange(self.sizes.sum()) - np.repeat(_one_after_another(self.sizes), self.sizes)
        return self.items.take(np.repeat(self.starts, self.sizes) + within)


def _one_after_another(sizes: np.ndarray) -> np.ndarray:
    return np.cumsum(sizes) - sizes


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A split as token ids, uncut and unpadded; entry i of each field belongs to example i.

    Every sequence ends in EOS. A label is empty where an LLM was to give it and gave none.
    """

    predict: Ragged
    explain: Ragged
    question: Ragged
    label: Ragged
    positives: Groups
    negatives: Groups
    pad_id: int
    eos_id: int

    def __len__(self) -> int:
        return len(self.predict)

    def take(self, places: Iterable[int] | np.ndarray) -> 'Encoded':
        """Returns the examples at `places`, in that order (to hold some out, for instance)."""
        places = np.array(list(places), np.int64)
        fields = {name: getattr(self, name).take(places) for name in (*SEQUENCES, *RATIONALES)}
        return dataclasses.replace(self, **fields)

    def counts(self) -> dict[str, int]:
        """Returns how many examples, positives and negatives there are, and who lacks which."""
        return {
            'examples': len(self),
            'positives': int(self.positives.sizes.sum()),
            'negatives': int(self.negatives.sizes.sum()),
            'without_positive': int((self.positives.sizes == 0).sum()),
            'without_negative': int((self.negatives.sizes == 0).sum()),
            'without_label': int((self.label.sizes == 0).sum()),
        }
