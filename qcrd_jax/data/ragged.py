"""Sequences of different lengths, stored end to end: in memory, or as files mapped into it."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Ids = np.ndarray  # one sequence of token ids, int32


class Ragged(Sequence[Ids]):
    """Sequences of token ids.

    Attributes:
      ids: all ids, int32; entry i is `ids[starts[i] : starts[i] + sizes[i]]`.
      starts: where entries start.
      sizes: how long they are.
    """

    def __init__(self, ids: np.ndarray, sizes: np.ndarray, starts: np.ndarray | None = None):
        self.ids = ids
        self.sizes = np.asarray(sizes, np.int64)
        self.starts = _starts(self.sizes) if starts is None else starts

    @classmethod
    def of(cls, sequences: Iterable[Ids]) -> 'Ragged':
        """Stores the sequences one after another."""
        sequences = list(sequences)
        ids = np.concatenate([np.zeros(0, np.int32), *sequences]).astype(np.int32, copy=False)
        return cls(ids, np.array([len(sequence) for sequence in sequences], np.int64))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        start = self.starts[place]
        return self.ids[start : start + self.sizes[place]]

    def take(self, places: np.ndarray) -> 'Ragged':
        """Returns the entries at `places`, without copying their ids."""
        return Ragged(self.ids, self.sizes[places], self.starts[places])


class Groups(Sequence[list[Ids]]):
    """Groups of sequences: a question's rationales.

    Attributes:
      entries: the sequences of all groups; group i is `entries[starts[i] : starts[i] + sizes[i]]`.
      starts: where groups start.
      sizes: how many sequences they have.
    """

    def __init__(self, entries: Ragged, sizes: np.ndarray, starts: np.ndarray | None = None):
        self.entries = entries
        self.sizes = np.asarray(sizes, np.int64)
        self.starts = _starts(self.sizes) if starts is None else starts

    @classmethod
    def of(cls, groups: Sequence[Sequence[Ids]]) -> 'Groups':
        """Stores the sequences of the groups one after another."""
        entries = Ragged.of(itertools.chain.from_iterable(groups))
        return cls(entries, np.array([len(group) for group in groups], np.int64))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        start = self.starts[place]
        return self.entries[start : start + self.sizes[place]]

    def take(self, places: np.ndarray) -> 'Groups':
        """Returns the groups at `places`, without copying their ids."""
        return Groups(self.entries, self.sizes[places], self.starts[places])

    def flat(self) -> Ragged:
        """Returns the sequences of all groups, in the order of the groups."""
        within = np.arange(self.sizes.sum()) - np.repeat(_starts(self.sizes), self.sizes)
        return self.entries.take(np.repeat(self.starts, self.sizes) + within)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.cumsum(sizes) - sizes
