"""The few calls that differ between versions of the package, so that earlier ones can be measured.

Versions from commit 04c4247 on are understood. Before `data.shapes` all batches had one shape, and
the ring was a tuple of trees.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from qcrd_jax import config as configuration
from qcrd_jax.data import batches
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.methods import Method, programs
from qcrd_jax.models.protocol import Params
from qcrd_jax.ring import Ring

_HAS_SHAPES = importlib.util.find_spec('qcrd_jax.data.shapes') is not None
_APART = importlib.util.find_spec('qcrd_jax.methods.compiled') is not None


def measure_lengths(encoded: Encoded, caps: Mapping[str, int], bucket: int) -> Any:
    """The shape that holds a split, as `data.lengths.measure_lengths` has it."""
    home: Any = importlib.import_module('qcrd_jax.data.lengths') if _HAS_SHAPES else batches
    return home.measure_lengths({'train': encoded}, caps, bucket)[0]


def training_batches(
    encoded: Encoded, lengths: Any, method: Method, *, batch_size: int, seed: int, bucket: int
) -> Any:
    """The batches of a run, in the shapes that it would choose."""
    if not _HAS_SHAPES:
        return batches.training_batches(encoded, lengths, batch_size=batch_size, seed=seed)
    shapes = importlib.import_module('qcrd_jax.data.shapes')
    chosen = shapes.choose(
        encoded,
        lengths,
        batch_size=batch_size,
        most=configuration.base_config().train.shapes,
        bucket=bucket,
        negatives=programs.reads_negatives(method),
    )
    return batches.training_batches(
        encoded, lengths, batch_size=batch_size, seed=seed, shapes=chosen, bucket=bucket
    )


def compiled(method: Method) -> Any:
    """The compiled programs of a method."""
    home: Any = importlib.import_module('qcrd_jax.methods.compiled') if _APART else programs
    return home.compiled(method)


def programs_of(made: Any, progress: Any, batches: Any, key: Any, steps: int) -> list[Any]:
    """The programs that take so many steps: one, or one that samples and one that learns."""
    if _APART:
        return made.all(progress, batches[0], key, largest=batches.largest, steps=steps)
    return [made.greediest(progress, batches[0], key, steps=steps)]


def ring_of(method: Method, params: Params) -> Ring | None:
    """The ring before step 0; None for a method that has none."""
    if hasattr(programs, 'ring_of'):
        return programs.ring_of(method, params)
    lag = programs.lag(method)
    return Ring.create(params, lag) if lag else None
