"""The rationales of a batch: the teacher's, and those sampled from past parameters."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from qcrd_jax.losses.contrastive import Scheme, Side, select

Batch = dict[str, Any]  # as qcrd_jax.data.batches makes them, arrays of a device or of NumPy


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['ids', 'token_mask', 'mask', 'reference'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Rationales:
    """Rationales of a batch of questions."""

    ids: Any  # int32 [B, R, T]
    token_mask: Any  # bool [B, R, T]
    mask: Any  # bool [B, R], which exist
    reference: Any = None  # float32 [B, R], log-probability under the generator, where it is asked


@dataclasses.dataclass(frozen=True)
class NegativeSampling:
    """How past parameters are sampled (section 3.2.1): k sequences per question, hot, until EOS."""

    count: int = 1  # k
    temperature: float = 1.5
    max_length: int = 64
    lag: int = 5  # steps between the student and its generator, j I; 0: the generator is fixed
    together: bool = True  # one decoding loop for the generators of the next `lag` steps
    ring_dtype: Any = jnp.float32  # of the matrices in the ring
    reference: bool = False  # log-probabilities of pairs under the generator, too (`references`)
    stop_at_eos: bool = True  # False: always `max_length` tokens, for benchmarks


def teacher_positives(batch: Batch, pad_id: int) -> Rationales:
    """The positives that a batch brings."""
    ids, mask = batch['positive_ids'], batch['positive_mask']
    return Rationales(ids, ids != pad_id, mask)


def teacher_negatives(batch: Batch, pad_id: int) -> Rationales:
    """The negatives that a batch brings."""
    ids, mask = batch['negative_ids'], batch['negative_mask']
    return Rationales(ids, ids != pad_id, mask)


def no_rationales(batches: Batch) -> Rationales:
    """None for any question: R is 0; `batches` may have leading axes."""
    ids = batches['positive_ids'][..., :0, :]
    return Rationales(ids, ids != 0, batches['positive_mask'][..., :0])


def first_of(rationales: Rationales) -> Rationales:
    """The first rationale of every question."""
    return jax.tree.map(lambda leaf: leaf[:, :1], rationales)


def concatenate(*groups: Rationales, pad_id: int) -> Rationales:
    """The rationales of all groups, of the same questions, padded to the longest."""
    longest = max(group.ids.shape[-1] for group in groups)
    padded = [fitted(group, longest, pad_id) for group in groups]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *padded)


def fitted(rationales: Rationales, length: int, pad_id: int) -> Rationales:
    """The rationales in so many places, padded, or without padding that they have beyond them."""

    def fit(leaf: jax.Array, fill: int) -> jax.Array:
        leaf = leaf[..., :length]
        widths = [(0, 0)] * (leaf.ndim - 1) + [(0, length - leaf.shape[-1])]
        return jnp.pad(leaf, widths, constant_values=fill)

    ids, mask = fit(rationales.ids, pad_id), fit(rationales.token_mask, 0)
    return dataclasses.replace(rationales, ids=ids, token_mask=mask)


def choose(
    rationales: Rationales,
    values: Float[Array, 'B R'],
    scheme: Scheme,
    side: Side,
    draws: Float[Array, 'B R'] | None,
) -> Rationales:
    """The one rationale per question that the scheme selects, where there are several."""
    if rationales.mask.shape[1] <= 1:
        return rationales
    index = select(values, rationales.mask, scheme=scheme, side=side, draws=draws)
    return jax.tree.map(
        lambda leaf: jnp.take_along_axis(leaf, index.reshape(-1, *(1,) * (leaf.ndim - 1)), axis=1),
        rationales,
    )
