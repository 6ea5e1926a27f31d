"""GGUF files as pretrained students: against transformers' own reading, and what is refused."""

import dataclasses
import sys
from typing import Any

import gguf as package
import numpy as np
import pytest

from qcrd_jax import sums
from qcrd_jax.data.tokenizer import load_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.models import gguf_files
from qcrd_jax.models.decoder.config import RopeScaling
from qcrd_jax.models.decoder.layers import rotary_frequencies
from qcrd_jax.models.families import family_of
from qcrd_jax.models.huggingface import load_architecture, load_encoder, load_student, save_student
from tests.support import folders, gguf_writing, parity
from tests.support.gguf_writing import IDS, config_of, write_model


def message_of(read, path) -> str:
    with pytest.raises(InputError) as raised:
        read(path)
    message = str(raised.value)
    assert '\n' not in message and str(path) in message
    return message


@pytest.fixture
def small(tmp_path):
    """A file whose every tensor is what it should be."""
    return write_model(tmp_path / 'small.gguf', config_of('llama', num_layers=1))


MODELS = {
    'llama, every type in turns': (config_of('llama'), gguf_writing.TYPES),
    'llama, untied, square, heads of another size': (
        config_of('llama', tied_head=False, num_kv_heads=4, d_kv=24, d_ff=64, num_layers=1),
        ('Q8_0', 'Q4_1'),
    ),
    'qwen2, every type in turns': (config_of('qwen2'), gguf_writing.TYPES[::-1]),
    # Those of published Qwen3s have 128 values; transformers reads no other size out of a file.
    'qwen3, untied, heads of another size': (
        config_of('qwen3', tied_head=False, d_kv=128, num_layers=1),
        ('Q5_0', 'BF16', 'Q4_0'),
    ),
}


@pytest.mark.parametrize('name', MODELS)
def test_agrees_with_what_transformers_reads(name, tmp_path):
    torch = pytest.importorskip('torch')
    import transformers

    from tests.support import decoder_reference as reference

    config, types = MODELS[name]
    path = write_model(tmp_path / 'model.gguf', config, types)
    read, params = load_student(path)
    assert read == dataclasses.replace(config, start_id=1, max_positions=2048)
    assert load_architecture(path) == read
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file='model.gguf', dtype=torch.float32
    ).eval()
    for tensor, ours in family_of(read).checkpoint.to_tensors(read, params).items():
        np.testing.assert_array_equal(theirs.state_dict()[tensor], ours, err_msg=tensor)
    theirs.generation_config.eos_token_id, theirs.generation_config.pad_token_id = 1, 3
    batch = reference.random_batch(2, vocab_size=96, rows=2)
    expected = reference.run(theirs, batch, gradients=False)
    ours = parity.run(dataclasses.replace(read, **IDS), params, batch, gradients=False)
    parity.assert_close(ours, expected, batch['mask'])

    architecture, body = load_encoder(path)
    assert architecture == read
    folders.assert_same(body, {'embedding': params['embedding'], 'body': params['body']})
    save_student(tmp_path / 'hf', read, params)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'hf')
    for tensor, value in theirs.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[tensor], value, err_msg=tensor)


def test_the_stored_rows_of_llama_are_put_in_order(tmp_path):
    # By hand: one head of four rows, which a file has as 0, 2, 1, 3 and we have as 0, 1, 2, 3.
    config = config_of('llama', num_heads=1, num_kv_heads=1, d_kv=4, num_layers=1)
    path = write_model(tmp_path / 'model.gguf', config)
    stored = gguf_files.read_file(path).tensors['blk.0.attn_k.weight'].values()
    _, params = load_student(path)
    tensor = family_of(config).checkpoint.to_tensors(config, params)
    in_order = tensor['model.layers.0.self_attn.k_proj.weight']
    np.testing.assert_array_equal(in_order, stored[[0, 2, 1, 3]])
    assert not np.array_equal(in_order, stored)


DEQUANTISED = [
    kind.name
    for kind in package.GGMLQuantizationType
    if kind.name in ('F32', 'F16') or kind in package.quants._type_traits
]


