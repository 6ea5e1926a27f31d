"""T5 folders in and out: every flavour and age of them, and against PyTorch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.models import T5Config, T5Student
from qcrd_jax.models.huggingface import load_encoder, load_student, save_student
from tests.support import parity, small
from tests.support.folders import assert_same, config_of, rewrite, tensors_of, without_digests

CONFIG = small.t5(vocab_size=11, d_model=6, decoder_layers=1)
STRAY = 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'


@functools.cache
def random_params(config):
    return parity.random_params(T5Student(config))


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of CONFIG."""
    save_student(tmp_path / 't5', CONFIG, random_params(CONFIG))
    return without_digests(tmp_path / 't5')


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('scaled', [True, False])
@pytest.mark.parametrize('gated', [True, False])
def test_what_is_saved_is_read_back_exactly(tmp_path, tied, scaled, gated):
    config = dataclasses.replace(
        CONFIG,
        tied_head=tied,
        scale_decoder_outputs=scaled,
        gated=gated,
        activation='gelu_new' if gated else 'silu',
        pad_id=3,
        eos_id=2,
        start_id=5,
        norm_epsilon=1e-5,
        dropout_rate=0.05,
    )
    params = random_params(config)
    save_student(tmp_path / 'out', config, params)
    read, back = load_student(tmp_path / 'out')
    assert read == config
    assert_same(back, params)
    assert {x.dtype for x in jax.tree.leaves(back)} == {jnp.dtype('float32')}


def test_embedding_under_three_names_and_stray_bias(folder):
    tensors = tensors_of(folder)
    for name in ('encoder.embed_tokens', 'decoder.embed_tokens', 'lm_head'):
        tensors[f'{name}.weight'] = tensors['shared.weight'].copy()
    tensors[STRAY] = np.ones((8, 3), np.float32)
    rewrite(folder, tensors)
    config, params = load_student(folder)
    assert config == CONFIG
    assert_same(params, random_params(CONFIG))


@pytest.mark.parametrize(
    'name', ['encoder.embed_tokens.weight', 'decoder.embed_tokens.weight', 'lm_head.weight']
)
def test_embedding_under_one_other_name(folder, name):
    tensors = tensors_of(folder)
    tensors[name] = tensors.pop('shared.weight')
    rewrite(folder, tensors)
    config, params = load_student(folder)
    assert config == CONFIG
    assert_same(params, random_params(CONFIG))


def test_embeddings_that_differ_are_refused(folder):
    tensors = tensors_of(folder)
    tensors['decoder.embed_tokens.weight'] = tensors['shared.weight'] + 1
    rewrite(folder, tensors)
    with pytest.raises(InputError, match=r'decoder\.embed_tokens\.weight differs from shared'):
        load_student(folder)


def test_encoder_of_a_whole_t5_and_alone(folder):
    expected = {name: random_params(CONFIG)[name] for name in ('embedding', 'encoder')}
    assert_same(load_encoder(folder)[1], expected)
    tensors = {k: v for k, v in tensors_of(folder).items() if not k.startswith('decoder.')}
    rewrite(folder, tensors)
    assert_same(load_encoder(folder)[1], expected)
    with pytest.raises(InputError, match='missing: decoder'):
        load_student(folder)


def test_configs_of_all_ages(tmp_path):
    read = functools.partial(config_of, tmp_path)
    old = read(d_model=512, num_layers=6, architectures=['T5WithLMHeadModel'], n_positions=512)
    assert old == T5Config()
    v1_1 = read(
        feed_forward_proj='gated-gelu', tie_word_embeddings=False, num_layers=8, d_ff=1024,
        num_heads=6, num_decoder_layers=None,
    )  # fmt: skip
    assert dataclasses.replace(v1_1, tied_head=False) == T5Config.named('small', version='v1.1')
    resaved = read(tie_word_embeddings=True, scale_decoder_outputs=False)
    assert not resaved.scale_decoder_outputs
    assert read(tie_word_embeddings=None).scale_decoder_outputs
    silu = read(feed_forward_proj='gated-silu')
    assert (silu.activation, silu.gated) == ('silu', True)
    exact = read(feed_forward_proj='gated-gelu', dense_act_fn='gelu')
    assert (exact.activation, exact.gated) == ('gelu', True)
    plain = read(feed_forward_proj='gelu')
    assert (plain.activation, plain.gated) == ('gelu', False)
    mt5 = read(model_type='mt5', tie_word_embeddings=True)
    assert (mt5.gated, mt5.scale_decoder_outputs, mt5.vocab_size) == (True, False, 250112)
    ids = read(pad_token_id=4, eos_token_id=[7, 8], dropout_rate=0)
    assert (ids.pad_id, ids.eos_id, ids.start_id, ids.dropout_rate) == (4, 7, 4, 0.0)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('d_model', '512'),
        ('num_layers', True),
        ('model_type', 'umt5'),
        ('feed_forward_proj', 'gated-maxout'),
        ('num_heads', -1),
        ('tie_word_embeddings', 'x'),
    ],
)
def test_wrong_config_fields_are_named(tmp_path, field, value):
    with pytest.raises(InputError, match=f'config.json: {field}: expected'):
        config_of(tmp_path, **{field: value})


# --- against PyTorch, where it is installed --------------------------------------------------

LIVE = {
    'v1.0': ({}, False),
    'old head of its own': ({}, True),
    'shared head, no scaling': ({'tie_word_embeddings': False}, False),
    'flan': ({'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False}, True),
    'other constants': (
        {
            'feed_forward_proj': 'gated-silu',
            'relative_attention_num_buckets': 12,
            'relative_attention_max_distance': 30,
            'layer_norm_epsilon': 1e-3,
            'decoder_start_token_id': 5,
            'num_decoder_layers': 1,
        },
        False,
    ),
}


@pytest.mark.parametrize('flavour', LIVE)
def test_agrees_with_pytorch_there_and_back(flavour, tmp_path):
    pytest.importorskip('torch')
    import transformers

    from tests.support import t5_reference

    fields, untied = LIVE[flavour]
    model = t5_reference.random_model(5, **fields)
    if untied:
        t5_reference.untie(model)
    model.save_pretrained(tmp_path / 'theirs')
    batch = t5_reference.random_batch(2, source=41, rows=2, target=34)
    theirs = t5_reference.run(model, batch, gradients=False)
    config, params = load_student(tmp_path / 'theirs')
    ours = parity.run(config, params, batch, gradients=False)
    parity.assert_close(ours, theirs, batch['mask'], logits_atol=2e-5)

    save_student(tmp_path / 'ours', config, params)
    again, info = transformers.T5ForConditionalGeneration.from_pretrained(
        tmp_path / 'ours', output_loading_info=True
    )
    assert not any(info.values()), info
    back = t5_reference.run(again.eval(), batch, gradients=False)
    for name in ('states', 'logits', 'greedy'):
        np.testing.assert_array_equal(back[name], theirs[name])
