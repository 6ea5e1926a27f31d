"""What the layers of all students share: the norm, scanning, groups of targets, cache columns."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def last_true(mask: Bool[Array, '... S']) -> Bool[Array, '... S']:
    """Returns a mask of only the last True of each row.

    >>> last_true(jnp.array([[True, True, False], [False, False, False]])).tolist()
    [[False, True, False], [False, False, False]]
    """
    return mask & (jnp.cumsum(mask[..., ::-1], axis=-1)[..., ::-1] == 1)


class RMSNorm(nn.Module):
    """Scales by the root mean square: no mean is subtracted, no bias added, all in float32."""

    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param('scale', nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return (x * jax.lax.rsqrt(mean_square + self.epsilon) * scale).astype(self.dtype)


def whole(weight: jax.Array, dtype: Any = None) -> jax.Array:
    """Returns a weight as it is read: in a type, and whole on every device of the mesh in context.

    Where parameters are split over devices, those of a layer are gathered when it is run, after
    they are cast. Without a mesh in context (`jax.sharding.use_abstract_mesh`) nothing is said.
    """
    weight = weight if dtype is None else weight.astype(dtype)
    if jax.sharding.get_abstract_mesh().empty:
        return weight
    return jax.lax.with_sharding_constraint(weight, jax.sharding.PartitionSpec())


def projected(
    module: nn.Module, name: str, x: Float[Array, '... D'], weight: Float[Array, 'D O'], dtype: Any
) -> Float[Array, '... O']:
    """Returns x times a matrix of a module, and what its adapter adds where it has one (`lora`).

    Args:
      module: that the matrix belongs to.
      name: of the matrix there.
      x: what is multiplied.
      weight: the matrix.
      dtype: that is computed in.
    """
    y = x @ whole(weight, dtype)
    if not module.has_variable('adapters', name):
        return y
    adapter = module.get_variable('adapters', name)
    return y + (x @ whole(adapter['a'], dtype)) @ whole(adapter['b'], dtype)


def scan_layers(layer: type[nn.Module], length: int, *, remat: bool = False, **axes: Any) -> Any:
    """Returns a module of `length` layers with stacked parameters, run one after another.

    Args:
      layer: the module of one layer.
      length: how many.
      remat: keeps what goes into a layer, and computes what is within once more for the gradient.
      axes: `in_axes` and `out_axes` of `flax.linen.scan`.
    """
    in_line = length <= 2
    if remat:
        # In line, the compiler would find both computations alike and do with the first.
        layer = nn.remat(layer, prevent_cse=in_line)
    return nn.scan(
        layer,
        variable_axes={'params': 0, 'adapters': 0},
        split_rngs={'params': True},
        length=length,
        # Two layers compile and run faster in line; more of them would compile ever longer.
        unroll=length if in_line else 1,
        **axes,
    )


def joined_rows(parts: Sequence[Float[Array, 'B _ _ X']]) -> Float[Array, 'B U X']:
    """Lays the targets [B, R, T, X] of several groups one after another, [B, R T + ..., X].

    What acts on single tokens then acts once on all of them.
    """
    return jnp.concatenate([part.reshape(part.shape[0], -1, part.shape[-1]) for part in parts], 1)


def parted_rows(
    x: Float[Array, 'B U X'], groups: Sequence[tuple[int, int]]
) -> list[Float[Array, 'B R T X']]:
    """The inverse of `joined_rows`, for groups of R targets of T tokens each."""
    ends = np.cumsum([rows * length for rows, length in groups])
    parts = jnp.split(x, ends[:-1], axis=1)
    return [part.reshape(x.shape[0], *group, -1) for part, group in zip(parts, groups, strict=True)]


def write_column(
    buffer: Float[Array, 'X T H'], column: Float[Array, '...'], position: Int[Array, '']
) -> Float[Array, 'X T H']:
    """Writes the keys or values of one token, [X * H] in any shape, at its position of a cache."""
    column = column.reshape(buffer.shape[0], 1, buffer.shape[2])
    return jax.lax.dynamic_update_slice_in_dim(buffer, column, position, axis=1)
