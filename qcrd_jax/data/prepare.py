"""Counting the data of a run: what `prepare` reports, and training leaves beside its results."""

import pathlib
from collections.abc import Iterator
from typing import Any

from absl import logging

from qcrd_jax import bars, files, sums
from qcrd_jax.data import leaks, unknown
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.leaks import LeakSearch
from qcrd_jax.data.summary import SplitCounts, prepare_tables
from qcrd_jax.data.unknown import UnknownTokens

LEAKS = 'leaks.jsonl'
VOTES = 'votes.jsonl'
REPORT = 'prepare.json'
CONFIG = 'config.json'  # of the run whose data was counted, where it has one
_HELD = ('validation', 'test')  # the splits that others are not to hold questions of


def write_counts(corpus: Corpus, samples: int, workdir: pathlib.Path) -> str:
    """Writes `votes.jsonl`, `leaks.jsonl`, then `prepare.json`; warns of what does harm.

    Last come the digests of the three, and of the configuration that they were counted for.

    Args:
      corpus: of the run.
      samples: K, of each question's samples the first K are counted.
      workdir: of the run.

    Returns:
      The tables of the counts as Markdown, and in words what the tokenizer has no pieces for and
      which questions stand in more than one split.
    """
    counts = {split: SplitCounts() for split in corpus.examples}
    unknowns = {
        split: UnknownTokens(encoded, corpus.tokenizer) for split, encoded in corpus.encoded.items()
    }
    search = LeakSearch({split: corpus.examples[split] for split in _HELD}, corpus.answer_type)
    votes = _votes(corpus, samples, counts, unknowns, search)
    files.write_jsonl(workdir / VOTES, votes)
    found = search.leaks()
    files.write_jsonl(workdir / LEAKS, (leak._asdict() for leak in found))
    truncated = {
        split: sum(cut.cut for cut in corpus.truncations if cut.split == split) for split in counts
    }
    report = {
        split: counts[split].report(truncated[split]) | {'unknown': unknowns[split].report()}
        for split in counts
    }
    for split in _HELD:
        report[split]['leaks'] = leaks.counts(found, split)
    files.write_json(workdir / REPORT, report)
    sums.update(workdir, _written(workdir))
    unknown.warn(unknowns)
    leaks.warn(found)
    shares = {split: tokens.shares for split, tokens in unknowns.items()}
    sizes = {split: len(examples) for split, examples in corpus.examples.items()}
    parts = (
        prepare_tables(counts, truncated, shares),
        unknown.as_text(unknowns),
        leaks.as_text(found, sizes),
    )
    return '\n\n'.join(part for part in parts if part)


def whole(workdir: pathlib.Path) -> bool:
    """Returns whether the data was counted for the workdir's configuration, and nothing changed.

    Where something did, a line of the log says what.
    """
    found = sums.faults(workdir, _written(workdir))
    if found and any((workdir / name).exists() for name in (VOTES, LEAKS, REPORT)):
        logging.error('%s: %s; the data is counted again.', workdir, ', '.join(found))
    return not found


def _written(workdir: pathlib.Path) -> tuple[str, ...]:
    config = (CONFIG,) if (workdir / CONFIG).is_file() else ()
    return (VOTES, LEAKS, REPORT, *config)


def _votes(
    corpus: Corpus,
    samples: int,
    counts: dict[str, SplitCounts],
    unknowns: dict[str, UnknownTokens],
    search: LeakSearch,
) -> Iterator[dict[str, Any]]:
    """Looks at every question once, and yields the votes on those that have samples."""
    for split, examples in corpus.examples.items():
        questions = bars.shown(examples, f'counting {split}', 'questions')
        if split != 'test':  # which may hold questions that others have, and they not its
            questions = search.look(split, questions)
        for place, example in enumerate(questions):
            unknowns[split].add(place, example, samples)
            vote = counts[split].add(example, corpus.answer_type, samples)
            if vote is not None:
                yield {'id': example.id, 'split': split, 'label': example.label, **vote._asdict()}
