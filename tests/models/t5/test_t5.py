"""T5 against PyTorch's (kept arrays), its position buckets, dropout's rate, initial scales."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.models import T5Config, T5Student
from qcrd_jax.models.t5.attention import relative_buckets
from tests.support import parity, small

CONFIG = small.t5()


@pytest.mark.parametrize('flavour', ['v1_0', 'v1_1'])
def test_agrees_with_pytorch(flavour, tmp_path):
    config, params, golden = parity.load_golden(f't5_{flavour}', tmp_path)
    assert config.tied_head == (flavour == 'v1_0')
    ours = parity.run(config, params, golden)
    parity.assert_close(ours, golden, golden['mask'], logits_atol=2e-5)
    gradients = ours['gradients']
    parity.assert_gradients_close(config, gradients, golden, tmp_path / 'gradients', rtol=2e-5)


def test_buckets_by_hand():
    # Both directions share 32 buckets: 8 exact distances each, then log2 steps of a half octave.
    distances = np.array([0, -1, -7, -8, -11, -12, -16, -32, -64, -127, -128, -999, 1, 16, 999])
    expected = [0, 1, 7, 8, 8, 9, 10, 12, 14, 15, 15, 15, 17, 26, 31]
    both = relative_buckets(distances, bidirectional=True, num_buckets=32, max_distance=128)
    np.testing.assert_array_equal(both, expected)
    # Looking back only: 16 exact ones, then 16 * (1 + log8(distance / 16)).
    distances = np.array([3, 0, -1, -15, -16, -32, -64, -113, -128, -999])
    back = relative_buckets(distances, bidirectional=False, num_buckets=32, max_distance=128)
    np.testing.assert_array_equal(back, [0, 0, 1, 15, 16, 21, 26, 31, 31, 31])


def test_initial_scales():
    config = dataclasses.replace(T5Config.named('tiny', 2000, 'v1.1'), d_kv=16)
    params = jax.jit(T5Student(config).init)(jax.random.key(0))
    layers = params['decoder']['layers']
    query, key, value = jnp.split(layers['attention']['query_key_value'], 3, axis=-1)
    expected = [
        (params['embedding'], 1.0),
        (params['head'], 128**-0.5),
        (query, (128 * 16) ** -0.5),
        (key, 128**-0.5),
        (value, 128**-0.5),
        (layers['cross']['query'], (128 * 16) ** -0.5),
        (layers['cross']['key_value'], 128**-0.5),
        (layers['cross']['out'], (4 * 16) ** -0.5),
        (layers['feed_forward']['in'], 128**-0.5),
        (layers['feed_forward']['out'], 256**-0.5),
        (params['encoder']['relative_bias'], 128**-0.5),
    ]
    for leaf, std in expected:
        # The standard error of a standard deviation is std / sqrt(2 n).
        assert abs(float(leaf.std()) / std - 1) < 5 / (2 * leaf.size) ** 0.5
    assert (layers['cross_norm']['scale'] == 1).all()
    # No two layers, and no two matrices of one shape, are drawn alike.
    assert jnp.abs(key[0] - key[1]).max() > 0.01
    assert jnp.abs(key - value).max() > 0.01


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('num_heads', 0),
        ('dropout_rate', 1.0),
        ('relative_buckets', 7),
        ('relative_max_distance', 4),
        ('activation', 'maxout'),
        ('start_id', 31),
    ],
)
def test_wrong_fields_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CONFIG, **{field: value})
