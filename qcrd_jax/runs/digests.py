"""What describes the arrays of a checkpoint: names, shapes, types, and digests of their bits.

One process digests by SHA-256. An array that is spread over several processes has no bytes in a
row anywhere, and is not gathered for this: its elements are mixed with their places, each where it
lives, and the sums over all of them (128 bits) are its digest. Damage changes either.
"""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qcrd_jax import placement

Arrays = dict[str, Any]  # leaf name -> array

_SEEDS = (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)


def named_leaves(tree: Any) -> Arrays:
    """Leaves by path, in the order of the tree; names that a file system takes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def describe(array: Any, spread: bool = False) -> dict[str, Any]:
    """Shape, type and digest of an array, as JSON.

    Args:
      array: of NumPy or JAX.
      spread: whether it is digested where it lives.
    """
    entry = {'shape': list(array.shape), 'dtype': str(array.dtype)}
    if spread:
        return entry | {'sums': [int(value) for value in np.asarray(_sums(array))]}
    data = np.ascontiguousarray(placement.whole(array))
    digest = hashlib.sha256(data.reshape(-1).view(np.uint8).data).hexdigest()
    return entry | {'sha256': digest}


def distinct(leaves: Arrays, spread: bool = False) -> tuple[Arrays, dict[str, Any]]:
    """The leaves, one of those that are equal, and what describes every leaf.

    `stored` in a description is the name of the leaf that is stored for it.
    """
    arrays, described, stored = {}, {}, {}
    for name, array in leaves.items():
        entry = describe(array, spread)
        first = stored.setdefault(json.dumps(entry), name)
        if first == name:
            arrays[name] = array
        described[name] = entry | {'stored': first}
    return arrays, described


def of_record(record: dict[str, Any]) -> str:
    """The digest of a checkpoint's record, but for itself."""
    content = {name: value for name, value in record.items() if name != 'sha256'}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@jax.jit
def _sums(array: Any) -> jax.Array:
    """Four sums of mixed elements and places, uint32 [4]."""
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    bits = lax.bitcast_convert_type(array, unsigned[array.dtype.itemsize]).astype(jnp.uint32)
    place, stride = jnp.zeros(array.shape, jnp.uint32), 1
    for axis in reversed(range(array.ndim)):
        along = lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        place = place + along * np.uint32(stride % 2**32)
        stride *= array.shape[axis]
    mixed = [_mixed(bits ^ _mixed(place * np.uint32(2654435769) + np.uint32(s))) for s in _SEEDS]
    return jnp.stack([jnp.sum(each, dtype=jnp.uint32) for each in mixed])


def _mixed(bits: jax.Array) -> jax.Array:
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return bits ^ (bits >> np.uint32(16))
