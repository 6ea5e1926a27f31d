"""Negatives from past parameters: how they are sampled, for one generator or for many at once."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from qcrd_jax import sampling
from qcrd_jax.methods.rationales import Batch, NegativeSampling, Rationales, fitted
from qcrd_jax.models.protocol import Params, Student


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
      batches: their questions, with the same leading axes. Samples are no longer than the
        `rationale_limit` of their batch.
      keys: of the draws.
      how: the sampling.
    """
    lead, longest = keys.shape, batches['positive_ids'].shape[-1]
    decode = functools.partial(
        sampling.sample_each if lead else sampling.sample,
        student,
        max_length=min(how.max_length, longest),
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
        samples = decode(generators, context, draw_with(keys), limits=batches['rationale_limit'])
        return finish(samples, batches['example_mask'], batches['positive_ids'])
    # One axis of generators, whatever they are: J steps, P seeds, or both.
    names = ('explain_ids', 'example_mask', 'positive_ids', 'rationale_limit')
    used = {name: batches[name] for name in names}
    flat, used = jax.tree.map(
        lambda leaf: leaf.reshape(math.prod(lead), *leaf.shape[len(lead) :]), (generators, used)
    )
    contexts = jax.vmap(encode)(flat, used['explain_ids'])
    own = jax.vmap(draw_with)(keys.reshape(-1))
    samples = decode(flat, contexts, own, limits=used['rationale_limit'])
    negatives = jax.vmap(finish)(samples, used['example_mask'], used['positive_ids'])
    return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), negatives)


def _as_rationales(
    samples: sampling.Samples,
    example_mask: Bool[Array, ' B'],
    like: Int[Array, 'B M T'],
    pad_id: int,
) -> Rationales:
    """Samples as negatives, padded to the length of the teacher's positives."""
    exist = jnp.broadcast_to(example_mask[:, None], samples.ids.shape[:2])
    return fitted(Rationales(samples.ids, samples.mask, exist), like.shape[-1], pad_id)
