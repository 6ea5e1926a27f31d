"""`--mode=reproduce`: runs what is missing of a table or figure, and writes it beside the paper's.

    <workdir>/runs/<identity>/setting.json    what the runs of one setting are
    <workdir>/runs/<identity>/seed<s>/        the workdir of one run; done once it has summary.json
    <workdir>/data/                           prepared datasets, shared by all runs
    <workdir>/report/                         tables, figures, index.html

Tables may share a workdir: what one has run, another finds. A run goes on from its checkpoint after
a kill, like any run. Another setting or another version of the code is another identity, so that
nothing is mixed.
"""

import contextlib
import datetime
import hashlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Sequence

import jax
from absl import logging
from ml_collections import config_dict

from qcrd_jax import files, grid
from qcrd_jax.data.sources import builders
from qcrd_jax.data.summary import SplitCounts
from qcrd_jax.errors import InputError
from qcrd_jax.grid import Cell
from qcrd_jax.report import collection, write_report
from qcrd_jax.report.tables import Cell as TableCell
from qcrd_jax.report.tables import Outcome, Table
from qcrd_jax.runs import assembly, loop, results
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.position import kept_bytes
from qcrd_jax.runs.run import Run, student_name
from qcrd_jax.teacher import judge as judgement

_MEMORY_SHARE = 0.7  # of a device's memory that seeds trained together may take
_COPIES = 3  # of what a run keeps, while a step is taken: gradients, new values, activations


