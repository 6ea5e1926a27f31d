"""How long the sequences of a run are, and what is cut of them."""

import dataclasses
from collections.abc import Iterator, Mapping

from qcrd_jax.data.encoded import RATIONALES, SEQUENCES, Encoded, Ragged


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
        for field, kind, sequences in fields(encoded):
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


def fields(encoded: Encoded) -> Iterator[tuple[str, str, Ragged]]:
    """Yields (field, the length that it shares, its sequences)."""
    for field in SEQUENCES:
        yield field, 'label' if field == 'label' else 'source', getattr(encoded, field)
    for field in RATIONALES:
        yield field, 'rationale', getattr(encoded, field).flat()
