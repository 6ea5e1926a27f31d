"""The rationales of a batch: the teacher's, and those sampled from past parameters."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from qcrd_jax import losses, sampling
from qcrd_jax.models.protocol import Params, Student

Batch = dict[str, Array]  # as qcrd_jax.data.batches makes them


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['ids', 'token_mask', 'mask'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Rationales:
    """Rationales of a batch of questions."""

    ids: Any  # int32 [B, R, T]
    token_mask: Any  # bool [B, R, T]
    mask: Any  # bool [B, R], which exist


@dataclasses.dataclass(frozen=True)
class NegativeSampling:
    """How past parameters are sampled (section 3.2.1): k sequences per question, hot, until EOS."""

    count: int = 1  # k
    temperature: float = 1.5
    max_length: int = 64
    lag: int = 5  # steps between the student and its generator, j I; 0: the generator is fixed
    together: bool = True  # one decoding loop for the generators of the next `lag` steps
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
    ids = batches['negative_ids'][..., :0, :]
    return Rationales(ids, ids != 0, batches['negative_mask'][..., :0])


def sample_negatives(
    student: Student,
    generators: Params,
    batches: Batch,
    keys: Key[Array, '*lead'],
    how: NegativeSampling,
) -> Rationales:
    """Samples k rationales per question from past parameters (section 3.2.1).

    With leading axes (steps, seeds) every generator has a batch and a key of its own, and one
    decoding loop serves them all: what each draws is what it would draw by itself.

    Args:
      student: the model.
      generators: past parameters, with the leading axes of `keys`.
      batches: their questions, with the same leading axes.
      keys: of the draws.
      how: the sampling.
    """
    lead = keys.shape
    decode = functools.partial(
        sampling.sample_each if lead else sampling.sample,
        student,
        max_length=how.max_length,
        temperature=how.temperature,
        stop_at_eos=how.stop_at_eos,
    )
    finish = functools.partial(_as_rationales, pad_id=student.pad_id)
    rows = jnp.arange(batches['explain_ids'].shape[-2])

    def draw_with(key):
        return sampling.sequence_keys(key, rows, how.count)

    def encode(generator, questions):
        return student.encode(generator, questions, questions != student.pad_id)

    if not lead:
        context = encode(generators, batches['explain_ids'])
        samples = decode(generators, context, draw_with(keys))
        return finish(samples, batches['example_mask'], batches['positive_ids'])
    # One axis of generators, whatever they are: J steps, P seeds, or both.
    used = {name: batches[name] for name in ('explain_ids', 'example_mask', 'positive_ids')}
    flat, used = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[len(lead) :]), (generators, used)
    )
    contexts = jax.vmap(encode)(flat, used['explain_ids'])
    samples = decode(flat, contexts, jax.vmap(draw_with)(keys.reshape(-1)))
    negatives = jax.vmap(finish)(samples, used['example_mask'], used['positive_ids'])
    return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), negatives)


def _as_rationales(
    samples: sampling.Samples,
    example_mask: Bool[Array, 'B'],
    like: Int[Array, 'B M T'],
    pad_id: int,
) -> Rationales:
    """Samples as negatives, padded to the length of the teacher's rationales."""
    short = like.shape[-1] - samples.ids.shape[-1]
    widths = ((0, 0), (0, 0), (0, short))
    return Rationales(
        jnp.pad(samples.ids, widths, constant_values=pad_id),
        jnp.pad(samples.mask, widths),
        jnp.broadcast_to(example_mask[:, None], samples.ids.shape[:2]),
    )


def concatenate(first: Rationales, second: Rationales) -> Rationales:
    """The rationales of both, of the same questions."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), first, second)


def choose(
    rationales: Rationales, values: Float[Array, 'B R'], scheme: str, side: str, key: Array
) -> Rationales:
    """The one rationale per question that the scheme selects, where there are several."""
    if rationales.mask.shape[1] <= 1:
        return rationales
    draws = jax.random.uniform(key, values.shape) if scheme == 'sampling' else None
    index = losses.select(values, rationales.mask, scheme=scheme, side=side, draws=draws)
    return jax.tree.map(
        lambda leaf: jnp.take_along_axis(leaf, index.reshape(-1, *(1,) * (leaf.ndim - 1)), axis=1),
        rationales,
    )
