"""A grid that is written on the command line as fields and their values."""

import pytest

from qcrd_jax import files, modes
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import plan, sweeping
from tests.support.small_grid import folders_of_runs, small_run, table

pytestmark = pytest.mark.usefixtures('toy_students')


def swept(*texts):
    config = small_run()
    config.method = 'finetune'
    config.reproduce.update(seeds=(0,), sweep=texts)
    return config


def test_every_combination_is_a_row_in_the_types_of_the_fields():
    config = swept('optimizer.learning_rate=1e-3, 2e-3', 'train.batch_size=4,8')
    cells = plan.read_cells(sweeping.expanded(config))
    assert [cell.overrides for cell in cells[:4]] == [
        {'optimizer.learning_rate': 0.001, 'train.batch_size': 4},
        {'optimizer.learning_rate': 0.001, 'train.batch_size': 8},
        {'optimizer.learning_rate': 0.002, 'train.batch_size': 4},
        {'optimizer.learning_rate': 0.002, 'train.batch_size': 8},
    ]
    assert cells[0].row == 'optimizer.learning_rate=0.001, train.batch_size=4'
    assert [cell.column for cell in cells] == ['validation'] * 4 + ['test'] * 4
    flags = sweeping.expanded(swept('data.augment=true,false')).reproduce.cells
    assert [cell['overrides']['data.augment'] for cell in flags[:2]] == [True, False]


def test_a_sweep_is_run_to_its_table(tmp_path):
    modes.run('reproduce', swept('optimizer.learning_rate=1e-3,3e-3'), tmp_path)
    cells = table(tmp_path, 'sweep')
    rows = ('optimizer.learning_rate=0.001', 'optimizer.learning_rate=0.003')
    assert cells.keys() == {(row, column) for row in rows for column in ('validation', 'test')}
    runs = {}
    for folder in folders_of_runs(tmp_path):
        rate = files.read_json(folder / 'seed0' / 'config.json')['optimizer']['learning_rate']
        runs[f'optimizer.learning_rate={rate}'] = files.read_json(folder / 'seed0' / 'summary.json')
    for row in rows:
        for column, field in (('validation', 'validation_accuracy'), ('test', 'test_accuracy')):
            assert float(cells[row, column]['mean']) == pytest.approx(100 * runs[row][field])


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('optimizer.learning_rate', "expected texts like .*, got 'optimizer.learning_rate'"),
        ('optimizer.rate=1', 'optimizer.rate: no field'),
        ('data.prefixes=a,b', 'data.prefixes: no field with single values'),
        ('train.batch_size=4,many', "train.batch_size: expected int, got 'many'"),
        ('data.augment=yes', "data.augment: expected bool, got 'yes'"),
        (f'train.steps={",".join(map(str, range(1001)))}', '1001 settings; expected at most 1000'),
        ('seed=0,1', 'seed: is no part of a setting'),
        ('data.fold=0,1', 'data.fold: is no part of a setting'),
        ('reproduce.detect=1.0,2.0', 'reproduce.detect: is no part of a setting'),
        ('optimizer.learning_rate=1e-4,0.0001', 'optimizer.learning_rate: has a value twice'),
    ],
)
def test_what_is_no_sweep_is_named(text, said):
    with pytest.raises(InputError, match=f'--config.reproduce.sweep: {said}'):
        sweeping.expanded(swept(text))


def test_a_field_is_swept_once():
    with pytest.raises(InputError, match=r'train\.steps: is there twice'):
        sweeping.expanded(swept('train.steps=2,4', 'train.steps=6'))


def test_a_grid_of_its_own_is_not_swept():
    config = swept('train.batch_size=4')
    config.reproduce.cells = ({'row': 'a', 'column': 'b'},)
    with pytest.raises(InputError, match='has a grid of its own'):
        sweeping.expanded(config)
