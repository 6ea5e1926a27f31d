"""The plan of a grid: its cells, what each is run with, where that is kept, and what it needs.

    <workdir>/runs/<identity>/setting.json    what the runs of one setting are
    <workdir>/runs/<identity>/seed<s>/        the workdir of one run; done once `sealing` says so
    <workdir>/runs/<identity>/seed<s>-fold<k>/    the same, where `data.folds` is set
    <workdir>/runs/<identity>-<split>.json    the figures of a dataset
    <workdir>/runs/SHA256SUMS                 digests of those figures
    <workdir>/runs/judge-<digest>/            verdicts; done once they have judge.json
    <workdir>/data/                           prepared datasets, shared by all runs
    <workdir>/report/                         tables, figures, index.html

Nothing is written here, and nobody is asked.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

from absl import logging
from ml_collections import config_dict

from qcrd_jax import files, grid, sums, validation
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import identity, sweeping
from qcrd_jax.grid import Cell
from qcrd_jax.runs import sealing
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.teacher import judge as judgement

_OF_MODELS = ('student.pretrained', 'student.tokenizer')  # looked up in `reproduce.models`

Place = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a configuration's grid asks for.

    Attributes:
      settings: of the grid, `config.reproduce`.
      workdir: where the runs and the report are.
      cells: of the grid, hidden ones too.
      configs: what a cell is run with, by its place.
      identities: of what is trained or counted for a cell, by its place.
      problems: why a cell has no identity, by its place.
    """

    settings: config_dict.ConfigDict
    workdir: pathlib.Path
    cells: tuple[Cell, ...]
    configs: Mapping[Place, config_dict.ConfigDict]
    identities: Mapping[Place, str]
    problems: Mapping[Place, str]

    @property
    def visible(self) -> tuple[Cell, ...]:
        """The cells of the table."""
        return tuple(cell for cell in self.cells if not cell.hidden)

    @property
    def asked(self) -> tuple[Cell, ...]:
        """The visible cells that are to be run, in order."""
        rows, columns = self.settings.rows, self.settings.columns
        return tuple(
            cell
            for cell in self.visible
            if (not rows or cell.row in rows) and (not columns or cell.column in columns)
        )

    def at(self, row: str, column: str) -> Cell:
        """The cell of a place."""
        return next(cell for cell in self.cells if cell.place == (row, column))


def read(config: config_dict.ConfigDict, workdir: pathlib.Path) -> Plan:
    """Plans a configuration's grid.

    A cell whose data is missing has no identity, and says so when it is asked for; the others are
    planned without it.

    Raises:
      InputError: naming the cell or the field of the request, and what is wrong with it.
    """
    config = sweeping.expanded(config)
    cells = read_cells(config)
    _check_table(config.reproduce, [cell for cell in cells if not cell.hidden])
    for field, names in (
        ('rows', {cell.row for cell in cells}),
        ('columns', {cell.column for cell in cells}),
    ):
        unknown = set(config.reproduce[field]) - names
        if unknown:
            raise InputError(
                f'--config.reproduce.{field}: {sorted(unknown)[0]!r} is not in the grid; it '
                f'has {", ".join(sorted(names))}.'
            )
    configs = {cell.place: _with_cache(resolve(config, cell), workdir) for cell in cells}
    _check_folds(cells, configs)
    identities: dict[Place, str] = {}
    problems: dict[Place, str] = {}
    for cell in _needed_first(cells):
        needed = {field: (row, cell.column) for field, row in cell.needed}
        missing = [problems[place] for place in needed.values() if place in problems]
        if missing:
            problems[cell.place] = missing[0]
            continue
        try:
            if cell.measure in grid.RUN_MEASURES:
                others = {field: identities[place] for field, place in needed.items()}
                identities[cell.place] = identity.of_run(configs[cell.place], others)
            elif cell.measure in grid.DATA_MEASURES:
                identities[cell.place] = identity.of_count(configs[cell.place])
        except InputError as error:
            problems[cell.place] = str(error)
    return Plan(config.reproduce, workdir, cells, configs, identities, problems)


def _check_table(settings: config_dict.ConfigDict, visible: Sequence[Cell]) -> None:
    """Refuses what a table cannot be made of, before anything is run for it."""
    rows = list(dict.fromkeys(cell.row for cell in visible))
    if not settings.name:
        raise InputError('--config.reproduce.name: expected a name for the files, got none.')
    if settings.baseline and settings.baseline not in rows:
        raise InputError(
            f'--config.reproduce.baseline: {settings.baseline!r} is no row of the grid; it has '
            f'{"; ".join(rows)}.'
        )
    for column in dict.fromkeys(cell.column for cell in visible if settings.kind == 'curve'):
        if grid.position(column) is None:
            raise InputError(
                '--config.reproduce.kind: the columns of a curve are numbers, and '
                f'{column!r} is one of this grid.'
            )


