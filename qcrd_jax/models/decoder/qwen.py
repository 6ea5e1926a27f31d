"""What Qwen2 and Qwen3 share."""

from qcrd_jax.models.config_fields import Fields

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


def refuse_window(fields: Fields) -> None:
    """Refuses layers that attend to a window which is shorter than the longest sequence.

    Most files name a window and do not use it.
    """

    def get(name: str) -> int:
        return fields.get(name, int, DEFAULTS[name])

    window = fields.get('sliding_window', int, None if 'sliding_window' in fields.raw else 4096)
    used = fields.get('use_sliding_window', bool, False)
    some = fields.get('max_window_layers', int, 28) < get('num_hidden_layers')
    short = window is not None and window < get('max_position_embeddings')
    if used and some and short and fields.raw.get('layer_types') is None:  # else these decide
        fields.refuse('use_sliding_window', 'false; attention to a sliding window is not computed')
