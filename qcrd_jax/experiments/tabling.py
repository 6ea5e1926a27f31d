"""Tables of what there is: the files of a grid's workdir beside the paper's numbers.

Files are read and nothing else: writing a table trains nothing, counts nothing and asks nobody.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from qcrd_jax import files, grid
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.rationales import name_at
from qcrd_jax.experiments import identity
from qcrd_jax.experiments import plan as planning
from qcrd_jax.experiments.plan import Plan
from qcrd_jax.grid import Cell
from qcrd_jax.report import collection
from qcrd_jax.report.tables import NO_VALUE, Outcome, Table, pooled
from qcrd_jax.report.tables import Cell as TableCell
from qcrd_jax.runs.assembly import student_name
from qcrd_jax.teacher import judge as judgement

_SHARES = (
    'validation_accuracy',
    'rationale_unread',
    *grid.VERDICTS,
    *grid.DISCRIMINATOR_MEASURES,
)
"""Measures in [0, 1], which a table has in percent."""


def write(plan: Plan, failures: Mapping[str, str] | None = None) -> Table:
    """Writes the table as it stands in the files of the workdir, and returns it.

    Args:
      plan: of the grid.
      failures: why cells could not be made, by their names.
    """
    settings = plan.settings
    table = _read(plan, failures)
    runs = {}
    if settings.panel != 'none':
        folders = {
            cell.name: planning.run_folder(plan, cell, settings.seeds[0])
            for cell in plan.visible
            if cell.place in plan.identities
        }
        runs = {name: path for name, path in folders.items() if planning.is_done(path)}
    collection.write_current(plan.workdir / 'report', table, settings.panel, runs)
    return table


def _read(plan: Plan, failures: Mapping[str, str] | None) -> Table:
    settings, visible = plan.settings, plan.visible
    return Table(
        name=settings.name,
        title=settings.title,
        caption=_caption(plan),
        unit=settings.unit,
        rows=tuple(dict.fromkeys(cell.row for cell in visible)),
        columns=tuple(dict.fromkeys(cell.column for cell in visible)),
        cells=tuple(_table_cell(plan, cell, (failures or {}).get(cell.name)) for cell in visible),
        baseline=settings.baseline or None,
        kind=settings.kind,
        higher_is_better=settings.higher_is_better,
    )


def write_page(plan: Plan) -> pathlib.Path:
    """Writes the page of all tables of the workdir, and returns its path."""
    return collection.write_page(plan.workdir / 'report')


def _table_cell(plan: Plan, cell: Cell, failure: str | None) -> TableCell:
    try:
        outcomes, planned = _outcomes(plan, cell)
        note = _unfinished(plan, cell) if len(outcomes) < planned else ''
        note = note or ('' if outcomes else NO_VALUE if _is_run(plan, cell) else 'not run')
    except InputError as error:
        outcomes, planned, note = (), 1, f'not run: {_first_sentence(str(error))}'
    if failure is not None:
        note = f'failed: {_first_sentence(failure)}'
    return TableCell(cell.row, cell.column, cell.paper, planned, outcomes, note)


def _outcomes(plan: Plan, cell: Cell) -> tuple[tuple[Outcome, ...], int]:
    """What there is of a cell, and how many runs it takes."""
    if cell.measure in grid.DATA_MEASURES:
        counted = _counted(plan, cell)
        return (counted, 0) if counted else ((), 1)  # no run was needed
    if cell.measure in grid.JUDGE_MEASURES:
        return _judged(plan, cell), 1
    seeds = plan.settings.seeds
    outcomes = (_of_seed(plan, cell, seed) for seed in seeds)
    return tuple(filter(None, outcomes)), len(seeds)


def _of_seed(plan: Plan, cell: Cell, seed: int) -> Outcome | None:
    """What a seed has come to, in all of its folds; None if one of them is not done."""
    outcomes: list[Outcome] = []
    for fold in planning.folds(plan, cell):
        outcome = _outcome(planning.run_folder(plan, cell, seed, fold), seed, cell)
        if outcome is None:
            return None
        outcomes.append(outcome)
    return pooled(outcomes) if plan.configs[cell.place].data.folds else outcomes[0]


def _is_run(plan: Plan, cell: Cell) -> bool:
    """Whether all runs of a cell are done, be it without the value that it asks for."""
    if cell.measure not in grid.RUN_MEASURES:
        return False
    return all(
        planning.is_done(planning.run_folder(plan, cell, seed, fold))
        for seed in plan.settings.seeds
        for fold in planning.folds(plan, cell)
    )


def _unfinished(plan: Plan, cell: Cell) -> str:
    """Says how far the folds are where a seed has some of them; else ''."""
    if cell.measure not in grid.RUN_MEASURES or not plan.configs[cell.place].data.folds:
        return ''
    folds = planning.folds(plan, cell)
    parts = []
    for seed in plan.settings.seeds:
        done = sum(planning.is_done(planning.run_folder(plan, cell, seed, fold)) for fold in folds)
        if 0 < done < len(folds):
            parts.append(f'seed {seed}: {done} of {len(folds)} folds')
    return ', '.join(parts)


def _outcome(workdir: pathlib.Path, seed: int, cell: Cell) -> Outcome | None:
    """What a run has come to; None if it is not done, or has no such value."""
    if not planning.is_done(workdir):
        return None
    value = files.read_json(workdir / 'summary.json').get(_field(cell))
    if value is None:
        return None
    if cell.measure not in _SHARES:
        return Outcome(seed, value)
    verdict = _verdict(cell)
    if verdict is None:
        return Outcome(seed, 100 * value)
    records = [record for _, record in files.read_jsonl(workdir / 'predictions.jsonl')]
    return Outcome(seed, 100 * value, {_question(record): record[verdict] for record in records})


def _question(record: Mapping[str, Any]) -> str:
    """Names a question by its text too: where ids are numbers of lines, others have them too."""
    text = json.dumps([record['input'], record['label']])
    return f'{record["id"]} {hashlib.sha256(text.encode()).hexdigest()[:12]}'


def _field(cell: Cell) -> str:
    """The field of `summary.json` that has the measure."""
    if cell.measure not in grid.RATIONALE_MEASURES:
        return cell.measure
    return name_at(cell.temperature) + cell.measure.removeprefix('rationale')


def _verdict(cell: Cell) -> str | None:
    """The field of `predictions.jsonl` that a share counts; None where fewer are better."""
    field = grid.VERDICTS.get(cell.measure)
    if field is None or cell.measure not in grid.RATIONALE_MEASURES:
        return field
    return f'{name_at(cell.temperature)}_{field}'


def _counted(plan: Plan, cell: Cell) -> tuple[Outcome, ...]:
    """A figure of a dataset, if it was counted."""
    path = planning.count_file(plan, cell)
    if not planning.is_counted(path):
        return ()
    value = files.read_json(path)[cell.measure]
    if value is None:
        raise InputError(f'{cell.name}: the {cell.split} split has no teacher answers')
    return (Outcome(0, float(100 * value if cell.measure.endswith('_accuracy') else value)),)


def _judged(plan: Plan, cell: Cell) -> tuple[Outcome, ...]:
    """The verdicts on the first seed's students, if they were given."""
    seed = plan.settings.seeds[0]
    path = planning.judge_folder(plan, cell) / judgement.REPORT
    if not path.is_file():
        return ()
    return (Outcome(seed, float(files.read_json(path)[cell.measure]['count'])),)


