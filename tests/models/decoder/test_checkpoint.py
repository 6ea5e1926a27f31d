"""Qwen2 folders and tokenizers, in and out: against transformers, and every way one is wrong."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import transformers

from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.models import Qwen2Config, Qwen2Student, T5Config, architectures
from qcrd_jax.models.huggingface import load_encoder, load_student, read_config, save_student
from tests.support import parity

CONFIG = Qwen2Config(
    vocab_size=11,
    d_model=6,
    d_kv=4,
    d_ff=10,
    num_heads=6,
    num_kv_heads=3,
    num_layers=2,
    pad_id=0,
    eos_id=1,
    start_id=2,
)
TEXTS = ['How many pens are there? ( 8 + 3 )', 'Jack has 12 nuts.', 'explain: no']
# config.json of Qwen/Qwen2.5-0.5B, as published.
PUBLISHED = {
    'architectures': ['Qwen2ForCausalLM'],
    'attention_dropout': 0.0,
    'bos_token_id': 151643,
    'eos_token_id': 151643,
    'hidden_act': 'silu',
    'hidden_size': 896,
    'initializer_range': 0.02,
    'intermediate_size': 4864,
    'max_position_embeddings': 32768,
    'max_window_layers': 24,
    'model_type': 'qwen2',
    'num_attention_heads': 14,
    'num_hidden_layers': 24,
    'num_key_value_heads': 2,
    'rms_norm_eps': 1e-06,
    'rope_theta': 1000000.0,
    'sliding_window': 32768,
    'tie_word_embeddings': True,
    'torch_dtype': 'bfloat16',
    'transformers_version': '4.40.1',
    'use_cache': True,
    'use_mrope': False,
    'use_sliding_window': False,
    'vocab_size': 151936,
}


def random_params(config):
    return parity.random_params(Qwen2Student(config))


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of CONFIG."""
    save_student(tmp_path / 'qwen', CONFIG, random_params(CONFIG))
    return tmp_path / 'qwen'


def tensors_of(folder):
    return safetensors.numpy.load_file(folder / 'model.safetensors')


def rewrite(folder, tensors):
    safetensors.numpy.save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


def config_of(tmp_path, **raw):
    raw = {name: value for name, value in raw.items() if value is not ...}  # ... removes a field
    (tmp_path / 'config.json').write_text(json.dumps(raw))
    return read_config(tmp_path / 'config.json')


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# --- Folders ----------------------------------------------------------------------------------


@pytest.mark.parametrize('tied', [True, False])
def test_what_is_saved_is_read_back_exactly(tmp_path, tied):
    config = dataclasses.replace(
        CONFIG,
        tied_head=tied,
        rope_theta=77.0,
        norm_epsilon=1e-5,
        dropout_rate=0.05,
        max_positions=99,
        pad_id=7,
        eos_id=3,
        start_id=9,
    )
    params = random_params(config)
    save_student(tmp_path / 'out', config, params)
    read, back = load_student(tmp_path / 'out')
    assert read == config
    assert_same(back, params)
    assert {x.dtype for x in jax.tree.leaves(back)} == {jnp.dtype('float32')}


def test_the_head_in_the_file_decides(folder):
    tensors = tensors_of(folder)
    embedding = tensors['model.embed_tokens.weight']
    rewrite(folder, tensors | {'lm_head.weight': embedding.copy()})
    assert load_student(folder)[0] == CONFIG
    tensors.pop('model.embed_tokens.weight')
    rewrite(folder, tensors | {'lm_head.weight': embedding})
    assert_same(load_student(folder)[1], random_params(CONFIG))
    tensors |= {'model.embed_tokens.weight': embedding, 'lm_head.weight': embedding + 1}
    rewrite(folder, tensors)
    config, params = load_student(folder)
    assert not config.tied_head
    np.testing.assert_array_equal(params['head'], embedding + 1)


