"""Small GGUF files, written by the package `gguf` as llama.cpp's converter writes them."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import gguf
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from qcrd_jax.models import architectures
from qcrd_jax.models.decoder.config import DecoderConfig
from qcrd_jax.models.families import family_of
from tests.support import parity

TEXTS = [
    'Paco had 26 salty cookies and 17 sweet cookies. He ate 14 sweet cookies and 9 salty ones.',
    'The answer is ( 26.0 - 9.0 ) = 17. How many cookies did he have left? He had 17 left.',
    "It's what they'd have sold; we'll see. Ünïcödé ist schön, 中文 auch.\n\nNext line\tand a tab.",
]
_SPACED = 'It was 5.\n\n2 more came,  3 left.\n\n1 is here, and  7 are there.'
IDS = {'pad_id': 3, 'eos_id': 1, 'start_id': 2}  # those of `decoder_reference`
IDS_IN_FILE = {'tokenizer.ggml.eos_token_id': 1, 'tokenizer.ggml.padding_token_id': 3}
CONTROL, USER_DEFINED, UNKNOWN, BYTE, NORMAL = 3, 4, 2, 6, 1
TYPES = ('F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1')  # of rows of 32 values
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
_WHOLE = {
    'model.embed_tokens.weight': 'token_embd.weight',
    'model.norm.weight': 'output_norm.weight',
    'lm_head.weight': 'output.weight',
}


def byte_level(pre: str = 'smollm', size: int = 400) -> dict[str, Any]:
    """Returns the metadata of a byte-level tokenizer of so many pieces at most, trained here.

    Its special tokens are `<|endoftext|>` (0), `<|im_start|>` (1) and `<|im_end|>` (2), which is
    both EOS and padding, as SmolLM2's file has it; the last piece, `<think>`, is user-defined.
    """
    backend = tokenizers.Tokenizer(models.BPE())
    cut = [pre_tokenizers.Digits(individual_digits=True)] if pre == 'smollm' else []
    cut.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
    backend.pre_tokenizer = pre_tokenizers.Sequence(cut)
    special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
    backend.train_from_iterator(
        [*TEXTS, _SPACED],
        trainers.BpeTrainer(
            vocab_size=size - 1,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(backend.to_str())['model']
    pieces = [*sorted(model['vocab'], key=model['vocab'].__getitem__), '<think>']
    kinds = [CONTROL] * 3 + [NORMAL] * (len(pieces) - 4) + [USER_DEFINED]
    return {
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': pre,
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.token_type': kinds,
        'tokenizer.ggml.merges': [' '.join(merge) for merge in model['merges']],
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2,
        'tokenizer.ggml.unknown_token_id': 0,
        'tokenizer.ggml.padding_token_id': 2,
        'tokenizer.ggml.add_bos_token': False,
    }


def sentencepiece() -> dict[str, Any]:
    """Returns the metadata of a tokenizer of Llama 2's kind: scores, bytes, BOS in front."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='always')
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    vocab = backend.get_vocab()
    learned = sorted(vocab, key=vocab.__getitem__)
    special, bytes_ = ['<unk>', '<s>', '</s>', '<pad>'], [f'<0x{i:02X}>' for i in range(256)]
    pieces = [*special, *bytes_, *learned]
    kinds = [UNKNOWN] + [CONTROL] * 3 + [BYTE] * 256 + [NORMAL] * len(learned)
    scores = [0.0] * (len(pieces) - len(learned)) + [-float(at) for at in range(len(learned))]
    return {
        'tokenizer.ggml.model': 'llama',
        'tokenizer.ggml.tokens': pieces,
        'tokenizer.ggml.scores': scores,
        'tokenizer.ggml.token_type': kinds,
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2,
        'tokenizer.ggml.unknown_token_id': 0,
        'tokenizer.ggml.padding_token_id': 3,
        'tokenizer.ggml.add_space_prefix': True,
    }


