"""Decoder-only checkpoints in Hugging Face's format: causal language models, or only their bodies.

All families have the same tensors, but for biases and norms that some lack, and nearly the same
config.json. A family's own file (`qwen2`, `qwen3`, `llama`, `mistral`) is one `DecoderCheckpoint`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from qcrd_jax.files import write_json
from qcrd_jax.models.config_fields import Fields
from qcrd_jax.models.decoder import rope
from qcrd_jax.models.decoder.config import DecoderConfig
from qcrd_jax.models.foreign_files import read_json_object
from qcrd_jax.models.protocol import Params
from qcrd_jax.models.safetensors_files import read_checkpoint
from qcrd_jax.models.stored_tensors import StoredTensor, same_values
from qcrd_jax.models.tensor_places import Opened, Place, require_memory, take_apart

_HEAD = 'lm_head.weight'
_EMBEDDING = 'model.embed_tokens.weight'
_FREQUENCIES = '.rotary_emb.inv_freq'  # old files carry them; they follow from config.json
_START = 'answer_start_token_id'  # a field of ours; transformers keeps what it does not know
_AS_IT_IS = ('TokenizersBackend', 'PreTrainedTokenizerFast')  # classes that read tokenizer.json
# What a config.json calls the fields of ours that have other names there.
_FIELDS = {
    'd_model': 'hidden_size',
    'd_kv': 'head_dim',
    'd_ff': 'intermediate_size',
    'num_heads': 'num_attention_heads',
    'num_kv_heads': 'num_key_value_heads',
    'num_layers': 'num_hidden_layers',
    'norm_epsilon': 'rms_norm_eps',
    'dropout_rate': 'attention_dropout',
    'max_positions': 'max_position_embeddings',
    'pad_id': 'pad_token_id',
    'eos_id': 'eos_token_id',
    'stop_ids': 'eos_token_id',
    'start_id': _START,
}
# The values that we compute of fields that a config.json may have, whatever its family.
_COMPUTED: dict[str, tuple[Any, ...]] = {
    'hidden_act': ('silu',),
    'is_causal': (True,),
    'quantization_config': (None,),
    'num_experts': (None, 0),
    'num_local_experts': (None, 0),
}


@dataclasses.dataclass(frozen=True, eq=False)
class DecoderCheckpoint:
    """How the folders of one family are read and written.

    Attributes:
      model_type: what a config.json calls the family.
      model_class: the class in transformers.
      defaults: the values that Hugging Face gives to fields that a config.json lacks.
      qkv_bias: whether queries, keys and values have biases.
      qk_norm: whether the heads of queries and keys are normed.
      written: fields that only this family's config.json has, as they are written.
      computed: values that we compute of fields that only this family has.
      check: refuses what else is not computed of this family.
    """

    model_type: str
    model_class: str
    defaults: Mapping[str, Any]
    qkv_bias: bool = False
    qk_norm: bool = False
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    computed: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    check: Callable[[Fields], None] = lambda fields: None

    def open_student(self, folder: pathlib.Path) -> Opened:
        """Maps a causal language model; the parameters are those of `DecoderStudent`."""
        config, tensors = self._open(folder)
        head = tensors.get(_HEAD)
        if config.tied_head and head is not None:
            # What is in the file decides, as in transformers: two matrices that differ are two.
            table = (config.vocab_size, config.d_model)
            if same_values(head, tensors.get(_EMBEDDING, head), table):
                tensors.setdefault(_EMBEDDING, tensors.pop(_HEAD))
            else:
                config = dataclasses.replace(config, tied_head=False)
        return Opened(config, places_of(config), tensors)

    def open_encoder(self, folder: pathlib.Path) -> Opened:
        """Maps a body, of a language model or by itself; the parameters are `DecoderEncoder`'s."""
        config, tensors = self._open(folder)
        head = tensors.pop(_HEAD, None)
        if config.tied_head and head is not None:
            tensors.setdefault(_EMBEDDING, head)
        return Opened(config, places_of(dataclasses.replace(config, tied_head=True)), tensors)

    def _open(self, folder: pathlib.Path) -> tuple[DecoderConfig, dict[str, StoredTensor]]:
        config = self.read_config(folder / 'config.json')
        require_memory(folder / 'config.json', places_of(config))
        return config, _read_tensors(folder)

    def read_config(self, path: pathlib.Path) -> DecoderConfig:
        """Reads a config.json; fields it lacks have the values that Hugging Face gives them.

        Where a file names no padding token, or EOS, it is the last row of the embedding: some id is
        needed. What a run pads with and starts an answer with is for its tokenizer to say
        (`architectures.student_for`).

        Raises:
          InputError: naming the field that is wrong, or that asks for what is not computed here.
        """
        fields = Fields(path, read_json_object(path))
        for name, values in {**_COMPUTED, **self.computed}.items():
            fields.only(name, *values)
        if any(kind != 'full_attention' for kind in fields.get('layer_types', list, [])):
            fields.refuse('layer_types', 'full_attention in every layer')
        self.check(fields)

        def get(name: str, kind: type) -> Any:
            return fields.get(name, kind, self.defaults.get(name))

        heads, width = get('num_attention_heads', int), get('hidden_size', int)
        key_heads = heads  # what null means, and what a family without a default has
        if 'num_key_value_heads' not in fields.raw:
            key_heads = self.defaults.get('num_key_value_heads', heads)
        stop_ids = fields.ids('eos_token_id', self.defaults.get('eos_token_id'))
        if not stop_ids:
            fields.refuse('eos_token_id', 'the id of a token')
        vocab_size, pad_id = get('vocab_size', int), fields.get('pad_token_id', int, -1)
        if pad_id in (-1, stop_ids[0]):
            pad_id = vocab_size - (2 if stop_ids[0] == vocab_size - 1 else 1)
        names = _FIELDS
        head_width = get('head_dim', int)
        if head_width is None:
            head_width = width // max(heads, 1)
            names = {**_FIELDS, 'd_kv': 'hidden_size / num_attention_heads'}
        return fields.build(
            DecoderConfig,
            names,
            model_type=self.model_type,
            vocab_size=vocab_size,
            d_model=width,
            d_kv=head_width,
            d_ff=get('intermediate_size', int),
            num_heads=heads,
            num_kv_heads=fields.get('num_key_value_heads', int, key_heads),
            num_layers=get('num_hidden_layers', int),
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            rope_theta=rope.read_theta(fields),
            rope_scaling=rope.read_scaling(fields, get('max_position_embeddings', int)),
            tied_head=fields.get('tie_word_embeddings', bool, False),
            norm_epsilon=fields.get('rms_norm_eps', float, 1e-6),
            dropout_rate=fields.get('attention_dropout', float, 0.0),
            max_positions=get('max_position_embeddings', int),
            pad_id=pad_id,
            eos_id=stop_ids[0],
            start_id=fields.get(_START, int, stop_ids[0]),
            stop_ids=tuple(sorted(stop_ids)) if len(stop_ids) > 1 else (),
        )

    def to_tensors(self, config: DecoderConfig, params: Params) -> dict[str, np.ndarray]:
        """Returns what is written, by name."""
        return take_apart(places_of(config), params)

    def to_config_json(self, config: DecoderConfig) -> dict[str, Any]:
        """Returns the config.json that transformers reads, 4 as well as 5.

        Raises:
          ValueError: if the family has not the biases or norms of the config, or lacks them there.
        """
        for name in ('qkv_bias', 'qk_norm'):
            if getattr(config, name) != getattr(self, name):
                raise ValueError(
                    f'DecoderConfig.{name}: expected {getattr(self, name)} for model_type '
                    f'{self.model_type}, got {getattr(config, name)}'
                )
        return {
            'architectures': [self.model_class],
            'model_type': self.model_type,
            'vocab_size': config.vocab_size,
            'hidden_size': config.d_model,
            'head_dim': config.d_kv,
            'intermediate_size': config.d_ff,
            'num_attention_heads': config.num_heads,
            'num_key_value_heads': config.num_kv_heads,
            'num_hidden_layers': config.num_layers,
            'hidden_act': 'silu',
            **rope.to_json(config),
            'rms_norm_eps': config.norm_epsilon,
            'attention_dropout': config.dropout_rate,
            'max_position_embeddings': config.max_positions,
            'initializer_range': 0.02,
            **self.written,
            'tie_word_embeddings': config.tied_head,
            **self.to_generation_json(config),
            _START: config.start_id,
            'use_cache': True,
            'torch_dtype': 'float32',
        }

    def to_generation_json(self, config: DecoderConfig) -> dict[str, Any]:
        """Returns the generation_config.json that transformers reads; our EOS is the first one."""
        others = [token for token in config.stop_ids if token != config.eos_id]
        eos = [config.eos_id, *others] if others else config.eos_id
        return {'pad_token_id': config.pad_id, 'eos_token_id': eos}

    def finish_tokenizer(self, folder: pathlib.Path) -> None:
        """Sees to it that `AutoTokenizer` reads the tokenizer that was saved, whatever its kind.

        For these model types, transformers 5 may build the family's own tokenizer out of the pieces
        that it finds and would split texts otherwise, unless the file names code of its own. It is
        not run.
        """
        path = folder / 'tokenizer_config.json'
        config = read_json_object(path)
        if config.get('tokenizer_class') in _AS_IT_IS:
            write_json(path, config | {'auto_map': {'AutoTokenizer': ['', '']}})


