"""Decoder-only models in GGUF files: their metadata as an architecture, their tensors in place.

llama.cpp has names of its own for what a config.json says and for every tensor. It stores the rows
of Llama's queries and keys in another order than Hugging Face does (neighbouring rows are turned
together by rotary positions, where here the two halves of a head are), and Llama 3's scaling of
rotary positions as a tensor of what each pair's frequency is divided by.
"""

import dataclasses
import pathlib
import re
from typing import Any, NamedTuple, NoReturn

import numpy as np

from qcrd_jax.errors import InputError, shown
from qcrd_jax.models.config_fields import Fields
from qcrd_jax.models.decoder import llama, qwen2, qwen3
from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint, places_of
from qcrd_jax.models.decoder.config import DecoderConfig, RopeScaling
from qcrd_jax.models.decoder.layers import rotary_frequencies
from qcrd_jax.models.foreign_files import name, shown_path
from qcrd_jax.models.gguf_files import GgufFile, QuantisedTensor, read_file
from qcrd_jax.models.tensor_places import Opened, Place, require_memory


class _Form(NamedTuple):
    """What is particular to an architecture of llama.cpp.

    Attributes:
      checkpoint: the family that it is here.
      turned: whether the rows of queries and keys are stored in turns (`QuantisedTensor`).
    """

    checkpoint: DecoderCheckpoint
    turned: bool = False


# Mistral is a `llama` there, and so it is here: what is computed is the same.
_FORMS = {
    'llama': _Form(llama.CHECKPOINT, turned=True),
    'qwen2': _Form(qwen2.CHECKPOINT),
    'qwen3': _Form(qwen3.CHECKPOINT),
}
ARCHITECTURES = tuple(_FORMS)
"""What `general.architecture` may be."""

_EMBEDDING, _HEAD, _DIVISORS = 'token_embd.weight', 'output.weight', 'rope_freqs.weight'
_WHOLE = {
    'model.embed_tokens': 'token_embd',
    'model.norm': 'output_norm',
    'lm_head': 'output',
}
_IN_LAYER = {
    'input_layernorm': 'attn_norm',
    'post_attention_layernorm': 'ffn_norm',
    'self_attn.q_proj': 'attn_q',
    'self_attn.k_proj': 'attn_k',
    'self_attn.v_proj': 'attn_v',
    'self_attn.o_proj': 'attn_output',
    'self_attn.q_norm': 'attn_q_norm',
    'self_attn.k_norm': 'attn_k_norm',
    'mlp.gate_proj': 'ffn_gate',
    'mlp.up_proj': 'ffn_up',
    'mlp.down_proj': 'ffn_down',
}
_LAYER = re.compile(r'model\.layers\.(?P<layer>\d+)\.(?P<part>.+)')
_TURNED = re.compile(r'blk\.\d+\.attn_(?P<letter>[qk])\.weight')
# What metadata calls our fields, after the name of the architecture.
_FIELDS = {
    'd_model': 'embedding_length',
    'd_ff': 'feed_forward_length',
    'num_heads': 'attention.head_count',
    'num_kv_heads': 'attention.head_count_kv',
    'num_layers': 'block_count',
    'rope_theta': 'rope.freq_base',
    'norm_epsilon': 'attention.layer_norm_rms_epsilon',
    'max_positions': 'context_length',
    'vocab_size': 'vocab_size',
    'd_kv': 'attention.key_length',
}
_IDS = {'eos_id': 'tokenizer.ggml.eos_token_id', 'pad_id': 'tokenizer.ggml.padding_token_id'}
_TOKENS = 'tokenizer.ggml.tokens'
_NEAR = 1e-4  # relative; divisors are computed in float32 by whoever converts a model


def open_student(path: pathlib.Path) -> Opened:
    """Maps a causal language model; the parameters are those of `DecoderStudent`.

    Raises:
      InputError: naming the file and the field or tensor that is wrong, missing or not computed.
    """
    file = read_file(path)
    return _opened(file, _config(file))


def open_encoder(path: pathlib.Path) -> Opened:
    """Maps the body of a language model; the parameters are those of `DecoderEncoder`.

    Raises:
      InputError: as `open_student`.
    """
    file = read_file(path)
    config, tensors = _config(file), {**file.tensors}
    tensors.pop(_HEAD, None)
    file = dataclasses.replace(file, tensors=tensors)
    headless = _opened(file, dataclasses.replace(config, tied_head=True))
    return headless._replace(architecture=config)


