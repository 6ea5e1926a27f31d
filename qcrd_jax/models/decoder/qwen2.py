"""Qwen2 and Qwen2.5: biases of queries, keys and values."""

from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint, refuse_used_window
from qcrd_jax.models.decoder.config import sizes

# What a config.json of a Qwen2 or a Qwen3 lacks; both have the defaults of a 7B without groups.
DEFAULTS = {
    'vocab_size': 151936,
    'hidden_size': 4096,
    'intermediate_size': 22016,
    'num_hidden_layers': 32,
    'num_attention_heads': 32,
    'num_key_value_heads': 32,
    'max_position_embeddings': 32768,
}

# The tokenizer is one for Qwen2.5 and Qwen3; the embedding has more rows than it has tokens.
TOKENS = {
    'vocab_size': 151936,
    'pad_id': 151662,  # <|fim_pad|>
    'eos_id': 151643,  # <|endoftext|>
    'start_id': 198,  # a newline
}

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
    check=lambda fields: refuse_used_window(fields, DEFAULTS['num_hidden_layers']),
)
