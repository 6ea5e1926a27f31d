"""What a configuration writes its grid with."""

import ast
import inspect

import pytest

from qcrd_jax import grid
from qcrd_jax.grid import Cell


def test_a_full_grid_is_row_by_row_and_the_column_wins():
    rows = {'A': {'method': 'dss', 'loss.beta': 1.0}, 'B': {}}
    columns = {'x': {'loss.beta': 2.0}, 'y': {}}
    cells = grid.cells(rows, columns, {'B': [7.0, None]}, hidden=True)
    assert cells == (
        {'row': 'A', 'column': 'x', 'paper': None, 'hidden': True,
         'overrides': {'method': 'dss', 'loss.beta': 2.0}},
        {'row': 'A', 'column': 'y', 'paper': None, 'hidden': True,
         'overrides': {'method': 'dss', 'loss.beta': 1.0}},
        {'row': 'B', 'column': 'x', 'paper': 7.0, 'hidden': True, 'overrides': {'loss.beta': 2.0}},
        {'row': 'B', 'column': 'y', 'paper': None, 'hidden': True, 'overrides': {}},
    )  # fmt: skip


def test_the_numbers_of_a_row_are_as_many_as_the_columns():
    with pytest.raises(ValueError, match='zip'):
        grid.cells({'A': {}}, {'x': {}, 'y': {}}, {'A': [1.0]})


def test_what_a_cell_needs_is_one_row_or_several():
    cell = Cell('c', 'x', needs={'judge.runs': ('a', 'b'), 'negatives.fixed': 'd'})
    expected = (('judge.runs', 'a'), ('judge.runs', 'b'), ('negatives.fixed', 'd'))
    assert cell.needed == expected


def test_a_configuration_that_writes_a_grid_imports_no_data_and_no_model():
    tree = ast.parse(inspect.getsource(grid))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith('qcrd_jax') for name in imported)