def _opened(file: GgufFile, config: DecoderConfig) -> Opened:
    places = {_name(theirs): place for theirs, place in places_of(config).items()}
    require_memory(file.path, places)
    turned = _FORMS[file.metadata['general.architecture']].turned
    tensors = {
        tensor: _in_order(tensor, stored, config, places) if turned else stored
        for tensor, stored in file.tensors.items()
        if tensor != _DIVISORS
    }
    return Opened(config, places, tensors, 'its metadata')


def _name(theirs: str) -> str:
    """Returns what llama.cpp calls a tensor of a Hugging Face checkpoint.

    >>> _name('model.layers.3.self_attn.q_proj.bias'), _name('model.norm.weight')
    ('blk.3.attn_q.bias', 'output_norm.weight')
    """
    whole, _, kind = theirs.rpartition('.')
    if match := _LAYER.fullmatch(whole):
        return f'blk.{match["layer"]}.{_IN_LAYER[match["part"]]}.{kind}'
    return f'{_WHOLE[whole]}.{kind}'


def _in_order(
    tensor: str, stored: QuantisedTensor, config: DecoderConfig, places: dict[str, Place]
) -> QuantisedTensor:
    """Returns a tensor that gives its rows as Hugging Face has them."""
    match = _TURNED.fullmatch(tensor)
    if not match or tensor not in places or stored.shape != places[tensor].stored:
        return stored  # what does not fit is refused by name
    heads = config.num_heads if match['letter'] == 'q' else config.num_kv_heads
    return dataclasses.replace(stored, turned_heads=heads)


def _config(file: GgufFile) -> DecoderConfig:
    """Reads the architecture; ids that the file does not name are the last rows of the embedding.

    What a run pads with and ends an answer with is for its tokenizer to say
    (`architectures.student_for`).
    """
    fields = Fields(file.path, file.metadata)
    kind = fields.get('general.architecture', str, '')
    if kind not in _FORMS:
        raise InputError(
            f'{shown_path(file.path)}: general.architecture: expected {" | ".join(ARCHITECTURES)}, '
            f'got {shown(kind)}. Other architectures are read from folders of Hugging Face, as far '
            'as there is a student for them.'
        )
    form = _FORMS[kind].checkpoint
    get = _Getter(fields, kind)
    get.refuse_what_is_not_computed()
    heads = get.whole('attention.head_count')
    width = get.whole('embedding_length')
    head_width = get.head_width(width, heads)
    vocab_size = _vocab_size(file, get)
    last = vocab_size - 1
    eos_id = fields.get(_IDS['eos_id'], int, last)
    pad_id = fields.get(_IDS['pad_id'], int, eos_id)
    if pad_id == eos_id:  # what is padded is not learned, and EOS must be
        pad_id = last - 1 if eos_id == last else last
    names = {ours: f'{kind}.{theirs}' for ours, theirs in _FIELDS.items()} | _IDS
    config = fields.build(
        DecoderConfig,
        names | {'start_id': _IDS['eos_id']},
        model_type=form.model_type,
        vocab_size=vocab_size,
        d_model=width,
        d_kv=head_width,
        d_ff=get.whole('feed_forward_length'),
        num_heads=heads,
        num_kv_heads=get('attention.head_count_kv', int, heads),
        num_layers=get.whole('block_count'),
        qkv_bias=form.qkv_bias,
        qk_norm=form.qk_norm,
        rope_theta=get('rope.freq_base', float, 10000.0),
        rope_scaling=get.linear_scaling(),
        tied_head=_HEAD not in file.tensors,
        norm_epsilon=get('attention.layer_norm_rms_epsilon', float, 1e-5),
        max_positions=get('context_length', int, 2048),
        pad_id=pad_id,
        eos_id=eos_id,
        start_id=eos_id,
    )
    return dataclasses.replace(config, rope_scaling=_scaling(file, config))


