"""Qwen2.5 against PyTorch's (kept arrays), cached against full decoding, dropout, padding."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from qcrd_jax import sampling
from qcrd_jax.models import (
    Discriminator,
    Qwen2Config,
    Qwen2Encoder,
    Qwen2Student,
    Student,
    parameter_count,
)
from qcrd_jax.models.huggingface import load_student, save_student
from tests import support
from tests.support import parity

GOLDEN = support.GOLDEN / 'qwen2.npz'
CONFIG = Qwen2Config(
    vocab_size=31,
    d_model=12,
    d_kv=4,
    d_ff=20,
    num_heads=6,
    num_kv_heads=2,
    num_layers=3,
    rope_theta=100.0,
    tied_head=False,
    dropout_rate=0.3,
    pad_id=0,
    eos_id=1,
    start_id=2,
)

encode = jax.jit(Qwen2Student.encode, static_argnums=0)
decode = jax.jit(Qwen2Student.decode, static_argnums=0)
start = jax.jit(Qwen2Student.start_decoding, static_argnums=(0, 3, 4))


@pytest.fixture(scope='module')
def model():
    """A student, perturbed parameters, a batch, its context; the first prompt ends in EOS."""
    student = Qwen2Student(CONFIG)
    params = parity.random_params(student)
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(3, 31, (2, 9)), jnp.int32).at[0, 8].set(1)
    mask = jnp.arange(9) < jnp.array([[9], [4]])
    targets = jnp.asarray(rng.integers(3, 31, (2, 3, 10)), jnp.int32)
    return student, params, encode(student, params, tokens, mask), tokens, mask, targets


def test_agrees_with_pytorch(tmp_path):
    golden = dict(np.load(GOLDEN))
    tensors = {k.removeprefix('tensor/'): v for k, v in golden.items() if k.startswith('tensor/')}
    (tmp_path / 'config.json').write_text(str(golden['config']))
    safetensors.numpy.save_file(tensors, tmp_path / 'model.safetensors')
    config, params = load_student(tmp_path)
    assert (config.num_heads, config.num_kv_heads, config.rope_theta) == (6, 2, 50.0)
    assert (config.pad_id, config.eos_id, config.start_id) == (3, 1, 2)

    ours = parity.run(config, params, golden)
    parity.assert_close(ours, golden, golden['mask'])

    # Gradients: written as a checkpoint, they come out under the names that PyTorch gives them.
    save_student(tmp_path / 'gradients', config, ours['gradients'])
    gradients = safetensors.numpy.load_file(tmp_path / 'gradients' / 'model.safetensors')
    assert set(gradients) == set(tensors)
    # A bias of the keys moves all scores of a query alike but for the rotation: small, not zero.
    for name, ours in gradients.items():
        theirs = golden[f'gradient/{name}']
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize('cast', [False, True])
def test_cached_decoding_equals_full_decoding(model, cast):
    student, params, context, _, _, targets = model
    full = decode(student, params, context, targets)
    weights = student.cast_for_decoding(params) if cast else params
    cache = start(student, weights, context, 3, targets.shape[2])
    step = jax.jit(student.decode_step)
    token = jnp.full((2, 3), student.start_id, jnp.int32)
    for t in range(targets.shape[2]):
        logits, cache = step(weights, cache, token)
        np.testing.assert_allclose(logits, full[:, :, t], atol=2e-5)
        token = targets[:, :, t]
    assert step._cache_size() == 1


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


def test_padding_changes_nothing(model):
    student, params, context, tokens, mask, targets = model
    full = decode(student, params, context, targets)
    junk = jnp.where(mask, tokens, 17)
    padded = encode(
        student,
        params,
        jnp.pad(junk, ((0, 0), (0, 5)), constant_values=23),
        jnp.pad(mask, ((0, 0), (0, 5))),
    )
    np.testing.assert_array_equal(padded.lengths, [8, 4])
    np.testing.assert_allclose(decode(student, params, padded, targets), full, atol=1e-5)
    left = encode(
        student,
        params,
        jnp.pad(junk, ((0, 0), (5, 0)), constant_values=23),
        jnp.pad(mask, ((0, 0), (5, 0))),
    )
    np.testing.assert_allclose(decode(student, params, left, targets), full, atol=1e-5)
    cut = targets.at[:, :, 6:].set(0)
    np.testing.assert_allclose(
        decode(student, params, context, cut)[:, :, :6], full[:, :, :6], atol=1e-5
    )


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


def test_rationales_do_not_see_each_other(model):
    student, params, context, _, _, targets = model
    full = decode(student, params, context, targets)
    for r in range(3):
        alone = decode(student, params, context, targets[:, r : r + 1])
        np.testing.assert_allclose(alone, full[:, r : r + 1], atol=1e-5)


def test_dropout_is_shared_by_the_rationales_of_a_question(model):
    student, params, context, tokens, mask, targets = model
    key = jax.random.key(3)
    full = decode(student, params, context, targets, key)
    assert jnp.abs(full - decode(student, params, context, targets)).max() > 0.1
    subset = decode(student, params, context, targets[:, 1:2], key)
    np.testing.assert_allclose(subset, full[:, 1:2], atol=1e-5)
    same = decode(student, params, context, jnp.repeat(targets[:, :1], 3, axis=1), key)
    np.testing.assert_allclose(same[:, 0], same[:, 2], atol=1e-5)
    twice = jax.tree.map(lambda x: jnp.repeat(x[:1], 2, axis=0), (context, targets))
    apart = decode(student, params, *twice, key)  # the same question twice: masks of their own
    assert jnp.abs(apart[0] - apart[1]).max() > 0.1
    encoded, again = (encode(student, params, tokens, mask, key) for _ in range(2))
    np.testing.assert_array_equal(encoded.keys, again.keys)
    # What a layer's keys and values are made of depends on the attention of those below it.
    np.testing.assert_array_equal(encoded.keys[:, 0], context.keys[:, 0])
    assert jnp.abs(encoded.keys[:, 1:] - context.keys[:, 1:]).max() > 0.1


def test_every_leaf_of_a_context_has_the_questions_first(model):
    student, params, context, _, _, targets = model
    full = decode(student, params, context, targets)
    second = jax.tree.map(lambda leaf: leaf[1:], context)
    np.testing.assert_allclose(decode(student, params, second, targets[1:]), full[1:], atol=1e-5)


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


def test_bfloat16_stays_near_float32(model):
    student, params, context, tokens, mask, targets = model
    half = dataclasses.replace(student, compute_dtype=jnp.bfloat16)
    full = decode(student, params, context, targets)
    rough = encode(half, params, tokens, mask)
    logits = decode(half, params, rough, targets)
    assert rough.keys.dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    # PyTorch's own bfloat16 strays by 0.007 to 0.014 on average on such weights (three seeds).
    assert float(jnp.abs(logits - full).mean()) < 0.02
    weights = half.cast_for_decoding(params)
    layer = weights['body']['layers'][0]
    assert layer['attention_norm']['scale'].dtype == jnp.float32
    assert layer['attention']['query'].dtype == jnp.bfloat16
    cache = start(half, weights, rough, 3, 10)
    step, _ = jax.jit(half.decode_step)(weights, cache, jnp.full((2, 3), 2, jnp.int32))
    assert float(jnp.abs(step - logits[:, :, 0]).mean()) < 0.02


def test_a_question_of_padding_alone_gives_finite_gradients(model):
    _, _, _, tokens, mask, targets = model
    student = Qwen2Student(dataclasses.replace(CONFIG, num_layers=1))
    params = parity.random_params(student)

    def total(params):
        context = student.encode(params, tokens, jnp.zeros_like(mask))
        return student.decode(params, context, targets).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)):
        assert jnp.isfinite(leaf).all()


def test_the_discriminator_reads_with_the_body(model):
    _, _, _, tokens, mask, _ = model
    student = Qwen2Student(dataclasses.replace(CONFIG, num_layers=1))
    params = parity.random_params(student)
    encoder = student.encoder
    judge = Discriminator(encoder)
    start = parity.random_params(judge, 4)
    taken = judge.with_encoder(start, params)
    assert set(taken['encoder']) == {'embedding', 'body'}
    with pytest.raises(ValueError, match='shapes'):
        judge.with_encoder(start, {**params, 'embedding': params['embedding'][:-1]})
    scores = jax.jit(judge.logits)(taken, tokens[:, None], mask[:, None])
    read = jax.jit(encoder.states)
    # By hand: the states of each row alone, without padding, and their maximum.
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
    config = Qwen2Config.named('tiny', vocab_size=2000, pad_id=0, eos_id=1, tied_head=False)
    params = jax.jit(Qwen2Student(config).init)(jax.random.key(0))
    layers = params['body']['layers']
    for leaf in (
        params['embedding'],
        params['head'],
        *(layers['attention'][name] for name in ('query', 'key', 'value', 'out')),
        *layers['feed_forward'].values(),
    ):
        # transformers: initializer_range 0.02. The standard error of a standard deviation is
        # std / sqrt(2 n).
        assert abs(float(leaf.std()) / 0.02 - 1) < 5 / (2 * leaf.size) ** 0.5
    assert (layers['attention_norm']['scale'] == 1).all()
    assert (layers['attention']['key_bias'] == 0).all()
    assert jnp.abs(layers['attention']['key'][0] - layers['attention']['key'][1]).max() > 0.01
    assert jnp.abs(layers['attention']['key'] - layers['attention']['value']).max() > 0.01


def test_sizes_are_the_published_ones():
    def count(size):
        student = Qwen2Student(Qwen2Config.named(size))
        return parameter_count(jax.eval_shape(student.init, jax.random.key(0)))

    # As the Hub counts the tensors of Qwen/Qwen2.5-*.
    assert count('0.5b') == 494_032_768
    assert count('1.5b') == 1_543_714_304
    assert count('3b') == 3_085_938_688
    assert count('7b') == 7_615_616_512


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
    ],
)
def test_wrong_fields_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CONFIG, **{field: value})


def test_students_are_static_arguments():
    one, two = Qwen2Student(CONFIG), Qwen2Student(dataclasses.replace(CONFIG), 'float32')
    assert one == two and hash(one) == hash(two)
    assert isinstance(one, Student) and one.encoder == Qwen2Encoder(CONFIG)
    with pytest.raises(ValueError, match='float16'):
        Qwen2Student(CONFIG, jnp.float16)
    with pytest.raises(ValueError, match='size'):
        Qwen2Config.named('14b')
    assert json.dumps(dataclasses.asdict(CONFIG))
