"""T5 checkpoints in Hugging Face's format: v1.0, v1.1, Flan, mT5, and only their encoders.

`huggingface` reads and writes folders through the functions here that have no underscore.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from qcrd_jax.errors import InputError
from qcrd_jax.models.config_fields import Fields
from qcrd_jax.models.foreign_files import read_json_object
from qcrd_jax.models.protocol import Params
from qcrd_jax.models.safetensors_files import read_checkpoint
from qcrd_jax.models.stored_tensors import StoredTensor, same_values
from qcrd_jax.models.t5.config import T5Config
from qcrd_jax.models.tensor_places import Opened, Place, require_memory, take_apart

_EMBEDDINGS = ('shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight')
_HEAD = 'lm_head.weight'
# What a config.json calls the fields of ours that have other names there.
_FIELDS = {
    'encoder_layers': 'num_layers',
    'decoder_layers': 'num_decoder_layers',
    'activation': 'feed_forward_proj',
    'relative_buckets': 'relative_attention_num_buckets',
    'relative_max_distance': 'relative_attention_max_distance',
    'norm_epsilon': 'layer_norm_epsilon',
    'pad_id': 'pad_token_id',
    'eos_id': 'eos_token_id',
    'start_id': 'decoder_start_token_id',
}
# What the projections of an attention are called here, and whose columns stand side by side.
_PROJECTIONS = {
    'attention': {'query_key_value': 'qkv'},
    'cross': {'query': 'q', 'key_value': 'kv'},
}
# Early releases carry it; the models do not read it, for cross-attention has no position bias.
_STRAY = 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight'


def open_student(folder: pathlib.Path) -> Opened:
    """Maps an encoder-decoder; the parameters are those of `T5Student`."""
    config = read_config(folder / 'config.json')
    require_memory(folder / 'config.json', _places(config))
    tensors = read_checkpoint(folder)
    tensors.pop(_STRAY, None)
    embedding = _pop_embedding(folder, config, tensors)
    head = tensors.pop(_HEAD, embedding)
    # What is in the file decides, not `tie_word_embeddings`: it is false in checkpoints that
    # share the matrix and, once transformers 5 saved them, true in checkpoints that do not.
    tied = head is embedding or same_values(head, embedding, (config.vocab_size, config.d_model))
    config = dataclasses.replace(config, tied_head=tied)
    tensors['shared.weight'] = embedding
    if not tied:
        tensors[_HEAD] = head
    return Opened(config, _places(config), tensors)


def open_encoder(folder: pathlib.Path) -> Opened:
    """Maps an encoder, of a whole T5 or by itself; the parameters are those of `T5Encoder`."""
    config = read_config(folder / 'config.json')
    places = _places(dataclasses.replace(config, tied_head=True), stacks=('encoder',))
    require_memory(folder / 'config.json', places)
    tensors = {
        name: tensor
        for name, tensor in read_checkpoint(folder).items()
        if not name.startswith(('decoder.block.', 'decoder.final_layer_norm.'))
    }
    embedding = _pop_embedding(folder, config, tensors)
    tensors.pop(_HEAD, None)
    tensors['shared.weight'] = embedding
    return Opened(config, places, tensors)


def read_config(path: pathlib.Path) -> T5Config:
    """Reads a config.json; fields it lacks have the values that Hugging Face gives them.

    Whether the head is tied is not known from the file: `tied_head` is True.
    """
    fields = Fields(path, read_json_object(path))
    mt5 = fields.get('model_type', str, 't5') == 'mt5'
    projection = fields.get('feed_forward_proj', str, 'gated-gelu' if mt5 else 'relu')
    activation = 'gelu_new' if projection == 'gated-gelu' else projection.removeprefix('gated-')
    layers = fields.get('num_layers', int, 8 if mt5 else 6, 'num_hidden_layers')
    # transformers 5 drops `tie_word_embeddings` and keeps what it stood for under another name.
    scaled = fields.get('tie_word_embeddings', bool, True) and not mt5
    if not mt5:
        scaled = fields.get('scale_decoder_outputs', bool, scaled)
    pad_id = fields.get('pad_token_id', int, 0)
    eos_id, *_ = fields.ids('eos_token_id', None) or (1,)  # of several the first one counts
    names = {**_FIELDS, 'activation': 'dense_act_fn'} if 'dense_act_fn' in fields.raw else _FIELDS
    return fields.build(
        T5Config,
        names,
        vocab_size=fields.get('vocab_size', int, 250112 if mt5 else 32128),
        d_model=fields.get('d_model', int, 512, 'hidden_size'),
        d_kv=fields.get('d_kv', int, 64, 'head_dim'),
        d_ff=fields.get('d_ff', int, 1024 if mt5 else 2048),
        num_heads=fields.get('num_heads', int, 6 if mt5 else 8, 'num_attention_heads'),
        encoder_layers=layers,
        decoder_layers=fields.get('num_decoder_layers', int, layers),
        activation=fields.get('dense_act_fn', str, activation),
        gated=fields.get('is_gated_act', bool, projection.startswith('gated-')),
        scale_decoder_outputs=scaled,
        relative_buckets=fields.get('relative_attention_num_buckets', int, 32),
        relative_max_distance=fields.get('relative_attention_max_distance', int, 128),
        norm_epsilon=fields.get('layer_norm_epsilon', float, 1e-6),
        dropout_rate=fields.get('dropout_rate', float, 0.1),
        pad_id=pad_id,
        eos_id=eos_id,
        start_id=fields.get('decoder_start_token_id', int, pad_id),
    )


def _places(config: T5Config, stacks: tuple[str, ...] = ('encoder', 'decoder')) -> dict[str, Place]:
    """Returns the place of every tensor, by its Hugging Face name."""
    c = config
    table = (c.vocab_size, c.d_model)
    places = {'shared.weight': Place(('embedding',), None, table)}
    if not c.tied_head:
        places[_HEAD] = Place(('head',), None, table)

    def add(name, path, layer, shape):
        places[f'{name}.weight'] = Place(path, layer, shape)

    def linear(name, path, layer, inputs, outputs, columns=None):
        shape = (outputs, inputs)
        places[f'{name}.weight'] = Place(path, layer, shape, transposed=True, columns=columns)

    for stack in stacks:
        layers = c.encoder_layers if stack == 'encoder' else c.decoder_layers
        attentions = [('SelfAttention', 'attention'), ('EncDecAttention', 'cross')]
        attentions = attentions[:1] if stack == 'encoder' else attentions
        add(f'{stack}.final_layer_norm', (stack, 'final_norm', 'scale'), None, (c.d_model,))
        add(
            f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias',
            (stack, 'relative_bias'),
            None,
            (c.relative_buckets, c.num_heads),
        )
        inner = c.num_heads * c.d_kv
        for i in range(layers):
            for j, (theirs, ours) in enumerate(attentions):
                block, root = f'{stack}.block.{i}.layer.{j}', (stack, 'layers')
                add(f'{block}.layer_norm', (*root, f'{ours}_norm', 'scale'), i, (c.d_model,))
                for name, letters in _PROJECTIONS[ours].items():
                    for column, letter in enumerate(letters):
                        columns = (column * inner, len(letters) * inner)
                        path = (*root, ours, name)
                        linear(f'{block}.{theirs}.{letter}', path, i, c.d_model, inner, columns)
                linear(f'{block}.{theirs}.o', (*root, ours, 'out'), i, inner, c.d_model)
            block = f'{stack}.block.{i}.layer.{len(attentions)}'
            add(f'{block}.layer_norm', (*root, 'feed_forward_norm', 'scale'), i, (c.d_model,))
            names = {'wi_0': 'in', 'wi_1': 'linear'} if c.gated else {'wi': 'in'}
            for theirs, ours in names.items():
                path = (*root, 'feed_forward', ours)
                linear(f'{block}.DenseReluDense.{theirs}', path, i, c.d_model, c.d_ff)
            path = (*root, 'feed_forward', 'out')
            linear(f'{block}.DenseReluDense.wo', path, i, c.d_ff, c.d_model)
    return places


def _pop_embedding(
    folder: pathlib.Path, config: T5Config, tensors: dict[str, StoredTensor]
) -> StoredTensor:
    """Takes the embedding out of `tensors`, under whichever of its names it is there."""
    found = {name: tensors.pop(name) for name in _EMBEDDINGS if name in tensors}
    if not found and _HEAD in tensors:
        found = {_HEAD: tensors[_HEAD]}  # files of tied weights may keep any one of the names
    if not found:
        raise InputError(f'{folder}: no embedding: none of {", ".join(_EMBEDDINGS)} is there.')
    first, *others = found.items()
    for name, tensor in others:
        if not same_values(tensor, first[1], (config.vocab_size, config.d_model)):
            raise InputError(
                f'{folder}: {name} differs from {first[0]}; expected one embedding for the encoder '
                f'and the decoder, of the shape {(config.vocab_size, config.d_model)}.'
            )
    return first[1]


def to_tensors(config: T5Config, params: Params) -> dict[str, np.ndarray]:
    """Returns what is written, by name."""
    tensors = take_apart(_places(config), params)
    if config.tied_head and not config.scale_decoder_outputs:
        # A tied head with no scaling is written out as well: before transformers 5 the head is
        # untied wherever the output is not scaled.
        tensors[_HEAD] = tensors['shared.weight'].copy()
    return tensors


def to_config_json(config: T5Config) -> dict[str, Any]:
    """Returns the config.json that transformers reads."""
    activation = 'gelu' if config.activation == 'gelu_new' else config.activation
    return {
        'architectures': ['T5ForConditionalGeneration'],
        'model_type': 't5',
        'vocab_size': config.vocab_size,
        'd_model': config.d_model,
        'd_kv': config.d_kv,
        'd_ff': config.d_ff,
        'num_heads': config.num_heads,
        'num_layers': config.encoder_layers,
        'num_decoder_layers': config.decoder_layers,
        'feed_forward_proj': f'gated-{activation}' if config.gated else config.activation,
        'dense_act_fn': config.activation,
        'is_gated_act': config.gated,
        'relative_attention_num_buckets': config.relative_buckets,
        'relative_attention_max_distance': config.relative_max_distance,
        'layer_norm_epsilon': config.norm_epsilon,
        'dropout_rate': config.dropout_rate,
        'initializer_factor': 1.0,
        'pad_token_id': config.pad_id,
        'eos_token_id': config.eos_id,
        'decoder_start_token_id': config.start_id,
        'is_encoder_decoder': True,
        'use_cache': True,
        # All versions of transformers take this one as the sign of scaling; transformers 5 ties
        # the head by comparing values, and lets the explicit field win.
        'tie_word_embeddings': config.scale_decoder_outputs,
        'scale_decoder_outputs': config.scale_decoder_outputs,
        'torch_dtype': 'float32',
    }


def to_generation_json(config: T5Config) -> dict[str, Any]:
    """Returns the generation_config.json that transformers reads."""
    return {
        'decoder_start_token_id': config.start_id,
        'eos_token_id': config.eos_id,
        'pad_token_id': config.pad_id,
    }


def finish_tokenizer(folder: pathlib.Path) -> None:
    """Nothing is to be done: `AutoTokenizer` reads what was saved."""
