"""Grids: what a cell's runs are called, and what is refused."""

import importlib.util

import pytest

from qcrd_jax import grid
from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from tests.support import REPOSITORY

PAPER = sorted((REPOSITORY / 'configs' / 'paper').glob('*.py'))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def with_cells(*cells):
    config = base_config()
    config.reproduce.cells = cells
    return config


def one(**cell):
    return grid.Cell(row='row', column='column', **cell)


def test_every_table_and_figure_that_the_paper_trains_for_has_a_grid():
    names = {path.stem for path in PAPER}
    assert names == {
        *(f'table{number}' for number in range(1, 8)),
        *(f'table_a{number}' for number in (1, 2, 3, 5, 6, 7)),
        *(f'fig{number}' for number in (4, 5, 6)),
    }


@pytest.mark.parametrize('path', PAPER, ids=lambda path: path.stem)
def test_the_grids_of_the_paper_can_be_read(path):
    config = load(path)
    cells = grid.read(config)
    assert config.reproduce.name == path.stem
    names = [grid.identity(grid.resolve(config, cell)) for cell in cells]
    trained = [
        name for cell, name in zip(cells, names, strict=True) if cell.measure in grid.RUN_MEASURES
    ]
    # m = 5 and k = 1 are one setting, the paper's; every other cell is a setting of its own.
    assert len(trained) - len(set(trained)) == (1 if path.stem == 'table6' else 0)


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
        cells = grid.read(load(REPOSITORY / 'configs' / 'paper' / f'{name}.py'))
        found = [cell.paper for cell in cells if (cell.row, cell.column) == (row, column)]
        assert found == [number], (name, row, column)


def test_a_setting_has_one_name_in_whatever_table_it_stands():
    table1, table5 = (
        load(REPOSITORY / 'configs' / 'paper' / f'{n}.py') for n in ('table1', 'table5')
    )

    def name(config, row):
        cell = next(c for c in grid.read(config) if (c.row, c.column) == (row, 'SVAMP'))
        return grid.identity(grid.resolve(config, cell))

    assert name(table1, 'QCRD') == name(table5, 'MinMax')
    assert name(table1, 'QCRD') != name(table5, 'MaxMin')


def test_what_can_change_a_number_changes_the_name(tmp_path, monkeypatch):
    config = base_config()
    folder = tmp_path / 'student'
    folder.mkdir()
    (folder / 'model.safetensors').write_bytes(b'one')
    config.student.pretrained = str(folder)

    def name(needed=None, **overrides):
        grid._folder_digest.cache_clear()
        flat = {field.replace('__', '.'): value for field, value in overrides.items()}
        return grid.identity(grid.resolve(config, one(overrides=flat)), needed)

    first = name()
    assert name() == first
    assert name(seed=3, data__cache='elsewhere', teacher__model='x', judge__seed=5) == first
    others = {
        name(loss__margin=2.0),
        name(train__steps=9),
        name({'negatives.fixed': 'another run'}),
        name(evaluation__max_length=9),
    }
    (folder / 'model.safetensors').write_bytes(b'two')
    others.add(name())
    monkeypatch.setattr(grid, 'code_version', lambda: 'another')
    others.add(name())
    assert len(others | {first}) == 7


def test_where_a_checkpoint_is_kept_does_not_change_the_name(tmp_path):
    config, names = base_config(), set()
    for place in ('here', 'there'):
        (tmp_path / place).mkdir()
        (tmp_path / place / 'model.safetensors').write_bytes(b'weights')
        config.student.pretrained = str(tmp_path / place)
        names.add(grid.identity(grid.resolve(config, one())))
    assert len(names) == 1


def test_changed_answers_of_the_teacher_change_the_name(tmp_path):
    path = tmp_path / 'answers.jsonl'
    config = base_config()
    config.data.teacher_samples = str(path)
    path.write_text('{"id": 1}\n')
    first = grid.identity(grid.resolve(config, one()))
    path.write_text('{"id": 2}\n')
    assert grid.identity(grid.resolve(config, one())) != first


def test_local_checkpoints_and_sources_by_name():
    config = base_config()
    config.reproduce.models = '/models'
    config.data.source = '/data/{name}.jsonl'
    cell = one(overrides={'student.pretrained': 't5-small', 'data.name': 'cqa'})
    resolved = grid.resolve(config, cell)
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
    ],
)
def test_a_bad_cell_is_named(cell, message):
    with pytest.raises(InputError, match=message):
        grid.read(with_cells(cell))


def test_a_configuration_without_a_grid_says_where_there_are_some():
    with pytest.raises(InputError, match='configs/paper'):
        grid.read(base_config())


def test_a_cell_stands_once():
    cell = {'row': 'a', 'column': 'b'}
    with pytest.raises(InputError, match='a, b is there already'):
        grid.read(with_cells(cell, cell))
