"""The architecture of a decoder-only model; what families differ in are fields of one dataclass."""

import dataclasses
from typing import Any

from qcrd_jax.models.checks import MOST_POSITIONS, check_config, require, require_number

SCALINGS = ('linear', 'llama3')


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary positions are slowed down for sequences longer than those first trained on.

    Attributes:
      kind: 'linear', every pair of a head turns `factor` times slower; 'llama3', pairs that turn
        often within `original_positions` keep their pace, those that hardly turn slow down by
        `factor`, and those between are blended.
      factor: how many times slower.
      low_turns: pairs with at most so many turns are slowed down in full; read by 'llama3'.
      high_turns: pairs with at least so many turns keep their pace; read by 'llama3'.
      original_positions: the length that the turns are counted over; read by 'llama3'.
    """

    kind: str
    factor: float
    low_turns: float = 1.0
    high_turns: float = 4.0
    original_positions: int = 8192

    def __post_init__(self):
        require(self, 'kind', self.kind in SCALINGS, f'one of {", ".join(SCALINGS)}')
        require_number(self, 'factor', 1e-6)
        require_number(self, 'low_turns', 0.0)
        require_number(self, 'high_turns', 0.0)
        ordered = self.high_turns > self.low_turns
        require(self, 'high_turns', ordered, f'more than the low one, {self.low_turns}')
        counted = 1 <= self.original_positions <= MOST_POSITIONS
        require(self, 'original_positions', counted, f'from 1 to {MOST_POSITIONS}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Shapes and constants of a decoder-only model.

    Attributes:
      model_type: the family, as Hugging Face calls it; nothing that is computed depends on it.
      vocab_size: rows of the embedding; many published ones have more than their tokenizers use.
      d_model: width of the residual stream.
      d_kv: size of one head; even, for rotary positions turn pairs. `num_heads * d_kv` need not be
        `d_model`.
      d_ff: inner width of the feed-forward layers.
      num_heads: attention heads of the queries.
      num_kv_heads: heads of the keys and values, each for as many consecutive heads of queries.
      num_layers: layers.
      qkv_bias: queries, keys and values have biases (Qwen2).
      qk_norm: each head of queries and keys is normed before it is turned (Qwen3).
      rope_theta: base of the rotary positions' wavelengths.
      rope_scaling: how those are stretched, or None.
      tied_head: the logits are taken against the embedding itself.
      norm_epsilon: added to the mean square in the norms.
      dropout_rate: of the attention weights, where a dropout key is passed; there is no other.
      max_positions: the longest sequence it was made for. Nothing here depends on it; it is kept
        for the folders that are written.
      pad_id: id of the padding token; another one than that of EOS, which is learned.
      eos_id: id that ends every sequence.
      start_id: id that an answer starts after; it follows the prompt.
      stop_ids: all ids at which transformers ends a text, where they are more than `eos_id`; kept
        for the folders that are written.
    """

    model_type: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_kv_heads: int
    num_layers: int
    qkv_bias: bool = False
    qk_norm: bool = False
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tied_head: bool = False
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.0
    max_positions: int = 2048
    pad_id: int
    eos_id: int
    start_id: int
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self):
        check_config(self, 'num_kv_heads', 'num_layers', 'max_positions')
        require(self, 'd_kv', self.d_kv % 2 == 0, 'an even number')
        shared = self.num_heads % self.num_kv_heads == 0
        require(self, 'num_kv_heads', shared, f'a divisor of the {self.num_heads} heads')
        require_number(self, 'rope_theta', 1e-6)
        for token in self.stop_ids:
            fits = type(token) is int and 0 <= token < self.vocab_size
            require(self, 'stop_ids', fits, f'ids below vocab_size = {self.vocab_size}')
        # What is padded is not learned, and EOS must be.
        apart = self.pad_id != self.eos_id
        require(self, 'pad_id', apart, f'another id than eos_id = {self.eos_id}')


def sizes(
    rows: dict[str, tuple[tuple[int, int, int, int, int, int], dict[str, Any]]], **constants: Any
) -> dict[str, DecoderConfig]:
    """Returns the sizes of one version.

    Args:
      rows: by name: d_model, d_kv, d_ff, num_heads, num_kv_heads and num_layers; then the fields in
        which a size differs from the others.
      constants: the fields that all sizes share.
    """
    names = ('d_model', 'd_kv', 'd_ff', 'num_heads', 'num_kv_heads', 'num_layers')
    return {
        size: DecoderConfig(**{**constants, **dict(zip(names, shape, strict=True)), **fields})
        for size, (shape, fields) in rows.items()
    }