def test_bfloat16_becomes_float32(folder):
    rounded = {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors_of(folder).items()}
    rewrite(folder, rounded)
    expected = jax.tree.map(
        lambda x: np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32),
        random_params(CONFIG),
    )
    assert_same(load_student(folder)[1], expected)


def test_shards(folder):
    tensors, weight_map = tensors_of(folder), {}
    for i in range(3):
        file = f'model-0000{i + 1}-of-00003.safetensors'
        part = {name: tensors[name] for name in sorted(tensors)[i::3]}
        safetensors.numpy.save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / 'model.safetensors').unlink()
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': weight_map}))
    assert_same(load_student(folder)[1], random_params(CONFIG))


def test_missing_extra_misshaped_and_not_finite_tensors_are_named(folder):
    tensors = tensors_of(folder)
    broken = {**tensors, 'extra.weight': np.zeros(3, np.float32)}
    del broken['model.layers.1.self_attn.k_proj.bias']
    broken['model.norm.weight'] = np.ones(7, np.float32)
    rewrite(folder, broken)
    with pytest.raises(InputError) as error:
        load_student(folder)
    assert '1 missing: model.layers.1.self_attn.k_proj.bias' in str(error.value)
    assert '1 not expected: extra.weight' in str(error.value)
    assert 'model.norm.weight (7,) where (6,) was expected' in str(error.value)
    tensors['model.layers.0.mlp.up_proj.weight'][0, 0] = np.nan
    rewrite(folder, tensors)
    with pytest.raises(InputError, match=r'model\.layers\.0\.mlp\.up_proj\.weight holds NaN'):
        load_student(folder)


def test_an_untied_head_must_be_there(folder):
    raw = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(raw | {'tie_word_embeddings': False}))
    with pytest.raises(InputError, match=r'1 missing: lm_head\.weight'):
        load_student(folder)
    load_encoder(folder)  # a discriminator has no use for it


def test_the_published_config(tmp_path):
    expected = dataclasses.replace(
        Qwen2Config.named('0.5b'), pad_id=151935, eos_id=151643, start_id=151643
    )
    assert config_of(tmp_path, **PUBLISHED) == expected
    instruct = config_of(tmp_path, **PUBLISHED | {'eos_token_id': [151645, 151643]})
    assert (instruct.eos_id, instruct.pad_id) == (151645, 151935)
    padded = config_of(tmp_path, **PUBLISHED | {'pad_token_id': 151662})
    assert padded.pad_id == 151662


def test_what_transformers_takes_for_missing(tmp_path):
    ours = config_of(tmp_path, model_type='qwen2', eos_token_id=1, num_key_value_heads=None)
    theirs = transformers.Qwen2Config(eos_token_id=1, num_key_value_heads=None)
    assert ours.rope_theta == theirs.rope_parameters['rope_theta'] == 10000.0
    for our, their in {
        'd_model': 'hidden_size',
        'd_ff': 'intermediate_size',
        'num_heads': 'num_attention_heads',
        'num_kv_heads': 'num_key_value_heads',
        'num_layers': 'num_hidden_layers',
        'norm_epsilon': 'rms_norm_eps',
        'tied_head': 'tie_word_embeddings',
        'max_positions': 'max_position_embeddings',
        'vocab_size': 'vocab_size',
    }.items():
        assert getattr(ours, our) == getattr(theirs, their), our


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'rope_scaling': {'type': 'yarn', 'factor': 4.0}}, 'rope_scaling'),
        ({'rope_parameters': {'rope_type': 'linear', 'factor': 2.0}}, 'rope_parameters'),
        ({'partial_rotary_factor': 0.5}, 'rotary'),
        ({'use_sliding_window': True, 'max_window_layers': 12}, 'use_sliding_window'),
        ({'layer_types': ['full_attention', 'sliding_attention']}, 'layer_types'),
        ({'hidden_act': 'gelu'}, 'hidden_act'),
        ({'eos_token_id': ...}, 'eos_token_id'),
        ({'num_key_value_heads': 3}, 'num_kv_heads'),
        ({'hidden_size': '896'}, 'hidden_size'),
        ({'rope_theta': 'large'}, 'rope_theta'),
        ({'model_type': 'qwen3'}, r'model_type: expected t5 \| mt5 \| qwen2'),
    ],
)
def test_what_is_wrong_or_not_computed_is_refused(tmp_path, fields, message):
    with pytest.raises(InputError, match=f'config.json.*{message}'):
        config_of(tmp_path, **PUBLISHED | fields)


