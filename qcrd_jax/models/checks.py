"""Checks that the configs of all architectures make of their fields."""

from typing import Any

# The largest that a size may be, far beyond what was ever published: what is larger is a mistake
# or an attempt, and would be looped over or allocated before anything else finds it out.
LARGEST_VOCABULARY = 1 << 24
LARGEST_WIDTH = 1 << 20
MOST_HEADS = 1 << 14
MOST_LAYERS = 1 << 12
MOST_BUCKETS = 1 << 16
MOST_POSITIONS = (1 << 31) - 1  # what int32 counts
LARGEST_NUMBER = 1e30  # of other fields; float32, in which all is computed, ends at 3e38

_LARGEST = {
    'vocab_size': LARGEST_VOCABULARY,
    'd_model': LARGEST_WIDTH,
    'd_kv': LARGEST_WIDTH,
    'd_ff': LARGEST_WIDTH,
    'num_heads': MOST_HEADS,
    'num_kv_heads': MOST_HEADS,
    'num_layers': MOST_LAYERS,
    'encoder_layers': MOST_LAYERS,
    'decoder_layers': MOST_LAYERS,
    'max_positions': MOST_POSITIONS,
}


class FieldError(ValueError):
    """A field of a config that is not what it should be.

    Attributes:
      field: its name in the config.
      expected: what it should be.
      value: what it is.
    """

    def __init__(self, config: Any, field: str, expected: str):
        self.field, self.expected, self.value = field, expected, getattr(config, field)
        super().__init__(
            f'{type(config).__name__}.{field}: expected {expected}, got {self.value!r:.80}'
        )


def require(config: Any, field: str, holds: bool, expected: str) -> None:
    """Raises FieldError, naming the field of a config and its value, unless what is asked holds."""
    if not holds:
        raise FieldError(config, field, expected)


def require_number(config: Any, field: str, low: float, high: float = LARGEST_NUMBER) -> None:
    """Raises FieldError unless a field is a number from `low` to `high`; NaN is none."""
    require(config, field, low <= getattr(config, field) <= high, f'from {low:g} to {high:g}')


def check_config(config: Any, *counts: str) -> None:
    """Checks the fields that every architecture has, and that its counts are at least one.

    Raises:
      FieldError: naming the field, what was expected and what came.
    """
    for name in ('vocab_size', 'd_model', 'num_heads', 'd_kv', 'd_ff', *counts):
        value, most = getattr(config, name), _LARGEST[name]
        fits = type(value) is int and 1 <= value <= most
        require(config, name, fits, f'a whole number from 1 to {most}')
    require_number(config, 'norm_epsilon', 0.0, 1.0)
    require(config, 'dropout_rate', 0.0 <= config.dropout_rate < 1.0, '[0, 1)')
    for name in ('pad_id', 'eos_id', 'start_id'):
        value = getattr(config, name)
        fits = type(value) is int and 0 <= value < config.vocab_size
        require(config, name, fits, f'an id below vocab_size = {config.vocab_size}')
