"""What Qwen2 and Qwen3 share."""

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
