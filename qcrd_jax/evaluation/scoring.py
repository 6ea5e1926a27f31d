"""Scores of a discriminator outside of any step: of single batches, and of all of a split."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from qcrd_jax.data import batches
from qcrd_jax.data.batches import Lengths
from qcrd_jax.data.encoding import Encoded
from qcrd_jax.methods.discriminator import score_rationales
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params


def score(
    discriminator: Discriminator,
    params: Params,
    question_ids: Int[np.ndarray, 'B S'],
    rationale_ids: Int[Array | np.ndarray, 'B R T'],
) -> Float[np.ndarray, 'B R']:
    """D(x, r) of eq. 1 for R rationales of every question."""
    return np.asarray(_score(discriminator, params, question_ids, rationale_ids))


@functools.partial(jax.jit, static_argnums=0)
def _score(
    discriminator: Discriminator,
    params: Params,
    question_ids: Int[Array, 'B S'],
    rationale_ids: Int[Array, 'B R T'],
) -> Float[Array, 'B R']:
    batch = {'question_ids': question_ids}
    return score_rationales(discriminator, params, batch, rationale_ids, None)


def score_groups(
    discriminator: Discriminator,
    params: Params,
    encoded: Encoded,
    lengths: Lengths,
    *,
    batch_size: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores the teacher's rationales of a split.

    Returns:
      The scores of the positives of every question, in their order, and those of the negatives.
    """
    groups: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for batch in batches.evaluation_batches(encoded, lengths, batch_size=batch_size):
        for kind, group in zip(('positive', 'negative'), groups, strict=True):
            values = score(discriminator, params, batch['question_ids'], batch[f'{kind}_ids'])
            mask = batch[f'{kind}_mask']
            group += [values[row][mask[row]] for row in np.flatnonzero(batch['example_mask'])]
    return groups
