"""The architecture of a Qwen2.5 (and of Qwen2, which is the same one)."""

import dataclasses

# d_model, d_ff, layers, num_heads, num_kv_heads, tied_head, vocab_size as published. The 7B has the
# tokenizer of the others and more rows.
_SIZES = {
    'tiny': (128, 256, 2, 4, 2, True, 151936),
    '0.5b': (896, 4864, 24, 14, 2, True, 151936),
    '1.5b': (1536, 8960, 28, 12, 2, True, 151936),
    '3b': (2048, 11008, 36, 16, 2, True, 151936),
    '7b': (3584, 18944, 28, 28, 4, False, 152064),
}

SIZES = tuple(_SIZES)


@dataclasses.dataclass(frozen=True)
class Qwen2Config:
    """Shapes and constants of a Qwen2.5; the defaults are those of the 0.5B.

    Attributes:
      vocab_size: rows of the embedding; the published ones have more than their tokenizers use.
      d_model: width of the residual stream.
      d_kv: size of one head; even, for rotary positions turn pairs.
      d_ff: inner width of the feed-forward layers.
      num_heads: attention heads of the queries.
      num_kv_heads: heads of the keys and values, each for as many consecutive heads of queries.
      num_layers: layers.
      rope_theta: base of the rotary positions' wavelengths.
      tied_head: the logits are taken against the embedding itself.
      norm_epsilon: added to the mean square in the norms.
      dropout_rate: of the attention weights, where a dropout key is passed; Qwen2 has no other.
      max_positions: the longest sequence it was made for. Nothing here depends on it; it is kept
        for the folders that are written.
      pad_id: id of the padding token; another one than that of EOS, which is learned.
      eos_id: id that ends every sequence.
      start_id: id that an answer starts after; it follows the prompt.
    """

    vocab_size: int = 151936
    d_model: int = 896
    d_kv: int = 64
    d_ff: int = 4864
    num_heads: int = 14
    num_kv_heads: int = 2
    num_layers: int = 24
    rope_theta: float = 1e6
    tied_head: bool = True
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.0
    max_positions: int = 32768
    pad_id: int = 151662  # <|fim_pad|>
    eos_id: int = 151643  # <|endoftext|>
    start_id: int = 198  # a newline

    def __post_init__(self):
        counts = ('vocab_size', 'd_model', 'd_ff', 'num_heads', 'num_kv_heads', 'num_layers')
        for name in (*counts, 'max_positions'):
            if getattr(self, name) < 1:
                raise ValueError(
                    f'Qwen2Config.{name}: expected at least 1, got {getattr(self, name)}'
                )
        if self.d_kv < 2 or self.d_kv % 2:
            raise ValueError(f'Qwen2Config.d_kv: expected an even number, got {self.d_kv}')
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f'Qwen2Config.num_kv_heads: expected a divisor of num_heads = {self.num_heads}, '
                f'got {self.num_kv_heads}'
            )
        if not self.rope_theta > 0:
            raise ValueError(f'Qwen2Config.rope_theta: expected more than 0, got {self.rope_theta}')
        if not 0.0 <= self.dropout_rate < 1.0:
            raise ValueError(f'Qwen2Config.dropout_rate: expected [0, 1), got {self.dropout_rate}')
        for name in ('pad_id', 'eos_id', 'start_id'):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise ValueError(
                    f'Qwen2Config.{name}: expected an id below vocab_size = {self.vocab_size}, '
                    f'got {getattr(self, name)}'
                )
        if self.pad_id == self.eos_id:
            raise ValueError(
                f'Qwen2Config.pad_id: expected another id than eos_id, got {self.pad_id} for both; '
                'what is padded is not learned, and EOS must be'
            )

    @classmethod
    def named(cls, size: str, **fields) -> 'Qwen2Config':
        """Returns one of the published sizes, or `tiny`, which is ours, with some fields changed.

        >>> Qwen2Config.named('1.5b').num_layers
        28
        """
        if size not in _SIZES:
            raise ValueError(f'size: expected one of {", ".join(_SIZES)}; got {size!r}')
        d_model, d_ff, num_layers, num_heads, num_kv_heads, tied_head, vocab_size = _SIZES[size]
        shapes = {
            'vocab_size': vocab_size,
            'd_model': d_model,
            'd_kv': d_model // num_heads,
            'd_ff': d_ff,
            'num_heads': num_heads,
            'num_kv_heads': num_kv_heads,
            'num_layers': num_layers,
            'tied_head': tied_head,
        }
        return cls(**{**shapes, **fields})
