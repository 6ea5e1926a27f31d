"""The page of many runs: all tables with figures, tests and what was not run."""

import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from qcrd_jax import files
from qcrd_jax.report import table_text, templates
from qcrd_jax.report.drawing import Figure
from qcrd_jax.report.run_files import plain
from qcrd_jax.report.table_files import Written, write_and_compare
from qcrd_jax.report.tables import Table

Panel = Figure | str | Sequence[Mapping[str, Any]]


def write_experiments(
    folder: pathlib.Path, tables: Sequence[Table], extras: Sequence[tuple[str, Panel]] = ()
) -> pathlib.Path:
    """Writes all tables in every format, and a page that shows and links them.

    The page needs no script and no network, and treats all names as text.

    Args:
      folder: is created.
      tables: in the page's order.
      extras: (title, what to show) of panels below the tables: a figure, a text, or a list of
        records that have the same keys.

    Returns:
      path of the page, `<folder>/index.html`.

    Raises:
      ValueError: if two tables have the same name, so that one's files would replace the other's.
    """
    folder = pathlib.Path(folder)
    names = [table.name for table in tables]
    if len(set(names)) < len(names):
        raise ValueError(f'expected tables of different names, got {names}.')
    shown = [_table(write_and_compare(folder, table), i) for i, table in enumerate(tables)]
    asked = [cell for table in tables for cell in table.cells if cell.planned or cell.outcomes]
    page = {
        'tables': shown,
        'extras': [_extra(title, panel, i) for i, (title, panel) in enumerate(extras)],
        'unfinished': [table for table in shown if table['missing']],
        'runs': sum(len(cell.outcomes) for cell in asked),
        'complete': sum(cell.complete for cell in asked),
        'asked': len(asked),
        'dagger': table_text.DAGGER,
        'test_headers': table_text.TEST_HEADERS,
    }
    files.write_text(folder / 'index.html', templates.render('experiments.html', page))
    return folder / 'index.html'


def _table(written: Written, index: int) -> dict[str, Any]:
    table, comparisons = written.table, written.comparisons
    asked = [cell for cell in table.cells if cell.planned or cell.outcomes]
    complete = sum(cell.complete for cell in asked)
    return {
        'anchor': f'table-{index}',
        'title': plain(table.title),
        'caption': plain(table.caption),
        'progress': f'{complete} of {len(asked)} cells' if asked else 'not planned',
        'columns': [plain(column) for column in table.columns],
        'rows': [
            {
                'name': plain(row),
                'baseline': row == table.baseline,
                'cells': [
                    table_text.cell_text(table, table.cell(row, column), comparisons)
                    for column in table.columns
                ],
            }
            for row in table.rows
        ],
        'legend': table_text.legend(table, comparisons),
        'figure': written.figure,
        'baseline': plain(table.baseline),
        'tests': [
            {'texts': table_text.comparison_row(each), 'kind': each.verdict.split()[0]}
            for each in comparisons.made
        ],
        'tests_legend': table_text.comparisons_legend(table, comparisons),
        'not_compared': [plain(sentence) for sentence in comparisons.not_made],
        'missing': [plain(sentence) for sentence in table.missing()],
        'files': [
            {'name': plain(path.name), 'href': urllib.parse.quote(path.name, errors='replace')}
            for path in written.paths
        ],
    }


def _extra(title: str, panel: Panel, index: int) -> dict[str, Any]:
    records = [] if isinstance(panel, Figure | str) else list(panel)
    names = list(records[0]) if records else []
    return {
        'anchor': f'extra-{index}',
        'title': plain(title),
        'figure': panel if isinstance(panel, Figure) else None,
        'text': plain(panel) if isinstance(panel, str) else '',
        'names': [plain(name) for name in names],
        'records': [[plain(record.get(name)) for name in names] for record in records],
    }
