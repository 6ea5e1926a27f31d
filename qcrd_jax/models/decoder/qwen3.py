"""Qwen3: norms of the heads of queries and keys, whose size is a field of its own."""

from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint
from qcrd_jax.models.decoder.config import sizes
from qcrd_jax.models.decoder.qwen import DEFAULTS, TOKENS, refuse_window

VERSIONS = {
    'qwen3': sizes(
        {
            'tiny': ((128, 64, 256, 4, 2, 2), {}),
            '0.6b': ((1024, 128, 3072, 16, 8, 28), {}),
            '1.7b': ((2048, 128, 6144, 16, 8, 28), {}),
            '4b': ((2560, 128, 9728, 32, 8, 36), {}),
            '8b': ((4096, 128, 12288, 32, 8, 36), {'tied_head': False}),
        },
        model_type='qwen3',
        qk_norm=True,
        rope_theta=1e6,
        tied_head=True,
        max_positions=40960,
        **TOKENS,
    )
}

CHECKPOINT = DecoderCheckpoint(
    model_type='qwen3',
    model_class='Qwen3ForCausalLM',
    defaults={**DEFAULTS, 'head_dim': 128},
    qk_norm=True,
    written={'attention_bias': False, 'use_sliding_window': False},
    computed={'attention_bias': (None, False)},
    check=refuse_window,
)
