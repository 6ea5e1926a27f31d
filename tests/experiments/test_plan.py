"""Plans: what is read of a grid, what a cell is run with, and what is refused."""

import pytest
from absl import logging

from qcrd_jax import files, grid, sums
from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import plan
from qcrd_jax.runs import sealing
from tests.support import REPOSITORY
from tests.support.small_grid import leave_run, load_config, small_grid

PAPER, STUDIES = (
    sorted((REPOSITORY / 'configs' / folder).glob('*.py')) for folder in ('paper', 'studies')
)


def with_cells(*cells):
    config = base_config()
    config.reproduce.cells = cells
    return config


def test_every_table_and_figure_that_the_paper_trains_for_has_a_grid():
    names = {path.stem for path in PAPER}
    assert names == {
        *(f'table{number}' for number in range(1, 8)),
        *(f'table_a{number}' for number in (1, 2, 3, 5, 6, 7)),
        *(f'fig{number}' for number in (4, 5, 6)),
    }


@pytest.mark.parametrize('path', PAPER, ids=lambda path: path.stem)
def test_the_grids_of_the_paper_can_be_read(path, tmp_path):
    config = load_config(path)
    assert config.reproduce.name == path.stem
    read = plan.read(config, tmp_path)
    assert not read.problems
    trained = [
        read.identities[cell.place] for cell in read.cells if cell.measure in grid.RUN_MEASURES
    ]
    # m = 5 and k = 1 are one setting, the paper's; every other cell is a setting of its own.
    assert len(trained) - len(set(trained)) == (1 if path.stem == 'table6' else 0)


def test_a_temperature_is_one_at_which_rationales_are_written():
    cell = {'row': 'A', 'column': 'x', 'temperature': 0.7}
    config = with_cells(cell | {'measure': 'rationale_tokens'})
    assert plan.read_cells(config)[0].temperature == 0.7
    with pytest.raises(InputError, match='A, x: temperature: is only read by rationale_accuracy'):
        plan.read_cells(with_cells(cell))
    config.evaluation.rationales = (0.5, 1.0)
    with pytest.raises(InputError, match=r'expected 0 or one of .*\(0.5, 1.0\), got 0.7'):
        plan.read_cells(config)


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_the_grids_of_studies_can_be_read(path, tmp_path):
    config = load_config(path)
    assert config.reproduce.name == path.stem
    read = plan.read(config, tmp_path)
    assert not read.problems
    cell = read.asked[0]
    folds, fold = (5, '-fold4') if path.stem == 'svamp_folds' else (1, '')
    assert len(plan.folds(read, cell)) == folds
    assert plan.run_folder(read, cell, 3, folds - 1).name == f'seed3{fold}'


def test_the_numbers_are_those_of_the_paper():
    # Read off the paper by hand, a number of every table.
    expected = {
        ('table1', 'MI', 'ANLI1'): 54.2,
        ('table2', 'QCRD', 'ESNLI'): 85.3,
        ('table3', 'LLM with self-consistency', 'ANLI1'): 80.15,
        ('table4', '+ ED + NK', 'SVAMP'): 68.5,
        ('table5', 'W-mean', 'SVAMP'): 66.0,
        ('table6', 'k = 3', 'SVAMP'): 66.0,
        ('table7', 'temperature 0.7: QCRD is better', 'ESNLI'): 33.0,
        ('table_a1', 'ANLI1', 'train'): 16946.0,
        ('table_a2', 'only wrong', 'ESNLI'): 0.2,
        ('table_a3', 'Fixed', 'SVAMP'): 66.5,
        ('table_a5', 'T5-large, QCRD', 'ANLI1'): 55.1,
        ('table_a6', '0.7', 'SVAMP'): 64.5,
        ('table_a7', 'QCRD (w/o D)', 'T5-small'): 7.5,
    }
    for (name, row, column), number in expected.items():
        cells = plan.read_cells(load_config(REPOSITORY / 'configs' / 'paper' / f'{name}.py'))
        found = [cell.paper for cell in cells if (cell.row, cell.column) == (row, column)]
        assert found == [number], (name, row, column)


def test_local_checkpoints_and_sources_by_name():
    config = base_config()
    config.reproduce.models = '/models'
    config.data.source = '/data/{name}.jsonl'
    cell = grid.Cell(
        'row', 'column', overrides={'student.pretrained': 't5-small', 'data.name': 'cqa'}
    )
    resolved = plan.resolve(config, cell)
    assert resolved.student.pretrained == '/models/t5-small'
    assert resolved.data.source == '/data/cqa.jsonl'
    assert config.data.source == '/data/{name}.jsonl'


