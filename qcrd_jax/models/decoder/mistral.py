"""Mistral where it has no sliding window, as from v0.2 on: a Llama of another name."""

from qcrd_jax.models.config_fields import Fields
from qcrd_jax.models.decoder.checkpoint import DecoderCheckpoint
from qcrd_jax.models.decoder.config import sizes

_DEFAULTS = {
    'vocab_size': 32000,
    'hidden_size': 4096,
    'intermediate_size': 14336,
    'num_hidden_layers': 32,
    'num_attention_heads': 32,
    'num_key_value_heads': 8,
    'max_position_embeddings': 131072,
    'sliding_window': 4096,
    'eos_token_id': 2,
}


def _refuse_window(fields: Fields) -> None:
    """Refuses a window that is shorter than the longest sequence."""
    missing = 'sliding_window' not in fields.raw
    window = fields.get('sliding_window', int, _DEFAULTS['sliding_window'] if missing else None)
    longest = fields.get('max_position_embeddings', int, _DEFAULTS['max_position_embeddings'])
    if window is not None and window < longest:
        fields.refuse(
            'sliding_window',
            f'null, or at least max_position_embeddings = {longest}; attention to a sliding window '
            f'is not computed, and a file without the field means {_DEFAULTS["sliding_window"]}',
        )


VERSIONS = {
    'mistral': sizes(  # v0.3
        {
            'tiny': ((128, 32, 256, 4, 2, 2), {}),
            '7b': ((4096, 128, 14336, 32, 8, 32), {}),
        },
        model_type='mistral',
        vocab_size=32768,
        rope_theta=1e6,
        norm_epsilon=1e-5,
        max_positions=32768,
        pad_id=0,  # <unk>
        eos_id=2,  # </s>
        start_id=781,  # a newline
    )
}

CHECKPOINT = DecoderCheckpoint(
    model_type='mistral',
    model_class='MistralForCausalLM',
    defaults=_DEFAULTS,
    written={'sliding_window': None},
    check=_refuse_window,
)