def test_every_type_that_the_package_dequantises_is_read_as_it_does(tmp_path):
    assert {'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'IQ4_NL', 'IQ2_XXS'} < set(DEQUANTISED)
    rng = np.random.default_rng(0)
    sizes = {
        kind: package.GGML_QUANT_SIZES[package.GGMLQuantizationType[kind]] for kind in DEQUANTISED
    }
    blocks = {
        kind: rng.integers(0, 256, (7, 1536 // block * size), np.uint8)
        for kind, (block, size) in sizes.items()
    }
    path = gguf_writing.write(tmp_path / 'all.gguf', 'llama', {}, blocks, DEQUANTISED)
    tensors = gguf_files.read_file(path).tensors
    assert [tensor.type_name for tensor in tensors.values()] == DEQUANTISED
    for kind, tensor in tensors.items():
        assert tensor.shape == (7, 1536)
        with np.errstate(all='ignore'):
            expected = package.dequantize(blocks[kind], package.GGMLQuantizationType[kind])
        values = tensor.values()
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected, err_msg=kind)


def test_a_large_tensor_is_dequantised_in_parts(tmp_path, monkeypatch):
    path = write_model(tmp_path / 'model.gguf', config_of('llama', num_layers=1), ('Q4_0',))
    whole = load_student(path)[1]
    monkeypatch.setattr(gguf_files, '_VALUES_AT_ONCE', 3 * 64)
    folders.assert_same(load_student(path)[1], whole)


@pytest.mark.parametrize('kind', ['Q8_K', 'I32', 'F64'])
def test_a_type_that_the_package_does_not_dequantise_is_refused_by_name(kind, tmp_path):
    block, size = package.GGML_QUANT_SIZES[package.GGMLQuantizationType[kind]]
    data = np.zeros((2, 512 // block * size), np.uint8)
    path = gguf_writing.write(
        tmp_path / 'a.gguf', 'llama', {}, {'blk.0.ffn_up.weight': data}, (kind,)
    )
    message = message_of(gguf_files.read_file, path)
    assert f'tensor blk.0.ffn_up.weight is of type {kind}, which' in message
    assert 'another quantisation' in message


# --- Rotary positions -----------------------------------------------------------------------------


def test_llama3_scaling_is_known_by_its_divisors(tmp_path):
    torch = pytest.importorskip('torch')
    import transformers

    from tests.support import decoder_reference as reference

    scaling = RopeScaling('llama3', 32.0)
    config = config_of('llama', rope_theta=500000.0, rope_scaling=scaling, num_layers=1)
    plain = rotary_frequencies(dataclasses.replace(config, rope_scaling=None))
    divisors = (plain / rotary_frequencies(config)).astype(np.float32)
    assert divisors.min() == 1 and divisors.max() == 32 and len(set(divisors)) > 2
    path = write_model(tmp_path / 'model.gguf', config, more={'rope_freqs.weight': divisors})
    read, params = load_student(path)
    assert read.rope_scaling == scaling
    # transformers reads no such tensor; with the scaling in its config it computes the same.
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file='model.gguf', dtype=torch.float32
    )
    rope = {'rope_type': 'llama3', 'rope_theta': 500000.0, 'factor': 32.0, 'low_freq_factor': 1.0}
    rope |= {'high_freq_factor': 4.0, 'original_max_position_embeddings': 8192}
    theirs.config.rope_parameters = rope
    scaled = transformers.LlamaForCausalLM(theirs.config).eval()
    scaled.load_state_dict(theirs.state_dict())
    scaled.generation_config.eos_token_id, scaled.generation_config.pad_token_id = 1, 3
    batch = reference.random_batch(2, vocab_size=96, rows=2)
    expected = reference.run(scaled, batch, gradients=False)
    ours = parity.run(dataclasses.replace(read, **IDS), params, batch, gradients=False)
    parity.assert_close(ours, expected, batch['mask'])

    none = {'rope_freqs.weight': np.ones(8, np.float32)}
    assert load_architecture(write_model(path, config, more=none)).rope_scaling is None
    for other in (divisors[:5], divisors**2, np.full(8, np.nan, np.float32)):
        write_model(path, config, more={'rope_freqs.weight': other.astype(np.float32)})
        assert 'rope_freqs.weight divides' in message_of(load_student, path)


def test_linear_scaling(tmp_path):
    path, config = tmp_path / 'model.gguf', config_of('qwen2', num_layers=1)

    def scaling(**fields):
        named = {f'qwen2.{key.replace("__", ".")}': value for key, value in fields.items()}
        return load_architecture(write_model(path, config, **named)).rope_scaling

    factor: dict[str, Any] = {'rope__scaling__factor': 4.0}
    linear = RopeScaling('linear', 4.0)
    assert scaling(rope__scaling__type='linear', **factor) == linear
    assert scaling(rope__scale_linear=4.0) == linear  # as old files have it
    assert scaling(rope__scaling__type='none', **factor) is None
    assert scaling() is None
    with pytest.raises(InputError, match=r'qwen2\.rope\.scaling\.type: expected none or linear'):
        scaling(rope__scaling__type='yarn', **factor)
    with pytest.raises(InputError, match=r'qwen2\.rope\.scaling\.factor: expected from 1e-06'):
        scaling(rope__scaling__type='linear', rope__scaling__factor=0.0)


# --- What the metadata may say --------------------------------------------------------------------


def test_fields_that_a_file_lacks(tmp_path):
    config = config_of('llama', num_kv_heads=4, num_layers=1)
    lacking = (
        'llama.attention.head_count_kv', 'llama.rope.freq_base', 'llama.vocab_size',
        'llama.rope.dimension_count', 'llama.context_length', *gguf_writing.IDS_IN_FILE,
    )  # fmt: skip
    read = load_architecture(write_model(tmp_path / 'a.gguf', config, **dict.fromkeys(lacking)))
    assert read == dataclasses.replace(
        config, rope_theta=10000.0, pad_id=94, eos_id=95, start_id=95
    )


REFUSED = {
    'another architecture': (
        {'general.architecture': 'gemma3'},
        r'general\.architecture: expected llama \| qwen2 \| qwen3, got',
    ),
    'experts': ({'llama.expert_count': 8}, r'llama\.expert_count: expected 0'),
    'a window': ({'llama.attention.sliding_window': 512}, r'sliding_window: expected none, or at'),
    'a part of each head': (
        {'llama.rope.dimension_count': 8, 'llama.attention.key_length': 16},
        r'rope\.dimension_count: expected 16',
    ),
    'no layers': ({'llama.block_count': None}, r'llama\.block_count: expected a whole number; got'),
    'too few heads': (
        {'llama.attention.head_count': 2},
        r'do not fit its metadata; 2 misshaped: blk\.0\.attn_q\.weight \(64, 64\) where \(32, 64\)',
    ),
    'heads that do not share': (
        {'llama.attention.head_count_kv': 3},
        r'llama\.attention\.head_count_kv: expected a divisor of the 4 heads, got 3',
    ),
    'a string for a number': (
        {'llama.embedding_length': 'wide'},
        r"llama\.embedding_length: expected int, got 'wide'",
    ),
    'a list for a number': ({'llama.feed_forward_length': [96, 96]}, r'expected int, got array'),
    'another vocabulary': (
        {'llama.vocab_size': 95},
        r'llama\.vocab_size: expected 96, the rows of token_embd\.weight; got 95',
    ),
    'more tokens than rows': (
        {'tokenizer.ggml.tokens': [f'a{at}' for at in range(97)]},
        r'tokenizer\.ggml\.tokens: has 97 tokens, and the embedding token_embd\.weight has 96 rows',
    ),
    'an id beyond the rows': (
        {'tokenizer.ggml.eos_token_id': 96},
        r'tokenizer\.ggml\.eos_token_id: expected an id below vocab_size = 96, got 96',
    ),
    'a part of several': ({'split.count': 3}, r'one of 3 parts .*gguf-split --merge'),
    'odd alignment': ({'general.alignment': 48}, r'general\.alignment: 48 is no power of two'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_not_read_is_refused_by_name(case, tmp_path):
    fields, expected = REFUSED[case]
    config = config_of('llama', num_layers=1)
    path = tmp_path / 'model.gguf'
    if 'general.architecture' in fields:
        gguf_writing.write(path, fields['general.architecture'], {}, {})
    else:
        write_model(path, config, **fields)
    for read in (load_student, load_architecture, load_encoder):
        with pytest.raises(InputError, match=expected):
            read(path)


def test_tensors_that_do_not_fit_are_named_as_the_file_names_them(tmp_path):
    path, config = tmp_path / 'model.gguf', config_of('qwen2', num_layers=1)
    write_model(path, config, drop=('blk.0.attn_q.bias', 'token_embd.weight'))
    assert 'lack token_embd.weight' in message_of(load_student, path)
    write_model(path, config, drop=('blk.0.attn_q.bias',))
    message = message_of(load_student, path)
    assert 'do not fit its metadata; 1 missing: blk.0.attn_q.bias. Check' in message
    write_model(path, config, more={'blk.0.attn_q.bias': np.zeros(63, np.float32)})
    message = message_of(load_student, path)
    assert '1 misshaped: blk.0.attn_q.bias (63,) where (64,) was expected' in message
    write_model(path, config, more={'blk.0.ffn_gate_exps.weight': np.zeros((2, 2), np.float32)})
    assert '1 not expected: blk.0.ffn_gate_exps.weight' in message_of(load_student, path)
    write_model(path, config, more={'output_norm.weight': np.full(64, np.inf, np.float32)})
    assert 'tensor output_norm.weight holds NaN or infinity' in message_of(load_student, path)


# --- Files that are not what they should be -------------------------------------------------------


def test_every_cut_of_a_file_is_refused(small):
    data = small.read_bytes()
    table = data.index(b'blk.0.')
    for size in [0, 2, 4, 7, 8, 12, 23, 24, *range(25, table + 900, 37), len(data) - 1]:
        small.write_bytes(data[:size])
        message_of(load_architecture, small)


def test_changed_bytes_of_a_header_end_in_a_named_error_or_not_at_all(small):
    data, rng = small.read_bytes(), np.random.default_rng(0)
    header, errors = data.index(b'blk.0.') + 900, 0
    for _ in range(300):
        changed = bytearray(data)
        changed[int(rng.integers(header))] = int(rng.integers(256))
        small.write_bytes(changed)
        try:
            load_architecture(small)
        except InputError:
            errors += 1
    assert errors > 150


def test_places_of_tensors_are_compared_with_the_file(small):
    data = small.read_bytes()
    name = b'blk.0.attn_q.weight'  # [64, 64] of F32
    entry = data.index(name) + len(name)
    axes, kind, begin = entry + 4, entry + 20, entry + 24

    def message(at: int, value: int, size: int) -> str:
        small.write_bytes(data[:at] + value.to_bytes(size, 'little') + data[at + size :])
        return message_of(load_architecture, small)

    assert 'share bytes' in message(begin, 0, 8)
    assert 'blk.0.attn_q.weight begins at byte 33' in message(begin, 33, 8)
    far = message(begin, 1 << 40, 8)
    assert 'is truncated: ' in far and 'too few for blk.0.attn_q.weight' in far
    assert 'is truncated: ' in message(axes + 8, 1 << 30, 8)
    assert 'is of shape (64, 0)' in message(axes, 0, 8)
    assert 'has 5 axes' in message(entry, 5, 4)
    assert 'rows of 64 values, and Q4_K is made of blocks of 256' in message(kind, 12, 4)
    assert 'is of type 999, which the package gguf does not know' in message(kind, 999, 4)
    twice = data.replace(b'blk.0.attn_k.weight', name, 1)
    small.write_bytes(twice)
    assert 'has tensor blk.0.attn_q.weight twice' in message_of(load_architecture, small)
    small.write_bytes(data.replace(b'llama.block_count', b'llama.rope.twicel', 1))
    assert 'llama.block_count: expected a whole number' in message_of(load_architecture, small)
    same = data.replace(b'llama.context_length', b'llama.rope.freq_base', 1)  # a name as long
    small.write_bytes(same)
    assert 'has the field llama.rope.freq_base twice' in message_of(load_architecture, small)


def test_other_files_and_versions(small, tmp_path):
    data = small.read_bytes()
    small.write_bytes(b'PK\x03\x04' + data[4:])
    assert 'expected a GGUF file, which begins with GGUF; got' in message_of(load_student, small)
    small.write_bytes(data[:4] + (1).to_bytes(4, 'little') + data[8:])
    assert 'is of GGUF version 1; expected 2 or 3' in message_of(load_student, small)
    small.write_bytes(data[:4] + (3).to_bytes(4, 'big') + data[8:])
    assert 'is a big-endian GGUF file' in message_of(load_student, small)
    small.write_bytes(data[:4] + (2).to_bytes(4, 'little') + data[8:])
    load_architecture(small)  # version 2 has the same form
    lost = tmp_path / 'lost.gguf'
    for read in (load_student, lambda path: load_tokenizer(str(path))):
        assert 'no such file' in message_of(read, lost)
    (tmp_path / 'folder.gguf').mkdir()
    assert 'config.json' in message_of(load_student, tmp_path / 'folder.gguf')


def test_a_folder_of_gguf_files_says_how_to_name_one(small):
    message = message_of(load_student, small.parent)
    assert (
        f'has no config.json, but small.gguf; name such a file itself to read it: {small}'
        in message
    )


def test_digests_beside_a_file_are_those_of_the_file(small):
    sums.write(small.parent)
    load_student(small)
    data = bytearray(small.read_bytes())
    data[-70] ^= 1
    small.write_bytes(data)
    for read in (load_student, load_architecture, load_encoder):
        assert "'small.gguf' was changed" in message_of(
            lambda _, read=read: read(small), small.parent
        )


def test_without_the_package_the_extra_is_named(small, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gguf', None)
    for read in (load_student, load_encoder, lambda path: load_tokenizer(str(path))):
        with pytest.raises(InputError, match=r"pip install 'qcrd_jax\[gguf\]'"):
            read(small)


def test_strings_of_metadata_are_data(tmp_path):
    config = config_of('llama', num_layers=1)
    fields = {
        'general.name': "__import__('os').system('touch hacked')",
        'general.source.url': '/etc/passwd',
        'tokenizer.chat_template': '{{ 1/0 }}',
    }
    assert load_architecture(write_model(tmp_path / 'a.gguf', config, **fields)).d_model == 64
