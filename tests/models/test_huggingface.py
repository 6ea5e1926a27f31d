"""Folders of every architecture: precisions, shards, and every way that one is wrong."""

import dataclasses
import functools
import json
import os
import pathlib
import resource
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import transformers

from qcrd_jax import files, sums
from qcrd_jax.data.tokenizer import load_tokenizer, train_tokenizer
from qcrd_jax.errors import InputError
from qcrd_jax.models.architectures import student_of
from qcrd_jax.models.huggingface import load_architecture, load_encoder, load_student, save_student
from tests.support import parity, small
from tests.support.folders import (
    assert_same,
    rewrite,
    set_config,
    shard,
    tensors_of,
    without_digests,
)

CONFIGS = {
    't5': small.t5(d_model=6),
    'llama': small.decoder('llama', d_model=6, num_layers=2, tied_head=True),
}
# A matrix, a norm of one layer, the final norm, and the embedding.
NAMES = {
    't5': (
        'encoder.block.1.layer.1.DenseReluDense.wo.weight',
        'encoder.block.0.layer.0.layer_norm.weight',
        'decoder.final_layer_norm.weight',
        'shared.weight',
    ),
    'llama': (
        'model.layers.1.mlp.down_proj.weight',
        'model.layers.0.input_layernorm.weight',
        'model.norm.weight',
        'model.embed_tokens.weight',
    ),
}

both = pytest.mark.parametrize('folder', CONFIGS, indirect=True)
either = pytest.mark.parametrize('folder', ['t5'], indirect=True)  # the files' format is the same


@functools.cache
def random_params(name):
    return parity.random_params(student_of(CONFIGS[name], jnp.float32))


@pytest.fixture
def folder(request, tmp_path):
    """A checkpoint of an architecture, whose name is the folder's."""
    folder = tmp_path / request.param
    save_student(folder, CONFIGS[folder.name], random_params(folder.name))
    return without_digests(folder)


def assert_loads(folder, expected=None):
    config, params = load_student(folder)
    assert config == load_architecture(folder) == CONFIGS[folder.name]
    assert_same(params, random_params(folder.name) if expected is None else expected)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}


