"""The tables of one folder: each is kept beside its files, so that the page can show them all."""

import dataclasses
import pathlib
from typing import Any

from qcrd_jax import files
from qcrd_jax.report.experiments import write_experiments
from qcrd_jax.report.table_files import write_table
from qcrd_jax.report.tables import Cell, Outcome, Table

_KEPT = 'tables'  # folder of the tables as JSON


def write_current(folder: pathlib.Path, table: Table) -> None:
    """Writes a table in every format, and keeps it for the page."""
    files.write_json(folder / _KEPT / f'{table.name}.json', dataclasses.asdict(table))
    write_table(folder, table)


def write_page(folder: pathlib.Path) -> pathlib.Path:
    """Writes the page of all tables that the folder keeps.

    Returns:
      path of the page, `<folder>/index.html`.

    Raises:
      InputError: if a kept table is damaged; it names the file.
    """
    kept = sorted((folder / _KEPT).glob('*.json'))
    return write_experiments(folder, [_table(files.read_json(path)) for path in kept])


def _table(record: dict[str, Any]) -> Table:
    cells = tuple(
        Cell(**{**cell, 'outcomes': tuple(Outcome(**outcome) for outcome in cell['outcomes'])})
        for cell in record['cells']
    )
    names = {name: tuple(record[name]) for name in ('rows', 'columns')}
    return Table(**{**record, **names, 'cells': cells})
