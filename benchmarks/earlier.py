"""The few calls that differ between versions of the package, so that an earlier is measured too.

It is that of commit 04c4247, where all batches had one shape, a chunk of steps was one program, and
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

_EARLIER = importlib.util.find_spec('qcrd_jax.methods.compiled') is None


def measure_lengths(encoded: Encoded, caps: Mapping[str, int], bucket: int) -> Any:
    """The shape that holds a split, as `data.lengths.measure_lengths` has it."""
    home: Any = batches if _EARLIER else importlib.import_module('qcrd_jax.data.lengths')
    return home.measure_lengths({'train': encoded}, caps, bucket)[0]


def training_batches(
    encoded: Encoded, lengths: Any, method: Method, *, batch_size: int, seed: int, bucket: int
) -> Any:
    """The batches of a run, in the shapes that it would choose."""
    if _EARLIER:
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
    if _EARLIER:
        home: Any = programs
        return home.compiled(method)
    return importlib.import_module('qcrd_jax.methods.compiled').programs_of(method)


def programs_of(made: Any, progress: Any, batches: Any, key: Any, steps: int) -> list[Any]:
    """The programs that take so many steps: one, or one that samples and one that learns."""
    if _EARLIER:
        return [made.greediest(progress, batches[0], key, steps=steps)]
    return made.all(progress, batches[0], key, largest=batches.largest, steps=steps)


def ring_of(method: Method, params: Params) -> Ring | None:
    """The ring before step 0; None for a method that has none."""
    if not _EARLIER:
        return programs.ring_of(method, params)
    lag = programs.lag(method)
    return Ring.create(params, lag) if lag else None
