"""The grid of a table or figure: which settings it compares, and what tells a run from any other.

A configuration under `configs/paper/` names its grid in `config.reproduce.cells`, a dict for each
cell. `read` checks them; `identity` is the name of a cell's runs: it differs wherever anything does
that could change a number, so that no table ever mixes results of two settings or of two versions
of the code.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import config_dict

from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.data.sources import builders
from qcrd_jax.errors import InputError

RUN_MEASURES = ('test_accuracy', 'training_hours')
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

# What no number depends on: where things are kept, whom to ask for answers, and the grid itself.
_APART = ('seed', 'reproduce', 'teacher', 'judge', 'data.cache')
_LOCAL = ('student.pretrained', 'student.tokenizer', 'discriminator.pretrained', 'negatives.fixed')
_OUTSIDE = ('report', 'teacher')  # packages that no training and no evaluation reads


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of a grid.

    Attributes:
      row: of the table.
      column: of the table.
      paper: what the paper reports; None: nothing.
      overrides: fields of the configuration, by dotted name, and their values here.
      measure: one of `MEASURES`.
      split: of the dataset; read by `DATA_MEASURES`.
      needs: by field, the row (or rows) of this column whose student it names.
      hidden: it is trained because others need it, and is no row of the table.
    """

    row: str
    column: str
    paper: float | str | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measure: str = 'test_accuracy'
    split: str = 'train'
    needs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hidden: bool = False

    @property
    def name(self) -> str:
        return f'{self.row}, {self.column}'


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


def read(config: config_dict.ConfigDict) -> tuple[Cell, ...]:
    """Returns the cells of a configuration's grid.

    Raises:
      InputError: naming the cell and what is wrong with it.
    """
    if not config.reproduce.cells:
        raise InputError(
            '--config: this configuration names no grid (`config.reproduce.cells`); take one of '
            'configs/paper/.'
        )
    grid = []
    for number, given in enumerate(config.reproduce.cells, start=1):
        where = f'config.reproduce.cells, cell {number}'
        try:
            cell = Cell(**given)
        except TypeError as error:
            raise InputError(f'{where}: {error}.') from error
        if cell.measure not in MEASURES:
            raise InputError(
                f'{where}: measure: expected {" | ".join(MEASURES)}, got {cell.measure!r}.'
            )
        if any((cell.row, cell.column) == (other.row, other.column) for other in grid):
            raise InputError(f'{where}: {cell.name} is there already.')
        resolve(config, cell)
        grid.append(cell)
    for cell in grid:
        for field, wanted in cell.needs.items():
            for row in [wanted] if isinstance(wanted, str) else wanted:
                if not any((other.row, other.column) == (row, cell.column) for other in grid):
                    raise InputError(f'{cell.name}: {field} needs {row!r}, which is no row here.')
    return tuple(grid)


def resolve(config: config_dict.ConfigDict, cell: Cell) -> config_dict.ConfigDict:
    """Returns the configuration of a cell's runs: that of the table with the cell's own fields.

    `{name}` in a source of data stands for the dataset, and a checkpoint that the cell takes from
    the Hub is the folder of its name in `reproduce.models`, where one is given.

    Raises:
      InputError: naming the cell and the field that is not there, or its value.
    """
    resolved = config_dict.ConfigDict(config.to_dict())
    for name, value in cell.overrides.items():
        if name not in fields(config):
            raise InputError(f'{cell.name}: the configuration has no field {name!r}.')
        if name in _LOCAL[:2] and value and config.reproduce.models:
            value = str(pathlib.Path(config.reproduce.models) / value)
        group, _, field = name.rpartition('.')
        holder = functools.reduce(getattr, group.split('.') if group else (), resolved)
        holder[field] = value
    for field in ('source', 'teacher_samples'):
        resolved.data[field] = resolved.data[field].replace('{name}', resolved.data.name)
    try:
        configuration.validate(resolved)
    except InputError as error:
        raise InputError(f'{cell.name}: {error}') from error
    return resolved.lock()


def identity(config: config_dict.ConfigDict, needed: Mapping[str, str] | None = None) -> str:
    """Returns the name of the runs of a resolved configuration, whatever their seed.

    It is made of every field that training or evaluation reads, of the contents of the files and
    folders that the fields name, of the version of the code, and of the runs that others need.

    Args:
      config: of `resolve`.
      needed: identities of other runs, by the field that names their student.
    """
    flat = {
        name: value
        for name, value in fields(config).items()
        if not any(name == apart or name.startswith(f'{apart}.') for apart in _APART)
    }
    # What a name stands for counts, where it can be read, and not where that is kept.
    contents = {name: _folder_digest(flat[name]) or flat[name] for name in _LOCAL}
    data = builders.sources_digest(config.data)
    if data:
        contents |= dict.fromkeys(('data.source', 'data.teacher_samples'), data)
    parts = [flat | contents, dict(needed or {}), code_version()]
    text = json.dumps(parts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def code_version() -> str:
    """A digest of the code that numbers depend on."""
    root = pathlib.Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob('*.py')):
        name = path.relative_to(root)
        if name.parts[0] not in _OUTSIDE:
            digest.update(str(name).encode() + b'\0' + path.read_bytes() + b'\0')
    return digest.hexdigest()[:12]


def fields(config: config_dict.ConfigDict) -> dict[str, Any]:
    """Every field by its dotted name."""
    return files.flatten(config.to_dict())


@functools.cache
def _folder_digest(name: str) -> str:
    """Of the files of a local checkpoint; '' for a Hub id, whose name has to do."""
    folder = pathlib.Path(name).expanduser()
    if not name or not folder.is_dir():
        return ''
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in ('.json', '.safetensors', '.model'):
            with open(path, 'rb') as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, 'sha256').digest())
    return digest.hexdigest()
