"""A grid of the smallest runs, for tests that plan, run and table it."""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ml_collections import config_dict

from qcrd_jax import files, grid
from qcrd_jax.evaluation.rationales import Reading, quality
from qcrd_jax.evaluation.rationales import summary as summarised
from tests.support.runs import small_config

ROWS = {'A': {'method': 'finetune'}, 'B': {'method': 'finetune', 'optimizer.learning_rate': 3e-3}}


def small_run() -> config_dict.ConfigDict:
    """A run of two steps on 48 generated problems, with a student of random weights."""
    config = small_config()
    config.discriminator.update(pretrain_steps=2, update_every=2)
    config.negatives.interval = 1
    config.train.update(steps=2, evaluate_every=2, shapes=1)
    config.evaluation.examples = 0
    return config


def small_grid(**reproduced: Any) -> config_dict.ConfigDict:
    """Two rows and one column, with two seeds each; `reproduced` are fields of `reproduce`."""
    config = small_run()
    config.reproduce.update(name='small', title='A small table', baseline='A', seeds=(0, 1))
    config.reproduce.cells = grid.cells(ROWS, {'mwp': {}}, {'A': [50.0], 'B': [60.0]})
    config.reproduce.update(reproduced)
    return config


def folders_of_runs(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Where the runs of every setting are."""
    return sorted(path.parent for path in workdir.glob('runs/*/setting.json'))


def table(workdir: pathlib.Path, name: str = 'small') -> dict[tuple[str, str], dict[str, str]]:
    """The cells of a table that was written, by row and column."""
    with open(workdir / 'report' / f'{name}.csv', newline='') as file:
        return {(row['row'], row['column']): row for row in csv.DictReader(file)}


def load_config(path: pathlib.Path) -> config_dict.ConfigDict:
    """The configuration of a file under `configs/`."""
    return grid.config_file(path).get_config()


def judged_grid(**reproduced: Any) -> config_dict.ConfigDict:
    """Two students, A and B, and what a judge says of them, in three rows."""
    students = grid.cells(ROWS, {'mwp': {}}, hidden=True)
    verdicts = tuple(
        {'row': measure, 'column': 'mwp', 'measure': measure, 'needs': {'judge.runs': ('A', 'B')}}
        for measure in grid.JUDGE_MEASURES
    )
    config = small_grid(baseline='', unit='questions', seeds=(0,))
    config.reproduce.cells = (*students, *verdicts)
    config.reproduce.update(reproduced)
    config.teacher.update(model='a-model', concurrency=1, attempts=1, timeout=30.0)
    return config


def leave_run(
    workdir: pathlib.Path,
    rationales: Sequence[str],
    right: int = 0,
    read: Mapping[str, Sequence[Reading]] = MappingProxyType({}),
) -> None:
    """Writes what a finished run leaves, of as many questions as there are rationales.

    Args:
      workdir: of the run.
      rationales: the greedy ones.
      right: how many labels are right, the first ones.
      read: how rationales were read, by their name; as runs of long ago, without.
    """
    summary = {'test_accuracy': right / len(rationales), 'training_hours': 1.5}
    for name, readings in read.items():
        summary |= summarised(name, quality(readings))
    files.write_json(workdir / 'summary.json', summary)
    files.write_jsonl(
        workdir / 'predictions.jsonl',
        (
            {
                'id': f'q{number}',
                'input': f'Question {number}?',
                'label': f'( {number} + 1 )',
                'rationale': text,
                'correct': number < right,
            }
            | {
                field: value
                for name, readings in read.items()
                for field, value in readings[number].fields(name).items()
            }
            for number, text in enumerate(rationales)
        ),
    )
