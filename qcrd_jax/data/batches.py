"""Batches of static shape, read by random access.

A batch is a dict of arrays (B questions, S source tokens, L label tokens, M positives, K negatives,
T rationale tokens; pad id masks tokens, every sequence ends in EOS):

  predict_ids [B, S]       the question as the prompt of the label task
  explain_ids [B, S]       the question as the prompt of the rationale task
  question_ids [B, S]      only the question, for the discriminator
  label_ids [B, L]
  positive_ids [B, M, T], positive_mask [B, M]
  negative_ids [B, K, T], negative_mask [B, K]    the teacher's negatives
  example_mask [B]         False in the rows that only fill up a last batch
  example_index [B]        the row's place in the split
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import grain
import numpy as np

from qcrd_jax.data.encoded import RATIONALES, SEQUENCES, Encoded
from qcrd_jax.data.ragged import Ids, Ragged
from qcrd_jax.errors import InputError

Batch = dict[str, np.ndarray]


@runtime_checkable
class BatchStream(Protocol):
    """Random access by step."""

    def __getitem__(self, step: int, /) -> Batch:
        """Returns the batch of a step."""
        ...


# --- Lengths --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Lengths:
    """The static shape of a run's batches.

    Attributes:
      source: S, tokens of a prompt or question.
      label: L, tokens of a label.
      rationale: T, tokens of a rationale.
      positives: M, slots for positives.
      negatives: K, slots for the teacher's negatives.
    """

    source: int
    label: int
    rationale: int
    positives: int
    negatives: int


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How many sequences of a field a cap cuts, of how many, and the longest of them in tokens."""

    split: str
    field: str
    cut: int
    total: int
    longest: int
    cap: int

    def __str__(self) -> str:
        return (
            f'{self.split}: {self.cut} of {self.total} {self.field} sequences are cut to '
            f'{self.cap} tokens (the longest has {self.longest})'
        )


def measure_lengths(
    splits: Mapping[str, Encoded], caps: Mapping[str, int], bucket: int = 8
) -> tuple[Lengths, list[Truncation]]:
    """Returns the shape that holds every sequence of the splits, up to the caps.

    Args:
      splits: the encoded splits by name; one shape serves them all.
      caps: the most tokens of 'source', 'label' and 'rationale'; longer sequences are cut.
      bucket: lengths are rounded up to a multiple of it (but not beyond a cap).

    Returns:
      The shape, and one entry per split and field of which something is cut.
    """
    longest = {'source': 1, 'label': 1, 'rationale': 1}
    truncations = []
    for split, encoded in splits.items():
        for field, kind, sequences in _fields(encoded):
            sizes = sequences.sizes
            most = int(sizes.max(initial=0))
            longest[kind] = max(longest[kind], most)
            cut = int((sizes > caps[kind]).sum())
            if cut:
                truncations.append(Truncation(split, field, cut, len(sizes), most, caps[kind]))
    tokens = {kind: min(-(-size // bucket) * bucket, caps[kind]) for kind, size in longest.items()}
    slots = {
        kind: max(int(getattr(encoded, kind).sizes.max(initial=1)) for encoded in splits.values())
        for kind in RATIONALES
    }
    return Lengths(**tokens, **slots), truncations


def _fields(encoded: Encoded) -> Iterator[tuple[str, str, Ragged]]:
    """Yields (field, the length that it shares, its sequences)."""
    for field in SEQUENCES:
        yield field, 'label' if field == 'label' else 'source', getattr(encoded, field)
    for field in RATIONALES:
        yield field, 'rationale', getattr(encoded, field).flat()


# --- Batches --------------------------------------------------------------------------------------


def collate(encoded: Encoded, lengths: Lengths, indices: Sequence[int] | np.ndarray) -> Batch:
    """Returns the batch of the examples at `indices`, padded and cut to `lengths`.

    What is cut keeps EOS as its last token. Rationales beyond the slots are left out, last first.
    """
    indices = np.asarray(indices, np.int32)
    sizes = {'label': lengths.label}
    batch = {
        f'{field}_ids': _pad(
            [getattr(encoded, field)[i] for i in indices], sizes.get(field, lengths.source), encoded
        )
        for field in SEQUENCES
    }
    for field, name, slots in (
        ('positives', 'positive', lengths.positives),
        ('negatives', 'negative', lengths.negatives),
    ):
        groups = [getattr(encoded, field)[i][:slots] for i in indices]
        counts = np.array([len(group) for group in groups], np.int32).reshape(-1, 1)
        mask = np.arange(slots) < counts
        ids = np.full((len(indices), slots, lengths.rationale), encoded.pad_id, np.int32)
        # Row by row, True marks the slots in the very order in which the groups follow.
        ids[mask] = _pad([ids for group in groups for ids in group], lengths.rationale, encoded)
        batch |= {f'{name}_ids': ids, f'{name}_mask': mask}
    return batch | {'example_mask': np.ones(len(indices), bool), 'example_index': indices}


def _pad(sequences: Sequence[Ids], length: int, encoded: Encoded) -> np.ndarray:
    padded = np.full((len(sequences), length), encoded.pad_id, np.int32)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = ids[:length]
        if len(ids) > length:
            padded[row, -1] = encoded.eos_id
    return padded


def training_batches(
    encoded: Encoded, lengths: Lengths, *, batch_size: int, seed: int
) -> BatchStream:
    """Returns the endless sequence of training batches: `batches[step]` is the batch of a step.

    Every epoch visits each example once, in an order of its own. Epochs follow one another without
    a gap, so that all batches are full. Random access by step makes a resumed run read on exactly
    where it was.
    """
    if not len(encoded):
        raise InputError('The training split is empty; give at least one training example.')
    stream = (
        grain.MapDataset.range(len(encoded))
        .seed(seed)
        .shuffle()
        .repeat(None)
        .batch(batch_size, batch_fn=np.array)
        .map(lambda indices: collate(encoded, lengths, indices))
    )
    return cast(BatchStream, stream)


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
    for field, _, sequences in _fields(encoded):
        digest.update(field.encode())
        digest.update(sequences.sizes.tobytes())
        for ids in sequences:
            digest.update(ids.tobytes())
    for field in RATIONALES:
        digest.update(getattr(encoded, field).sizes.tobytes())
    return digest.hexdigest()
