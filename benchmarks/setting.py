"""What a benchmark measures."""

import dataclasses

SIZES = ('tiny', 'small', 'base', '135m', '0.5b')


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured; the fields are the flags of the command line.

    With `lengths` the sequences have the lengths of a real split, and so have positives and the
    teacher's negatives; the four fields of lengths and `positives` are then not read.
    """

    size: str = 'small'
    version: str = 'v1.0'
    method: str = 'qcrd'
    batch: int = 8
    lengths: str = 'full'
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
