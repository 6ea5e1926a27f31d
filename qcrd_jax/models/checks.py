"""Checks that the configs of all architectures make of their fields."""

from typing import Any


def require(config: Any, field: str, holds: bool, expected: str) -> None:
    """Raises ValueError, naming the field of a config and its value, unless what is asked holds."""
    if not holds:
        raise ValueError(
            f'{type(config).__name__}.{field}: expected {expected}, got {getattr(config, field)!r}'
        )


def check_config(config: Any, *counts: str) -> None:
    """Checks the fields that every architecture has, and that its counts are at least one.

    Raises:
      ValueError: naming the field, what was expected and what came.
    """
    for name in ('vocab_size', 'd_model', 'd_kv', 'd_ff', 'num_heads', *counts):
        require(config, name, getattr(config, name) >= 1, 'at least 1')
    require(config, 'norm_epsilon', config.norm_epsilon >= 0, 'at least 0')
    require(config, 'dropout_rate', 0.0 <= config.dropout_rate < 1.0, '[0, 1)')
    for name in ('pad_id', 'eos_id', 'start_id'):
        fits = 0 <= getattr(config, name) < config.vocab_size
        require(config, name, fits, f'an id below vocab_size = {config.vocab_size}')
