"""The discriminator's loss (eq. 2) and its named alternatives."""

from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from qcrd_jax.losses.shapes import checked

DiscriminatorLoss = Literal['ratio', 'info_nce', 'bce']
DISCRIMINATOR_LOSSES: tuple[DiscriminatorLoss, ...] = get_args(DiscriminatorLoss)

_FLOOR = 1e-7  # scores are kept this far from 0 and 1 before a logarithm


class DiscriminatorTerms(NamedTuple):
    """Eq. 2, one value per question, and which questions have one."""

    loss: Float[Array, ' B']
    valid: Bool[Array, ' B']


@checked
def discriminator_loss(
    positive_scores: Float[Array, 'B M'],
    negative_scores: Float[Array, 'B K'],
    positive_mask: Bool[Array, 'B M'],
    negative_mask: Bool[Array, 'B K'],
    *,
    kind: DiscriminatorLoss = 'ratio',
) -> DiscriminatorTerms:
    """L_D of eq. 2, per question; reduce with `masked_mean(loss, valid & example_mask)`.

    * `ratio`: `-log(sum_j exp s_j^pos / sum_j exp s_j^neg)`, eq. 2 to the letter. It is bounded
      because scores are, and may be negative.
    * `info_nce`: the same with negatives *and* positives in the denominator; >= 0.
    * `bce`: mean binary cross-entropy of the question's rationales, scores kept 1e-7 away from
      0 and 1.

    `ratio` and `info_nce` need a positive and a negative; `bce` is valid with either.

    Args:
      positive_scores: D(x, r) in [0, 1] of the positives.
      negative_scores: likewise of the negatives.
      positive_mask: which positives exist.
      negative_mask: which negatives exist.
      kind: one of `DISCRIMINATOR_LOSSES`.

    Raises:
      ValueError: if `kind` is unknown.

    >>> ones = jnp.ones((1, 1), bool)
    >>> discriminator_loss(jnp.array([[0.9]]), jnp.array([[0.2]]), ones, ones).loss.round(4)
    Array([-0.7], dtype=float32)
    """
    if kind not in DISCRIMINATOR_LOSSES:
        raise ValueError(f'kind: expected one of {DISCRIMINATOR_LOSSES}, got {kind!r}.')
    positive_scores = positive_scores.astype(jnp.float32)
    negative_scores = negative_scores.astype(jnp.float32)
    has_positive, has_negative = jnp.any(positive_mask, axis=-1), jnp.any(negative_mask, axis=-1)
    if kind == 'bce':
        valid = has_positive | has_negative
        loss = _binary_cross_entropy(positive_scores, negative_scores, positive_mask, negative_mask)
    else:
        valid = has_positive & has_negative
        positive = _masked_logsumexp(positive_scores, positive_mask)
        negative = _masked_logsumexp(negative_scores, negative_mask)
        if kind == 'info_nce':
            negative = jnp.logaddexp(positive, negative)
        loss = negative - positive
    return DiscriminatorTerms(jnp.where(valid, loss, 0.0), valid)


def _masked_logsumexp(values: Float[Array, 'B R'], mask: Bool[Array, 'B R']) -> Float[Array, ' B']:
    """Log-sum-exp over real entries of values in [0, 1]; 0 for a row with none."""
    total = jnp.sum(jnp.where(mask, jnp.exp(values), 0.0), axis=-1)
    return jnp.log(jnp.where(total > 0, total, 1.0))


def _binary_cross_entropy(
    positive_scores: Float[Array, 'B M'],
    negative_scores: Float[Array, 'B K'],
    positive_mask: Bool[Array, 'B M'],
    negative_mask: Bool[Array, 'B K'],
) -> Float[Array, ' B']:
    """Mean over all rationales of a question of -log s (positives) and -log(1 - s) (negatives)."""
    probability = jnp.concatenate([positive_scores, 1.0 - negative_scores], axis=-1)
    mask = jnp.concatenate([positive_mask, negative_mask], axis=-1)
    losses = -jnp.log(jnp.clip(probability, _FLOOR, 1.0 - _FLOOR))
    return jnp.sum(jnp.where(mask, losses, 0.0), axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1)
