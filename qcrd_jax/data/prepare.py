"""Counting the data of a run: what `prepare` reports, and training leaves beside its results."""

import pathlib
from collections.abc import Iterator
from typing import Any

from qcrd_jax import bars, files
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.summary import SplitCounts, prepare_tables


def write_counts(corpus: Corpus, samples: int, workdir: pathlib.Path) -> str:
    """Writes `votes.jsonl`, then `prepare.json`; returns the tables of the counts as Markdown.

    Args:
      corpus: of the run.
      samples: K, of each question's samples the first K are counted.
      workdir: of the run.
    """
    counts = {split: SplitCounts() for split in corpus.examples}
    files.write_jsonl(workdir / 'votes.jsonl', _votes(corpus, samples, counts))
    truncated = {
        split: sum(cut.cut for cut in corpus.truncations if cut.split == split) for split in counts
    }
    report = {split: counts[split].report(truncated[split]) for split in counts}
    files.write_json(workdir / 'prepare.json', report)
    return prepare_tables(counts, truncated)


def _votes(
    corpus: Corpus, samples: int, counts: dict[str, SplitCounts]
) -> Iterator[dict[str, Any]]:
    """Counts every question, and yields the votes on those that have samples."""
    for split, examples in corpus.examples.items():
        for example in bars.shown(examples, f'counting {split}', 'questions'):
            vote = counts[split].add(example, corpus.answer_type, samples)
            if vote is not None:
                yield {'id': example.id, 'split': split, 'label': example.label, **vote._asdict()}
