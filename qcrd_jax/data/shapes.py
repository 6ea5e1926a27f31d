"""The few shapes that batches come in: each is compiled once, and little of it is padding."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qcrd_jax.data.encoded import Encoded, Groups
from qcrd_jax.data.lengths import Lengths

_RATIO = 1.2  # between the lengths that are tried
_BATCHES = 256  # by which shapes are judged
_WORTH = 0.02  # of the tokens: what another shape has to save


class Sizes(NamedTuple):
    """How many tokens the longest sequence of every example has, by kind; int64 [examples]."""

    source: np.ndarray
    label: np.ndarray
    rationale: np.ndarray

    @classmethod
    def of(cls, encoded: Encoded, lengths: Lengths, *, negatives: bool = True) -> 'Sizes':
        """Measures a split, of which `lengths` cuts what is longer.

        Args:
          encoded: the split.
          lengths: that cut.
          negatives: whether the teacher's are rationales to be measured too.
        """
        source = np.max([getattr(encoded, f).sizes for f in ('predict', 'explain', 'question')], 0)
        rationale = _longest(encoded.positives)
        if negatives:
            rationale = np.maximum(rationale, _longest(encoded.negatives))
        sizes = zip((source, encoded.label.sizes, rationale), _by_kind(lengths), strict=True)
        return cls(*(np.minimum(size, most) for size, most in sizes))

    def longest(self, places: np.ndarray) -> np.ndarray:
        """Returns the longest by kind, [..., 3], over the examples of the last axis of `places`."""
        return np.stack([np.max(sizes[places], axis=-1) for sizes in self], axis=-1)


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Some shapes, the largest first; each holds whatever fits into it.

    Attributes:
      all: of them.
      negatives: whether they hold the teacher's negatives too. Where these are seldom read they
        are all as long as the longest rationale, and make no batch longer.
    """

    all: tuple[Lengths, ...]
    negatives: bool = True

    def holding(self, longest: np.ndarray) -> Lengths:
        """Returns the cheapest shape that holds sequences of some lengths, by kind [3]."""
        table = np.array([_by_kind(shape) for shape in self.all])
        fits = np.all(table >= longest, axis=1)
        costs = _costs(table, self.all[0], self.negatives)
        return self.all[int(np.argmin(np.where(fits, costs, np.inf)))]


def choose(
    encoded: Encoded,
    lengths: Lengths,
    *,
    batch_size: int,
    most: int,
    bucket: int = 8,
    negatives: bool = True,
) -> Shapes:
    """Chooses shapes by what random batches would be padded to, one after another.

    Args:
      encoded: the training split.
      lengths: the shape that holds everything; it is the first one.
      batch_size: B.
      most: how many shapes, at most.
      bucket: lengths are multiples of it.
      negatives: whether the teacher's are read often enough to be as long as the batch's.
    """
    sizes = Sizes.of(encoded, lengths, negatives=negatives)
    count, rng = len(sizes.source), np.random.default_rng(0)
    longest = sizes.longest(rng.integers(count, size=(_BATCHES, batch_size)))
    ladders = [_ladder(size, bucket) for size in _by_kind(lengths)]
    candidates = np.stack(np.meshgrid(*ladders, indexing='ij'), axis=-1).reshape(-1, 3)
    costs = _costs(candidates, lengths, negatives)
    fits = np.all(candidates[:, None] >= longest, axis=-1)  # [candidates, batches]
    whole = float(_costs(np.array([_by_kind(lengths)]), lengths, negatives)[0])
    best, chosen = np.full(_BATCHES, whole), [lengths]
    while len(chosen) < most:
        after = np.minimum(best, np.where(fits, costs[:, None], np.inf))
        totals = after.sum(axis=1)
        pick = int(np.argmin(totals))
        if best.sum() - totals[pick] < _WORTH * _BATCHES * whole:
            break
        best = after[pick]
        source, label, rationale = map(int, candidates[pick])
        chosen.append(dataclasses.replace(lengths, source=source, label=label, rationale=rationale))
    return Shapes(tuple(chosen), negatives)


def _by_kind(lengths: Lengths) -> tuple[int, int, int]:
    return lengths.source, lengths.label, lengths.rationale


def _costs(shapes: np.ndarray, lengths: Lengths, negatives: bool) -> np.ndarray:
    """Tokens of a question: two prompts, a label, its rationales and a sampled one."""
    rationales = lengths.positives + (lengths.negatives if negatives else 0) + 1
    return shapes @ np.array([2, 1, rationales])


def _ladder(longest: int, bucket: int) -> Sequence[int]:
    """Lengths from the longest down, each at least a bucket shorter than the one before."""
    steps = [longest]
    while steps[-1] > bucket:
        steps.append(min(-(-int(steps[-1] / _RATIO) // bucket) * bucket, steps[-1] - 1))
        if steps[-1] % bucket:
            steps[-1] -= steps[-1] % bucket
    return steps


def _longest(groups: Groups) -> np.ndarray:
    """Tokens of the longest sequence of every group; 0 for an empty one."""
    sizes, ends = groups.flat().sizes, np.cumsum(groups.sizes)
    longest = np.zeros(len(groups), np.int64)
    filled = groups.sizes > 0
    if filled.any():
        longest[filled] = np.maximum.reduceat(sizes, (ends - groups.sizes)[filled])
    return longest