def described(architecture: str, config: DecoderConfig) -> dict[str, Any]:
    """Returns the metadata that describe an architecture."""
    fields = {
        'context_length': config.max_positions,
        'embedding_length': config.d_model,
        'block_count': config.num_layers,
        'feed_forward_length': config.d_ff,
        'attention.head_count': config.num_heads,
        'attention.head_count_kv': config.num_kv_heads,
        'attention.layer_norm_rms_epsilon': config.norm_epsilon,
        'rope.freq_base': config.rope_theta,
        'vocab_size': config.vocab_size,
    }
    if architecture == 'llama':
        fields['rope.dimension_count'] = config.d_kv
    else:
        fields |= {'attention.key_length': config.d_kv, 'attention.value_length': config.d_kv}
    return {f'{architecture}.{name}': value for name, value in fields.items()}


def converted(
    architecture: str, config: DecoderConfig, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the tensors of a Hugging Face checkpoint as llama.cpp names and orders them."""
    found = {}
    for name, tensor in tensors.items():
        if name in _WHOLE:
            found[_WHOLE[name]] = tensor
            continue
        _, _, layer, rest = name.split('.', 3)
        part, kind = rest.rsplit('.', 1)
        if architecture == 'llama' and part in ('self_attn.q_proj', 'self_attn.k_proj'):
            heads = config.num_heads if 'q_proj' in part else config.num_kv_heads
            # The first and the second half of a head's rows, one of each in turns.
            one, other = np.split(tensor.reshape(heads, config.d_kv, -1), 2, axis=1)
            tensor = np.stack([one, other], axis=2).reshape(tensor.shape)
        found[f'blk.{layer}.{_IN_LAYER[part]}.{kind}'] = tensor
    return found


def write(
    path: pathlib.Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    types: Sequence[str] = ('F32',),
) -> pathlib.Path:
    """Writes a file.

    Args:
      path: of the file.
      architecture: `general.architecture`.
      metadata: the other fields.
      tensors: by llama.cpp's names, float32; one of `uint8` is written as it is, see `types`.
      types: how matrices are quantised, in turns; where there is one for each tensor, all are.
    """
    writer = gguf.GGUFWriter(None, architecture)
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, value)
    matrices = 0
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            writer.add_tensor(name, tensor)
            continue
        kind = gguf.GGMLQuantizationType[types[matrices % len(types)]]
        matrices += 1
        data = tensor if tensor.dtype == np.uint8 else gguf.quantize(tensor, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def config_of(model_type: str, **fields) -> DecoderConfig:
    """Returns an architecture whose rows are made of blocks of 32, some fields changed."""
    small = {
        'vocab_size': 96,
        'd_model': 64,
        'd_kv': 16,
        'd_ff': 96,
        'num_heads': 4,
        'num_kv_heads': 2,
        'num_layers': 2,
        'qkv_bias': model_type == 'qwen2',
        'qk_norm': model_type == 'qwen3',
        'rope_theta': 1000.0,
        'norm_epsilon': 1e-5,
        'tied_head': True,
    }
    return DecoderConfig(model_type=model_type, **{**small, **IDS, **fields})


def tensors_of(config: DecoderConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors by Hugging Face's names."""
    params = parity.random_params(architectures.student_of(config, np.float32), seed)
    tensors = family_of(config).checkpoint.to_tensors(config, params)
    # Matrices of this width would else make logits that are large, and so is their rounding.
    return {name: x * np.float32(0.3 if x.ndim > 1 else 1.0) for name, x in tensors.items()}


def write_model(
    path: pathlib.Path, config: DecoderConfig, types=('F32',), *, more=None, drop=(), **fields
) -> pathlib.Path:
    """Writes random tensors of an architecture.

    Args:
      path: of the file.
      config: the architecture; its family is what the file calls it.
      types: of the matrices, in turns.
      more: tensors beside those of the architecture, or in their place.
      drop: names of tensors that are left out.
      fields: of the metadata, over those that are right; one of None is left out.
    """
    kind = config.model_type
    metadata = {**described(kind, config), **IDS_IN_FILE, **fields}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    tensors = converted(kind, config, tensors_of(config)) | (more or {})
    kept = {name: tensor for name, tensor in tensors.items() if name not in drop}
    return write(path, kind, metadata, kept, types)
