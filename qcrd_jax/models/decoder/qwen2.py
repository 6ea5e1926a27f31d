"""Qwen2 and Qwen2.5 checkpoints in Hugging Face's format: causal language models, bodies alone.

`huggingface` reads and writes folders through the functions here that have no underscore.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from qcrd_jax.errors import InputError
from qcrd_jax.files import write_json
from qcrd_jax.models.decoder.config import Qwen2Config
from qcrd_jax.models.protocol import Params
from qcrd_jax.models.safetensors_files import StoredTensor, read_checkpoint, read_json_object
from qcrd_jax.models.tensor_places import Fields, Place, assemble, take_apart

MODEL_TYPES = ('qwen2',)

_HEAD = 'lm_head.weight'
_EMBEDDING = 'model.embed_tokens.weight'
_START = 'answer_start_token_id'  # a field of ours; transformers keeps what it does not know
_AS_IT_IS = ('TokenizersBackend', 'PreTrainedTokenizerFast')  # classes that read tokenizer.json


def load_student(folder: pathlib.Path) -> tuple[Qwen2Config, Params]:
    """Reads a causal language model; the parameters are those of `Qwen2Student`."""
    config = read_config(folder / 'config.json')
    tensors = _read_tensors(folder)
    head = tensors.get(_HEAD)
    if config.tied_head and head is not None:
        # What is in the file decides, as in transformers: two matrices that differ are two.
        if np.array_equal(head.data, tensors.get(_EMBEDDING, head).data):
            tensors.setdefault(_EMBEDDING, tensors.pop(_HEAD))
        else:
            config = dataclasses.replace(config, tied_head=False)
    return config, assemble(folder, _places(config), tensors)


def load_encoder(folder: pathlib.Path) -> tuple[Qwen2Config, Params]:
    """Reads the body of a language model or one alone; the parameters are `Qwen2Encoder`'s."""
    config = read_config(folder / 'config.json')
    tensors = _read_tensors(folder)
    head = tensors.pop(_HEAD, None)
    if config.tied_head and head is not None:
        tensors.setdefault(_EMBEDDING, head)
    places = _places(dataclasses.replace(config, tied_head=True))
    return config, assemble(folder, places, tensors)


