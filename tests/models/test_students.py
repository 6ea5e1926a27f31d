"""What holds for the students of every architecture: cached decoding, padding, dropout, dtypes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.models import Encoder, RopeScaling, Student
from qcrd_jax.models.architectures import student_of
from tests.support import parity, small

OTHER = {'tied_head': False, 'dropout_rate': 0.3}
CONFIGS = {
    't5': small.t5(**OTHER, activation='gelu_new', gated=True, scale_decoder_outputs=False),
    'decoder': small.decoder(**OTHER, rope_theta=100.0),
    'normed and scaled': small.decoder(
        'qwen3',
        **OTHER,
        d_kv=6,
        num_kv_heads=6,
        num_layers=1,
        rope_scaling=RopeScaling('llama3', 8.0, 1.0, 3.0, 24),
    ),
}
# How far bfloat16 may be off on average. PyTorch's own strays by 0.034 to 0.051 on a T5 with such
# weights and by 0.007 to 0.014 on a Qwen2 (three seeds each).
ROUGHLY = {'t5': 0.055, 'decoder': 0.02}

_ALL = pytest.mark.parametrize('model', CONFIGS, indirect=True)
_BOTH = pytest.mark.parametrize('model', ROUGHLY, indirect=True)

# Compiled once per shape for the whole file; un-jitted, every operation compiles by itself.
encode = jax.jit(lambda student, *x: student.encode(*x), static_argnums=0)
decode = jax.jit(lambda student, *x: student.decode(*x), static_argnums=0)
start = jax.jit(lambda student, *x: student.start_decoding(*x), static_argnums=(0, 3, 4))


@pytest.fixture(scope='module')
def model(request):
    """A student, perturbed parameters, a batch without EOS, and the context of it."""
    student = student_of(CONFIGS[request.param], jnp.float32)
    params = parity.random_params(student)
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(3, 31, (2, 9)), jnp.int32)
    mask = jnp.arange(9) < jnp.array([[9], [4]])
    targets = jnp.asarray(rng.integers(3, 31, (2, 3, 24)), jnp.int32)
    return student, params, encode(student, params, tokens, mask), tokens, mask, targets


@_ALL
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


@_BOTH
def test_stacked_students_decode_as_each_alone(model):
    student, params, context, tokens, mask, targets = model
    other = jax.tree.map(lambda x: 1.1 * x, params)
    contexts = [context, encode(student, other, tokens[::-1], mask[::-1])]
    stacked, contexts_stacked = (
        jax.tree.map(lambda *x: jnp.stack(x), *trees) for trees in ([params, other], contexts)
    )
    axes = student.cache_axes
    weights = jax.vmap(student.cast_for_decoding)(stacked)
    begin = jax.vmap(lambda p, c: student.start_decoding(p, c, 3, 4), out_axes=axes)
    step = jax.jit(jax.vmap(student.decode_step, (0, axes, 0), (0, axes)))
    cache = jax.jit(begin)(weights, contexts_stacked)
    fed = jnp.stack([targets[:, :, :4], targets[:, :, 4:8]])
    fed = jnp.pad(fed, ((0, 0), (0, 0), (0, 0), (1, 0)), constant_values=student.start_id)
    full = [
        decode(student, p, c, targets[:, :, 4 * i : 4 * i + 4])
        for i, (p, c) in enumerate(zip((params, other), contexts, strict=True))
    ]
    for t in range(4):
        logits, cache = step(weights, cache, fed[..., t])
        for i in range(2):
            np.testing.assert_allclose(logits[i], full[i][:, :, t], atol=2e-5)
    assert cache.position.shape == ()


@_ALL
def test_padding_changes_nothing(model):
    student, params, context, tokens, mask, targets = model
    full = decode(student, params, context, targets)
    junk = jnp.where(mask, tokens, 17)
    for sides in ((0, 5), (5, 0)):
        longer = jnp.pad(junk, ((0, 0), sides), constant_values=23)
        padded = encode(student, params, longer, jnp.pad(mask, ((0, 0), sides)))
        np.testing.assert_allclose(decode(student, params, padded, targets), full, atol=1e-5)
    cut = targets.at[:, :, 6:].set(student.pad_id)
    np.testing.assert_allclose(
        decode(student, params, context, cut)[:, :, :6], full[:, :, :6], atol=1e-5
    )


@_BOTH
def test_rationales_do_not_see_each_other(model):
    student, params, context, _, _, targets = model
    full = decode(student, params, context, targets)
    for r in range(3):
        alone = decode(student, params, context, targets[:, r : r + 1])
        np.testing.assert_allclose(alone, full[:, r : r + 1], atol=1e-5)


@_BOTH
def test_every_leaf_of_a_context_has_the_questions_first(model):
    student, params, context, _, _, targets = model
    full = decode(student, params, context, targets)
    second = jax.tree.map(lambda leaf: leaf[1:], context)
    np.testing.assert_allclose(decode(student, params, second, targets[1:]), full[1:], atol=1e-5)


@_BOTH
def test_dropout_is_shared_by_the_rationales_of_a_question(model):
    student, params, context, tokens, mask, targets = model
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
    encoded, again = (encode(student, params, tokens, mask, key) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, encoded, again)
    moved = jax.tree.map(lambda a, b: jnp.abs(1.0 * a - b).max(), encoded, context)
    assert max(jax.tree.leaves(moved)) > 0.1


@_BOTH
def test_bfloat16_stays_near_float32(model, request):
    student, params, context, tokens, mask, targets = model
    roughly = ROUGHLY[request.node.callspec.params['model']]
    half = dataclasses.replace(student, compute_dtype=jnp.bfloat16)
    full = decode(student, params, context, targets)
    rough = encode(half, params, tokens, mask)
    logits = decode(half, params, rough, targets)
    assert jax.tree.leaves(rough)[0].dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    assert float(jnp.abs(logits - full).mean()) < roughly
    weights = half.cast_for_decoding(params)
    (stack,) = {'body', 'decoder'} & set(weights)
    layer = weights[stack]['layers'][0]
    assert layer['attention_norm']['scale'].dtype == jnp.float32
    assert layer['attention']['query_key_value'].dtype == jnp.bfloat16
    assert weights['head'].dtype == weights['embedding'].dtype == jnp.bfloat16
    cache = start(half, weights, rough, 3, 24)
    step, _ = jax.jit(half.decode_step)(weights, cache, jnp.full((2, 3), student.start_id))
    # The same roundings in another order.
    assert float(jnp.abs(step - logits[:, :, 0]).mean()) < roughly


@_BOTH
def test_a_question_of_padding_alone_gives_finite_gradients(model):
    student, _, _, tokens, mask, targets = model
    names = [f.name for f in dataclasses.fields(student.config) if f.name.endswith('_layers')]
    student = student_of(dataclasses.replace(student.config, **dict.fromkeys(names, 1)), 'float32')
    params = parity.random_params(student)

    def total(params):
        context = student.encode(params, tokens, jnp.zeros_like(mask))
        return student.decode(params, context, targets).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize('name', CONFIGS)
def test_students_are_static_arguments(name):
    config = CONFIGS[name]
    one, two = student_of(config, jnp.float32), student_of(dataclasses.replace(config), 'float32')
    assert one == two and hash(one) == hash(two)
    assert isinstance(one, Student) and isinstance(one.encoder, Encoder)
    assert one.encoder == dataclasses.replace(one.encoder)
    assert (one.encoder.config, one.encoder.compute_dtype) == (config, jnp.float32)
    with pytest.raises(ValueError, match='float16'):
        student_of(config, jnp.float16)
    assert json.dumps(dataclasses.asdict(config))


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('vocab_size', 0),
        ('num_heads', 0),
        ('dropout_rate', 1.0),
        ('norm_epsilon', -1.0),
        ('start_id', 31),
        ('pad_id', -1),
    ],
)
def test_wrong_fields_are_named(name, field, value):
    with pytest.raises(ValueError, match=rf'Config\.{field}: expected .*, got {value}'):
        dataclasses.replace(CONFIGS[name], **{field: value})
