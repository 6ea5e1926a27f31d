"""Weights that are no student any more are not exported."""

import numpy as np
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.runs import scales


def params(**changes):
    tree = {
        'layer': {'weight': np.array([[0.5, -2.0], [0.1, 0.0]], np.float32)},
        'bias': np.zeros(3, np.float32),
    }
    for name, value in changes.items():
        tree['layer' if name == 'weight' else 'bias'] = (
            {'weight': np.float32(value)} if name == 'weight' else np.float32(value)
        )
    return tree


START = {'layer.weight': 2.0, 'bias': 0.0}


def test_the_scale_of_a_tensor_is_its_largest_magnitude():
    assert scales.of(params()) == START


@pytest.mark.parametrize(
    'changes',
    [{'weight': [-2e4, 1.0]}, {'bias': [2e4, 0.0]}, {'weight': [0.0]}],
    ids=['at the limit', 'zeros are measured by the others', 'smaller'],
)
def test_up_to_ten_thousand_times_its_start_a_tensor_may_grow(changes):
    scales.check(params(**changes), START)


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        ({'weight': [2.1e4]}, 'layer.weight'),
        ({'bias': [-2.1e4]}, 'bias'),
        ({'weight': [1.0, np.nan]}, 'layer.weight'),
        ({'bias': [np.inf]}, 'bias'),
    ],
)
def test_beyond_it_or_not_finite_is_refused_by_name(changes, named):
    with pytest.raises(InputError, match=f'student: {named} has weights of magnitude'):
        scales.check(params(**changes), START)
