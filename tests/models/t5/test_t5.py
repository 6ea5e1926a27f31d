"""T5 against PyTorch's (kept arrays), cached against full decoding, dropout, padding, dtypes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from qcrd_jax.models import T5Config, T5Context, T5Student, parameter_count
from qcrd_jax.models.huggingface import load_student, save_student
from qcrd_jax.models.layers import dropout_mask
from qcrd_jax.models.t5.layers import relative_buckets
from tests.support import GOLDEN, parity

CONFIG = T5Config(
    vocab_size=31,
    d_model=12,
    d_kv=4,
    d_ff=20,
    num_heads=3,
    encoder_layers=2,
    decoder_layers=3,
    activation='gelu_new',
    gated=True,
    tied_head=False,
    scale_decoder_outputs=False,
    relative_buckets=8,
    relative_max_distance=20,
    dropout_rate=0.3,
)

# Compiled once per shape for the whole file; un-jitted, every operation compiles by itself.
init = jax.jit(T5Student.init, static_argnums=0)
encode = jax.jit(T5Student.encode, static_argnums=0)
decode = jax.jit(T5Student.decode, static_argnums=0)
start = jax.jit(T5Student.start_decoding, static_argnums=(0, 3, 4))


@pytest.fixture(scope='module')
def model():
    """A student, its parameters with every norm perturbed, a batch, and the context of it."""
    student = T5Student(CONFIG)
    params = parity.random_params(student)
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(2, 31, (2, 9)), jnp.int32)
    mask = jnp.arange(9) < jnp.array([[9], [4]])
    targets = jnp.asarray(rng.integers(2, 31, (2, 3, 24)), jnp.int32)
    return student, params, encode(student, params, tokens, mask), tokens, targets


@pytest.mark.parametrize('flavour', ['v1_0', 'v1_1'])
def test_agrees_with_pytorch(flavour, tmp_path):
    golden = dict(np.load(GOLDEN / f't5_{flavour}.npz'))
    tensors = {k.removeprefix('tensor/'): v for k, v in golden.items() if k.startswith('tensor/')}
    (tmp_path / 'config.json').write_text(str(golden['config']))
    safetensors.numpy.save_file(tensors, tmp_path / 'model.safetensors')
    config, params = load_student(tmp_path)
    assert config.tied_head == (flavour == 'v1_0')

    ours = parity.run(config, params, golden)
    parity.assert_close(ours, golden, golden['mask'])

    # Gradients: written as a checkpoint, they come out under the names that PyTorch gives them.
    save_student(tmp_path / 'gradients', config, ours['gradients'])
    gradients = safetensors.numpy.load_file(tmp_path / 'gradients' / 'model.safetensors')
    assert set(gradients) == set(tensors) - ({'lm_head.weight'} if config.tied_head else set())
    for name, ours in gradients.items():
        theirs = golden[f'gradient/{name}']
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * scale, err_msg=name)


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


@pytest.mark.parametrize('cast', [False, True])
def test_cached_decoding_equals_full_decoding(model, cast):
    student, params, context, _, targets = model
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


def test_stacked_students_decode_as_each_alone(model):
    student, params, context, _, targets = model
    other = jax.tree.map(lambda x: 1.1 * x, params)
    contexts = [context, T5Context(context.states * 0.9, context.mask)]
    stacked, contexts_stacked = (
        jax.tree.map(lambda *x: jnp.stack(x), *trees) for trees in ([params, other], contexts)
    )
    axes = student.cache_axes
    weights = jax.vmap(student.cast_for_decoding)(stacked)
    begin = jax.vmap(lambda p, c: student.start_decoding(p, c, 3, 4), out_axes=axes)
    step = jax.jit(jax.vmap(student.decode_step, (0, axes, 0), (0, axes)))
    cache = jax.jit(begin)(weights, contexts_stacked)
    tokens = jnp.stack([targets[:, :, :4], targets[:, :, 4:8]])
    tokens = jnp.pad(tokens, ((0, 0), (0, 0), (0, 0), (1, 0)))
    full = [
        decode(student, p, c, targets[:, :, 4 * i : 4 * i + 4])
        for i, (p, c) in enumerate(zip((params, other), contexts, strict=True))
    ]
    for t in range(4):
        logits, cache = step(weights, cache, tokens[..., t])
        for i in range(2):
            np.testing.assert_allclose(logits[i], full[i][:, :, t], atol=2e-5)
    assert cache.position.shape == ()


def test_padding_changes_nothing(model):
    student, params, context, tokens, targets = model
    full = decode(student, params, context, targets)
    junk = jnp.where(context.mask, tokens, 17)
    longer = jnp.pad(junk, ((0, 0), (0, 5)), constant_values=23)
    mask = jnp.pad(context.mask, ((0, 0), (0, 5)))
    padded = encode(student, params, longer, mask)
    np.testing.assert_allclose(decode(student, params, padded, targets), full, atol=1e-5)
    cut = targets.at[:, :, 6:].set(0)
    np.testing.assert_allclose(
        decode(student, params, context, cut)[:, :, :6], full[:, :, :6], atol=1e-5
    )


def test_rationales_do_not_see_each_other(model):
    student, params, context, _, targets = model
    full = decode(student, params, context, targets)
    for r in range(3):
        alone = decode(student, params, context, targets[:, r : r + 1])
        np.testing.assert_allclose(alone, full[:, r : r + 1], atol=1e-5)


def test_dropout_is_shared_by_the_rationales_of_a_question(model):
    student, params, context, tokens, targets = model
    key = jax.random.key(3)
    full = decode(student, params, context, targets, key)
    # Another sub-network would differ by about as much as the logits themselves.
    assert jnp.abs(full - decode(student, params, context, targets)).max() > 0.1
    subset = decode(student, params, context, targets[:, 1:2], key)
    np.testing.assert_allclose(subset, full[:, 1:2], atol=1e-5)
    same = decode(student, params, context, jnp.repeat(targets[:, :1], 3, axis=1), key)
    np.testing.assert_allclose(same[:, 0], same[:, 2], atol=1e-5)
    twice = jax.tree.map(lambda x: jnp.repeat(x[:1], 2, axis=0), (context, targets))
    apart = decode(student, params, *twice, key)  # the same question twice: masks of their own
    assert jnp.abs(apart[0] - apart[1]).max() > 0.1
    encoded = encode(student, params, tokens, context.mask, key)
    again = encode(student, params, tokens, context.mask, key)
    np.testing.assert_array_equal(encoded.states, again.states)
    assert jnp.abs(encoded.states - context.states).max() > 0.1


def test_dropout_keeps_the_expectation():
    # With one linear layer's worth of paths, the mean over keys is the value without dropout;
    # here: the keep rate itself, to within five standard errors of 10^6 draws.
    for rate in (0.1, 0.3):
        keep = dropout_mask(jax.random.key(0), rate, (1000, 1001))
        error = 5 * (rate * (1 - rate) / keep.size) ** 0.5
        assert abs(float(keep.mean()) - (1 - rate)) < error + 2**-16
        # Neighbours share a random word, but not their fate.
        pairs = keep.reshape(-1)[: keep.size // 2 * 2].reshape(-1, 2)
        both = float(pairs.all(axis=1).mean())
        assert abs(both - (1 - rate) ** 2) < 2 * error


def test_bfloat16_stays_near_float32(model):
    student, params, _, tokens, targets = model
    half = dataclasses.replace(student, compute_dtype=jnp.bfloat16)
    mask = jnp.ones((2, 9), bool)
    full = decode(student, params, encode(student, params, tokens, mask), targets)
    context = encode(half, params, tokens, mask)
    logits = decode(half, params, context, targets)
    assert context.states.dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    # PyTorch's own bfloat16 strays by 0.034 to 0.051 on average on such weights (three seeds).
    assert float(jnp.abs(logits - full).mean()) < 0.055
    weights = half.cast_for_decoding(params)
    assert weights['decoder']['layers'][0]['cross_norm']['scale'].dtype == jnp.float32
    assert weights['decoder']['layers'][0]['cross']['query'].dtype == jnp.bfloat16
    cache = start(half, weights, context, 3, 24)
    step, _ = jax.jit(half.decode_step)(weights, cache, jnp.zeros((2, 3), jnp.int32))
    # The same roundings in another order.
    assert float(jnp.abs(step - logits[:, :, 0]).mean()) < 0.055


def test_a_question_of_padding_alone_gives_finite_gradients(model):
    student, params, _, tokens, targets = model

    def total(params):
        context = encode(student, params, tokens, jnp.zeros((2, 9), bool))
        return decode(student, params, context, targets).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)):
        assert jnp.isfinite(leaf).all()


def test_initial_scales():
    config = dataclasses.replace(T5Config.named('tiny', 2000, 'v1.1'), d_kv=16)
    params = init(T5Student(config), jax.random.key(0))
    layers = params['decoder']['layers']
    expected = [
        (params['embedding'], 1.0),
        (params['head'], 128**-0.5),
        (layers['attention']['query'], (128 * 16) ** -0.5),
        (layers['cross']['key'], 128**-0.5),
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
    assert jnp.abs(layers['attention']['key'][0] - layers['attention']['key'][1]).max() > 0.01
    assert jnp.abs(layers['attention']['key'] - layers['attention']['value']).max() > 0.01


def test_sizes_are_the_published_ones():
    def count(size, version):
        shapes = jax.eval_shape(T5Student(T5Config.named(size, 32128, version)).init, key)
        return parameter_count(shapes)

    key = jax.random.key(0)
    # transformers: sum(p.numel() for p in T5ForConditionalGeneration(config).parameters())
    assert count('small', 'v1.0') == 60_506_624
    assert count('base', 'v1.0') == 222_903_552
    assert count('base', 'v1.1') == 247_577_856
    assert count('xl', 'v1.1') == 2_849_757_184


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


def test_students_are_static_arguments():
    one, two = T5Student(CONFIG), T5Student(dataclasses.replace(CONFIG), 'float32')
    assert one == two and hash(one) == hash(two)
    with pytest.raises(ValueError, match='float16'):
        T5Student(CONFIG, jnp.float16)
    with pytest.raises(ValueError, match='size'):
        T5Config.named('huge')
    assert json.dumps(dataclasses.asdict(CONFIG))