@pytest.mark.parametrize(
    ('cell', 'message'),
    [
        ({'row': 'a'}, r'cell 1: .*column'),
        ({'row': 'a', 'column': 'b', 'colour': 1}, 'cell 1: .*colour'),
        ({'row': 'a', 'column': 'b', 'measure': 'luck'}, "measure: expected .* got 'luck'"),
        ({'row': 'a', 'column': 'b', 'overrides': {'loss.delta': 1}}, "no field 'loss.delta'"),
        ({'row': 'a', 'column': 'b', 'overrides': {'method': 'x'}}, 'a, b: --config.method'),
        ({'row': 'a', 'column': 'b', 'needs': {'negatives.fixed': 'c'}}, "needs 'c'"),
        ({'row': 'a', 'column': 'b', 'needs': {'negatives.fixed': 'a'}}, 'a, b: needs itself'),
    ],
)
def test_a_bad_cell_is_named(cell, message):
    with pytest.raises(InputError, match=message):
        plan.read_cells(with_cells(cell))


def test_a_configuration_without_a_grid_says_where_there_are_some():
    with pytest.raises(InputError, match='configs/paper'):
        plan.read_cells(base_config())


def test_a_cell_stands_once():
    cell = {'row': 'a', 'column': 'b'}
    with pytest.raises(InputError, match='a, b is there already'):
        plan.read_cells(with_cells(cell, cell))


def test_what_a_cell_needs_comes_before_it(tmp_path):
    config = small_grid(baseline='')
    config.reproduce.cells = (
        {'row': 'c', 'column': 'x', 'measure': 'a_better', 'needs': {'judge.runs': ('b', 'a')}},
        {'row': 'b', 'column': 'x', 'needs': {'negatives.fixed': 'a'}},
        {'row': 'a', 'column': 'x', 'hidden': True},
        {'row': 'a', 'column': 'y'},
    )
    read = plan.read(config, tmp_path)
    assert [cell.row for cell in plan.in_order(read, read.at('c', 'x'))] == ['a', 'b', 'c']
    assert [cell.place for cell in read.asked] == [('c', 'x'), ('b', 'x'), ('a', 'y')]
    # What is needed is part of the identity.
    assert read.identities['b', 'x'] != read.identities['a', 'x'] == read.identities['a', 'y']


def test_only_students_can_be_needed():
    counted = {'row': 'a', 'column': 'x', 'measure': 'questions'}
    needing = {'row': 'b', 'column': 'x', 'needs': {'negatives.fixed': 'a'}}
    with pytest.raises(InputError, match=r"b, x: negatives\.fixed needs 'a', which trains no"):
        plan.read_cells(with_cells(counted, needing))


def test_rows_and_columns_that_are_asked_for(tmp_path):
    config = small_grid()
    config.reproduce.cells = grid.cells({'A': {}, 'B': {}}, {'x': {}, 'y': {}})
    config.reproduce.update(rows=('B',), columns=('x', 'y'))
    read = plan.read(config, tmp_path)
    assert [cell.place for cell in read.asked] == [('B', 'x'), ('B', 'y')]
    assert len(read.visible) == 4


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'rows': ('C',)}, "reproduce.rows: 'C' is not in the grid; it has A, B"),
        ({'columns': ('svamp',)}, "reproduce.columns: 'svamp'"),
        ({'cells': ()}, 'names no grid'),
    ],
)
def test_bad_requests_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        plan.read(small_grid(**changes), tmp_path)


def test_a_cell_without_its_data_is_a_problem_of_its_own(tmp_path):
    config = small_grid(baseline='')
    config.reproduce.cells = (
        {
            'row': 'a',
            'column': 'x',
            'overrides': {'data.name': 'custom', 'data.source': 'no.jsonl'},
        },
        {'row': 'b', 'column': 'x', 'needs': {'negatives.fixed': 'a'}},
        {'row': 'c', 'column': 'x'},
    )
    read = plan.read(config, tmp_path)
    assert read.identities.keys() == {('c', 'x')}
    assert read.problems.keys() == {('a', 'x'), ('b', 'x')}
    with pytest.raises(InputError, match=r'data\.source: no\.jsonl is no file'):
        plan.folder(read, read.at('b', 'x'))


