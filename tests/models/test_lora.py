"""Adapters beside frozen weights: against merged weights, PyTorch, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax import sampling
from qcrd_jax.models import DecoderStudent, LoraStudent, merge_adapters, parameter_count
from qcrd_jax.models.huggingface import load_student, save_student
from tests.support import parity, small

RANK, ALPHA = 3, 6.0
SCALE = 2.0  # alpha / r


def of(model_type: str, targets: str, dtype=jnp.float32):
    """A student with adapters of which none is zero, its frozen weights, and the adapters."""
    plain = DecoderStudent(small.decoder(model_type), dtype)
    student = LoraStudent(plain, RANK, ALPHA, targets)
    return student, parity.random_params(plain), parity.random_params(student, 1)


def texts(questions: int = 2, rows: int = 3):
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(3, 31, (questions, 9)), jnp.int32)
    tokens = jnp.where(jnp.arange(9) < jnp.array([[9], [4]]), tokens, 0)
    return tokens, jnp.asarray(rng.integers(3, 31, (questions, rows, 6)), jnp.int32)


def logits(student, params, tokens, targets):
    return student.decode(params, student.encode(params, tokens, tokens != student.pad_id), targets)


@pytest.mark.parametrize('model_type', ['qwen2', 'qwen3', 'llama'])
@pytest.mark.parametrize('targets', ['attention', 'all'])
def test_beside_the_weights_is_as_merged_into_them(model_type, targets):
    student, base, adapters = of(model_type, targets)
    ours = logits(student.over(base), adapters, *texts())
    into = merge_adapters(base, adapters, ALPHA)
    np.testing.assert_allclose(ours, logits(student.student, into, *texts()), atol=5e-5)
    # By hand, of one matrix; and what has no adapter stays as it is.
    pair = adapters['layers']['attention']['out']
    layer, (row, column) = 1, (5, 7)
    added = sum(pair['a'][layer, row, k] * pair['b'][layer, k, column] for k in range(RANK))
    weights = (tree['body']['layers']['attention']['out'] for tree in (base, into))
    before, after = (weight[layer, row, column] for weight in weights)
    np.testing.assert_allclose(after, before + SCALE * added, rtol=1e-5)
    changed = {
        jax.tree_util.keystr(path, simple=True, separator='.')
        for (path, a), b in zip(jax.tree.leaves_with_path(base), jax.tree.leaves(into), strict=True)
        if not np.array_equal(a, b)
    }
    blocks = {'attention.out', 'attention.query_key_value'}
    if targets == 'all':
        blocks |= {f'feed_forward.{name}' for name in ('gate', 'up', 'down')}
    assert changed == {f'body.layers.{name}' for name in blocks}


def test_at_the_start_they_change_nothing_and_learn_from_b_on():
    student, base, _ = of('llama', 'all')
    adapters = student.init(jax.random.key(0))
    tokens, targets = texts()
    plain = logits(student.student, base, tokens, targets)
    np.testing.assert_array_equal(logits(student.over(base), adapters, tokens, targets), plain)
    for path, leaf in jax.tree.leaves_with_path(adapters):
        if path[-1].key == 'b':
            assert not np.any(leaf)
            continue
        bound = 1 / np.sqrt(leaf.shape[1])  # kaiming_uniform(a=sqrt(5)), as `nn.Linear` has it
        assert 0.8 * bound < np.abs(leaf).max() <= bound
        assert abs(float(leaf.mean())) < 0.2 * bound
    fewer = LoraStudent(student.student, 2, targets='attention')
    layers, width, heads, keys_and_values = 3, 12, 6 * 4, 2 * 2 * 4
    sides = (width + heads + keys_and_values) + (heads + width)
    assert parameter_count(fewer.init(jax.random.key(0))) == layers * 2 * sides


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_past_adapters_are_sampled_over_the_same_weights(dtype):
    student, base, adapters = of('qwen2', 'all', dtype)
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf, 0 * leaf]), adapters)
    tokens, _ = texts()
    bound = student.over(base)
    keys = jax.random.split(jax.random.key(4), (3, 2, 2))
    asked = {'max_length': 7, 'temperature': 1.3}
    cast = jax.vmap(bound.cast_for_decoding, out_axes=bound.decoding_axes)(stack)
    for layer in cast['base']['body']['layers']:  # once, and not once for each of the three
        assert layer['feed_forward']['up'].shape == (12, 20)
        assert layer['feed_forward']['up'].dtype == dtype
    contexts = jax.vmap(lambda own: bound.encode(own, tokens, tokens != 0))(stack)
    together = sampling.sample_each(bound, stack, contexts, keys, **asked)
    assert len(np.unique(together.ids.reshape(3, -1), axis=0)) == 3
    for place in range(3):
        own = jax.tree.map(lambda leaf, place=place: leaf[place], stack)
        context = bound.encode(own, tokens, tokens != 0)
        alone = sampling.sample(bound, own, context, keys[place], **asked)
        np.testing.assert_array_equal(together.ids[place], alone.ids)
        if dtype == jnp.bfloat16:
            continue
        into = jax.tree.map(jnp.asarray, merge_adapters(base, own, ALPHA))
        plain = student.student
        context = plain.encode(into, tokens, tokens != 0)
        merged = sampling.sample(plain, into, context, keys[place], **asked)
        np.testing.assert_array_equal(together.ids[place], merged.ids)


@pytest.mark.parametrize('model_type', ['qwen2', 'qwen3', 'llama'])
def test_gradients_follow_from_those_of_pytorch(model_type, tmp_path):
    reference = pytest.importorskip('tests.support.decoder_reference', exc_type=ImportError)
    import transformers

    reference.random_model(model_type).save_pretrained(tmp_path / 'base')
    config, base = load_student(tmp_path / 'base')
    plain = DecoderStudent(config)
    student = LoraStudent(plain, RANK, ALPHA)
    adapters = jax.tree.map(lambda leaf: 0.3 * leaf, parity.random_params(student, 1))
    batch = reference.random_batch(0)
    # What PyTorch computes of the merged weights: with G the gradient of x W, that of A is
    # (alpha / r) G B^T, and that of B is (alpha / r) A^T G.
    save_student(tmp_path / 'merged', config, merge_adapters(base, adapters, ALPHA), None)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'merged').eval()
    theirs = reference.run(model, batch)

    tokens, mask, targets = (jnp.asarray(batch[name]) for name in ('tokens', 'mask', 'targets'))

    @jax.jit
    def loss(adapters, base):
        bound = student.over(base)
        scores = bound.decode(adapters, bound.encode(adapters, tokens, mask), targets)
        picked = jnp.take_along_axis(jax.nn.log_softmax(scores), targets[..., None], -1)[..., 0]
        real = targets != student.pad_id
        return -(picked * real).sum() / real.sum(), scores

    (value, scores), gradients = jax.value_and_grad(loss, has_aux=True)(adapters, base)
    np.testing.assert_allclose(value, theirs['loss'], rtol=1e-5)
    real = np.asarray(targets != student.pad_id)
    np.testing.assert_allclose(scores[real], theirs['logits'][real], atol=1e-4)
    names = {
        ('attention', 'query_key_value'): [f'self_attn.{letter}_proj' for letter in 'qkv'],
        ('attention', 'out'): ['self_attn.o_proj'],
        ('feed_forward', 'gate'): ['mlp.gate_proj'],
        ('feed_forward', 'up'): ['mlp.up_proj'],
        ('feed_forward', 'down'): ['mlp.down_proj'],
    }
    for (block, name), parts in names.items():
        pair, ours = adapters['layers'][block][name], gradients['layers'][block][name]
        for layer in range(config.num_layers):
            whole = [theirs[f'gradient/model.layers.{layer}.{part}.weight'] for part in parts]
            gradient = np.concatenate(whole).T
            a, b = pair['a'][layer], pair['b'][layer]
            np.testing.assert_allclose(ours['a'][layer], SCALE * gradient @ b.T, atol=1e-4)
            np.testing.assert_allclose(ours['b'][layer], SCALE * a.T @ gradient, atol=1e-4)


def test_a_ring_in_the_dtype_that_is_computed_in_computes_the_same():
    # With a factor that bfloat16 rounds by.
    plain = DecoderStudent(small.decoder('llama'), jnp.bfloat16)
    student = LoraStudent(plain, RANK, 0.7)
    base, adapters = parity.random_params(plain), parity.random_params(student, 1)
    narrow = student.narrowed(adapters, jnp.bfloat16)
    found = [logits(student.over(base), own, *texts()) for own in (adapters, narrow)]
    np.testing.assert_array_equal(*found)


def test_without_frozen_weights_it_says_what_it_needs():
    student, _, adapters = of('llama', 'all')
    with pytest.raises(ValueError, match=r'no frozen weights to compute with; see `over`'):
        student.encode(adapters, texts()[0], texts()[0] != 0)
    with pytest.raises(ValueError, match=r'rank: expected at least 1, got 0'):
        LoraStudent(student.student, 0)