def read_config(path: pathlib.Path) -> Qwen2Config:
    """Reads a config.json; fields it lacks have the values that Hugging Face gives them.

    Published files name no padding token, or EOS: then it is the last row of the embedding, which
    no published tokenizer uses. What a run pads with and starts an answer with is for its tokenizer
    to say (`architectures.student_for`).

    Raises:
      InputError: naming the field that is wrong, or that asks for what is not computed here.
    """
    fields = Fields.read(path)
    heads = fields.get('num_attention_heads', int, 32)
    layers = fields.get('num_hidden_layers', int, 32)
    activation = fields.get('hidden_act', str, 'silu')
    if activation != 'silu':
        raise InputError(f'{path}: hidden_act: expected silu, got {activation!r}.')
    _refuse_windows(fields, layers)
    eos_id = fields.get('eos_token_id', int, None)
    if eos_id is None:
        raise InputError(f'{path}: eos_token_id: expected the id of a token, there is none.')
    width = fields.get('hidden_size', int, 4096)
    vocab_size = fields.get('vocab_size', int, 151936)
    pad_id = fields.get('pad_token_id', int, eos_id)
    try:
        return Qwen2Config(
            vocab_size=vocab_size,
            d_model=width,
            d_kv=fields.get('head_dim', int, width // max(heads, 1)),
            d_ff=fields.get('intermediate_size', int, 22016),
            num_heads=heads,
            # null means as many as the queries have; it is only a file without it that means 32.
            num_kv_heads=fields.get(
                'num_key_value_heads', int, heads if 'num_key_value_heads' in fields.raw else 32
            ),
            num_layers=layers,
            rope_theta=_rope_theta(fields),
            tied_head=fields.get('tie_word_embeddings', bool, False),
            norm_epsilon=fields.get('rms_norm_eps', float, 1e-6),
            dropout_rate=fields.get('attention_dropout', float, 0.0),
            max_positions=fields.get('max_position_embeddings', int, 32768),
            pad_id=vocab_size - 1 if pad_id == eos_id else pad_id,
            eos_id=eos_id,
            start_id=fields.get(_START, int, eos_id),
        )
    except ValueError as error:
        raise InputError(f'{path}: {error}') from error


def to_tensors(config: Qwen2Config, params: Params) -> dict[str, np.ndarray]:
    """Returns what is written, by name."""
    return take_apart(_places(config), params)


def to_config_json(config: Qwen2Config) -> dict[str, Any]:
    """Returns the config.json that transformers reads."""
    return {
        'architectures': ['Qwen2ForCausalLM'],
        'model_type': 'qwen2',
        'vocab_size': config.vocab_size,
        'hidden_size': config.d_model,
        'head_dim': config.d_kv,
        'intermediate_size': config.d_ff,
        'num_attention_heads': config.num_heads,
        'num_key_value_heads': config.num_kv_heads,
        'num_hidden_layers': config.num_layers,
        'hidden_act': 'silu',
        'rope_theta': config.rope_theta,
        'rms_norm_eps': config.norm_epsilon,
        'attention_dropout': config.dropout_rate,
        'max_position_embeddings': config.max_positions,
        'initializer_range': 0.02,
        'use_sliding_window': False,
        'tie_word_embeddings': config.tied_head,
        'pad_token_id': config.pad_id,
        'eos_token_id': config.eos_id,
        _START: config.start_id,
        'use_cache': True,
        'torch_dtype': 'float32',
    }


def to_generation_json(config: Qwen2Config) -> dict[str, Any]:
    """Returns the generation_config.json that transformers reads."""
    return {'eos_token_id': config.eos_id, 'pad_token_id': config.pad_id}


def finish_tokenizer(folder: pathlib.Path) -> None:
    """Sees to it that `AutoTokenizer` reads the tokenizer that was saved, whatever its kind.

    For model type qwen2, transformers 5 builds Qwen's own tokenizer out of the pieces that it finds
    and would split texts otherwise, unless the file names code of its own. It is not run.
    """
    path = folder / 'tokenizer_config.json'
    config = read_json_object(path)
    if config.get('tokenizer_class') in _AS_IT_IS:
        write_json(path, config | {'auto_map': {'AutoTokenizer': ['', '']}})


def _read_tensors(folder: pathlib.Path) -> dict[str, StoredTensor]:
    """Reads the tensors; those of a body that was saved alone get the names of a whole model."""
    tensors = read_checkpoint(folder)
    if any(name.startswith('model.') for name in tensors):
        return tensors
    return {name if name == _HEAD else f'model.{name}': t for name, t in tensors.items()}


def _places(config: Qwen2Config) -> dict[str, Place]:
    """Returns the place of every tensor, by its Hugging Face name."""
    c = config
    table, stack = (c.vocab_size, c.d_model), ('body', 'layers')
    places = {
        _EMBEDDING: Place(('embedding',), None, table),
        'model.norm.weight': Place(('body', 'final_norm', 'scale'), None, (c.d_model,)),
    }
    if not c.tied_head:
        places[_HEAD] = Place(('head',), None, table)
    queries, keys = c.num_heads * c.d_kv, c.num_kv_heads * c.d_kv
    for i in range(c.num_layers):
        layer = f'model.layers.{i}'
        for theirs, ours in (
            ('input_layernorm', 'attention_norm'),
            ('post_attention_layernorm', 'feed_forward_norm'),
        ):
            places[f'{layer}.{theirs}.weight'] = Place((*stack, ours, 'scale'), i, (c.d_model,))
        for letter, ours, width in (
            ('q', 'query', queries),
            ('k', 'key', keys),
            ('v', 'value', keys),
        ):
            name, path = f'{layer}.self_attn.{letter}_proj', (*stack, 'attention')
            places[f'{name}.weight'] = Place((*path, ours), i, (width, c.d_model), transposed=True)
            places[f'{name}.bias'] = Place((*path, f'{ours}_bias'), i, (width,))
        places[f'{layer}.self_attn.o_proj.weight'] = Place(
            (*stack, 'attention', 'out'), i, (c.d_model, queries), transposed=True
        )
        for name, shape in (
            ('gate', (c.d_ff, c.d_model)),
            ('up', (c.d_ff, c.d_model)),
            ('down', (c.d_model, c.d_ff)),
        ):
            places[f'{layer}.mlp.{name}_proj.weight'] = Place(
                (*stack, 'feed_forward', name), i, shape, transposed=True
            )
    return places


def _refuse_windows(fields: Fields, layers: int) -> None:
    """Refuses layers that would attend to a window; Qwen2.5 names one and does not use it."""
    used = fields.get('use_sliding_window', bool, False)
    window = fields.get('sliding_window', int, None if 'sliding_window' in fields.raw else 4096)
    from_layer = fields.get('max_window_layers', int, 28)
    kinds = fields.get('layer_types', list, None)
    if kinds is None:
        windowed = used and window is not None and from_layer < layers
    else:
        windowed = any(kind != 'full_attention' for kind in kinds)
    if windowed:
        raise InputError(
            f'{fields.path}: use_sliding_window, layer_types: expected full attention in every '
            'layer; attention to a sliding window is not computed.'
        )


def _rope_theta(fields: Fields) -> float:
    """Returns the base of the rotary positions; refuses positions that are scaled."""
    rope = {}
    for name in ('rope_scaling', 'rope_parameters'):  # as transformers 4 and 5 call it
        rope |= fields.get(name, dict, {})
    kind = rope.get('rope_type', rope.get('type', 'default'))
    share = rope.get('partial_rotary_factor', fields.get('partial_rotary_factor', float, 1.0))
    if kind != 'default' or share != 1:
        raise InputError(
            f'{fields.path}: rope_scaling, rope_parameters: expected plain rotary positions '
            f'(rope_type default, of whole heads), got {rope!r}; scaled ones are not computed. '
            "Without it a model is as it was trained, up to that training's length."
        )
    whole = fields.get('rope_theta', float, 10000.0)
    return Fields(fields.path, rope).get('rope_theta', float, whole)