def _read_tensors(folder: pathlib.Path) -> dict[str, StoredTensor]:
    """Reads the tensors; those of a body that was saved by itself get a whole model's names."""
    tensors = {
        name: tensor
        for name, tensor in read_checkpoint(folder).items()
        if not name.endswith(_FREQUENCIES)
    }
    if any(name.startswith('model.') for name in tensors):
        return tensors
    return {name if name == _HEAD else f'model.{name}': t for name, t in tensors.items()}


def places_of(config: DecoderConfig) -> dict[str, Place]:
    """Returns the place of every tensor, by its Hugging Face name."""
    c = config
    table = (c.vocab_size, c.d_model)
    queries, keys = c.num_heads * c.d_kv, c.num_kv_heads * c.d_kv
    places = {
        _EMBEDDING: Place(('embedding',), None, table),
        'model.norm.weight': Place(('body', 'final_norm', 'scale'), None, (c.d_model,)),
    }
    if not c.tied_head:
        places[_HEAD] = Place(('head',), None, table)
    in_layer: dict[str, Place] = {}

    def add(name: str, path: str, shape: tuple[int, ...], columns: Any = None) -> None:
        path_of_layers = ('body', 'layers', *path.split('/'))
        in_layer[name] = Place(path_of_layers, None, shape, len(shape) == 2, columns)

    add('input_layernorm.weight', 'attention_norm/scale', (c.d_model,))
    add('post_attention_layernorm.weight', 'feed_forward_norm/scale', (c.d_model,))
    joined, start = 'attention/query_key_value', 0
    for letter, width in (('q', queries), ('k', keys), ('v', keys)):
        name, columns = f'self_attn.{letter}_proj', (start, queries + 2 * keys)
        add(f'{name}.weight', joined, (width, c.d_model), columns)
        if c.qkv_bias:
            add(f'{name}.bias', f'{joined}_bias', (width,), columns)
        start += width
    add('self_attn.o_proj.weight', 'attention/out', (c.d_model, queries))
    if c.qk_norm:
        add('self_attn.q_norm.weight', 'attention/query_norm/scale', (c.d_kv,))
        add('self_attn.k_norm.weight', 'attention/key_norm/scale', (c.d_kv,))
    for name in ('gate', 'up'):
        add(f'mlp.{name}_proj.weight', f'feed_forward/{name}', (c.d_ff, c.d_model))
    add('mlp.down_proj.weight', 'feed_forward/down', (c.d_model, c.d_ff))
    for i in range(c.num_layers):
        for name, place in in_layer.items():
            places[f'model.layers.{i}.{name}'] = place._replace(layer=i)
    return places
