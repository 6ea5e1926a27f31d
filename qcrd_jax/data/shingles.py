"""Texts of much the same words: found among a few thousand, for every one of half a million.

A text is the set of its words and of its pairs of neighbouring words (shingles of one and two
words); two are as similar as the share of their shingles that both have (Jaccard). Nothing is
estimated: similar texts share some of their rarest shingles, so that only texts that do are
compared (Bayardo, Ma and Srikant, 2007).
"""

import itertools
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, arbitrary
_SHIFT = np.uint64(29)
_RARE_SHARED = 3  # of their rarest shingles, that similar texts share; fewer where they are short
_AT_ONCE = 2_000_000  # shingles of pairs of texts that are compared at once
_MOST_WORDS = 1000  # of a text, from its beginning


class Pairs(NamedTuple):
    """Texts that are similar, pair by pair.

    Attributes:
      rows: places among the texts that were asked for.
      places: places among those of the index.
      similarities: 0 to 1.
    """

    rows: np.ndarray
    places: np.ndarray
    similarities: np.ndarray

    def nearest(self) -> 'Pairs':
        """Returns of every text of the index only the most similar one, the first of equals."""
        order = np.lexsort((self.rows, -self.similarities, self.places))
        places = self.places[order]
        order = order[np.flatnonzero(np.r_[True, places[1:] != places[:-1]][: len(places)])]
        return Pairs(*(field[order] for field in self))


class _Sets(NamedTuple):
    """Sets of shingles, one after another.

    Attributes:
      rows: the set that a shingle belongs to, ascending.
      shingles: distinct within a set.
      sizes: of the sets.
    """

    rows: np.ndarray
    shingles: np.ndarray
    sizes: np.ndarray


