"""What a benchmark measures, and random data for it."""

import dataclasses

import numpy as np

from qcrd_jax.models import architectures

SIZES = ('tiny', 'small', 'base', '0.5b')


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured; the fields are the flags of the command line."""

    size: str = 'small'
    version: str = 'v1.0'
    method: str = 'qcrd'
    batch: int = 8
    source_length: int = 64
    rationale_length: int = 64
    label_length: int = 16
    positives: int = 5
    negatives: int = 1
    lag: int = 5
    steps: int = 20
    dtype: str = 'float32'
    together: bool = True
    discriminator: bool = True
    update_every: int = 100


class RandomBatches:
    """A few batches of random tokens, over and over."""

    def __init__(self, setting: Setting, config: architectures.Architecture, count: int):
        rng = np.random.default_rng(0)
        self._batches = [_random_batch(rng, setting, config) for _ in range(count)]

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        return self._batches[step % len(self._batches)]


def _random_batch(
    rng: np.random.Generator, setting: Setting, config: architectures.Architecture
) -> dict[str, np.ndarray]:
    """Full sequences, each with its EOS at the end; the teacher slipped once per question."""
    special = 1 + max(config.pad_id, config.eos_id, config.start_id)

    def sequences(*shape: int) -> np.ndarray:
        ids = rng.integers(special, config.vocab_size, shape, dtype=np.int32)
        ids[..., -1] = config.eos_id
        return ids

    size, source, length = setting.batch, setting.source_length, setting.rationale_length
    return {
        'predict_ids': sequences(size, source),
        'explain_ids': sequences(size, source),
        'question_ids': sequences(size, source),
        'label_ids': sequences(size, setting.label_length),
        'positive_ids': sequences(size, setting.positives, length),
        'positive_mask': np.ones((size, setting.positives), bool),
        'negative_ids': sequences(size, 1, length),
        'negative_mask': np.ones((size, 1), bool),
        'example_mask': np.ones(size, bool),
    }
