"""What the rest of the project asks of a student: pure functions over a pytree of parameters."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Int

Params = dict[str, Any]  # nested dicts whose leaves are arrays
# Encoded questions, each shared by all its rationales: a pytree that only the student that made it
# looks into. The first axis of every leaf is that of the questions, so that whoever slices or joins
# the leaves along it slices or joins the questions.
Context = Any
Cache = Any  # a pytree that only the student that made it looks into
Dropping = Any  # a key, or the `dropout.Draws` of one; None: nothing is dropped


class _Ids(Protocol):
    """The ids that a model reads and writes."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    @property
    def eos_id(self) -> int: ...


@runtime_checkable
class Encoder(_Ids, Protocol):
    """The part of an architecture that reads text into states, for a discriminator.

    A frozen, hashable object of pure functions, as a `Student` is; its parameters are some of the
    entries of that architecture's student.
    """

    @property
    def width(self) -> int:
        """D, the size of a state."""
        ...

    @property
    def compute_dtype(self) -> Any:
        """That of the matrix products."""
        ...

    @property
    def remat(self) -> bool:
        """Whether activations are computed once more for the gradient, in place of being kept."""
        ...

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters."""
        ...

    def take(self, params: Params) -> Params:
        """Returns the entries that are the encoder's of the parameters of a whole student."""
        ...

    def states(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B *prompts S D']:
        """Returns a state for every token; those of padding mean nothing."""
        ...


@runtime_checkable
class Student(_Ids, Protocol):
    """A frozen, hashable object (static under `jax.jit`) of pure functions.

    Dropout is applied where, and only where, a key is passed. Its masks are shared by the R
    rationales of a question, and depend neither on R nor on the padding: with one key, decoding
    some of the rationales sees the same sub-network as decoding all of them.
    """

    @property
    def config(self) -> Any:
        """The architecture, a frozen dataclass."""
        ...

    @property
    def encoder(self) -> Encoder:
        """What reads text with this student's architecture, ids and precision."""
        ...

    @property
    def start_id(self) -> int:
        """The token that the decoder is given before the first target."""
        ...

    @property
    def cache_axes(self) -> Any:
        """The axes of a stacked cache, for `jax.vmap` over stacked parameters and contexts.

        Every leaf is stacked but the position, which all students share; were it stacked as well,
        the write of one column would become a scatter.

            axes = student.cache_axes
            weights = student.decoding_axes
            jax.vmap(student.start_decoding, (weights, 0, None, None), out_axes=axes)
            jax.vmap(student.decode_step, (weights, axes, 0), (0, axes))
        """
        ...

    @property
    def decoding_axes(self) -> Any:
        """The axes of what `cast_for_decoding` makes of stacked parameters, for `jax.vmap`.

        None where the students share what it returns, once.

            cast = jax.vmap(student.cast_for_decoding, out_axes=student.decoding_axes)
        """
        ...

    def init(self, key: jax.Array) -> Params:
        """Returns random float32 parameters."""
        ...

    def encode(
        self,
        params: Params,
        tokens: Int[Array, 'B *prompts S'],
        mask: Bool[Array, 'B *prompts S'],
        dropout: Dropping = None,
    ) -> Context:
        """Encodes each question once; it ends in EOS, as `data.encoding` has it.

        With an axis of prompts behind that of the questions, the context has it as well, and
        `context[:, 0]` of its leaves is what the first prompt's would be.
        """
        ...

    def decode_states(
        self,
        params: Params,
        groups: Sequence[tuple[Context, Int[Array, 'B _ _']]],
        dropout: Sequence[Dropping] | None = None,
    ) -> list[Float[Array, 'B _ _ D']]:
        """Returns what the head reads of the targets of each group, all in one pass.

        Groups have a context, lengths and keys of their own, and the same questions.
        """
        ...

    def head(self, params: Params) -> Float[Array, 'V D']:
        """Returns the table that the states are read out against."""
        ...

    def decode(
        self,
        params: Params,
        context: Context,
        targets: Int[Array, 'B R T'],
        dropout: Dropping = None,
    ) -> Float[Array, 'B R T V']:
        """Returns float32 logits of every target token given those before it (teacher forcing).

        Padding at the end of a target needs no mask, for no real token looks ahead.
        """
        ...

    def narrowed(self, params: Params, dtype: Any) -> Params:
        """Returns parameters whose matrices have another dtype.

        With the dtype that is computed in, nothing that is computed changes.
        """
        ...

    def cast_for_decoding(self, params: Params) -> Params:
        """Returns parameters of which `decode_step` reads every weight just once.

        The matrices are cast to the compute dtype and the layers that decode are unstacked; call it
        once, outside of the loop.
        """
        ...

    def start_decoding(
        self, params: Params, context: Context, num_rationales: int, max_length: int
    ) -> Cache:
        """Returns the cache before the first token, its buffers `max_length` long.

        Args:
          params: those of `init`, or better those of `cast_for_decoding`.
          context: of `encode`.
          num_rationales: R, the sequences decoded per question.
          max_length: T, the largest number of `decode_step` calls.
        """
        ...

    def decode_step(
        self, params: Params, cache: Cache, token: Int[Array, 'B R']
    ) -> tuple[Float[Array, 'B R V'], Cache]:
        """Feeds one token per rationale, first `start_id`, and returns the next one's logits.

        Only the new column of the keys and values is written; in a loop that carries the cache
        this happens in place.
        """
        ...

    def lengthen(self, params: Params, cache: Cache, max_length: int) -> Cache:
        """Returns a cache with the buffers of a greater `max_length`; what was fed stays."""
        ...


def parameter_count(params: Params) -> int:
    """Returns the number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def parameter_bytes(tree: Any) -> int:
    """Returns how many bytes the arrays of a tree take, or arrays of its shapes would."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
