"""How fast a device can compute and move at best: its maker's figures, or measured on a CPU."""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Peaks(NamedTuple):
    """The best a device can do.

    Attributes:
      operations: per second, by the type of a matrix product's inputs.
      bandwidth: bytes per second of its memory, read or written.
      source: where the figures are from.
    """

    operations: dict[str, float]
    bandwidth: float
    source: str


# Dense products. In float32 XLA lets the tensor cores of these GPUs round inputs to TF32.
_HOPPER = {'bfloat16': 989.4e12, 'float32': 494.7e12}
_AMPERE = {'bfloat16': 312e12, 'float32': 156e12}
KNOWN = {
    'H200': Peaks(_HOPPER, 4.8e12, 'NVIDIA H200 data sheet (SXM, 141 GB)'),
    'H100 80GB HBM3': Peaks(_HOPPER, 3.35e12, 'NVIDIA H100 data sheet (SXM, 80 GB)'),
    'A100-SXM4-80GB': Peaks(_AMPERE, 2.039e12, 'NVIDIA A100 data sheet (SXM, 80 GB)'),
    'A100-SXM4-40GB': Peaks(_AMPERE, 1.555e12, 'NVIDIA A100 data sheet (SXM, 40 GB)'),
}
"""By a part of the name that JAX has for the device."""

_SIDE = 2048  # of the products that calibrate
_NUMBERS = 1 << 26  # of the arrays that are copied: 256 MB in float32, more than any cache
_TRIES = 5


def of_device(device: jax.Device) -> Peaks | None:
    """Returns the peaks of a device; None of one that is not in the table and no CPU."""
    for name, peaks in KNOWN.items():
        if name in device.device_kind:
            return peaks
    return measured() if device.platform == 'cpu' else None


@functools.cache
def measured() -> Peaks:
    """Returns what this machine reaches: large products, and a copy of a large array.

    The best of a few tries, for others may use the machine too.
    """
    operations = {}
    for dtype in ('float32', 'bfloat16'):
        matrix = jnp.ones((_SIDE, _SIDE), dtype)
        seconds = _best(jax.jit(jnp.matmul), matrix, matrix)
        operations[dtype] = 2 * _SIDE**3 / seconds
    numbers = jnp.ones(_NUMBERS, jnp.float32)
    copied = _best(jax.jit(lambda x: x + 1), numbers)
    return Peaks(operations, 2 * numbers.nbytes / copied, 'measured: products and a copy')


def _best(call: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    """Seconds of the fastest of a few calls, after one that compiles."""
    seconds = []
    for _ in range(_TRIES + 1):
        start = time.perf_counter()
        call(*arguments).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