class ShingleIndex:
    """Texts by their rarest shingles.

    Args:
      texts: the words of each.
      least: similarity of what is found, above 0 and at most 1.
    """

    def __init__(self, texts: Sequence[Sequence[str]], least: float):
        self._least = least
        words = dict.fromkeys(word for text in texts for word in text[:_MOST_WORDS])
        self._words = {word: number for number, word in enumerate(words)}
        sets = self._sets(texts)
        self._known, codes, counts = np.unique(
            sets.shingles, return_inverse=True, return_counts=True
        )
        # Shingles are numbered from the rarest to the most frequent.
        self._ranks = np.empty(len(self._known), np.int64)
        self._ranks[np.argsort(counts, kind='stable')] = np.arange(len(self._known))
        self._sizes = sets.sizes
        rows, ranks = _sorted_within(sets.rows, self._ranks[codes])
        self._keys = rows * len(self._known) + ranks  # of every shingle of every text, ascending
        self._must_share, lengths = _prefix(self._sizes, least)
        rare = _first(rows, lengths)
        order = np.argsort(ranks[rare], kind='stable')
        self._texts = rows[rare][order]
        self._ends = np.cumsum(np.bincount(ranks[rare], minlength=len(self._known)))

    def near(self, texts: Sequence[Sequence[str]], wanted: np.ndarray) -> Pairs:
        """Returns the pairs of a text and one of the index that are similar.

        Args:
          texts: the words of each.
          wanted: of the texts of the index, whether it is compared at all.
        """
        rows, ranks, sizes = self._known_shingles(texts)
        if not len(rows):
            nothing = np.zeros(0, np.int64)
            return Pairs(nothing, nothing, np.zeros(0))
        known = np.bincount(rows, minlength=len(texts))
        # Shingles that no text of the index has are the rarest.
        must_share, lengths = _prefix(sizes, self._least)
        rare = _first(rows, lengths - (sizes - known))
        row, place = self._sharing(rows[rare], ranks[rare])
        mine, theirs = sizes[row], self._sizes[place]
        fits = np.minimum(mine, theirs) >= self._least * np.maximum(mine, theirs) - 1e-9
        fits &= wanted[place]
        pairs, times = _counted(row[fits] * len(self._sizes) + place[fits])
        row, place = np.divmod(pairs, len(self._sizes))
        enough = times >= np.minimum(must_share[row], self._must_share[place])
        row, place = row[enough], place[enough]
        shared = self._shared(row, place, ranks, np.cumsum(known) - known, known)
        similarities = shared / np.maximum(1, sizes[row] + self._sizes[place] - shared)
        near = similarities >= self._least - 1e-9
        return Pairs(row[near], place[near], similarities[near])

    def _known_shingles(
        self, texts: Sequence[Sequence[str]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns rows and ranks of the shingles that the index has, and the sizes of all sets."""
        sets = self._sets(texts)
        places = np.searchsorted(self._known, sets.shingles)
        found = self._known.take(places, mode='clip') == sets.shingles if len(self._known) else []
        found = np.asarray(found, bool)
        if not found.any():
            return np.zeros(0, np.int64), np.zeros(0, np.int64), sets.sizes
        rows, ranks = _sorted_within(sets.rows[found], self._ranks[places[found]])
        return rows, ranks, sets.sizes

    def _sharing(self, rows: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns a row and a text of the index for every rare shingle that both have."""
        ends = self._ends[ranks]
        counts = ends - np.where(ranks > 0, self._ends[ranks - 1], 0)
        return np.repeat(rows, counts), self._texts[_spans(ends, counts)]

    def _shared(
        self,
        rows: np.ndarray,
        places: np.ndarray,
        ranks: np.ndarray,
        starts: np.ndarray,
        counts: np.ndarray,
    ) -> np.ndarray:
        """Returns how many shingles each pair shares; those of a row begin at its start."""
        shared = np.zeros(len(rows), np.int64)
        longest = max(1, int(counts.max(initial=1)))
        step = max(1, _AT_ONCE // longest)
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            sizes = counts[rows[part]]
            pair = np.repeat(np.arange(len(sizes)), sizes)
            mine = ranks[_spans(starts[rows[part]] + sizes, sizes)]
            keys = places[part][pair] * len(self._known) + mine
            found = np.searchsorted(self._keys, keys)
            both = self._keys.take(found, mode='clip') == keys
            shared[part] = np.bincount(pair[both], minlength=len(sizes))
        return shared

    def _sets(self, texts: Sequence[Sequence[str]]) -> _Sets:
        cut = [text[:_MOST_WORDS] for text in texts]
        lengths = np.array([len(text) for text in cut], np.int64)
        flat = itertools.chain.from_iterable(cut)
        words = np.fromiter(map(self._number, flat), np.uint64, int(lengths.sum()))
        rows = np.repeat(np.arange(len(cut)), lengths)
        neighbours = np.flatnonzero(rows[1:] == rows[:-1])
        single = words * _FIRST
        double = single[neighbours] + (words[neighbours + 1] + np.uint64(1)) * _SECOND
        shingles = np.concatenate([single, double])
        shingles = (shingles ^ (shingles >> _SHIFT)) * _SECOND
        owners = np.concatenate([rows, rows[neighbours]])
        order = np.lexsort((shingles, owners))
        owners, shingles = owners[order], shingles[order]
        first = np.ones(len(owners), bool)
        first[1:] = (owners[1:] != owners[:-1]) | (shingles[1:] != shingles[:-1])
        owners, shingles = owners[first], shingles[first]
        return _Sets(owners, shingles, np.bincount(owners, minlength=len(cut)))

    def _number(self, word: str) -> int:
        number = self._words.get(word)
        # A word that no text of the index has; which one it is does not matter.
        return (1 << 33) + zlib.crc32(word.encode()) if number is None else number


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Returns the share of the members of two sets that both have; 1 if they have none.

    Examples:
      >>> jaccard(frozenset('ab'), frozenset('bcd'))
      0.25
    """
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def shingles_of(words: Sequence[str]) -> frozenset[str]:
    """Returns the words of a text and its pairs of neighbouring words."""
    return frozenset(words) | frozenset(map(' '.join, itertools.pairwise(words)))


def _prefix(sizes: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many shingles sets share with any that is similar, and of how many rarest ones.

    A set of n shares at least least * n. Of the n - least * n + k rarest it shares k.
    """
    shared = np.ceil(least * sizes - 1e-9).astype(np.int64)
    some = np.minimum(shared, _RARE_SHARED)
    return some, sizes - shared + some


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values in order, and how often each is there."""
    ordered = np.sort(values)
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
    return ordered[first], np.diff(np.r_[first, len(ordered)])


def _sorted_within(rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((values, rows))
    return rows[order], values[order]


def _first(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns which entries are among the first `numbers[row]` of their row; rows ascend."""
    sizes = np.bincount(rows, minlength=len(numbers))
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return within < numbers[rows]


def _spans(ends: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the places from `ends - counts` to `ends`, span after span."""
    total = int(counts.sum())
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(ends - counts, counts) + within
