"""Real lengths: how many tokens the sequences of a real training split have, without its texts.

A table is a file of JSON beside this one, `<name>.json`, made by `benchmarks.lengths.make`:

  about, source, licence, tokenizer    in words
  columns                              what the entries of a row are
  rows                                 one per question: tokens of predict, explain, question and
                                       label, then those of each positive and of each negative

Benchmarks fill them with random tokens, so that batches have the shapes of real ones.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from qcrd_jax.data.encoded import Encoded, Groups, Ragged
from qcrd_jax.models import architectures

FOLDER = pathlib.Path(__file__).parent
COLUMNS = ('predict', 'explain', 'question', 'label', 'positives', 'negatives')
Row = Sequence[Any]  # as the columns have it
TABLES = tuple(sorted(path.stem for path in FOLDER.glob('*.json')))


def encoded(rows: Sequence[Row], config: architectures.Architecture, seed: int = 0) -> Encoded:
    """Returns a split of these lengths: random tokens, and EOS at each end.

    Args:
      rows: of a table, or made up.
      config: whose vocabulary the tokens are drawn from.
      seed: of the tokens.
    """
    rng = np.random.default_rng(seed)
    special = 1 + max(config.pad_id, config.eos_id, config.start_id)

    def sequence(length: int) -> np.ndarray:
        ids = rng.integers(special, config.vocab_size, length, dtype=np.int32)
        ids[-1:] = config.eos_id
        return ids

    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    plain = [Ragged.of(map(sequence, columns[name])) for name in COLUMNS[:4]]
    groups = [
        Groups.of([list(map(sequence, lengths)) for lengths in columns[name]])
        for name in COLUMNS[4:]
    ]
    predict, explain, question, label = plain
    positives, negatives = groups
    ids = config.pad_id, config.eos_id
    return Encoded(predict, explain, question, label, positives, negatives, *ids)


def of_table(name: str) -> list[Row]:
    """Returns the rows of one of `TABLES`."""
    table = json.loads((FOLDER / f'{name}.json').read_text())
    assert tuple(table['columns']) == COLUMNS
    return table['rows']