def read_cells(config: config_dict.ConfigDict) -> tuple[Cell, ...]:
    """Returns the cells of a configuration's grid.

    Raises:
      InputError: naming the cell and what is wrong with it.
    """
    if not config.reproduce.cells:
        raise InputError(
            '--config: this configuration names no grid (`config.reproduce.cells`); take one of '
            'configs/paper/, or name fields and values by --config.reproduce.sweep.'
        )
    cells: dict[Place, Cell] = {}
    for number, given in enumerate(config.reproduce.cells, start=1):
        where = f'config.reproduce.cells, cell {number}'
        try:
            cell = Cell(**given)
        except TypeError as error:
            raise InputError(f'{where}: {error}.') from error
        if cell.measure not in grid.MEASURES:
            raise InputError(
                f'{where}: measure: expected {" | ".join(grid.MEASURES)}, got {cell.measure!r}.'
            )
        for name in grid.OF_RUNS:
            if name in cell.overrides:
                raise InputError(
                    f'{where}: {name}: every cell has all of them; --config.reproduce.seeds and '
                    '--config.data.folds say which.'
                )
        if cell.place in cells:
            raise InputError(f'{where}: {cell.name} is there already.')
        _check_temperature(resolve(config, cell), cell)
        cells[cell.place] = cell
    for cell in cells.values():
        for field, row in cell.needed:
            other = cells.get((row, cell.column))
            if other is None:
                raise InputError(f'{cell.name}: {field} needs {row!r}, which is no row here.')
            if other.measure not in grid.RUN_MEASURES:
                raise InputError(f'{cell.name}: {field} needs {row!r}, which trains no student.')
    _needed_first(tuple(cells.values()))
    return tuple(cells.values())


def resolve(config: config_dict.ConfigDict, cell: Cell) -> config_dict.ConfigDict:
    """Returns the configuration of a cell's runs: that of the table with the cell's own fields.

    `{name}` in a source of data stands for the dataset, and a checkpoint that the cell takes from
    the Hub is the folder of its name in `reproduce.models`, where one is given.

    Raises:
      InputError: naming the cell and the field that is not there, or its value.
    """
    resolved = config_dict.ConfigDict(config.to_dict())
    known = files.flatten(config.to_dict())
    for name, value in cell.overrides.items():
        if name not in known:
            raise InputError(f'{cell.name}: the configuration has no field {name!r}.')
        if name in _OF_MODELS and value and config.reproduce.models:
            value = str(pathlib.Path(config.reproduce.models) / value)
        group, _, field = name.rpartition('.')
        holder = functools.reduce(getattr, group.split('.') if group else (), resolved)
        try:
            holder[field] = value
        except TypeError as error:
            raise InputError(f'{cell.name}: {name}: {error}.') from error
    for field in ('source', 'teacher_samples'):
        resolved.data[field] = resolved.data[field].replace('{name}', resolved.data.name)
    try:
        validation.validate(resolved)
    except InputError as error:
        raise InputError(f'{cell.name}: {error}') from error
    return resolved.lock()


def _check_temperature(config: config_dict.ConfigDict, cell: Cell) -> None:
    """Refuses a temperature that is not read, or at which a cell's runs write no rationales."""
    if not cell.temperature:
        return
    if cell.measure not in grid.RATIONALE_MEASURES:
        raise InputError(
            f'{cell.name}: temperature: is only read by {", ".join(grid.RATIONALE_MEASURES)}, '
            f'not by {cell.measure}.'
        )
    drawn = config.evaluation.rationales
    if cell.temperature not in drawn:
        raise InputError(
            f'{cell.name}: temperature: expected 0 or one of evaluation.rationales '
            f'({", ".join(map(str, drawn)) or "none"}), got {cell.temperature}.'
        )


def in_order(plan: Plan, cell: Cell) -> list[Cell]:
    """Returns a cell after all that it needs."""
    return _needed_first((cell,), plan.cells)


def folder(plan: Plan, cell: Cell) -> pathlib.Path:
    """Returns where the runs of a cell are.

    Raises:
      InputError: if the cell has no identity.
    """
    return plan.workdir / 'runs' / _identity(plan, cell)


def folds(plan: Plan, cell: Cell) -> range:
    """Returns the folds that a cell's seeds run in; one where there is no cross-validation."""
    return range(max(plan.configs[cell.place].data.folds, 1))


def run_folder(plan: Plan, cell: Cell, seed: int, fold: int = 0) -> pathlib.Path:
    """Returns the workdir of one run; without cross-validation no fold is in its name."""
    of_fold = f'-fold{fold}' if plan.configs[cell.place].data.folds else ''
    return folder(plan, cell) / f'seed{seed}{of_fold}'


