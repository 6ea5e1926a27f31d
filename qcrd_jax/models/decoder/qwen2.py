"""Qwen2 and Qwen2.5: biases of queries, keys and values."""

from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint
from qcrd_jax.models.decoder.config import sizes
from qcrd_jax.models.decoder.qwen import DEFAULTS, TOKENS, refuse_window

VERSIONS = {
    'qwen2.5': sizes(
        {
            'tiny': ((128, 32, 256, 4, 2, 2), {}),
            '0.5b': ((896, 64, 4864, 14, 2, 24), {}),
            '1.5b': ((1536, 128, 8960, 12, 2, 28), {}),
            '3b': ((2048, 128, 11008, 16, 2, 36), {}),
            '7b': ((3584, 128, 18944, 28, 4, 28), {'tied_head': False, 'vocab_size': 152064}),
        },
        model_type='qwen2',
        qkv_bias=True,
        rope_theta=1e6,
        tied_head=True,
        max_positions=32768,
        **TOKENS,
    )
}

CHECKPOINT = DecoderCheckpoint(
    model_type='qwen2',
    model_class='Qwen2ForCausalLM',
    defaults=DEFAULTS,
    qkv_bias=True,
    written={'use_sliding_window': False},
    check=refuse_window,
)
