"""The discriminator's pooling and head against NumPy, and the joining of ids against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from qcrd_jax.models import Discriminator, T5Config, T5Encoder, T5Student, join
from tests.support import parity

CONFIG = T5Config(
    vocab_size=29, d_model=12, d_kv=4, d_ff=16, num_heads=2, encoder_layers=2, decoder_layers=1
)

logits = jax.jit(Discriminator.logits, static_argnums=0)
scores = jax.jit(Discriminator.scores, static_argnums=0)


@pytest.fixture(scope='module')
def discriminator():
    model = Discriminator(T5Encoder(CONFIG))
    return model, parity.random_params(model)


@pytest.fixture(scope='module')
def batch():
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(2, 29, (2, 3, 7)), jnp.int32)
    lengths = jnp.array([[7, 1, 4], [5, 0, 2]])
    return ids, jnp.arange(7) < lengths[..., None]


def test_join_by_hand():
    questions = jnp.array([[11, 12, 13, 1, 0], [21, 1, 0, 0, 0]], jnp.int32)
    rationales = jnp.array([[[5, 6, 1], [7, 1, 0]], [[8, 9, 7], [0, 0, 0]]], jnp.int32)
    ids, mask = join(questions, rationales, pad_id=0, eos_id=1)
    expected = [
        [[11, 12, 13, 5, 6, 1, 0, 0], [11, 12, 13, 7, 1, 0, 0, 0]],
        [[21, 8, 9, 7, 0, 0, 0, 0], [21, 0, 0, 0, 0, 0, 0, 0]],
    ]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(mask, np.array(expected) != 0)
    assert ids.dtype == jnp.int32


def test_join_keeps_an_eos_between_premise_and_hypothesis():
    questions = jnp.array([[11, 1, 12, 1, 0], [11, 1, 12, 0, 0]], jnp.int32)
    ids, _ = join(questions, jnp.array([[[5, 1]], [[6, 1]]], jnp.int32), pad_id=0, eos_id=1)
    np.testing.assert_array_equal(ids, [[[11, 1, 12, 5, 1, 0, 0]], [[11, 1, 12, 6, 1, 0, 0]]])


def test_join_with_other_ids_and_padding_on_the_left():
    questions = jnp.array([[3, 3, 7, 8, 2]], jnp.int32)
    rationales = jnp.array([[[3, 0, 2], [9, 3, 2]]], jnp.int32)
    ids, mask = jax.jit(lambda q, r: join(q, r, pad_id=3, eos_id=2))(questions, rationales)
    np.testing.assert_array_equal(ids, [[[7, 8, 0, 2, 3, 3, 3, 3], [7, 8, 9, 2, 3, 3, 3, 3]]])
    np.testing.assert_array_equal(mask.sum(-1), [[4, 4]])


def test_logits_are_a_max_pool_and_two_layers(discriminator, batch):
    model, params = discriminator
    ids, mask = batch
    head = jax.tree.map(lambda x: np.asarray(x, np.float64), params['head'])
    expected = np.zeros((2, 3))
    for b in range(2):
        for r in range(3):
            length = int(mask[b, r].sum())
            pooled = np.zeros(12)
            if length:  # each row by itself, with no padding at all
                row, real = ids[b, r, None, :length], jnp.ones((1, length), bool)
                states = model.encoder.states(params['encoder'], row, real)
                pooled = np.asarray(states[0], np.float64).max(axis=0)
            hidden = pooled @ head['hidden']['kernel'] + head['hidden']['bias']
            hidden = hidden * 0.5 * (1 + scipy.special.erf(hidden / np.sqrt(2)))
            expected[b, r] = (hidden @ head['out']['kernel'] + head['out']['bias'])[0]
    np.testing.assert_allclose(logits(model, params, ids, mask), expected, atol=1e-5)
    probabilities = scores(model, params, ids, mask)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-6)


def test_gradients_are_finite_with_empty_rows(discriminator, batch):
    model, params = discriminator
    ids, mask = batch
    for m in (mask, jnp.zeros_like(mask)):
        gradients = jax.jit(jax.grad(lambda p, m=m: logits(model, p, ids, m).sum()))(params)
        for leaf in jax.tree.leaves(gradients):
            assert jnp.isfinite(leaf).all()


def test_dropout_only_with_a_key(discriminator, batch):
    model, params = discriminator
    key = jax.random.key(4)
    first = logits(model, params, *batch, key)
    np.testing.assert_array_equal(first, logits(model, params, *batch, key))
    assert jnp.abs(first - logits(model, params, *batch)).max() > 1e-3


def test_takes_the_encoder_of_a_student(discriminator, batch):
    model, params = discriminator
    student = parity.random_params(T5Student(CONFIG), 9)
    swapped = model.with_encoder(params, student)
    assert set(swapped['encoder']) == {'embedding', 'encoder'}
    assert swapped['encoder']['encoder'] is student['encoder']
    assert swapped['head'] is params['head']
    wrong = {**student, 'embedding': student['embedding'][:-1]}
    with pytest.raises(ValueError, match='shapes'):
        model.with_encoder(params, wrong)