def test_a_window_that_no_layer_uses_is_none(tmp_path):
    # They would begin at the 25th layer of 24.
    config_of(tmp_path, **PUBLISHED | {'use_sliding_window': True, 'max_window_layers': 24})


# --- Against PyTorch, where it is installed ---------------------------------------------------

LIVE = {  # fields; the base of the rotary positions; whether gradients are compared
    'untied, as many heads of keys as of queries': (
        {'tie_word_embeddings': False, 'num_key_value_heads': 6},
        10000.0,
        True,
    ),
    'one head of keys, heads of another size': (
        {'num_key_value_heads': 1, 'head_dim': 6, 'rms_norm_eps': 1e-3},
        1e6,
        False,
    ),
}


@pytest.mark.parametrize('flavour', LIVE)
def test_agrees_with_pytorch_there_and_back(flavour, tmp_path):
    pytest.importorskip('torch')
    from tests.support import qwen2_reference

    fields, theta, gradients = LIVE[flavour]
    model = qwen2_reference.random_model(5, theta, **fields)
    model.save_pretrained(tmp_path / 'theirs', max_shard_size='8KB')
    assert (tmp_path / 'theirs' / 'model.safetensors.index.json').is_file()
    batch = qwen2_reference.random_batch(2, source=11, rows=2, target=8)
    theirs = qwen2_reference.run(model, batch, gradients)
    config, params = load_student(tmp_path / 'theirs')
    assert config.rope_theta == theta
    ours = parity.run(config, params, batch, gradients)
    parity.assert_close(ours, theirs, batch['mask'])
    if gradients:
        save_student(tmp_path / 'gradients', config, ours['gradients'])
        for name, gradient in tensors_of(tmp_path / 'gradients').items():
            expected = theirs[f'gradient/{name}']
            scale = np.abs(expected).max()
            np.testing.assert_allclose(gradient, expected, atol=2e-5 * scale, err_msg=name)

    save_student(tmp_path / 'ours', config, params)
    again, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / 'ours', output_loading_info=True
    )
    assert not any(info.values()), info
    assert isinstance(again, transformers.Qwen2ForCausalLM)
    back = qwen2_reference.run(again.eval(), batch, gradients=False)
    for name in ('states', 'logits', 'greedy'):
        np.testing.assert_array_equal(back[name], theirs[name])


def test_bodies_and_encoders(tmp_path):
    pytest.importorskip('torch')
    from tests.support import qwen2_reference

    model = qwen2_reference.random_model(5, tie_word_embeddings=False)
    model.save_pretrained(tmp_path / 'whole')
    model.model.save_pretrained(tmp_path / 'body')
    config, whole = load_student(tmp_path / 'whole')
    for name in ('whole', 'body'):
        architecture, params = load_encoder(tmp_path / name)
        assert architecture == config
        assert_same(params, {'embedding': whole['embedding'], 'body': whole['body']})
    with pytest.raises(InputError, match=r'missing: lm_head\.weight'):
        load_student(tmp_path / 'body')


# --- Tokenizers -------------------------------------------------------------------------------


@pytest.fixture
def qwen_tokenizer(tmp_path):
    """The folder of a small tokenizer of Qwen's kind, which pads with EOS as Qwen2.5's does."""
    tokenizer = transformers.Qwen2Tokenizer().train_new_from_iterator(TEXTS, 290)
    tokenizer.add_tokens(['<|fim_pad|>', '<|fim_middle|>'])
    tokenizer.save_pretrained(tmp_path / 'tokenizer')
    assert tokenizer.pad_token == tokenizer.eos_token == '<|endoftext|>'
    return tmp_path / 'tokenizer'


