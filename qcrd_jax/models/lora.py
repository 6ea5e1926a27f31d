"""Low-rank adapters: a student of which a few small matrices are trained beside frozen weights.

LoRA (Hu et al. 2022, eq. 3): a matrix W reads as x W + (alpha / r) x A B, where only A and B are
trained. The sum of products is never made while training: the frozen weights are read once for any
number of past adapters, which is what makes a ring of them small and sampling from it cheap.

Decoder-only students know where adapters go: in their parameters, `'adapters'` stands beside
`'body'` and has the same layers, of each matrix that has an adapter {'a': [D, r], 'b': [r, O]}.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.models.protocol import Cache, Context, Dropping, Encoder, Params, Student

__all__ = ['LoraStudent', 'LoraTargets', 'merge_adapters']

LoraTargets = Literal['attention', 'all']

# The matrices of a layer by the block they are in; queries, keys and values are one matrix.
_MATRICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    'attention': {'attention': ('query_key_value', 'out')},
    'all': {
        'attention': ('query_key_value', 'out'),
        'feed_forward': ('gate', 'up', 'down'),
    },
}


@dataclasses.dataclass(frozen=True)
class LoraStudent:
    """A student whose parameters are adapters; it is a `protocol.Student` of them.

    It computes with the frozen weights that `over` gives it, inside of a program: they are an
    argument of the program and nobody's parameters. Until then it is hashable, as a static argument
    has to be, and only `init` and `narrowed` can be asked for.

    Attributes:
      student: the decoder-only model.
      rank: r, of the products A B.
      alpha: they are multiplied by alpha / r.
      targets: which matrices have adapters: 'attention' (queries, keys and values as one matrix,
        and the output), or 'all' (those of the feed-forward too).
      base: the frozen weights, whole parameters of `student`.
    """

    student: Student
    rank: int = 8
    alpha: float = 16.0
    targets: LoraTargets = 'all'
    base: Params | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f'rank: expected at least 1, got {self.rank}.')
        if self.targets not in _MATRICES:
            known = ' or '.join(map(repr, get_args(LoraTargets)))
            raise ValueError(f'targets: expected {known}, got {self.targets!r}.')

    def over(self, base: Params) -> 'LoraStudent':
        """Returns the student that computes beside frozen weights."""
        return dataclasses.replace(self, base=base)

    # --- What is the student's own ----------------------------------------------------------------

    @property
    def config(self) -> Any:
        """The architecture."""
        return self.student.config

    @property
    def encoder(self) -> Encoder:
        """Of whole parameters, without adapters."""
        return self.student.encoder

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        return self.student.vocab_size

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self.student.pad_id

    @property
    def eos_id(self) -> int:
        """Id that ends a sequence."""
        return self.student.eos_id

    @property
    def start_id(self) -> int:
        """The token that the decoder is given before the first target."""
        return self.student.start_id

    @property
    def cache_axes(self) -> Any:
        """See `protocol.Student`."""
        return self.student.cache_axes

    @property
    def decoding_axes(self) -> Any:
        """Adapters are stacked, and share the frozen weights."""
        return {'base': None, 'adapters': 0}

    # --- Of adapters ------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> Params:
        """Returns adapters that change nothing yet: A as `nn.Linear` of PyTorch draws it, B zero.

        Those are the first values of the adapters of PEFT.
        """
        shapes = jax.eval_shape(self.student.init, key)['body']['layers']
        names = [(block, name) for block, own in _MATRICES[self.targets].items() for name in own]
        adapters: Params = {}
        for place, (block, name) in enumerate(names):
            layers, width, out = shapes[block][name].shape
            bound, own = 1 / math.sqrt(width), jax.random.fold_in(key, place)
            a = jax.random.uniform(own, (layers, width, self.rank), minval=-bound, maxval=bound)
            b = jnp.zeros((layers, self.rank, out))
            adapters.setdefault(block, {})[name] = {'a': a, 'b': b}
        return {'layers': adapters}

    def narrowed(self, params: Params, dtype: Any) -> Params:
        """Returns adapters of another dtype."""
        return self.student.narrowed(params, dtype)

    def encode(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> Context:
        """See `protocol.Student`."""
        return self.student.encode(self._whole(params), tokens, mask, dropout)

    def decode_states(
        self,
        params: Params,
        groups: Sequence[tuple[Context, Int[Array, 'B _ _']]],
        dropout: Sequence[Dropping] | None = None,
    ) -> list[Float[Array, 'B _ _ D']]:
        """See `protocol.Student`."""
        return self.student.decode_states(self._whole(params), groups, dropout)

    def head(self, params: Params) -> Float[Array, 'V D']:
        """Returns the frozen table that states are read out against."""
        return self.student.head(self._whole(params))

    def decode(
        self,
        params: Params,
        context: Context,
        targets: Int[Array, 'B R T'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B R T V']:
        """See `protocol.Student`."""
        return self.student.decode(self._whole(params), context, targets, dropout)

    def cast_for_decoding(self, params: Params) -> Params:
        """Returns frozen weights and adapters, of which `decode_step` reads every one just once."""
        whole = self.student.cast_for_decoding(self._whole(params))
        adapters = whole.pop('adapters')
        return {'base': whole, 'adapters': adapters}

    def start_decoding(
        self, params: Params, context: Context, num_rationales: int, max_length: int
    ) -> Cache:
        """See `protocol.Student`; the parameters are those of `cast_for_decoding`."""
        return self.student.start_decoding(_cast(params), context, num_rationales, max_length)

    def decode_step(
        self, params: Params, cache: Cache, token: Int[Array, 'B R']
    ) -> tuple[Float[Array, 'B R V'], Cache]:
        """See `protocol.Student`; the parameters are those of `cast_for_decoding`."""
        return self.student.decode_step(_cast(params), cache, token)

    def lengthen(self, params: Params, cache: Cache, max_length: int) -> Cache:
        """See `protocol.Student`; the parameters are those of `cast_for_decoding`."""
        return self.student.lengthen(_cast(params), cache, max_length)

    def _whole(self, params: Params) -> Params:
        if self.base is None:
            raise ValueError('LoraStudent: has no frozen weights to compute with; see `over`.')
        # Cast first: what a ring keeps in the dtype that is computed in then computes the same.
        narrow = self.narrowed(params, self.student.encoder.compute_dtype)
        return {**self.base, 'adapters': _scaled(narrow, self.alpha / self.rank)}


def _cast(params: Params) -> Params:
    return {**params['base'], 'adapters': params['adapters']}


def _scaled(adapters: Params, scale: float) -> Params:
    """Returns the adapters with the factor in B."""

    def scaled(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf * scale if path[-1].key == 'b' else leaf

    return jax.tree_util.tree_map_with_path(scaled, adapters)


def merge_adapters(base: Params, adapters: Params, alpha: float) -> Params:
    """Returns the weights W + (alpha / r) A B, on the host: a student without adapters.

    Args:
      base: whole parameters of a decoder-only student; they stay as they are.
      adapters: of `LoraStudent.init`, trained.
      alpha: that of the student.

    Returns:
      Float32 arrays; those without an adapter are the ones of `base`.
    """
    layers = {**base['body']['layers']}
    for block, matrices in adapters['layers'].items():
        layers[block] = {**layers[block]}
        for name, pair in matrices.items():
            a, b = (np.asarray(pair[letter], np.float32) for letter in 'ab')
            weight = np.asarray(layers[block][name], np.float32)
            layers[block][name] = weight + np.float32(alpha / a.shape[-1]) * (a @ b)
    return {**base, 'body': {**base['body'], 'layers': layers}}
