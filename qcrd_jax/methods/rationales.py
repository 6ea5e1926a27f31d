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
    """How a generator is sampled (section 3.2.1): k sequences per question, hot, until EOS."""

    count: int = 1
    temperature: float = 1.5
    max_length: int = 64
    stop_at_eos: bool = True  # False: always `max_length` tokens, for benchmarks


def teacher_positives(batch: Batch, pad_id: int) -> Rationales:
    """The positives that a batch brings."""
    ids, mask = batch['positive_ids'], batch['positive_mask']
    return Rationales(ids, ids != pad_id, mask)


def teacher_negatives(batch: Batch, pad_id: int) -> Rationales:
    """The negatives that a batch brings."""
    ids, mask = batch['negative_ids'], batch['negative_mask']
    return Rationales(ids, ids != pad_id, mask)


def no_rationales(batch: Batch) -> Rationales:
    """None for any question: R is 0."""
    ids = batch['negative_ids'][:, :0]
    return Rationales(ids, ids != 0, batch['negative_mask'][:, :0])


def sample_negatives(
    student: Student,
    generator: Params,
    batch: Batch,
    key: Key[Array, ''],
    how: NegativeSampling,
) -> Rationales:
    """Samples k rationales per question from past parameters (section 3.2.1)."""
    questions = batch['explain_ids']
    context = student.encode(generator, questions, questions != student.pad_id)
    keys = sampling.sequence_keys(key, jnp.arange(questions.shape[0]), how.count)
    samples = sampling.sample(
        student,
        generator,
        context,
        keys,
        max_length=how.max_length,
        temperature=how.temperature,
        stop_at_eos=how.stop_at_eos,
    )
    return _as_rationales(samples, batch['example_mask'], batch['positive_ids'], student.pad_id)


def sample_negatives_together(
    student: Student,
    generators: Params,
    batches: Batch,
    keys: Key[Array, 'J'],
    how: NegativeSampling,
) -> Rationales:
    """`sample_negatives` for J stacked generators with J stacked batches; leaves are [J, ...]."""
    questions = batches['explain_ids']
    contexts = jax.vmap(student.encode)(generators, questions, questions != student.pad_id)
    rows = jnp.arange(questions.shape[1])
    keys = jax.vmap(lambda key: sampling.sequence_keys(key, rows, how.count))(keys)
    samples = sampling.sample_each(
        student,
        generators,
        contexts,
        keys,
        max_length=how.max_length,
        temperature=how.temperature,
        stop_at_eos=how.stop_at_eos,
    )
    return jax.vmap(functools.partial(_as_rationales, pad_id=student.pad_id))(
        samples, batches['example_mask'], batches['positive_ids']
    )


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
