"""Where arrays live, and that it changes no number."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from qcrd_jax.errors import InputError
from qcrd_jax.placement import AXES, Placement, one_device
from tests.support import REPOSITORY


def imagined(data, fsdp, **fields):
    return Placement(AbstractMesh((data, fsdp), AXES), **fields)


def specs(shardings):
    return jax.tree.map(lambda sharding: tuple(sharding.spec), shardings)


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_parameter_is_split_along_its_largest_axis_but_not_over_layers():
    tree = {
        'embedding': shaped(320, 64),
        'layers': {'wide': shaped(4096, 64, 128), 'odd': shaped(8, 63, 64), 'scale': shaped(8, 64)},
        'indivisible': shaped(63, 65),
        'square': shaped(64, 64),
    }
    found = specs(imagined(2, 8, smallest=1024).parameters(tree))
    assert found == {
        'embedding': ('fsdp',),
        'layers': {'wide': (None, None, 'fsdp'), 'odd': (None, None, 'fsdp'), 'scale': ()},
        'indivisible': (),
        'square': (None, 'fsdp'),
    }
    ring = jax.tree.map(lambda leaf: shaped(16, *leaf.shape), tree)
    slots = specs(imagined(2, 8, smallest=1024).parameters(ring, lead=1))
    assert slots['layers']['wide'] == (None, None, None, 'fsdp')
    assert slots['embedding'] == (None, 'fsdp') and slots['indivisible'] == ()
    everywhere = specs(imagined(16, 1, smallest=1024).parameters(tree))
    assert {axes for axes in jax.tree.leaves(everywhere, is_leaf=lambda x: x == ())} == {()}


def test_small_parameters_are_everywhere():
    tree = {'layers': shaped(100, 8, 8), 'table': shaped(8, 9)}
    assert specs(imagined(1, 8, smallest=65).parameters(tree)) == {
        'layers': (),
        'table': ('fsdp',),
    }


def test_rows_are_spread_over_both_axes_where_they_divide():
    place = imagined(2, 4)
    tree = {'ids': shaped(16, 5), 'few': shaped(6, 8), 'one': shaped()}
    assert specs(place.rows(tree)) == {'ids': (AXES,), 'few': (None,), 'one': (None,)}
    assert specs(place.rows({'ids': shaped(5, 16)}, lead=1)) == {'ids': (None, AXES)}
    seeds = Placement(AbstractMesh((2, 1), AXES), seeds=True)
    assert specs(seeds.parameters({'w': shaped(4, 64)})) == {'w': ('data',)}


@pytest.mark.parametrize(
    ('shape', 'size', 'parts', 'said'),
    [
        ((2, 4), 12, 1, r'train.batch_size: 12 questions .*8 devices.*multiple of 8 \(8 or 16\)'),
        ((8, 1), 4, 1, r'multiple of 8 \(8\)'),
        ((1, 8), 24, 2, r'24 questions in 2 parts .*multiple of 16 \(16 or 32\)'),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_with_sizes_that_do(shape, size, parts, said):
    with pytest.raises(InputError, match=said):
        imagined(*shape).check_batch('train.batch_size', size, parts)
    imagined(*shape).check_batch('train.batch_size', 16, parts)


def test_a_mesh_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r'data 2 times fsdp 1 does not fit the 1 device'):
        Placement.of(2, 1)
    with pytest.raises(InputError, match=r'--config.mesh: data -1 times fsdp 2 .* may be 1x1'):
        Placement.of(-1, 2)
    with pytest.raises(InputError, match='data 0 times'):
        Placement.of(0, 1)
    assert Placement.of() == Placement.of(1, 1) == one_device()


def test_one_device_is_left_as_it_is():
    place, tree = one_device(), {'w': np.arange(6.0)}
    assert place.constrained(tree, None) is tree
    placed = place.placed(tree, place.parameters(tree))
    assert not placed['w'].committed
    np.testing.assert_array_equal(place.host(placed)['w'], tree['w'])


def test_numbers_are_those_of_one_device():
    environment = os.environ | {
        'JAX_PLATFORMS': 'cpu',
        'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
    }
    ran = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider',
         'tests/support/on_meshes.py',
         *([] if os.environ.get('QCRD_ALL_MESHES') == '1' else ['-m', 'not everywhere'])],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert 'skipped' not in ran.stdout
