"""What describes the arrays of a checkpoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.runs import digests

WORD = 2**32


def mixed(x):
    x = (x ^ x >> 16) * 0x85EBCA6B % WORD
    x = (x ^ x >> 13) * 0xC2B2AE35 % WORD
    return x ^ x >> 16


def sums_by_hand(array):
    unsigned = array.reshape(-1).view(f'u{array.dtype.itemsize}')
    seeds = (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)
    return [
        sum(
            mixed(int(bits) ^ mixed((place * 2654435769 + seed) % WORD))
            for place, bits in enumerate(unsigned)
        )
        % WORD
        for seed in seeds
    ]


ARRAYS = {
    'float32': np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32),
    'bfloat16': np.asarray(jnp.arange(12.0).reshape(4, 3).astype(jnp.bfloat16)),
    'int32': np.arange(-5, 5, dtype=np.int32),
    'bool': np.array([[True, False], [False, True]]),
    'scalar': np.array(3, np.int32),
}


@pytest.mark.parametrize('name', ARRAYS)
def test_sums_are_those_of_mixed_elements_and_places(name):
    array = ARRAYS[name]
    entry = digests.describe(jnp.asarray(array), spread=True)
    assert entry == {
        'shape': list(array.shape),
        'dtype': str(array.dtype),
        'sums': sums_by_hand(array),
    }


def test_one_flipped_bit_or_two_exchanged_elements_change_the_sums():
    array = ARRAYS['float32']
    entry = digests.describe(array, spread=True)
    flipped = array.copy()
    flipped.view(np.uint32)[1, 2, 3] ^= 1 << 7
    exchanged = array.copy()
    exchanged[0, 0, 0], exchanged[2, 3, 4] = array[2, 3, 4], array[0, 0, 0]
    for other in (flipped, exchanged, array.reshape(4, 3, 5)):
        assert digests.describe(other, spread=True) != entry
    for place in range(4):
        assert digests.describe(flipped, spread=True)['sums'][place] != entry['sums'][place]


@pytest.mark.parametrize('spread', [False, True])
def test_equal_leaves_are_stored_once(spread):
    a, b = np.arange(4.0, dtype=np.float32), np.ones(4, np.float32)
    arrays, described = digests.distinct({'x': a, 'y': b, 'z': a.copy()}, spread)
    assert list(arrays) == ['x', 'y']
    assert [entry['stored'] for entry in described.values()] == ['x', 'y', 'x']