def _caption(plan: Plan) -> str:
    """What the paper's table is, and what was run here."""
    settings = plan.settings
    trained = [cell for cell in plan.cells if cell.measure in grid.RUN_MEASURES]
    if not trained:
        return f'{settings.caption} Counted by code {identity.counting_version()}.'
    found = _setting_files(plan, trained)
    configs = [plan.configs[cell.place] for cell in trained]
    students = dict.fromkeys(student_name(config) for config in configs)
    datasets = dict.fromkeys(config.data.name for config in configs)
    lengths = dict.fromkeys(_length(config.train) for config in configs)
    batches = dict.fromkeys(str(config.train.batch_size) for config in configs)
    here = (
        f'{"Run here" if found else "Asked for, and not run yet"}: {", ".join(students)}; '
        f'{", ".join(lengths)} of batch {", ".join(batches)}; data {", ".join(datasets)}; '
        f'seeds {", ".join(map(str, settings.seeds))}; code {identity.code_version()}'
    )
    devices = sorted({setting['device'] for setting in found})
    versions = sorted({setting['jax'] for setting in found})
    if devices:
        here += f'; {", ".join(devices)} with jax {", ".join(versions)}'
    return f'{settings.caption} {here}.'.strip()


def _length(train: Any) -> str:
    return f'{train.epochs:g} epochs' if train.epochs else f'{train.steps} steps'


def _setting_files(plan: Plan, trained: list[Cell]) -> list[dict[str, Any]]:
    """What was written of the runs that are there."""
    known = [cell for cell in trained if cell.place in plan.identities]
    folders = sorted({planning.folder(plan, cell) for cell in known})
    paths = [folder / 'setting.json' for folder in folders]
    return [files.read_json(path) for path in paths if path.is_file()]


def _first_sentence(text: str) -> str:
    return text.split('; ')[0].split('. ')[0][:120]
