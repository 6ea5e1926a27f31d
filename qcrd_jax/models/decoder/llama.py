"""Llama 2 and 3, and what has their architecture under the same name, as SmolLM2 has."""

from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint
from qcrd_jax.models.decoder.config import RopeScaling, sizes

VERSIONS = {
    'llama3': sizes(  # 3.2 and, the 8B, 3.1
        {
            'tiny': ((128, 32, 256, 4, 2, 2), {}),
            '1b': ((2048, 64, 8192, 32, 8, 16), {}),
            '3b': ((3072, 128, 8192, 24, 8, 28), {}),
            '8b': (
                (4096, 128, 14336, 32, 8, 32),
                {'tied_head': False, 'rope_scaling': RopeScaling('llama3', 8.0)},
            ),
        },
        model_type='llama',
        vocab_size=128256,
        rope_theta=500000.0,
        rope_scaling=RopeScaling('llama3', 32.0),
        tied_head=True,
        norm_epsilon=1e-5,
        max_positions=131072,
        pad_id=128004,  # <|finetune_right_pad_id|>
        eos_id=128001,  # <|end_of_text|>
        start_id=198,  # a newline
    ),
    'smollm2': sizes(
        {
            'tiny': ((128, 32, 256, 4, 2, 2), {}),
            '135m': ((576, 64, 1536, 9, 3, 30), {}),
            '360m': ((960, 64, 2560, 15, 5, 32), {}),
            '1.7b': ((2048, 64, 8192, 32, 32, 24), {'rope_theta': 130000.0}),
        },
        model_type='llama',
        vocab_size=49152,
        rope_theta=100000.0,
        tied_head=True,
        norm_epsilon=1e-5,
        max_positions=8192,
        pad_id=2,  # <|im_end|>
        eos_id=0,  # <|endoftext|>
        start_id=198,  # a newline
    ),
}

CHECKPOINT = DecoderCheckpoint(
    model_type='llama',
    model_class='LlamaForCausalLM',
    defaults={
        'vocab_size': 32000,
        'hidden_size': 4096,
        'intermediate_size': 11008,
        'num_hidden_layers': 32,
        'num_attention_heads': 32,
        'max_position_embeddings': 2048,
        'eos_token_id': 2,
    },
    written={'attention_bias': False, 'mlp_bias': False},
    computed={'attention_bias': (None, False), 'mlp_bias': (None, False)},
)
