"""A table's files: Markdown, LaTeX, CSV and the figure, each written whole or not at all."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from qcrd_jax import files
from qcrd_jax.report import table_text
from qcrd_jax.report.drawing import Figure
from qcrd_jax.report.table_figure import table_figure
from qcrd_jax.report.tables import Comparison, Comparisons, Table, compare

CELL_FIELDS = (
    'row',
    'column',
    'unit',
    'mean',
    'half_width_95',
    'seeds',
    'planned',
    'paper',
    'note',
)
RUN_FIELDS = ('row', 'column', 'unit', 'seed', 'value', 'questions', 'correct')
TEST_FIELDS = (*(field.name for field in dataclasses.fields(Comparison)), 'verdict')


@dataclasses.dataclass(frozen=True)
class Written:
    """A table that was written.

    Attributes:
      table: what it was made of.
      comparisons: with its baseline.
      figure: of it.
      paths: of all its files.
    """

    table: Table
    comparisons: Comparisons
    figure: Figure
    paths: tuple[pathlib.Path, ...]


def write_table(folder: pathlib.Path, table: Table) -> tuple[pathlib.Path, ...]:
    """Writes a table in every format; the texts are rounded, the CSV files are not.

    Args:
      folder: is created.
      table: what to write.

    Returns:
      paths of `<name>.md`, `.tex`, `.csv` (a line for each cell), `_runs.csv` (a line for each
      run), `_tests.csv` (a line for each comparison with the baseline), `.svg` and `.png`.
    """
    return write_and_compare(folder, table).paths


def write_and_compare(folder: pathlib.Path, table: Table) -> Written:
    """As `write_table`, and returns what was computed and drawn for it."""
    comparisons = compare(table)
    figure = table_figure(table)
    contents = {
        f'{table.name}.md': table_text.markdown(table, comparisons).encode(),
        f'{table.name}.tex': table_text.latex(table, comparisons).encode(),
        f'{table.name}.csv': _csv(CELL_FIELDS, _cell_rows(table)),
        f'{table.name}_runs.csv': _csv(RUN_FIELDS, _run_rows(table)),
        f'{table.name}_tests.csv': _csv(TEST_FIELDS, _comparison_rows(comparisons)),
        f'{table.name}.svg': figure.svg,
        f'{table.name}.png': figure.png,
    }
    for name, content in contents.items():
        files.write_bytes(pathlib.Path(folder) / name, content)
    paths = tuple(pathlib.Path(folder) / name for name in contents)
    return Written(table, comparisons, figure, paths)


def _cell_rows(table: Table) -> Iterable[Sequence[Any]]:
    for cell in table.cells:
        mean, half_width = cell.summary or (None, None)
        seeds = len(cell.outcomes)
        yield (
            *(cell.row, cell.column, table.unit, mean, half_width),
            *(seeds, cell.planned, cell.paper, cell.note),
        )


def _run_rows(table: Table) -> Iterable[Sequence[Any]]:
    for cell in table.cells:
        for outcome in sorted(cell.outcomes, key=lambda outcome: outcome.seed):
            counts = (None, None)
            if outcome.correct is not None:
                counts = (len(outcome.correct), sum(map(bool, outcome.correct.values())))
            yield cell.row, cell.column, table.unit, outcome.seed, outcome.value, *counts


def _comparison_rows(comparisons: Comparisons) -> Iterable[Sequence[Any]]:
    for comparison in comparisons.made:
        yield *dataclasses.astuple(comparison), comparison.verdict


def _csv(fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Floats keep all their digits; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(fields)
    writer.writerows(rows)
    return text.getvalue().encode('utf-8', 'replace')
