"""What is said of the fields of a configuration, and configurations read back from JSON."""

import json

import pytest

from qcrd_jax import fields
from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.runs.workdir import to_json
from tests.support import REPOSITORY
from tests.support.small_grid import load_config


def test_every_field_is_explained():
    names = [name for name, _ in fields.leaves(base_config())]
    meanings = fields.meanings()
    assert meanings.keys() == set(names)
    assert all(len(meaning) > 3 for meaning in meanings.values())
    # Over several lines, and of an inner group.
    assert meanings['data.mwp.train'] == 'problems'
    assert meanings['method'].startswith('finetune |') and 'unlikelihood' in meanings['method']
    assert meanings['loss.beta'] == 'weight of the negative term (eq. 3)'


def test_the_list_marks_what_differs_and_says_what_may_be():
    config = base_config()
    config.train.steps = 7
    lines = fields.text(config).splitlines()
    assert [line for line in lines if line.startswith('*')] == ['* train.steps = 7']
    place = lines.index('* train.steps = 7')
    assert lines[place + 1] == '      by default 10000'
    assert lines[place + 2] == '      optimiser steps (section 4.1)'
    assert lines[place + 3] == '      may be: at least 1'
    assert lines.index("  method = 'qcrd'") < lines.index("  data.name = 'svamp'") < place
    # Choices that the words name already are not listed again.
    assert not any('may be: gold' in line for line in lines)


@pytest.mark.parametrize('name', ['svamp', 'demo', 'paper/table4', 'studies/svamp_folds'])
def test_a_configuration_comes_back_from_json(name):
    config = load_config(REPOSITORY / 'configs' / f'{name}.py')
    config.loss.margin = 2.5
    written = json.loads(json.dumps(to_json(config)))
    again = fields.from_json(written, 'config.json')
    assert to_json(again) == written
    assert type(again.data.prefixes) is tuple
    assert again.is_locked


def test_what_is_no_field_is_named():
    tree = to_json(base_config())
    tree['loss']['delta'] = 3
    with pytest.raises(InputError, match=r'there/config.json: loss.delta is no field'):
        fields.from_json(tree, 'there/config.json')
    with pytest.raises(InputError, match=r'loss is no field'):
        fields.from_json({'loss': 3}, 'x')
    with pytest.raises(InputError, match=r"x: train.steps: expected int, got 'many'"):
        fields.from_json({'train': {'steps': 'many'}}, 'x')