def test_a_judgement_waits_for_its_students(tmp_path):
    config = small_grid(baseline='')
    config.reproduce.cells = (
        {'row': 'a', 'column': 'x'},
        {'row': 'b', 'column': 'x', 'overrides': {'method': 'dss'}},
        {'row': 'c', 'column': 'x', 'measure': 'a_better', 'needs': {'judge.runs': ('a', 'b')}},
    )
    read = plan.read(config, tmp_path)
    with pytest.raises(InputError, match="c, x: 'a' is not trained with seed 0"):
        plan.judge_folder(read, read.at('c', 'x'))
    assert read.asked[2].needed == (('judge.runs', 'a'), ('judge.runs', 'b'))


@pytest.fixture
def said(monkeypatch):
    """The loud lines of the log."""
    lines = []
    plan._say.cache_clear()
    monkeypatch.setattr(logging, 'log', lambda _, text, *args: lines.append(text % args))
    return lines


def test_a_run_whose_results_were_changed_is_not_done(tmp_path, said):
    read = plan.read(small_grid(seeds=(0,)), tmp_path)
    cell = read.at('A', 'mwp')
    workdir = plan.run_folder(read, cell, 0)
    assert plan.missing_seeds(read, cell) == [0]
    leave_run(workdir, ['a', 'b'], right=1)
    sealing.seal(workdir)
    assert plan.missing_seeds(read, cell) == []
    assert said == []
    data = bytearray((workdir / 'predictions.jsonl').read_bytes())
    data[40] ^= 1
    (workdir / 'predictions.jsonl').write_bytes(data)
    for _ in range(2):
        assert not plan.is_done(workdir)
    fault = "'predictions.jsonl' was changed"
    assert said == [f'{workdir}: the run does not count as done: {fault}.']
    assert plan.missing_seeds(read, cell) == [0]
    with pytest.raises(InputError) as caught:
        plan.check_repeatable(workdir)
    assert str(caught.value).startswith(f'{workdir}: its results are not those of the run ({fault}')
    assert 'Delete the folder' in str(caught.value)
    # With a checkpoint there is something to make them from.
    (workdir / 'checkpoints' / '2').mkdir(parents=True)
    plan.check_repeatable(workdir)
    assert plan.missing_seeds(read, cell) == [0]


@pytest.mark.parametrize(
    ('changed', 'said'),
    [
        ({'name': ''}, 'reproduce.name: expected a name for the files'),
        ({'baseline': 'C'}, "reproduce.baseline: 'C' is no row of the grid; it has A; B."),
        ({'kind': 'curve'}, "columns of a curve are numbers, and 'mwp' is one of this grid"),
    ],
)
def test_what_no_table_can_be_made_of_is_refused_before_anything_is_run(changed, said, tmp_path):
    with pytest.raises(InputError) as caught:
        plan.read(small_grid(**changed), tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ('overrides', 'said'),
    [
        ({'seed': 1}, 'config.reproduce.cells, cell 1: seed: every cell has all of them'),
        ({'data.fold': 1}, 'config.reproduce.cells, cell 1: data.fold: every cell has all of them'),
        ({'train.steps': '4'}, 'A, x: train.steps: '),
    ],
)
def test_what_a_cell_cannot_override_is_named(overrides, said, tmp_path):
    config = small_grid(baseline='')
    config.reproduce.cells = ({'row': 'A', 'column': 'x', 'overrides': overrides},)
    with pytest.raises(InputError) as caught:
        plan.read(config, tmp_path)
    assert str(caught.value).startswith(said)


def test_a_run_without_digests_counts_with_a_warning(tmp_path, said):
    leave_run(tmp_path, ['a'])
    for _ in range(2):
        assert plan.is_done(tmp_path)
    assert said == [f'{tmp_path}: was run before results had digests; they are taken as they are.']


def test_figures_of_a_dataset_that_were_changed_are_counted_again(tmp_path, said):
    path = tmp_path / 'abc-train.json'
    assert not plan.is_counted(path)
    files.write_json(path, {'questions': 48})
    assert not plan.is_counted(path)
    assert said == [f'{path}: the figures do not count: SHA256SUMS is missing.']
    sums.update(tmp_path, [path.name])
    assert plan.is_counted(path)
    files.write_json(path, {'questions': 49})
    assert not plan.is_counted(path)
    assert said[1:] == [f"{path}: the figures do not count: 'abc-train.json' was changed."]
