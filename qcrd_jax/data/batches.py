"""Batches of static shape, read by random access.

A batch is a dict of arrays (B questions, S source tokens, L label tokens, M positives, K negatives,
T rationale tokens; pad id masks tokens, every sequence ends in EOS):

  predict_ids [B, S]       the question as the prompt of the label task
  explain_ids [B, S]       the question as the prompt of the rationale task
  question_ids [B, S]      only the question, for the discriminator
  label_ids [B, L]
  positive_ids [B, M, T], positive_mask [B, M]
  negative_ids [B, K, T'], negative_mask [B, K]    the teacher's negatives
  rationale_limit [B]      tokens that are sampled at most: the longest positive of the batch
  example_mask [B]         False in the rows that only fill up a last batch
  example_index [B]        the row's place in the split
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np

from qcrd_jax.data.encoded import RATIONALES, SEQUENCES, Encoded, Ids
from qcrd_jax.data.lengths import Lengths, fields
from qcrd_jax.data.shapes import Shapes, Sizes
from qcrd_jax.errors import InputError

Batch = dict[str, np.ndarray]


@runtime_checkable
class BatchStream(Protocol):
    """Random access by step."""

    def __getitem__(self, step: int, /) -> Batch:
        """Returns the batch of a step, in the shape that all batches fit into."""
        ...

    def fitted(self, step: int, /) -> Batch:
        """Returns the batch of a step in the smallest shape that holds it."""
        ...

    @property
    def largest(self) -> Lengths:
        """The shape that all batches fit into."""
        ...


def collate(
    encoded: Encoded,
    lengths: Lengths,
    indices: Sequence[int] | np.ndarray,
    negative: int | None = None,
    own: slice | None = None,
) -> Batch:
    """Returns the batch of the examples at `indices`, padded and cut to `lengths`.

    What is cut keeps EOS as its last token. Rationales beyond the slots are left out, last first.

    Args:
      encoded: the split.
      lengths: of the batch.
      indices: of the examples.
      negative: tokens of a teacher's negative; None: those of a positive.
      own: the rows that are read; all others are padding. None: all are.
    """
    indices = np.asarray(indices, np.int32)
    if own is not None:
        return _among(collate(encoded, lengths, indices[own], negative), encoded, indices, own)
    sizes = {'label': lengths.label}
    batch = {
        f'{field}_ids': _pad(
            [getattr(encoded, field)[i] for i in indices], sizes.get(field, lengths.source), encoded
        )
        for field in SEQUENCES
    }
    for field, name, slots, length in (
        ('positives', 'positive', lengths.positives, lengths.rationale),
        ('negatives', 'negative', lengths.negatives, negative or lengths.rationale),
    ):
        groups = [getattr(encoded, field)[i][:slots] for i in indices]
        counts = np.array([len(group) for group in groups], np.int32).reshape(-1, 1)
        mask = np.arange(slots) < counts
        ids = np.full((len(indices), slots, length), encoded.pad_id, np.int32)
        # Row by row, True marks the slots in the very order in which the groups follow.
        ids[mask] = _pad([ids for group in groups for ids in group], length, encoded)
        batch |= {f'{name}_ids': ids, f'{name}_mask': mask}
    return batch | {'example_mask': np.ones(len(indices), bool), 'example_index': indices}


def _among(batch: Batch, encoded: Encoded, indices: np.ndarray, own: slice) -> Batch:
    """A batch whose rows are among those of others, which other processes read."""
    whole = {'example_mask': np.ones(len(indices), bool), 'example_index': indices}
    for name, rows in batch.items():
        if name not in whole:
            padding = encoded.pad_id if name.endswith('_ids') else 0
            whole[name] = np.full((len(indices), *rows.shape[1:]), padding, rows.dtype)
            whole[name][own] = rows
    return whole


def _pad(sequences: Sequence[Ids], length: int, encoded: Encoded) -> np.ndarray:
    padded = np.full((len(sequences), length), encoded.pad_id, np.int32)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = ids[:length]
        if len(ids) > length:
            padded[row, -1] = encoded.eos_id
    return padded


def training_batches(
    encoded: Encoded,
    lengths: Lengths,
    *,
    batch_size: int,
    seed: int,
    shapes: Shapes | None = None,
    bucket: int = 8,
    own: slice | None = None,
) -> 'TrainingBatches':
    """Returns the endless sequence of training batches: `batches[step]` is the batch of a step.

    Every epoch visits each example once, in an order of its own. Epochs follow one another without
    a gap, so that all batches are full. Random access by step makes a resumed run read on exactly
    where it was. What a step computes does not depend on the shape that its batch comes in.

    Args:
      encoded: the split.
      lengths: the shape that holds everything.
      batch_size: B.
      seed: of the order.
      shapes: that batches may have; None: only `lengths`.
      bucket: the limit of sampled rationales is a multiple of it.
      own: the rows of a batch that this process reads (`Placement.own`); None: all of them.
    """
    if not len(encoded):
        raise InputError('The training split is empty; give at least one training example.')
    order = (
        grain.MapDataset.range(len(encoded))
        .seed(seed)
        .shuffle()
        .repeat(None)
        .batch(batch_size, batch_fn=np.array)
    )
    return TrainingBatches(encoded, lengths, order, shapes or Shapes((lengths,)), bucket, own)


class TrainingBatches:
    """The batches of a run; see `training_batches`."""

    def __init__(
        self,
        encoded: Encoded,
        lengths: Lengths,
        order: Any,
        shapes: Shapes,
        bucket: int,
        own: slice | None,
    ):
        self._encoded, self.largest, self._order = encoded, lengths, order
        self._sizes = Sizes.of(encoded, lengths, negatives=shapes.negatives)
        self._positives = Sizes.of(encoded, lengths, negatives=False).rationale
        self.shapes, self._bucket, self._own = shapes, bucket, own

    def __getitem__(self, step: int) -> Batch:
        return self.at(step, self.largest)

    def fitted(self, step: int) -> Batch:
        """Returns the batch of a step in the smallest shape that holds it."""
        return fitted_together([self], step)[0]

    def at(self, step: int, shape: Lengths) -> Batch:
        """Returns the batch of a step in a shape that holds it."""
        indices = self._order[step]
        negative = None if self.shapes.negatives else self.largest.rationale
        batch = collate(self._encoded, shape, indices, negative, self._own)
        longest = max(int(self._positives[indices].max()), 1)
        limit = min(-(-longest // self._bucket) * self._bucket, self.largest.rationale)
        return batch | {'rationale_limit': np.full(len(indices), limit, np.int32)}

    def longest(self, step: int) -> np.ndarray:
        """Returns the longest sequences of a step by kind, [3]."""
        return self._sizes.longest(self._order[step])


def fitted_together(streams: Sequence[Any], step: int) -> list[Batch]:
    """Returns the batch of a step of every stream, in one shape for all."""
    if not all(isinstance(stream, TrainingBatches) for stream in streams):
        return [stream.fitted(step) for stream in streams]
    longest = np.max([stream.longest(step) for stream in streams], axis=0)
    shape = streams[0].shapes.holding(longest)
    return [stream.at(step, shape) for stream in streams]


def stacked(batches: Sequence[Batch]) -> Batch:
    """Batches of one shape on a new axis, the first."""
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def evaluation_batches(encoded: Encoded, lengths: Lengths, *, batch_size: int) -> Sequence[Batch]:
    """Returns the batches that visit every example exactly once, in order.

    The last batch is filled up with rows whose `example_mask` is False (copies of its last row).
    """
    return _EvaluationBatches(encoded, lengths, batch_size)


class _EvaluationBatches(Sequence):
    def __init__(self, encoded: Encoded, lengths: Lengths, batch_size: int):
        self._encoded, self._lengths, self._batch_size = encoded, lengths, batch_size

    def __len__(self) -> int:
        return -(-len(self._encoded) // self._batch_size)

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < len(self):
            raise IndexError(f'batch {position} of {len(self)}')
        places = position * self._batch_size + np.arange(self._batch_size)
        real = places < len(self._encoded)
        batch = collate(self._encoded, self._lengths, np.minimum(places, len(self._encoded) - 1))
        return batch | {'example_mask': real}


def fingerprint(encoded: Encoded, lengths: Lengths, *, batch_size: int, seed: int) -> str:
    """Returns a digest of all that determines the contents and the order of training batches.

    A checkpoint keeps it: a position in a changed sequence would point at other batches unnoticed.
    """
    digest = hashlib.sha256(
        repr((lengths, batch_size, seed, encoded.pad_id, encoded.eos_id)).encode()
    )
    for field, _, sequences in fields(encoded):
        digest.update(field.encode())
        digest.update(sequences.sizes.tobytes())
        for ids in sequences:
            digest.update(ids.tobytes())
    for field in RATIONALES:
        digest.update(getattr(encoded, field).sizes.tobytes())
    return digest.hexdigest()
