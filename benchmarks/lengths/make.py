"""Writes the table of lengths of a training split.

    python -m benchmarks.lengths.make --config configs/svamp.py --samples svamp_samples.jsonl \
        --tokenizer <folder of t5> --about '...' --source '...' --licence '...' --output svamp.json

Only counts are written: no text, no token.
"""

import argparse
import json
import pathlib
import runpy
import tempfile
from collections.abc import Sequence

from benchmarks.lengths import COLUMNS
from qcrd_jax import files
from qcrd_jax.data.encoded import Encoded, Groups
from qcrd_jax.runs import assembly


def lengths(encoded: Encoded) -> list[list]:
    """Returns the row of every question."""
    plain = [getattr(encoded, name).sizes.tolist() for name in COLUMNS[:4]]
    grouped = [_of_groups(getattr(encoded, name)) for name in COLUMNS[4:]]
    return [list(row) for row in zip(*plain, *grouped, strict=True)]


def _of_groups(groups: Groups) -> list[list[int]]:
    return [[len(ids) for ids in group] for group in groups]


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the training split that the command line names, and writes its lengths."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.lengths.make', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument('--config', required=True, help='file of a configuration')
    parser.add_argument('--samples', required=True, help='questions with their raw answers')
    parser.add_argument('--tokenizer', required=True, help='folder of the tokenizer')
    for name in ('about', 'source', 'licence'):
        parser.add_argument(f'--{name}', required=True, help='in words, kept in the table')
    parser.add_argument('--output', required=True, type=pathlib.Path, help='file of the table')
    arguments = parser.parse_args(argv)
    config = runpy.run_path(arguments.config)['get_config']()
    config.data.teacher_samples = arguments.samples
    config.student.tokenizer = arguments.tokenizer
    with tempfile.TemporaryDirectory() as folder:
        corpus = assembly.read_corpus(config, pathlib.Path(folder))
        rows = lengths(corpus.encoded['train'])
    table = {
        'about': arguments.about,
        'source': arguments.source,
        'licence': arguments.licence,
        'columns': COLUMNS,
    }
    head = json.dumps(table, indent=1)[:-2]
    body = ',\n  '.join(json.dumps(row, separators=(',', ':')) for row in rows)
    files.write_text(arguments.output, f'{head},\n "rows": [\n  {body}\n ]\n}}\n')
    print(f'{arguments.output}: {len(rows)} questions')


if __name__ == '__main__':
    main()
