"""What all architectures share of their models: the plain parts.

A model is a frozen, hashable object (static under `jax.jit`): a config and the precision that it
is computed in. What it computes is for its own file to say.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from qcrd_jax.models.layers import whole
from qcrd_jax.models.protocol import Dropping, Params

_READ_AS_FLOAT32 = ('scale', 'relative_bias')


@dataclasses.dataclass(frozen=True)
class EncoderBase:
    """The part of `protocol.Encoder` that only reads the config.

    Attributes:
      config: the architecture.
      compute_dtype: of the matrix products, float32 or bfloat16. Parameters, softmax, positions,
        the statistics of the norms and the logits are float32 in either case.
      remat: whether the activations within a layer are computed once more for the gradient, which
        takes less memory and more time, in place of being kept.
    """

    config: Any
    compute_dtype: Any = jnp.float32
    remat: bool = False

    def __post_init__(self):
        dtype = jnp.dtype(self.compute_dtype)
        if dtype not in (jnp.float32, jnp.bfloat16):
            # float16 is no choice: the feed-forward layers of T5 v1.1 overflow in it.
            raise ValueError(f'compute_dtype: expected float32 or bfloat16, got {dtype}')
        object.__setattr__(self, 'compute_dtype', dtype)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        return self.config.vocab_size

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self.config.pad_id

    @property
    def eos_id(self) -> int:
        """Id that ends a sequence."""
        return self.config.eos_id

    @property
    def width(self) -> int:
        """D, the size of a state."""
        return self.config.d_model

    def embed(self, params: Params, ids: Int[Array, '*shape']) -> Float[Array, '*shape D']:
        """Returns the rows of the embedding, as the layers compute with them."""
        return whole(params['embedding'])[ids].astype(self.compute_dtype)


@dataclasses.dataclass(frozen=True)
class StudentBase(EncoderBase):
    """The part of `protocol.Student` that students of every architecture do alike."""

    @property
    def start_id(self) -> int:
        """The token that the decoder is given before the first target."""
        return self.config.start_id

    @property
    def decoding_axes(self) -> Any:
        """All leaves are stacked."""
        return 0

    def embed_shifted(
        self, params: Params, targets: Int[Array, 'B R T']
    ) -> Float[Array, 'B R T D']:
        """Embeds what stands before each target: `start_id`, then all targets but the last."""
        before = jnp.pad(targets[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=self.start_id)
        return self.embed(params, before)

    def head(self, params: Params) -> Float[Array, 'V D']:
        """Returns the table that states are read out against: the head or, tied, the embedding."""
        return whole(params['embedding' if self.config.tied_head else 'head'])

    def read_out(self, params: Params, states: Float[Array, 'B R T D']) -> Float[Array, 'B R T V']:
        """Returns the float32 logits of what `decode_states` returns."""
        return jnp.einsum(
            'brtd,vd->brtv',
            states,
            self.head(params).astype(self.compute_dtype),
            preferred_element_type=jnp.float32,
        )

    def decode(
        self: Any,
        params: Params,
        context: Any,
        targets: Int[Array, 'B R T'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B R T V']:
        """Returns the float32 logits of every target token given those before it."""
        (states,) = self.decode_states(params, [(context, targets)], [dropout])
        return self.read_out(params, states)

    def narrowed(self, params: Params, dtype: Any) -> Params:
        """Returns parameters whose matrices have another dtype, for what only computes with them.

        With the dtype that is computed in, nothing that is computed changes: what the layers read
        in float32 (the scales of norms, T5's position biases) stays float32.
        """

        def cast(path: Any, leaf: Any) -> Any:
            return leaf if path[-1].key in _READ_AS_FLOAT32 else leaf.astype(dtype)

        return jax.tree_util.tree_map_with_path(cast, params)

    def cast_stack(self, params: Params, stack: str) -> Params:
        """Returns parameters of which a step of decoding reads every weight just once.

        The matrices are cast to `compute_dtype` and the layers of the stack that decodes are
        unstacked: a slice of a stacked array would be copied for every token. What does not decode
        stays as it is.
        """
        tables = {name: params[name] for name in ('embedding', 'head') if name in params}
        layers = unstack(params[stack]['layers'])
        if 'adapters' in params:
            adapters = unstack(params['adapters']['layers'])
            tables['adapters'] = {'layers': adapters}
        return {
            **params,
            **_cast_matrices(tables, self.compute_dtype),
            stack: {**params[stack], 'layers': _cast_matrices(layers, self.compute_dtype)},
        }


def stacked_axes(cache: Any) -> Any:
    """Returns `protocol.Student.cache_axes` for a NamedTuple of a cache: all but its `position`."""
    return cache(**{name: None if name == 'position' else 0 for name in cache._fields})


def longer_buffers(
    buffers: tuple[Float[Array, 'X T H'], ...], max_length: int
) -> tuple[Float[Array, 'X L H'], ...]:
    """Returns the keys or values of a cache with zeros at the end, up to `max_length`."""
    more = max_length - buffers[0].shape[1]
    return tuple(jnp.pad(leaf, ((0, 0), (0, more), (0, 0))) for leaf in buffers)


def apply(
    module: nn.Module,
    params: Params,
    *arguments: Any,
    method: str | None = None,
    adapters: Params | None = None,
) -> Any:
    """Returns what a module, or a method of it, computes; with adapters (`lora`) or without."""
    variables = {'params': params}
    if adapters is not None:
        variables['adapters'] = adapters
    return module.apply(variables, *arguments, method=method)


def unstack(layers: Any) -> tuple[Any, ...]:
    """Returns a tuple of single layers; layers that are apart already stay as they are."""
    if isinstance(layers, tuple):
        return layers
    length = jax.tree.leaves(layers)[0].shape[0]
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(length))


def _cast_matrices(tree: Any, dtype: Any) -> Any:
    """Casts every leaf but the vectors: norms multiply in float32."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim > 1 else leaf, tree)


def compute_dtype(name: str) -> Any:
    """Returns the type of the matrix products: 'auto' is bfloat16, but float32 on a CPU."""
    if name == 'auto':
        return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
    return jnp.dtype(name)
