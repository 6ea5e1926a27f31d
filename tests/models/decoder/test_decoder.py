"""Decoder-only students: kept arrays of PyTorch's, rotary positions, prompts, and their bodies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import sampling
from qcrd_jax.models import (
    DecoderStudent,
    Discriminator,
    RopeScaling,
    architectures,
)
from qcrd_jax.models.decoder.layers import Rotation, rotary_frequencies
from tests.support import parity, small

CONFIG = small.decoder(rope_theta=100.0, dropout_rate=0.3)

encode = jax.jit(DecoderStudent.encode, static_argnums=0)
decode = jax.jit(DecoderStudent.decode, static_argnums=0)


@pytest.fixture(scope='module')
def model():
    """A student, perturbed parameters, a batch, its context; the first prompt ends in EOS."""
    student = DecoderStudent(CONFIG)
    params = parity.random_params(student)
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(3, 31, (2, 9)), jnp.int32).at[0, 8].set(1)
    mask = jnp.arange(9) < jnp.array([[9], [4]])
    targets = jnp.asarray(rng.integers(3, 31, (2, 3, 10)), jnp.int32)
    return student, params, encode(student, params, tokens, mask), tokens, mask, targets


@pytest.mark.parametrize('name', ['qwen2', 'qwen3_llama3'])
def test_agrees_with_pytorch(name, tmp_path):
    config, params, golden = parity.load_golden(name, tmp_path)
    assert (config.num_heads, config.num_kv_heads, config.rope_theta) == (6, 2, 50.0)
    assert (config.pad_id, config.eos_id, config.start_id) == (3, 1, 2)
    if name == 'qwen3_llama3':
        assert config.qk_norm and config.d_kv == 10
        assert config.rope_scaling == RopeScaling('llama3', 4.0, 1.0, 3.0, 20)
    ours = parity.run(config, params, golden)
    parity.assert_close(ours, golden, golden['mask'])
    parity.assert_gradients_close(config, ours['gradients'], golden, tmp_path / 'gradients')


def test_rotary_frequencies_by_hand():
    # theta 10^6 and pairs 0 to 3 of a head of 8: 10^(-1.5 i).
    config = dataclasses.replace(CONFIG, d_kv=8, rope_theta=1e6)
    plain = np.array([1.0, 10**-1.5, 10**-3, 10**-4.5])

    def scaled(*scaling):
        return rotary_frequencies(dataclasses.replace(config, rope_scaling=RopeScaling(*scaling)))

    np.testing.assert_allclose(rotary_frequencies(config), plain, rtol=1e-6)
    np.testing.assert_allclose(scaled('linear', 4.0), plain / 4, rtol=1e-6)
    # Within 1000 positions the pairs turn 159, 5.03, 0.159 and 0.005 times: the first keeps its
    # pace, the last two are eight times slower, and the second is (5.03 - 1) / (9 - 1) of the way
    # from the one to the other.
    share = (1000 * 10**-1.5 / (2 * np.pi) - 1) / 8
    expected = plain * [1, share + (1 - share) / 8, 1 / 8, 1 / 8]
    np.testing.assert_allclose(scaled('llama3', 8.0, 1.0, 9.0, 1000), expected, rtol=1e-6)


def test_pairs_turn_by_their_position():
    config = dataclasses.replace(CONFIG, d_kv=2, rope_theta=1.0)
    rotation = Rotation.at(config, jnp.array([[0, 2]]))
    turned = rotation.turn(jnp.ones((1, 1, 2, 3, 2)))[0, 0, :, 0]
    expected = [[1, 1], [np.cos(2) - np.sin(2), np.cos(2) + np.sin(2)]]
    np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_stacked_students_sample_as_each_alone(model):
    student, params, context, tokens, mask, _ = model
    other = jax.tree.map(lambda x: 0.7 * x, params)
    swapped = encode(student, other, tokens[::-1], mask[::-1])
    keys = jax.vmap(lambda key: sampling.sequence_keys(key, jnp.arange(2), 3))(
        jax.random.split(jax.random.key(5), 2)
    )
    how = {'max_length': 6, 'temperature': 1.5}
    stack = lambda *trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    together = jax.jit(
        lambda params, contexts: sampling.sample_each(student, params, contexts, keys, **how)
    )(stack(params, other), stack(context, swapped))
    sample = jax.jit(lambda p, c, k: sampling.sample(student, p, c, k, **how))
    for j, (weights, questions) in enumerate(((params, context), (other, swapped))):
        alone = sample(weights, questions, keys[j])
        np.testing.assert_array_equal(together.ids[j], alone.ids)
        np.testing.assert_allclose(together.log_probs[j], alone.log_probs, atol=2e-5)
        # What was sampled has, by teacher forcing, the probability that it says.
        logits = decode(student, weights, questions, alone.ids)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), alone.ids[..., None], axis=-1)[
            ..., 0
        ]
        np.testing.assert_allclose(log_probs * alone.mask, alone.log_probs, atol=2e-5)


def test_only_an_eos_at_the_end_is_dropped(model):
    student, params, context, tokens, mask, targets = model
    np.testing.assert_array_equal(context.mask[0], [True] * 8 + [False])
    full = decode(student, params, context, targets)
    without = decode(student, params, encode(student, params, tokens[:, :8], mask[:, :8]), targets)
    np.testing.assert_allclose(without, full, atol=1e-5)
    middle = tokens.at[0, 3].set(1)
    changed = encode(student, params, middle, mask)
    np.testing.assert_array_equal(changed.mask[0], [True] * 8 + [False])
    assert jnp.abs(decode(student, params, changed, targets)[0] - full[0]).max() > 0.1


def test_the_prompt_is_not_copied_for_its_rationales(model):
    # R prompts would be arrays of B R S elements per layer or more; the scores alone are that
    # large, and they have an axis of heads and of targets.
    student, params, context, _, _, _ = model
    rows, length = 50, 1
    targets = jnp.ones((2, rows, length), jnp.int32)
    compiled = jax.jit(student.decode).lower(params, context, targets).as_text()
    copied = 2 * rows * CONFIG.num_kv_heads * 9 * CONFIG.d_kv
    shapes = {
        tuple(map(int, part.split('x')[:-1]))
        for part in (text.split('>')[0] for text in compiled.split('tensor<')[1:])
        if part.count('x')
    }
    assert not [shape for shape in shapes if 9 in shape and np.prod(shape) >= copied]


def test_the_discriminator_reads_with_the_body(model):
    _, _, _, tokens, mask, _ = model
    student = DecoderStudent(dataclasses.replace(CONFIG, num_layers=1))
    params = parity.random_params(student)
    encoder = student.encoder
    discriminator = Discriminator(encoder)
    start = parity.random_params(discriminator, 4)
    taken = discriminator.with_encoder(start, params)
    assert set(taken['encoder']) == {'embedding', 'body'}
    with pytest.raises(ValueError, match='shapes'):
        discriminator.with_encoder(start, {**params, 'embedding': params['embedding'][:-1]})
    scores = jax.jit(discriminator.logits)(taken, tokens[:, None], mask[:, None])
    read = jax.jit(encoder.states)
    # By hand: the states of each row by itself, without padding, and their maximum.
    head = jax.tree.map(np.asarray, taken['head'])
    for row, length in enumerate((9, 4)):
        ids = tokens[row, None, :length]
        states = read(taken['encoder'], ids, jnp.ones((1, length), bool))
        pooled = np.asarray(states[0]).max(axis=0)
        hidden = pooled @ head['hidden']['kernel'] + head['hidden']['bias']
        hidden = np.asarray(jax.nn.gelu(hidden, approximate=False))
        expected = hidden @ head['out']['kernel'] + head['out']['bias']
        np.testing.assert_allclose(scores[row], expected, atol=1e-5)


def test_initial_scales():
    small = {'vocab_size': 2000, 'pad_id': 0, 'eos_id': 1, 'tied_head': False}
    config = dataclasses.replace(architectures.named('tiny', 'qwen2.5'), **small, qk_norm=True)
    params = jax.jit(DecoderStudent(config).init)(jax.random.key(0))
    layers = params['body']['layers']
    for leaf in (
        params['embedding'],
        params['head'],
        layers['attention']['query_key_value'],
        layers['attention']['out'],
        *layers['feed_forward'].values(),
    ):
        # transformers: initializer_range 0.02. The standard error of a standard deviation is
        # std / sqrt(2 n).
        assert abs(float(leaf.std()) / 0.02 - 1) < 5 / (2 * leaf.size) ** 0.5
    assert (layers['attention_norm']['scale'] == 1).all()
    assert (layers['attention']['query_key_value_bias'] == 0).all()
    assert (layers['attention']['key_norm']['scale'] == 1).all()
    matrices = layers['attention']['query_key_value']
    assert jnp.abs(matrices[0] - matrices[1]).max() > 0.01


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('num_layers', 0),
        ('num_kv_heads', 4),
        ('d_kv', 5),
        ('rope_theta', 0.0),
        ('dropout_rate', 1.0),
        ('start_id', 31),
        ('pad_id', 1),
        ('eos_id', 0),
    ],
)
def test_wrong_fields_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CONFIG, **{field: value})


@pytest.mark.parametrize(
    ('field', 'scaling'),
    [
        ('kind', ('yarn', 2.0)),
        ('factor', ('linear', 0.0)),
        ('high_turns', ('llama3', 2.0, 4.0, 4.0)),
        ('original_positions', ('llama3', 2.0, 1.0, 4.0, 0)),
    ],
)
def test_wrong_scaling_is_named(field, scaling):
    with pytest.raises(ValueError, match=rf'RopeScaling\.{field}'):
        RopeScaling(*scaling)