@both
@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(folder, dtype):
    """Written by hand: a header, then the bytes."""
    header, data = {}, b''
    for name, value in tensors_of(folder).items():
        stored = value.astype(dtype)
        code = {'float16': 'F16', 'bfloat16': 'BF16', 'float64': 'F64'}[stored.dtype.name]
        offsets = [len(data), len(data) + stored.nbytes]
        header[name] = {'dtype': code, 'shape': list(value.shape), 'data_offsets': offsets}
        data += stored.tobytes()
    text = json.dumps(header).encode()
    (folder / 'model.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + data)
    rounded = jax.tree.map(
        lambda x: np.asarray(x).astype(dtype).astype(np.float32), random_params(folder.name)
    )
    assert_loads(folder, rounded)


@both
def test_shards(folder):
    weight_map = shard(folder, 3)
    assert_loads(folder)
    embedding = weight_map[NAMES[folder.name][3]]
    (folder / embedding).unlink()
    with pytest.raises(InputError, match=embedding):
        load_student(folder)


@either
def test_index_may_not_point_outside(folder):
    shard(folder, 2)
    index = {'weight_map': {'shared.weight': '../elsewhere.safetensors'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    with pytest.raises(InputError, match='elsewhere'):
        load_student(folder)


@both
def test_missing_extra_and_misshaped_tensors_are_named(folder):
    matrix, _, norm, _ = NAMES[folder.name]
    tensors = tensors_of(folder)
    del tensors[matrix]
    tensors['classifier.weight'] = np.zeros(3, np.float32)
    tensors[norm] = np.ones(7, np.float32)
    rewrite(folder, tensors)
    with pytest.raises(InputError) as error:
        load_student(folder)
    message = str(error.value)
    assert f'1 missing: {matrix}' in message
    assert '1 not expected: classifier.weight' in message
    assert f'{norm} (7,) where (6,) was expected' in message


@both
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_not_finite_tensors_are_named(folder, value):
    tensors = tensors_of(folder)
    name = NAMES[folder.name][1]
    tensors[name][2] = value
    rewrite(folder, tensors)
    with pytest.raises(InputError, match=f'{name} holds NaN'):
        load_student(folder)


@either
@pytest.mark.parametrize('keep', [0, 5, 100, -1, -200])
def test_truncated_files_are_named(folder, keep):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r'model\.safetensors'):
        load_student(folder)


def header_of(folder):
    """The header of the file, and the bytes that follow it."""
    content = (folder / 'model.safetensors').read_bytes()
    length = struct.unpack('<Q', content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@either
def test_truncated_tensors_are_named(folder):
    path = folder / 'model.safetensors'
    header, _ = header_of(folder)
    header.pop('__metadata__')
    last = max(header, key=lambda name: header[name]['data_offsets'][1])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f'truncated.*{last}'):
        load_student(folder)


@either
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'dtype': 'I8'}, 'dtype I8'),
        ({'shape': [2, 2]}, r'shape \[2, 2\]'),
        ({'shape': [-1, 66]}, 'expected a shape'),
        ({'data_offsets': [8, 8]}, 'takes 744 bytes, not'),
        ({'data_offsets': None}, 'expected dtype, shape and data_offsets'),
    ],
)
def test_wrong_headers_are_named(folder, change, message):
    header, data = header_of(folder)
    header['shared.weight'].update(change)
    text = json.dumps(header).encode()
    (folder / 'model.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + data)
    with pytest.raises(InputError, match=f'shared.weight.*{message}'):
        load_student(folder)


@both
def test_other_formats_say_how_to_convert(folder):
    (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')
    for load in (load_student, load_architecture, load_encoder):
        with pytest.raises(InputError, match=r'pytorch_model\.bin.*save_pretrained'):
            load(folder)


@pytest.mark.parametrize('name', ['./nowhere', '/no/such/folder', '', 'a/b/c'])
def test_no_such_folder_names_the_flags(name):
    for load in (load_student, load_architecture):
        with pytest.raises(InputError, match=r"--config\.student\.pretrained=''"):
            load(name)
    with pytest.raises(InputError, match=r'--config\.discriminator\.pretrained=<folder>'):
        load_encoder(name)


def test_no_network_names_the_flags(monkeypatch):
    def offline(*args, **kwargs):
        raise FileNotFoundError('ConnectError: Name or service not known\nmore')

    monkeypatch.setattr('huggingface_hub.snapshot_download', offline)
    with pytest.raises(
        InputError, match=r"t5-base.*ConnectError.*--config\.student\.pretrained=''"
    ):
        load_student('t5-base')


def test_a_repository_without_safetensors_is_converted_by_its_id(monkeypatch, tmp_path):
    monkeypatch.setattr('huggingface_hub.snapshot_download', lambda *_, **__: str(tmp_path))
    (tmp_path / 'config.json').write_text('{"model_type": "t5"}')
    with pytest.raises(InputError) as caught:
        load_student('google/mt5-small')
    said = str(caught.value)
    assert "from_pretrained('google/mt5-small').save_pretrained('<folder>')" in said
    assert '--config.student.pretrained=<folder>' in said
    assert str(tmp_path) not in said


@both
def test_saving_over_a_folder_keeps_other_files(folder):
    (folder / 'notes.txt').write_text('mine')
    params = jax.tree.map(lambda x: x + 1, random_params(folder.name))
    save_student(folder, CONFIGS[folder.name], params)
    assert_loads(folder, params)
    assert (folder / 'notes.txt').read_text() == 'mine'
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing left over


def test_config_that_is_not_there_or_not_json(tmp_path):
    with pytest.raises(InputError, match=r'config\.json: cannot be read'):
        load_student(tmp_path)
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(InputError, match=r'config\.json: not valid JSON'):
        load_student(tmp_path)


@either
@pytest.mark.parametrize('model_type', ['qwen2_moe', 'gemma', 'umt5', None, 7])
def test_unknown_model_types_name_the_known_ones(folder, model_type):
    set_config(folder, model_type=model_type)
    known = r't5 \| mt5 \| qwen2 \| qwen3 \| llama \| mistral'
    with pytest.raises(InputError, match=rf'config\.json: model_type: expected {known}, got '):
        load_student(folder)


@both
def test_the_architecture_comes_without_its_parameters(folder, monkeypatch):
    monkeypatch.setattr('qcrd_jax.models.huggingface.assemble', None)
    assert load_architecture(folder) == CONFIGS[folder.name]


@both
def test_the_head_in_the_file_says_whether_it_is_tied(folder):
    tensors = tensors_of(folder)
    embedding = tensors[NAMES[folder.name][3]]
    rewrite(folder, tensors | {'lm_head.weight': embedding.copy()})
    assert_loads(folder)
    rewrite(folder, tensors | {'lm_head.weight': embedding + 1})
    config, params = load_student(folder)
    assert not config.tied_head and config == load_architecture(folder)
    np.testing.assert_array_equal(params['head'], embedding + 1)


def exported(folder, tokenizer=None, seed=0):
    """Exports into a folder; what is written differs by seed."""
    params = jax.tree.map(lambda x: x + seed, random_params(folder.name))
    save_student(folder, CONFIGS[folder.name], params, tokenizer)
    return folder


def test_further_special_tokens_have_the_name_that_every_transformers_reads(tmp_path):
    tokenizer = train_tokenizer(['1 2 3'], required=())
    tokenizer.add_special_tokens({'extra_special_tokens': ['<|im_start|>', '<|im_end|>']})
    folder = exported(tmp_path / 't5', tokenizer)
    config = files.read_json(folder / 'tokenizer_config.json')
    assert config['additional_special_tokens'] == ['<|im_start|>', '<|im_end|>']
    assert 'extra_special_tokens' not in config  # 4.56 takes it for a dict and fails
    again = transformers.AutoTokenizer.from_pretrained(folder)
    for token in ('<|im_start|>', '<|im_end|>'):
        assert token in again.all_special_tokens
        assert again(f'1 {token} 2').input_ids == tokenizer(f'1 {token} 2').input_ids


READERS = {
    'config.json': (load_student, load_architecture, load_encoder),
    'generation_config.json': (load_student, load_architecture, load_encoder),
    'model.safetensors': (load_student, load_architecture, load_encoder),
    'tokenizer.json': (lambda folder: load_tokenizer(str(folder)),),
    'tokenizer_config.json': (lambda folder: load_tokenizer(str(folder)),),
}


@either
def test_an_export_with_a_flip_in_any_file_is_refused(folder, tmp_path):
    tokenizer = train_tokenizer(['1 2 3'], required=())
    ours = exported(tmp_path / 'ours' / 't5', tokenizer)
    assert {path.name for path in ours.iterdir()} == {*READERS, sums.NAME}
    assert sums.faults(ours) == []
    assert {oct(path.stat().st_mode & 0o777) for path in ours.iterdir()} == {
        oct((folder / 'config.json').stat().st_mode & 0o777)
    }
    for name, readers in READERS.items():
        whole = (ours / name).read_bytes()
        for place in range(-9, len(whole), max(1, len(whole) // 7)):
            changed = bytearray(whole)
            changed[place] ^= 1
            (ours / name).write_bytes(changed)
            for read in readers:
                with pytest.raises(InputError) as caught:
                    read(ours)
                assert str(caught.value).startswith(str(ours))
        (ours / name).unlink()
        for read in readers:
            with pytest.raises(InputError):
                read(ours)
        (ours / name).write_bytes(whole)
        for read in readers:
            read(ours)
    # A change by hand: the line says how to keep it.
    set_config(ours, dropout_rate=0.25)
    with pytest.raises(
        InputError, match=r"t5: 'config\.json' was changed.* delete .*SHA256SUMS to"
    ):
        load_student(ours)
    without_digests(ours)
    assert load_student(ours)[0] == dataclasses.replace(CONFIGS['t5'], dropout_rate=0.25)


@either
@pytest.mark.parametrize('digests', ['with digests', 'without'])
@pytest.mark.parametrize('replaced', range(5))
def test_an_export_that_was_killed_is_whole_or_refused(
    folder, tmp_path, monkeypatch, replaced, digests
):
    """Killed at each replacement of a file, over an older export or a folder from elsewhere."""
    tokenizer = train_tokenizer(['1 2 3'], required=())
    ours = exported(tmp_path / 'ours' / 't5', tokenizer)
    if digests == 'without':
        without_digests(ours)
    old = load_student(ours)
    rename, count = os.replace, []

    def killed(source, target):
        count.append(target)
        if len(count) > replaced:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        # Files of a temporary folder are written whole too: only replacements in ours count.
        patch.setattr(
            os, 'replace', lambda a, b: (killed if pathlib.Path(b).parent == ours else rename)(a, b)
        )
        with pytest.raises(KeyboardInterrupt):
            exported(ours, train_tokenizer(['4 5 6 7'], required=()), seed=1)
    if replaced == 0:
        assert_same(load_student(ours)[1], old[1])
    else:
        with pytest.raises(InputError, match='SHA256SUMS'):
            load_student(ours)
            load_tokenizer(str(ours))
    exported(ours, tokenizer, seed=1)
    assert_same(load_student(ours)[1], jax.tree.map(lambda x: x + 1, random_params('t5')))
    assert [path.name for path in ours.parent.iterdir()] == ['t5']


@either
def test_a_disk_that_takes_no_more_is_an_error_that_names_the_folder(folder, tmp_path):
    other = tmp_path / 'other'
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # config.json fits, the weights do not
    try:
        with pytest.raises(OSError, match=f'{other}: cannot be written'):
            save_student(other, CONFIGS['t5'], random_params('t5'))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ['t5']