def missing_seeds(plan: Plan, cell: Cell, fold: int = 0) -> list[int]:
    """Returns the seeds of a cell that are not done, in one fold."""
    seeds = plan.settings.seeds
    return [seed for seed in seeds if not is_done(run_folder(plan, cell, seed, fold))]


def check_repeatable(workdir: pathlib.Path) -> None:
    """Refuses a run whose results were changed and from which nothing is left to make them.

    Raises:
      InputError: naming the folder and what to do.
    """
    if (faults := sealing.faults(workdir)) and not workdirs.started(workdir):
        raise InputError(
            f'{workdir}: its results are not those of the run ({", ".join(faults)}), and its '
            'checkpoints were removed when it ended. Delete the folder to have it run again.'
        )


def is_done(workdir: pathlib.Path) -> bool:
    """Whether a run is trained and evaluated, and its results are as it left them.

    A line of the log says where they are not, or nobody can say.
    """
    faults = sealing.faults(workdir)
    if faults:
        _say(logging.ERROR, f'{workdir}: the run does not count as done: {", ".join(faults)}.')
    elif faults is None and (workdir / sealing.SUMMARY).is_file():
        _say(
            logging.WARNING,
            f'{workdir}: was run before results had digests; they are taken as they are.',
        )
        return True
    return faults == []


def is_counted(path: pathlib.Path) -> bool:
    """Whether the figures of a dataset are there, as they were written; a line says where not."""
    if not path.is_file():
        return False
    faults = sums.faults(path.parent, [path.name])
    if faults:
        _say(logging.ERROR, f'{path}: the figures do not count: {", ".join(faults)}.')
    return not faults


@functools.cache
def _say(level: int, text: str) -> None:
    """Logs a line, once."""
    logging.log(level, '%s', text)


def count_file(plan: Plan, cell: Cell) -> pathlib.Path:
    """Returns where the figures of a cell's dataset are.

    Raises:
      InputError: if the cell has no identity.
    """
    return plan.workdir / 'runs' / f'{_identity(plan, cell)}-{cell.split}.json'


def judge_config(plan: Plan, cell: Cell) -> config_dict.ConfigDict:
    """Returns the configuration of a judgement: it compares the first seed's students (of fold 0).

    Raises:
      InputError: if one of them is not trained.
    """
    seed = plan.settings.seeds[0]
    runs = [run_folder(plan, plan.at(row, cell.column), seed) for _, row in cell.needed]
    for run, (_, row) in zip(runs, cell.needed, strict=True):
        if not is_done(run):
            raise InputError(f'{cell.name}: {row!r} is not trained with seed {seed}')
    config = config_dict.ConfigDict(plan.configs[cell.place].to_dict())
    config.judge.runs = tuple(map(str, runs))
    return config.lock()


def judge_folder(plan: Plan, cell: Cell) -> pathlib.Path:
    """Returns where the verdicts of a cell are, by all that decides them; nobody is asked.

    Raises:
      InputError: if the students that it compares are not trained, or cannot be compared.
    """
    inquiry = judgement.read_inquiry(judge_config(plan, cell))
    return plan.workdir / 'runs' / f'judge-{inquiry.digest}'


def _identity(plan: Plan, cell: Cell) -> str:
    if cell.place in plan.problems:
        raise InputError(plan.problems[cell.place])
    return plan.identities[cell.place]


def _check_folds(cells: Sequence[Cell], configs: Mapping[Place, config_dict.ConfigDict]) -> None:
    """Refuses a student of other folds than those of the run that needs it."""
    for cell in cells:
        for _, row in cell.needed:
            there, here = (configs[row, cell.column].data.folds, configs[cell.place].data.folds)
            if there != here:
                raise InputError(
                    f'{cell.name}: data.folds: expected {there}, as {row!r} has it, whose student '
                    f'it needs, got {here}: it would be tested on what that one was trained on.'
                )


def _with_cache(config: config_dict.ConfigDict, workdir: pathlib.Path) -> config_dict.ConfigDict:
    if not config.data.cache:
        config.data.cache = str(workdir / 'data')
    return config


def _needed_first(cells: Sequence[Cell], grid_cells: Sequence[Cell] = ()) -> list[Cell]:
    """Cells in such an order that what one needs comes before it.

    Args:
      cells: to put in order.
      grid_cells: among which those that are needed are looked up; (): `cells`.

    Raises:
      InputError: if a cell needs itself, be it by way of others.
    """
    by_place = {cell.place: cell for cell in grid_cells or cells}
    ordered: dict[Place, Cell] = {}

    def visit(cell: Cell, path: tuple[Place, ...]) -> None:
        if cell.place in path:
            raise InputError(f'{cell.name}: needs itself; mend the `needs` of its column.')
        for _, row in cell.needed:
            visit(by_place[row, cell.column], (*path, cell.place))
        ordered.setdefault(cell.place, cell)

    for cell in cells:
        visit(cell, ())
    return list(ordered.values())
