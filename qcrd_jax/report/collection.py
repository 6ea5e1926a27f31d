"""The tables of one folder: each is kept beside its files, so that the page can show them all."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from qcrd_jax import files
from qcrd_jax.grid import PANELS
from qcrd_jax.report import figures
from qcrd_jax.report.drawing import Figure
from qcrd_jax.report.experiments import Panel, write_experiments
from qcrd_jax.report.page import score_groups
from qcrd_jax.report.run_files import plain, read_run
from qcrd_jax.report.table_files import write_table
from qcrd_jax.report.tables import Cell, Outcome, Table

_KEPT = 'tables'  # folder of the tables as JSON


def write_current(
    folder: pathlib.Path,
    table: Table,
    panel: str = 'none',
    runs: Mapping[str, pathlib.Path] | None = None,
) -> None:
    """Writes a table in every format, and keeps it for the page.

    Args:
      folder: of the report.
      table: to write.
      panel: what the page shows of single runs beside it: 'none', 'case_study' (Fig. 5: their
        rationales by temperature), or 'scores' (Fig. 6: how their discriminator scores).
      runs: workdirs of finished runs, by the name of their cell; read by a panel.

    Raises:
      ValueError: if there is no such panel.
    """
    if panel not in PANELS:
        raise ValueError(f'panel: expected one of {", ".join(PANELS)}, got {panel!r}.')
    record = dataclasses.asdict(table)
    shown = {name: str(workdir) for name, workdir in (runs or {}).items()}
    kept = {'table': record, 'panel': panel, 'runs': shown}
    files.write_json(folder / _KEPT / f'{table.name}.json', kept)
    write_table(folder, table)
    for title, drawn in _panels(kept):
        if isinstance(drawn, Figure):
            stem = folder / f'{table.name}_scores'
            files.write_bytes(stem.with_suffix('.svg'), drawn.svg)
            files.write_bytes(stem.with_suffix('.png'), drawn.png)
        elif not isinstance(drawn, str):
            files.write_json(folder / f'{table.name}_cases.json', {'title': title, 'cases': drawn})


def write_page(folder: pathlib.Path) -> pathlib.Path:
    """Writes the page of all tables that the folder keeps.

    Returns:
      path of the page, `<folder>/index.html`.

    Raises:
      InputError: if a kept table is damaged; it names the file.
    """
    kept = [files.read_json(path) for path in sorted((folder / _KEPT).glob('*.json'))]
    extras = [panel for record in kept for panel in _panels(record)]
    return write_experiments(folder, [_table(record['table']) for record in kept], extras)


def _panels(kept: dict[str, Any]) -> list[tuple[str, Panel]]:
    """What is shown of the runs of a kept table; a run that is gone is left out."""
    panels: list[tuple[str, Panel]] = []
    for name, workdir in kept['runs'].items():
        title = f'{kept["table"]["title"]}: {name}'
        if not pathlib.Path(workdir).is_dir():
            continue
        run = read_run(pathlib.Path(workdir))
        if kept['panel'] == 'scores':
            figure = figures.score_figure(score_groups(run))
            panels.append((title, figure or 'This run has no discriminator, hence no scores.'))
        elif kept['panel'] == 'case_study' and run.case_study:
            panels.append((title, [_case(record) for record in run.case_study]))
    return panels


def _case(record: dict[str, Any]) -> dict[str, str]:
    """A question with its rationales as a row of the page; all of it is untrusted text."""
    written = record.get('rationales')
    rationales = {
        f'temperature {plain(each.get("temperature"))}': plain(each.get('text'))
        for each in (written if isinstance(written, list) else [])
        if isinstance(each, dict)
    }
    question, label = plain(record.get('input')), plain(record.get('label'))
    return {'question': question, 'label': label, **rationales}


def _table(record: dict[str, Any]) -> Table:
    cells = tuple(
        Cell(**{**cell, 'outcomes': tuple(Outcome(**outcome) for outcome in cell['outcomes'])})
        for cell in record['cells']
    )
    names = {name: tuple(record[name]) for name in ('rows', 'columns')}
    return Table(**{**record, **names, 'cells': cells})
