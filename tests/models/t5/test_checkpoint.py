"""Reading and writing Hugging Face T5 folders: every flavour, and every way a folder is wrong."""

import dataclasses
import functools
import json
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from qcrd_jax.errors import InputError
from qcrd_jax.models import T5Config, T5Student
from qcrd_jax.models.huggingface import load_encoder, load_student, read_config, save_student
from tests.support import parity

CONFIG = T5Config(
    vocab_size=11,
    d_model=6,
    d_kv=4,
    d_ff=10,
    num_heads=3,
    encoder_layers=2,
    decoder_layers=1,
    relative_buckets=8,
    relative_max_distance=20,
)
STRAY = 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'


@functools.cache
def random_params(config):
    return parity.random_params(T5Student(config))


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of CONFIG."""
    save_student(tmp_path / 't5', CONFIG, random_params(CONFIG))
    return tmp_path / 't5'


def tensors_of(folder):
    return safetensors.numpy.load_file(folder / 'model.safetensors')


def rewrite(folder, tensors):
    safetensors.numpy.save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


def set_config(folder, **fields):
    raw = json.loads((folder / 'config.json').read_text())
    raw.update(fields)
    (folder / 'config.json').write_text(
        json.dumps({k: v for k, v in raw.items() if v is not ...})  # ... removes a field
    )


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


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
    _, params = load_student(folder)
    rounded = jax.tree.map(
        lambda x: np.asarray(x).astype(dtype).astype(np.float32), random_params(CONFIG)
    )
    assert_same(params, rounded)


def shard(folder):
    tensors = tensors_of(folder)
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f'model-0000{i + 1}-of-00002.safetensors'
        safetensors.numpy.save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / 'model.safetensors').unlink()
    index = {'metadata': {}, 'weight_map': weight_map}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    return weight_map


def test_shards(folder):
    weight_map = shard(folder)
    config, params = load_student(folder)
    assert config == CONFIG
    assert_same(params, random_params(CONFIG))
    (folder / weight_map['shared.weight']).unlink()
    with pytest.raises(InputError, match=weight_map['shared.weight']):
        load_student(folder)


def test_index_may_not_point_outside(folder):
    shard(folder)
    index = {'weight_map': {'shared.weight': '../elsewhere.safetensors'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    with pytest.raises(InputError, match='elsewhere'):
        load_student(folder)


def test_missing_extra_and_misshaped_tensors_are_named(folder):
    tensors = tensors_of(folder)
    del tensors['encoder.block.1.layer.1.DenseReluDense.wo.weight']
    tensors['classifier.weight'] = np.zeros(3, np.float32)
    tensors['decoder.final_layer_norm.weight'] = np.ones(7, np.float32)
    rewrite(folder, tensors)
    with pytest.raises(InputError) as error:
        load_student(folder)
    message = str(error.value)
    assert '1 missing: encoder.block.1.layer.1.DenseReluDense.wo.weight' in message
    assert '1 not expected: classifier.weight' in message
    assert 'decoder.final_layer_norm.weight (7,) where (6,) was expected' in message


def test_not_finite_tensors_are_named(folder):
    tensors = tensors_of(folder)
    tensors['encoder.block.0.layer.0.layer_norm.weight'][2] = np.nan
    rewrite(folder, tensors)
    with pytest.raises(InputError, match=r'encoder\.block\.0\.layer\.0\.layer_norm\.weight holds'):
        load_student(folder)


@pytest.mark.parametrize('keep', [0, 5, 100, -1, -200])
def test_truncated_files_are_named(folder, keep):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r'model\.safetensors'):
        load_student(folder)


def test_truncated_tensors_are_named(folder):
    path = folder / 'model.safetensors'
    content = path.read_bytes()
    length = struct.unpack('<Q', content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header.pop('__metadata__')
    last = max(header, key=lambda name: header[name]['data_offsets'][1])
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f'truncated.*{last}'):
        load_student(folder)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'dtype': 'I8'}, 'dtype I8'),
        ({'shape': [2, 2]}, r'shape \[2, 2\]'),
        ({'shape': [-1, 66]}, 'expected a shape'),
        ({'data_offsets': [8, 8]}, 'does not take'),
        ({'data_offsets': None}, 'expected dtype, shape and data_offsets'),
    ],
)
def test_wrong_headers_are_named(folder, change, message):
    path = folder / 'model.safetensors'
    content = path.read_bytes()
    length = struct.unpack('<Q', content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header['shared.weight'].update(change)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + content[8 + length :])
    with pytest.raises(InputError, match=f'shared.weight.*{message}'):
        load_student(folder)


def test_encoder_of_a_whole_t5_and_alone(folder):
    expected = {name: random_params(CONFIG)[name] for name in ('embedding', 'encoder')}
    assert_same(load_encoder(folder)[1], expected)
    tensors = {k: v for k, v in tensors_of(folder).items() if not k.startswith('decoder.')}
    rewrite(folder, tensors)
    assert_same(load_encoder(folder)[1], expected)
    with pytest.raises(InputError, match='missing: decoder'):
        load_student(folder)


def test_other_formats_say_how_to_convert(folder):
    (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')
    with pytest.raises(InputError, match=r'pytorch_model\.bin.*save_pretrained'):
        load_student(folder)


@pytest.mark.parametrize('name', ['./nowhere', '/no/such/folder', '', 'a/b/c'])
def test_no_such_folder_names_the_flags(name):
    with pytest.raises(InputError, match=r"--config\.student\.pretrained=''"):
        load_student(name)
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


def test_saving_over_a_folder_keeps_other_files(folder):
    (folder / 'notes.txt').write_text('mine')
    params = jax.tree.map(lambda x: x + 1, random_params(CONFIG))
    save_student(folder, CONFIG, params)
    assert_same(load_student(folder)[1], params)
    assert (folder / 'notes.txt').read_text() == 'mine'
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing left over


def config_of(tmp_path, **raw):
    (tmp_path / 'config.json').write_text(json.dumps(raw))
    return read_config(tmp_path / 'config.json')


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
    names = {'feed_forward_proj': 'activation'}
    with pytest.raises(InputError, match=f'config.json.*{names.get(field, field)}'):
        config_of(tmp_path, **{field: value})


def test_config_that_is_not_there_or_not_json(tmp_path):
    with pytest.raises(InputError, match=r'config\.json: cannot be read'):
        load_student(tmp_path)
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(InputError, match=r'config\.json: not valid JSON'):
        load_student(tmp_path)


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
    parity.assert_close(parity.run(config, params, batch, gradients=False), theirs, batch['mask'])

    save_student(tmp_path / 'ours', config, params)
    again, info = transformers.T5ForConditionalGeneration.from_pretrained(
        tmp_path / 'ours', output_loading_info=True
    )
    assert not any(info.values()), info
    back = t5_reference.run(again.eval(), batch, gradients=False)
    for name in ('states', 'logits', 'greedy'):
        np.testing.assert_array_equal(back[name], theirs[name])