def reproduce(config: config_dict.ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
    """Runs the missing cells of a grid; writes its table after each of them and, last, the page.

    Args:
      config: with a grid, one of `configs/paper/`.
      workdir: where the runs and the report are.

    Returns:
      The page of the report.

    Raises:
      InputError: at the end, if a cell could not be run; the report says so in the cell.
    """
    reproduction = Reproduction(config, workdir)
    reproduction.write_table()
    for cell in reproduction.wanted():
        if reproduction.run(cell):
            reproduction.write_table()
    page = collection.write_page(workdir / 'report')
    print(f'report: {page}')
    if reproduction.failures:
        failed = '; '.join(f'{name}: {why}' for name, why in reproduction.failures.items())
        raise InputError(f'{len(reproduction.failures)} cells could not be run: {failed}')
    return page


class Reproduction:
    """The runs of one grid.

    Attributes:
      settings: of the grid, `config.reproduce`.
      failures: why a cell could not be run, by its name.
    """

    def __init__(self, config: config_dict.ConfigDict, workdir: pathlib.Path):
        self._config, self._workdir = config, workdir
        self._cells = grid.read(config)
        self.settings = config.reproduce
        self.failures: dict[str, str] = {}
        known = {cell.row for cell in self._cells}, {cell.column for cell in self._cells}
        for field, names in zip(('rows', 'columns'), known, strict=True):
            unknown = set(self.settings[field]) - names
            if unknown:
                raise InputError(
                    f'--config.reproduce.{field}: {sorted(unknown)[0]!r} is not in the grid; it '
                    f'has {", ".join(sorted(names))}.'
                )

    def wanted(self) -> list[Cell]:
        """The visible cells that are asked for, in order."""
        rows, columns = self.settings.rows, self.settings.columns
        return [
            cell
            for cell in self._cells
            if not cell.hidden
            and (not rows or cell.row in rows)
            and (not columns or cell.column in columns)
        ]

    def run(self, cell: Cell) -> bool:
        """Runs what is missing of a cell, after what it needs; says whether anything was tried."""
        tried = any([self.run(needed) for needed in self._needed(cell)])
        missing = self._missing(cell) if cell.measure in grid.RUN_MEASURES else []
        if not missing:
            return tried
        where = self._folder(cell)
        print(f'{cell.name}: seeds {", ".join(map(str, missing))} of {where}', flush=True)
        if self.settings.dry_run:
            return False
        try:
            self._train(cell, missing)
        except InputError as error:
            logging.error('%s: %s', cell.name, error)
            self.failures[cell.name] = str(error)
        jax.clear_caches()  # the next cell has programs of its own
        return True

    def write_table(self) -> None:
        """Writes the table as it stands."""
        settings = self.settings
        visible = [cell for cell in self._cells if not cell.hidden]
        table = Table(
            name=settings.name,
            title=settings.title,
            caption=self._caption(),
            unit=settings.unit,
            rows=tuple(dict.fromkeys(cell.row for cell in visible)),
            columns=tuple(dict.fromkeys(cell.column for cell in visible)),
            cells=tuple(self._table_cell(cell) for cell in visible),
            baseline=settings.baseline or None,
            kind=settings.kind,
            higher_is_better=settings.higher_is_better,
        )
        runs = {}
        if settings.panel != 'none':
            folders = {
                cell.name: self._folder(cell) / f'seed{settings.seeds[0]}' for cell in visible
            }
            runs = {n: path for n, path in folders.items() if (path / 'summary.json').is_file()}
        collection.write_current(self._workdir / 'report', table, settings.panel, runs)

    # --- Running ----------------------------------------------------------------------------------

    def _needed(self, cell: Cell) -> list[Cell]:
        names = [
            row
            for wanted in cell.needs.values()
            for row in ([wanted] if isinstance(wanted, str) else wanted)
        ]
        return [self._at(row, cell.column) for row in names]

    def _at(self, row: str, column: str) -> Cell:
        return next(cell for cell in self._cells if (cell.row, cell.column) == (row, column))

    def _resolved(self, cell: Cell) -> config_dict.ConfigDict:
        config = grid.resolve(self._config, cell)
        if not config.data.cache:
            config.data.cache = str(self._workdir / 'data')
        return config

    def _identity(self, cell: Cell) -> str:
        needed = {}
        if cell.measure in grid.RUN_MEASURES:
            needed = {
                field: self._identity(self._at(row, cell.column))
                for field, row in cell.needs.items()
            }
        return grid.identity(self._resolved(cell), needed)

    def _folder(self, cell: Cell) -> pathlib.Path:
        return self._workdir / 'runs' / self._identity(cell)

    def _missing(self, cell: Cell) -> list[int]:
        folder = self._folder(cell)
        return [s for s in self.settings.seeds if not (folder / f'seed{s}/summary.json').is_file()]

    def _train(self, cell: Cell, missing: Sequence[int]) -> None:
        """Trains the missing seeds, as many together as fit; one by one where a group fails."""
        folder, failed = self._folder(cell), {}
        self._describe(cell, folder)
        while missing:
            runs = self._assembled(cell, folder, missing[:1])
            count = self.settings.together or _seeds_that_fit(runs[0])
            group, missing = missing[:count], missing[count:]
            runs += self._assembled(cell, folder, group[1:], twin=runs[0])
            try:
                self._finish(runs)
            except InputError as error:
                if len(group) == 1:
                    failed[group[0]] = str(error)
                else:
                    logging.error('%s: %s Its seeds go on one by one.', cell.name, error)
                    failed |= self._one_by_one(cell, folder, group)
        if failed:
            raise InputError('; '.join(f'seed {seed}: {why}' for seed, why in failed.items()))

    def _one_by_one(self, cell: Cell, folder: pathlib.Path, seeds: Sequence[int]) -> dict[int, str]:
        """Trains seeds each on its own, and says why which of them failed."""
        failed = {}
        for seed in seeds:
            try:
                self._finish(self._assembled(cell, folder, [seed]))
            except InputError as error:
                failed[seed] = str(error)
        return failed

    def _assembled(
        self, cell: Cell, folder: pathlib.Path, seeds: Sequence[int], twin: Run | None = None
    ) -> list[Run]:
        runs: list[Run] = []
        for seed in seeds:
            config, workdir = self._resolved(cell), folder / f'seed{seed}'
            config.seed = seed
            for field, row in cell.needs.items():
                student = self._folder(self._at(row, cell.column)) / f'seed{seed}' / 'hf'
                if not student.is_dir():
                    raise InputError(
                        f'{student}: is gone, and {cell.name} needs it; remove its run '
                        f'({student.parent}) to have it trained again, and set '
                        '--config.reproduce.keep=students.'
                    )
                group, _, name = field.rpartition('.')
                config[group][name] = str(student)
            workdir.mkdir(parents=True, exist_ok=True)
            workdirs.claim(workdir, config)
            runs.append(assembly.assemble(config, workdir, twin=twin))
            twin = twin or runs[0]
        return runs

    def _finish(self, runs: Sequence[Run]) -> None:
        with contextlib.ExitStack() as stack:
            for run in runs:
                stack.enter_context(workdirs.locked(run.workdir))
            timed = len(runs) == 1
            for run, position in zip(runs, loop.train(runs), strict=True):
                summary = results.finish(run, position, timed=timed)
                print(f'{run.workdir}: {summary["test_accuracy"]:.4f}', flush=True)
                write_report(run.workdir)
                self._tidy(run.workdir)

    def _tidy(self, workdir: pathlib.Path) -> None:
        """Removes what is not to be kept of a finished run, which can be gigabytes."""
        keep = self.settings.keep
        if keep != 'everything':
            shutil.rmtree(workdirs.checkpoints(workdir), ignore_errors=True)
        if keep == 'results':
            shutil.rmtree(workdir / 'hf', ignore_errors=True)

    def _describe(self, cell: Cell, folder: pathlib.Path) -> None:
        device = jax.devices()[0]
        files.write_json(
            folder / 'setting.json',
            {
                'config': workdirs.to_json(self._resolved(cell)),
                'needs': dict(cell.needs),
                'code': grid.code_version(),
                'jax': jax.__version__,
                'device': device.device_kind,
                'started': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
            },
        )

    # --- Reporting --------------------------------------------------------------------------------

    def _table_cell(self, cell: Cell) -> TableCell:
        try:
            outcomes, planned = self._outcomes(cell)
            note = '' if outcomes else 'not run'
        except InputError as error:
            outcomes, planned, note = (), 1, f'not run: {_first_sentence(str(error))}'
        if cell.name in self.failures:
            note = f'failed: {_first_sentence(self.failures[cell.name])}'
        return TableCell(cell.row, cell.column, cell.paper, planned, outcomes, note)

    def _outcomes(self, cell: Cell) -> tuple[tuple[Outcome, ...], int]:
        if cell.measure in grid.DATA_MEASURES:
            if self.settings.dry_run or cell not in self.wanted():
                return (), 1
            return (Outcome(0, float(self._count(cell))),), 0  # no run was needed
        if cell.measure in grid.JUDGE_MEASURES:
            return self._judged(cell), 1
        folder = self._folder(cell)
        outcomes = (_outcome(folder / f'seed{s}', s, cell.measure) for s in self.settings.seeds)
        return tuple(filter(None, outcomes)), len(self.settings.seeds)

    def _count(self, cell: Cell) -> int | float:
        """A figure of a dataset, kept beside the runs: counting e-SNLI takes minutes."""
        config = self._resolved(cell)
        path = self._workdir / 'runs' / f'{grid.identity(config)}-{cell.split}.json'
        if not path.is_file():
            dataset = builders.load(config.data, self._workdir / 'data')
            counts = SplitCounts()
            for example in dataset.splits[cell.split]:
                counts.add(example, dataset.answer_type, config.data.samples)
            files.write_json(path, counts.report(truncated=0))
        value = files.read_json(path)[cell.measure]
        if value is None:
            raise InputError(f'{cell.name}: the {cell.split} split has no teacher answers')
        return 100 * value if cell.measure.endswith('_accuracy') else value

    def _judged(self, cell: Cell) -> tuple[Outcome, ...]:
        """The verdicts on the first seed's students, if both are there; asks a judge for them."""
        seed = self.settings.seeds[0]
        runs = [self._folder(needed) / f'seed{seed}' for needed in self._needed(cell)]
        if not all((run / 'summary.json').is_file() for run in runs):
            return ()
        config = self._resolved(cell)
        config.judge.runs = tuple(map(str, runs))
        names = '-'.join(run.parent.name for run in runs)
        asked = workdirs.to_json(config)
        del asked['judge']['runs']  # which `names` has
        settings = json.dumps([asked['judge'], asked['teacher']], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]  # another judge, other verdicts
        folder = self._workdir / 'runs' / f'judge-{names}-{digest}'
        path = folder / judgement.REPORT
        if not path.is_file():
            if self.settings.dry_run:
                return ()
            folder.mkdir(parents=True, exist_ok=True)
            judgement.judge(config, folder)
        return (Outcome(seed, float(files.read_json(path)[cell.measure]['count'])),)

    def _caption(self) -> str:
        """What the paper's table is, and what was run here."""
        if not any(cell.measure in grid.RUN_MEASURES for cell in self._cells):
            return f'{self.settings.caption} Counted by code {grid.code_version()}.'
        settings = [files.read_json(path) for path in self._setting_files()]
        trained = [cell for cell in self._cells if cell.measure in grid.RUN_MEASURES]
        configs = [self._resolved(cell) for cell in trained]
        students = dict.fromkeys(student_name(config) for config in configs)
        datasets = dict.fromkeys(config.data.name for config in configs)
        train = self._config.train
        here = (
            f'{"Run here" if settings else "Asked for, and not run yet"}: {", ".join(students)}; '
            f'{train.steps} steps of batch {train.batch_size}; data {", ".join(datasets)}; '
            f'seeds {", ".join(map(str, self.settings.seeds))}; code {grid.code_version()}'
        )
        devices = sorted({setting['device'] for setting in settings})
        versions = sorted({setting['jax'] for setting in settings})
        if devices:
            here += f'; {", ".join(devices)} with jax {", ".join(versions)}'
        return f'{self.settings.caption} {here}.'.strip()

    def _setting_files(self) -> list[pathlib.Path]:
        folders = {self._folder(cell) for cell in self._cells if cell.measure in grid.RUN_MEASURES}
        return [path for folder in sorted(folders) if (path := folder / 'setting.json').is_file()]


def _outcome(workdir: pathlib.Path, seed: int, measure: str) -> Outcome | None:
    """What a run has come to; None if it is not done."""
    path = workdir / 'summary.json'
    if not path.is_file():
        return None
    value = files.read_json(path)[measure]
    if value is None:
        return None
    if measure != 'test_accuracy':
        return Outcome(seed, value)
    records = (record for _, record in files.read_jsonl(workdir / 'predictions.jsonl'))
    return Outcome(seed, 100 * value, {record['id']: record['correct'] for record in records})


def _seeds_that_fit(run: Run) -> int:
    """How many runs like this one a device holds at once, by a rough estimate."""
    one = _COPIES * kept_bytes(run)
    stats = jax.local_devices()[0].memory_stats() or {}
    memory = stats.get('bytes_limit') or os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return max(1, math.floor(_MEMORY_SHARE * memory / one))


def _first_sentence(text: str) -> str:
    return text.split('; ')[0].split('. ')[0][:120]
