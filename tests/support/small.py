"""Tiny architectures for tests; no two of their sizes are alike but where it says so."""

from qcrd_jax.models import DecoderConfig, T5Config


def t5(**fields) -> T5Config:
    """Returns a T5 of two and three layers with an untied head, some fields changed."""
    small = {
        'vocab_size': 31,
        'd_model': 12,
        'd_kv': 4,
        'd_ff': 20,
        'num_heads': 3,
        'encoder_layers': 2,
        'decoder_layers': 3,
        'relative_buckets': 8,
        'relative_max_distance': 20,
    }
    return T5Config(**{**small, **fields})


def decoder(model_type: str = 'qwen2', **fields) -> DecoderConfig:
    """Returns a decoder-only architecture of a family, some fields changed."""
    small = {
        'vocab_size': 31,
        'd_model': 12,
        'd_kv': 4,
        'd_ff': 20,
        'num_heads': 6,
        'num_kv_heads': 2,
        'num_layers': 3,
        'qkv_bias': model_type == 'qwen2',
        'qk_norm': model_type == 'qwen3',
        'pad_id': 0,
        'eos_id': 1,
        'start_id': 2,
    }
    return DecoderConfig(model_type=model_type, **{**small, **fields})