def test_padding_is_never_eos(qwen_tokenizer, tmp_path):
    tokenizer = load_tokenizer(str(qwen_tokenizer))
    assert tokenizer.pad_token == '<|fim_pad|>'
    assert tokenizer.eos_token == '<|endoftext|>'
    ids = [tokenizer.pad_token_id, *tokenizer('pens')['input_ids'], tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == 'pens'
    architecture = architectures.random_architecture('tiny', 'qwen2.5', tokenizer)
    student = architectures.student_for(
        architecture, tokenizer, dropout_rate=0.1, compute_dtype=jnp.float32
    )
    assert tokenizer.decode(student.start_id) == '\n'
    assert (student.pad_id, student.eos_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    # What a folder names is overruled by the tokenizer, whose ids the data has.
    named = dataclasses.replace(architecture, pad_id=5, eos_id=6, start_id=7)
    assert student == architectures.student_for(
        named, tokenizer, dropout_rate=0.1, compute_dtype=jnp.float32
    )

    save_student(tmp_path / 'out', student.config, random_params(student.config), tokenizer)
    for again in (
        transformers.AutoTokenizer.from_pretrained(tmp_path / 'out'),
        load_tokenizer(str(tmp_path / 'out')),
    ):
        assert (again.pad_token, again.eos_token) == ('<|fim_pad|>', '<|endoftext|>')
        assert [again(text)['input_ids'] for text in TEXTS] == [
            tokenizer(text)['input_ids'] for text in TEXTS
        ]
    assert load_student(tmp_path / 'out')[0] == student.config


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(tmp_path):
    tokenizer = transformers.Qwen2Tokenizer().train_new_from_iterator(TEXTS, 290)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r'EOS is its pad token.*<\|fim_pad\|>'):
        load_tokenizer(str(tmp_path))


def test_the_tokenizer_of_the_data_survives_the_export(tmp_path):
    # transformers 5 takes Qwen's own class for model type qwen2, and that one loses the spaces.
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    architecture = architectures.random_architecture('tiny', 'qwen2.5', tokenizer)
    # There is no newline in it: an answer starts after EOS.
    assert architecture.start_id == tokenizer.eos_token_id
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(architecture))
    save_student(tmp_path / 'out', architecture, params, tokenizer)
    shutil.copytree(tmp_path / 'out', tmp_path / 'copy')
    for again in (
        transformers.AutoTokenizer.from_pretrained(tmp_path / 'copy'),
        load_tokenizer(str(tmp_path / 'copy')),
    ):
        for text in TEXTS:
            ids = again(text)['input_ids']
            assert ids == tokenizer(text)['input_ids']
            assert again.decode(ids, skip_special_tokens=True) == text


def shapes(architecture):
    return jax.eval_shape(Qwen2Student(architecture).init, jax.random.key(0))


def test_random_architectures_have_the_ids_of_the_tokenizer():
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    for version, sizes in architectures.SIZES.items():
        for size in sizes:
            architecture = architectures.random_architecture(size, version, tokenizer)
            assert architecture.vocab_size == len(tokenizer)
            assert (architecture.pad_id, architecture.eos_id) == (0, 1)
            assert architecture.start_id == (1 if version == 'qwen2.5' else 0)
            published = architectures.named(size, version)
            assert published.d_model == architecture.d_model


def test_a_t5_may_judge_a_qwen():
    # Its own ids would tell padding wrongly; the tokenizer's hold.
    tokenizer = train_tokenizer(TEXTS * 2, 200)
    t5 = T5Config(pad_id=7, eos_id=8, start_id=9)
    encoder = architectures.encoder_for(t5, tokenizer, dropout_rate=0.0, compute_dtype='float32')
    assert (encoder.pad_id, encoder.eos_id) == (0, 1)
    student = architectures.student_for(t5, tokenizer, dropout_rate=0.0, compute_dtype='float32')
    assert (student.pad_id, student.eos_id, student.start_id) == (0, 1, 9)
