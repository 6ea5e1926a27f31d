"""A split as token ids, whoever tokenised it."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from qcrd_jax.data.ragged import Groups, Ragged

SEQUENCES = ('predict', 'explain', 'question', 'label')
RATIONALES = ('positives', 'negatives')


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
