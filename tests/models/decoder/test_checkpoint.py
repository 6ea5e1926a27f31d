"""Decoder-only folders in and out: every family's config.json, and what is refused of it."""

import dataclasses
import json

import numpy as np
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.models import DecoderStudent, RopeScaling, architectures
from qcrd_jax.models.huggingface import load_encoder, load_student, save_student
from tests.support import parity, small
from tests.support.folders import (
    assert_same,
    config_of,
    rewrite,
    set_config,
    tensors_of,
    without_digests,
)

CONFIG = small.decoder('qwen2', vocab_size=11, d_model=6, num_layers=2, tied_head=True)
FAMILIES = ('qwen2', 'qwen3', 'llama', 'mistral')
LLAMA3 = {
    'rope_type': 'llama3',
    'factor': 32.0,
    'low_freq_factor': 1.0,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192,
}
# config.json of Qwen/Qwen2.5-0.5B, as published.
QWEN2 = {
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


# As published: of Qwen/Qwen3-0.6B and of meta-llama/Llama-3.2-1B-Instruct.
QWEN3 = {
    'architectures': ['Qwen3ForCausalLM'],
    'attention_bias': False,
    'attention_dropout': 0.0,
    'bos_token_id': 151643,
    'eos_token_id': 151645,
    'head_dim': 128,
    'hidden_act': 'silu',
    'hidden_size': 1024,
    'initializer_range': 0.02,
    'intermediate_size': 3072,
    'max_position_embeddings': 40960,
    'max_window_layers': 28,
    'model_type': 'qwen3',
    'num_attention_heads': 16,
    'num_hidden_layers': 28,
    'num_key_value_heads': 8,
    'rms_norm_eps': 1e-06,
    'rope_scaling': None,
    'rope_theta': 1000000,
    'sliding_window': None,
    'tie_word_embeddings': True,
    'torch_dtype': 'bfloat16',
    'transformers_version': '4.51.0',
    'use_cache': True,
    'use_sliding_window': False,
    'vocab_size': 151936,
}
LLAMA = {
    'architectures': ['LlamaForCausalLM'],
    'attention_bias': False,
    'attention_dropout': 0.0,
    'bos_token_id': 128000,
    'eos_token_id': [128001, 128008, 128009],
    'head_dim': 64,
    'hidden_act': 'silu',
    'hidden_size': 2048,
    'initializer_range': 0.02,
    'intermediate_size': 8192,
    'max_position_embeddings': 131072,
    'mlp_bias': False,
    'model_type': 'llama',
    'num_attention_heads': 32,
    'num_hidden_layers': 16,
    'num_key_value_heads': 8,
    'pretraining_tp': 1,
    'rms_norm_eps': 1e-05,
    'rope_scaling': LLAMA3,
    'rope_theta': 500000.0,
    'tie_word_embeddings': True,
    'torch_dtype': 'bfloat16',
    'transformers_version': '4.45.0.dev0',
    'use_cache': True,
    'vocab_size': 128256,
}
MISTRAL = {
    'eos_token_id': 2,
    'model_type': 'mistral',
    'num_key_value_heads': 8,
    'max_position_embeddings': 32768,
    'rms_norm_eps': 1e-05,
    'rope_theta': 1000000.0,
    'sliding_window': None,
    'vocab_size': 32768,
}


def random_params(config):
    return parity.random_params(DecoderStudent(config))


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of CONFIG."""
    save_student(tmp_path / 'qwen', CONFIG, random_params(CONFIG))
    return without_digests(tmp_path / 'qwen')


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize(
    'scaling', [None, RopeScaling('linear', 2.0), RopeScaling('llama3', 4.0, 2.0, 3.0, 50)]
)
def test_what_is_saved_is_read_back_exactly(tmp_path, family, tied, scaling):
    config = small.decoder(
        family,
        num_layers=2,
        tied_head=tied,
        rope_theta=77.0,
        rope_scaling=scaling,
        norm_epsilon=1e-5,
        dropout_rate=0.05,
        max_positions=9999,  # longer than Mistral's window where none is named
        pad_id=7,
        eos_id=3,
        start_id=9,
    )
    params = random_params(config)
    save_student(tmp_path / 'out', config, params)
    read, back = load_student(tmp_path / 'out')
    assert read == config
    assert_same(back, params)


def test_all_ids_that_end_a_text_are_kept(tmp_path):
    # The tokenizer of a run has another EOS than the file's first one, as Llama 3's Instruct have.
    config = dataclasses.replace(CONFIG, eos_id=5, stop_ids=(3, 4, 5))
    save_student(tmp_path, config, random_params(config))
    for name in ('config.json', 'generation_config.json'):
        assert json.loads((tmp_path / name).read_text())['eos_token_id'] == [5, 3, 4]
    assert load_student(tmp_path)[0] == config
    set_config(without_digests(tmp_path), eos_token_id=[5])
    assert load_student(tmp_path)[0] == dataclasses.replace(config, stop_ids=())


def test_the_head_may_be_all_there_is_of_the_embedding(folder):
    tensors = tensors_of(folder)
    tensors['lm_head.weight'] = tensors.pop('model.embed_tokens.weight')
    rewrite(folder, tensors)
    assert_same(load_student(folder)[1], random_params(CONFIG))


def test_an_untied_head_must_be_there(folder):
    set_config(folder, tie_word_embeddings=False)
    with pytest.raises(InputError, match=r'1 missing: lm_head\.weight'):
        load_student(folder)
    load_encoder(folder)  # a discriminator has no use for it


def test_biases_must_be_there_and_nowhere_else(folder):
    tensors = tensors_of(folder)
    name = 'model.layers.1.self_attn.k_proj.bias'
    bias = tensors.pop(name)
    rewrite(folder, tensors)
    with pytest.raises(InputError, match=f'1 missing: {name}'):
        load_student(folder)
    rewrite(folder, {**tensors, name: bias, 'model.layers.1.self_attn.o_proj.bias': bias})
    with pytest.raises(InputError, match=r'1 not expected: .*o_proj\.bias'):
        load_student(folder)
    set_config(folder, model_type='llama')
    with pytest.raises(InputError, match=r'7 not expected: .*bias'):
        load_student(folder)


def test_frequencies_that_old_files_carry_are_left_out(folder):
    frequencies = {'model.layers.0.self_attn.rotary_emb.inv_freq': np.ones(2, np.float32)}
    rewrite(folder, tensors_of(folder) | frequencies)
    assert_same(load_student(folder)[1], random_params(CONFIG))


def test_published_configs(tmp_path):
    def published(size, version, **ids):
        return dataclasses.replace(architectures.named(size, version), **ids)

    # They name no token to pad with: it is the last row, which no text of theirs has.
    ids = {'pad_id': 151935, 'eos_id': 151643, 'start_id': 151643}
    assert config_of(tmp_path, **QWEN2) == published('0.5b', 'qwen2.5', **ids)
    instruct = config_of(tmp_path, **QWEN2 | {'eos_token_id': [151645, 151643]})
    assert (instruct.eos_id, instruct.pad_id) == (151645, 151935)
    padded = config_of(tmp_path, **QWEN2 | {'pad_token_id': 151662})
    assert padded.pad_id == 151662

    ids = {'pad_id': 151935, 'eos_id': 151645, 'start_id': 151645}
    assert config_of(tmp_path, **QWEN3) == published('0.6b', 'qwen3', **ids)

    ids = {'pad_id': 128255, 'start_id': 128001, 'stop_ids': (128001, 128008, 128009)}
    assert config_of(tmp_path, **LLAMA) == published('1b', 'llama3', **ids)

    ids = {'pad_id': 32767, 'start_id': 2}
    assert config_of(tmp_path, **MISTRAL) == published('7b', 'mistral', **ids)


def test_padding_is_never_eos(tmp_path):
    # Some name -1; and where EOS is the last row, the one before it.
    assert config_of(tmp_path, **QWEN2 | {'pad_token_id': -1}).pad_id == 151935
    last = config_of(tmp_path, **QWEN2 | {'eos_token_id': 151935, 'pad_token_id': 151935})
    assert (last.pad_id, last.eos_id) == (151934, 151935)


def test_positions_as_transformers_4_and_5_write_them(tmp_path):
    llama = {**LLAMA, 'rope_theta': ..., 'rope_scaling': ...}
    expected = config_of(tmp_path, **LLAMA)
    assert expected.rope_scaling == RopeScaling('llama3', 32.0, 1.0, 4.0, 8192)
    five = {'rope_parameters': {**LLAMA3, 'rope_theta': 500000.0}}
    assert config_of(tmp_path, **llama | five) == expected
    # Where a file has both, transformers reads that of transformers 4.
    both = {'rope_theta': 500000.0, 'rope_scaling': LLAMA3, 'rope_parameters': {'rope_theta': 7.0}}
    assert config_of(tmp_path, **llama | both) == expected
    old = {'rope_theta': 500000, 'rope_scaling': {'type': 'linear', 'factor': 2}}
    assert config_of(tmp_path, **llama | old).rope_scaling == RopeScaling('linear', 2.0)
    plain = {'rope_parameters': {'rope_type': 'default', 'rope_theta': 77.0}}
    config = config_of(tmp_path, **llama | plain)
    assert (config.rope_scaling, config.rope_theta) == (None, 77.0)
    # The length that was trained first, where the file does not say it.
    short = {name: x for name, x in LLAMA3.items() if not name.startswith('original')}
    config = config_of(tmp_path, **LLAMA | {'rope_scaling': short})
    assert config.rope_scaling.original_positions == 131072


@pytest.mark.parametrize('family', FAMILIES)
def test_what_transformers_takes_for_missing(tmp_path, family):
    transformers = pytest.importorskip('transformers')
    given = {'model_type': family, 'eos_token_id': 1}
    given |= {'sliding_window': None} if family == 'mistral' else {}
    nulls = {} if family == 'mistral' else {'num_key_value_heads': None}  # there it is an error
    for fields in ({}, nulls):
        ours = config_of(tmp_path, **given, **fields)
        theirs = transformers.AutoConfig.for_model(**given, **fields)
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
        # Qwen2's has no such field, and takes this for it.
        size = getattr(theirs, 'head_dim', theirs.hidden_size // theirs.num_attention_heads)
        assert ours.d_kv == size
    if family in ('llama', 'mistral'):
        default = config_of(tmp_path, **given | {'eos_token_id': ...})
        assert default.eos_id == transformers.AutoConfig.for_model(family).eos_token_id == 2


YARN = {'type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 32768}


@pytest.mark.parametrize(
    ('published', 'fields', 'message'),
    [
        (QWEN2, {'rope_scaling': YARN}, 'rope_scaling: expected rope_type default, linear or'),
        (QWEN3, {'rope_parameters': YARN}, 'rope_parameters: expected rope_type default'),
        (LLAMA, {'rope_scaling': {'rope_type': 'dynamic', 'factor': 2.0}}, 'rope_scaling: .*dynam'),
        (LLAMA, {'rope_scaling': {'rope_type': 'longrope', 'factor': 2.0}}, 'rope_scaling: .*long'),
        (LLAMA, {'rope_scaling': {'rope_type': 'linear'}}, 'rope_scaling: expected a number fac'),
        (LLAMA, {'rope_scaling': {'rope_type': 'linear', 'factor': 'x'}}, 'factor: expected float'),
        (LLAMA, {'rope_scaling': LLAMA3 | {'factor': -1}}, r'rope_scaling\.factor'),
        (LLAMA, {'rope_scaling': LLAMA3 | {'low_freq_factor': None}}, 'a number low_freq_factor'),
        (LLAMA, {'rope_scaling': LLAMA3 | {'high_freq_factor': 1.0}}, r'scaling\.high_freq_factor'),
        (LLAMA, {'rope_scaling': LLAMA3 | {'partial_rotary_factor': 0.5}}, 'partial_rotary_factor'),
        (LLAMA, {'partial_rotary_factor': 0.5}, 'partial_rotary_factor: expected 1'),
        (
            QWEN2,
            {'rope_parameters': {'full_attention': {'rope_type': 'default', 'rope_theta': 5.0}}},
            'rope_parameters: expected one set of rotary positions for all layers',
        ),
        (
            QWEN2,
            {'use_sliding_window': True, 'sliding_window': 32767, 'max_window_layers': 12},
            'use_sliding_window',
        ),
        (
            QWEN3,
            {'use_sliding_window': True, 'sliding_window': 64, 'max_window_layers': 0},
            'use_sliding_window',
        ),
        (QWEN2, {'layer_types': ['full_attention', 'sliding_attention']}, 'layer_types'),
        (LLAMA, {'layer_types': ['sliding_attention'] * 16}, 'layer_types'),
        (MISTRAL, {'sliding_window': 4096}, 'sliding_window: expected null, or at least'),
        (MISTRAL, {'sliding_window': ...}, 'sliding_window: .* means 4096; got no such field'),
        (QWEN2, {'is_causal': False}, 'is_causal: expected true'),
        (LLAMA, {'is_causal': None}, 'is_causal: expected true'),
        (QWEN2, {'hidden_act': 'gelu'}, 'hidden_act: expected "silu"'),
        (QWEN3, {'attention_bias': True}, 'attention_bias: expected null or false'),
        (LLAMA, {'attention_bias': True}, 'attention_bias: expected null or false'),
        (LLAMA, {'mlp_bias': True}, 'mlp_bias: expected null or false'),
        (QWEN3, {'num_experts': 128}, 'num_experts'),
        (MISTRAL, {'num_local_experts': 8}, 'num_local_experts'),
        (LLAMA, {'quantization_config': {'quant_method': 'gptq'}}, 'quantization_config'),
        (QWEN2, {'eos_token_id': ...}, 'eos_token_id: expected the id of a token'),
        (LLAMA, {'eos_token_id': None}, 'eos_token_id: expected the id of a token'),
        (LLAMA, {'eos_token_id': []}, 'eos_token_id: expected the id of a token'),
        (LLAMA, {'eos_token_id': [1, '2']}, 'eos_token_id: expected an id, or a list of ids'),
        (QWEN2, {'num_key_value_heads': 3}, 'num_key_value_heads: expected a div'),
        (QWEN2, {'hidden_size': '896'}, 'hidden_size'),
        (QWEN2, {'rope_theta': 'large'}, 'rope_theta'),
        (QWEN2, {'model_type': 'qwen2_moe'}, r'model_type: expected t5 \| mt5 \| qwen2'),
    ],
)
def test_what_is_wrong_or_not_computed_is_refused(tmp_path, published, fields, message):
    with pytest.raises(InputError, match=f'config.json: .*{message}') as error:
        config_of(tmp_path, **published | fields)
    assert str(error.value).count('config.json') == 1  # and it is said once


@pytest.mark.parametrize(
    ('published', 'fields'),
    [
        # They would begin at the 25th layer of 24.
        (QWEN2, {'use_sliding_window': True, 'sliding_window': 64, 'max_window_layers': 24}),
        (QWEN3, {'use_sliding_window': True, 'sliding_window': None, 'max_window_layers': 0}),
        # No shorter than the longest sequence, like Mistral's below.
        (QWEN2, {'use_sliding_window': True, 'sliding_window': 32768, 'max_window_layers': 0}),
        (QWEN2, {'layer_types': ['full_attention'] * 24}),
        (MISTRAL, {'sliding_window': 32768}),
        (LLAMA, {'pretraining_tp': 4}),  # a way to add up the same products
        (LLAMA, {'attention_bias': None, 'mlp_bias': None, 'quantization_config': None}),
        (LLAMA, {'is_causal': True}),
    ],
)
def test_what_changes_nothing_is_read(tmp_path, published, fields):
    plain = config_of(tmp_path, **published)
    assert config_of(tmp_path, **published | fields) == plain
