"""What a configuration writes its grid with: the settings that a table or figure compares.

A configuration under `configs/paper/` names its grid in `config.reproduce.cells`, a dict for each
cell; `qcrd_jax.experiments` reads them and runs what is missing.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

RATIONALE_MEASURES = (
    'rationale_accuracy',
    'rationale_agreement',
    'rationale_unread',
    'rationale_tokens',
    'rationale_ended',
)
"""What a trained student's rationales are asked for (`evaluation.rationales`)."""

DISCRIMINATOR_MEASURES = (
    'discriminator_auc',
    'discriminator_auc_teacher',
    'discriminator_auc_test',
)
"""How well a discriminator tells positives from negatives: when it was pretrained on held-out
questions, from corrupted ones too or only from the teacher's; in the end on the test questions."""

VERDICTS = {
    'test_accuracy': 'correct',
    'rationale_accuracy': 'correct',
    'rationale_agreement': 'agrees',
    'rationale_ended': 'ended',
}
"""Measures that count a verdict on every test question, by field in `predictions.jsonl`; methods
are compared by these, question by question."""

RUN_MEASURES = (
    'test_accuracy',
    'validation_accuracy',
    'training_hours',
    *RATIONALE_MEASURES,
    *DISCRIMINATOR_MEASURES,
)
"""What a trained student is asked for."""

DATA_MEASURES = (
    'questions',
    'sample_accuracy',
    'vote_accuracy',
    'right_per_question',
    'only_positive',
    'only_negative',
)
"""What a dataset and its teacher are asked for; nothing is trained."""

JUDGE_MEASURES = ('a_better', 'both_good', 'b_better')
"""What a judge says of two students (Table 7): how many questions."""

MEASURES = (*RUN_MEASURES, *DATA_MEASURES, *JUDGE_MEASURES)

BENCHMARKS = {
    'SVAMP': {'data.name': 'svamp'},
    'CQA': {'data.name': 'cqa'},
    'ANLI1': {'data.name': 'anli1'},
    'ESNLI': {'data.name': 'esnli'},
}
"""The paper's four, as columns or rows."""

COMPARED = {
    'Finetuning': {'method': 'finetune'},
    'Single-Task': {'method': 'single_task'},
    'DSS': {'method': 'dss'},
    'MI': {'method': 'mi'},
    'QCRD': {'method': 'qcrd'},
}
"""The methods of Tables 1 and 2, as rows."""

_LABELS_AND_RATIONALES = {'labels': 'test_accuracy', 'rationales': 'rationale_accuracy'}

KINDS = ('table', 'curve')
"""How it is drawn; the columns of a curve are numbers on an axis."""

PANELS = ('none', 'case_study', 'scores')
"""What is shown of single runs beside it: nothing, or Figure 5 or 6."""

OF_RUNS = ('seed', 'data.fold')
"""Fields by which the runs of one setting are told apart; no setting has them."""

KEEP = ('results', 'students', 'everything')
"""What is left of a finished run: with `everything` its checkpoints too."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of a grid.

    Attributes:
      row: of the table.
      column: of the table.
      paper: what the paper reports; None: nothing.
      overrides: fields of the configuration, by dotted name, and their values here.
      measure: one of `MEASURES`. Cells that differ in it, or in the temperature, share their runs.
      temperature: of the rationales that one of `RATIONALE_MEASURES` is of: 0, greedy, or one of
        `evaluation.rationales`.
      split: of the dataset; only read by `DATA_MEASURES`.
      needs: by field, the row (or rows) of this column whose student it names.
      hidden: it is trained because others need it, and is no row of the table.
    """

    row: str
    column: str
    paper: float | str | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measure: str = 'test_accuracy'
    temperature: float = 0.0
    split: str = 'train'
    needs: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
    hidden: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'{self.row}, {self.column}'

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands, which no other cell of its grid does."""
        return self.row, self.column

    @property
    def needed(self) -> tuple[tuple[str, str], ...]:
        """`needs` as pairs of a field and one row."""
        return tuple(
            (field, row)
            for field, rows in self.needs.items()
            for row in ([rows] if isinstance(rows, str) else rows)
        )


def position(column: str) -> float | None:
    """Returns where a column stands on the axis of a curve; None if its name is no number.

    >>> position('50 %'), position('SVAMP')
    (50.0, None)
    """
    try:
        return float(column.rstrip(' %'))
    except ValueError:
        return None


def config_file(path: pathlib.Path) -> ModuleType:
    """Returns another configuration file as a module: a study shares what its neighbour says.

    Args:
      path: of the file, under `configs/`.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, Mapping[str, Any]],
    paper: Mapping[str, Sequence[float | None]] | None = None,
    **others: Any,
) -> tuple[dict[str, Any], ...]:
    """Returns the cells of a full grid, for `config.reproduce.cells`.

    Args:
      rows: by name, the fields that a row overrides.
      columns: likewise.
      paper: by row, the paper's numbers in the order of the columns.
      others: fields of `Cell` that all cells share.

    Examples:
      >>> cells({'DSS': {'method': 'dss'}}, {'SVAMP': {'data.name': 'svamp'}}, {'DSS': [65.5]})
      ({'row': 'DSS', 'column': 'SVAMP', 'paper': 65.5, 'overrides': {'method': 'dss', \
'data.name': 'svamp'}},)
    """
    grid = []
    for row, own in rows.items():
        numbers = (paper or {}).get(row, [None] * len(columns))
        for (column, theirs), number in zip(columns.items(), numbers, strict=True):
            cell = {'row': row, 'column': column, 'paper': number}
            grid.append(cell | {'overrides': {**own, **theirs}} | others)
    return tuple(grid)


def labels_and_rationales(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, Mapping[str, Any]] = MappingProxyType({'': {}}),
) -> tuple[dict[str, Any], ...]:
    """Returns a grid of right labels and right rationales, both of the same runs.

    Args:
      rows: by name, the fields that a row overrides.
      columns: likewise; each becomes two, as `labels, 200` and `rationales, 200`.

    Examples:
      >>> [cell['column'] for cell in labels_and_rationales({'DSS': {}}, {'200': {}})]
      ['labels, 200', 'rationales, 200']
    """
    return tuple(
        cell
        for column, theirs in columns.items()
        for what, measure in _LABELS_AND_RATIONALES.items()
        for cell in cells(rows, {f'{what}, {column}' if column else what: theirs}, measure=measure)
    )