class _Getter:
    """The fields of one architecture, whose names begin with its own."""

    def __init__(self, fields: Fields, architecture: str):
        self._fields, self._architecture = fields, architecture

    def __call__(self, key: str, kind: type, default: Any) -> Any:
        """Returns a field; the default where the file has none."""
        return self._fields.get(f'{self._architecture}.{key}', kind, default)

    def whole(self, key: str) -> int:
        """Returns a field that has to be there."""
        value = self(key, int, None)
        if value is None:
            self.refuse(key, 'a whole number')
        return value

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raises InputError, naming the file, the field, what was expected and what came."""
        self._fields.refuse(f'{self._architecture}.{key}', expected)

    def refuse_what_is_not_computed(self) -> None:
        """Refuses mixtures of experts, and attention to a window that is shorter than a text."""
        if self('expert_count', int, 0):
            self.refuse('expert_count', '0; mixtures of experts are not computed')
        window, longest = self('attention.sliding_window', int, 0), self('context_length', int, 0)
        if window and window < longest:
            self.refuse(
                'attention.sliding_window',
                f'none, or at least context_length = {longest}; attention to a sliding window is '
                'not computed',
            )

    def head_width(self, width: int, heads: int) -> int:
        """Returns the size of a head, all of which has to be turned by rotary positions."""
        size = self('attention.key_length', int, None)
        if size is None:
            size = self('rope.dimension_count', int, width // max(heads, 1))
        for key in ('attention.value_length', 'rope.dimension_count'):
            if self(key, int, size) != size:
                self.refuse(key, f'{size}, as a head has; others are not computed')
        return size

    def linear_scaling(self) -> RopeScaling | None:
        """Returns how rotary positions are stretched, as far as fields say it."""
        kind = self('rope.scaling.type', str, 'linear')
        factor = self('rope.scaling.factor', float, self('rope.scale_linear', float, 1.0))
        if kind not in ('none', 'linear'):
            self.refuse(
                'rope.scaling.type',
                'none or linear; others are not computed. Without scaling a model is as it was '
                "trained, up to that training's length",
            )
        if kind == 'none' or factor == 1.0:
            return None
        if not 1e-6 <= factor <= 1e6:
            self.refuse('rope.scaling.factor', 'from 1e-06 to 1e+06')
        return RopeScaling('linear', factor)


def _vocab_size(file: GgufFile, get: _Getter) -> int:
    """Returns the rows of the embedding, which everything that names their number has to agree on.

    Raises:
      InputError: naming what does not.
    """
    embedding = file.tensors.get(_EMBEDDING)
    if embedding is None:
        raise InputError(f'{shown_path(file.path)}: the tensors lack {_EMBEDDING}, the embedding.')
    rows = embedding.shape[0]
    if get('vocab_size', int, rows) != rows:
        get.refuse('vocab_size', f'{rows}, the rows of {_EMBEDDING}')
    tokens = file.metadata.get(_TOKENS, [])
    if len(tokens) > rows:
        raise InputError(
            f'{shown_path(file.path)}: {_TOKENS}: has {len(tokens)} tokens, and the embedding '
            f'{_EMBEDDING} has {rows} rows; vocabulary and weights are not of the same model.'
        )
    return rows


def _scaling(file: GgufFile, config: DecoderConfig) -> RopeScaling | None:
    """Returns how rotary positions are stretched, as fields say it or a tensor of divisors.

    Of Llama 3's scaling a file has only what it comes to. All of that kind that were published were
    first trained on 8192 positions; whether a factor makes the divisors of the file is seen.
    """
    stored = file.tensors.get(_DIVISORS)
    if stored is None:
        return config.rope_scaling
    divisors = stored.values().reshape(-1)
    if np.array_equal(divisors, np.ones_like(divisors)):
        return config.rope_scaling
    factor = float(divisors.max()) if np.isfinite(divisors).all() else 0.0
    if config.rope_scaling is None and 1.0 < factor < 1e6:
        scaling = RopeScaling('llama3', factor)
        plain, scaled = (
            rotary_frequencies(dataclasses.replace(config, rope_scaling=kind))
            for kind in (None, scaling)
        )
        if plain.shape == divisors.shape and np.allclose(plain / scaled, divisors, _NEAR, 0.0):
            return scaling
    raise InputError(
        f'{shown_path(file.path)}: tensor {name(_DIVISORS)} divides the frequencies of rotary '
        f"positions otherwise than Llama 3's scaling does (from 8192 positions; slowest by "
        f'{factor:g}); nothing else is computed.'
    )
