"""QCRD's many-to-one contrastive loss (eqs. 3 to 7), and eq. 8."""

import functools
import operator
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.losses.shapes import checked

Scheme = Literal['min_max', 'max_min', 'sampling', 'mean', 'weighted_mean']
Side = Literal['positive', 'negative']
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
SELECTING_SCHEMES = SCHEMES[:3]  # one rationale of each kind per question
SIDES: tuple[Side, ...] = get_args(Side)


class ContrastiveLoss(NamedTuple):
    """Terms of eq. 3, one value per question, weighted by quality."""

    total: Float[Array, ' B']  # positive - beta * negative
    positive: Float[Array, ' B']  # >= 0, nats
    negative: Float[Array, ' B']  # <= 0, nats beyond the margin


@checked
def margin_loss(losses: Float[Array, '*shape'], *, margin: float) -> Float[Array, '*shape']:
    """min(l - delta, 0) of section 3.3.2: a negative harder than the margin is inert.

    The result is <= 0; its gradient is that of `l` below the margin and 0 from it on.

    >>> margin_loss(jnp.array([1.0, 3.0, 7.0]), margin=3.0)
    Array([-2.,  0.,  0.], dtype=float32)
    """
    losses = losses.astype(jnp.float32)
    return jnp.where(losses < margin, losses - margin, 0.0)


@checked
def select(
    losses: Float[Array, 'B R'],
    mask: Bool[Array, 'B R'],
    *,
    scheme: Scheme,
    side: Side,
    draws: Float[Array, 'B R'] | None = None,
) -> Int[Array, ' B']:
    """Which rationale of each question a selecting scheme takes (section 5.1); ties: the first.

    `min_max` takes the easiest positive and the hardest negative (eqs. 4, 5), `max_min` the other
    way round, `sampling` the one with the largest draw.

    Args:
      losses: l(x, r); for negatives after the margin.
      mask: which rationales exist. Where none does, 0 is returned.
      scheme: one of `SELECTING_SCHEMES`.
      side: 'positive' | 'negative', the kind of the rationales.
      draws: independent uniform draws; only read by `sampling`.

    Raises:
      ValueError: if the scheme selects no single rationale, or `sampling` came without draws.

    >>> losses, mask = jnp.array([[2.0, 1.0, 0.5]]), jnp.array([[True, True, False]])
    >>> select(losses, mask, scheme='min_max', side='positive')
    Array([1], dtype=int32)
    """
    if scheme not in SELECTING_SCHEMES:
        raise ValueError(f'scheme: expected one of {SELECTING_SCHEMES}, got {scheme!r}.')
    if side not in SIDES:
        raise ValueError(f'side: expected one of {SIDES}, got {side!r}.')
    if scheme == 'sampling':
        if draws is None:
            raise ValueError("draws: scheme 'sampling' needs uniform draws of shape [B, R].")
        preference = draws
    elif (scheme == 'min_max') == (side == 'positive'):
        preference = -losses
    else:
        preference = losses
    return jnp.argmax(jnp.where(mask, preference, -jnp.inf), axis=-1).astype(jnp.int32)


@checked
def rationale_weights(
    losses: Float[Array, 'B R'],
    quality: Float[Array, 'B R'],
    mask: Bool[Array, 'B R'],
    *,
    scheme: Scheme,
    side: Side,
    draws: Float[Array, 'B R'] | None = None,
) -> Float[Array, 'B R']:
    """The constants w of a many-to-one scheme: its loss for question i is `sum_r w_ir * l_ir`.

    A selecting scheme puts the quality of the selected rationale on it, and 0 on all others
    (eqs. 6, 7). `mean` is 1 / R on every rationale, whatever its quality, and `weighted_mean` is
    quality / R ("we weight the loss with quality scores and then average", section 5.1). Rows
    without a rationale are 0. No gradient flows through the weights.

    Args:
      losses: l(x, r); for negatives after the margin.
      quality: in [0, 1]; s for positives, 1 - s for negatives.
      mask: which rationales exist.
      scheme: one of `SCHEMES` (Table 5).
      side: 'positive' | 'negative', the kind of the rationales.
      draws: independent uniform draws; only read by `sampling`.

    >>> losses, mask = jnp.array([[2.0, 1.0]]), jnp.ones((1, 2), bool)
    >>> quality = jnp.array([[0.5, 0.25]])
    >>> rationale_weights(losses, quality, mask, scheme='min_max', side='positive')
    Array([[0.  , 0.25]], dtype=float32)
    >>> rationale_weights(losses, quality, mask, scheme='weighted_mean', side='positive')
    Array([[0.25 , 0.125]], dtype=float32)
    """
    if scheme not in SCHEMES:
        raise ValueError(f'scheme: expected one of {SCHEMES}, got {scheme!r}.')
    quality = quality.astype(jnp.float32)
    if losses.shape[1] == 0:  # no rationale of this kind in the whole batch
        return quality
    if scheme in SELECTING_SCHEMES:
        index = select(losses, mask, scheme=scheme, side=side, draws=draws)
        weights = quality * jax.nn.one_hot(index, losses.shape[1])
    else:
        count = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)
        weights = (jnp.ones_like(quality) if scheme == 'mean' else quality) / count
    return lax.stop_gradient(jnp.where(mask, weights, 0.0))


@checked
def contrastive_loss(
    positive_losses: Float[Array, 'B M'],
    negative_losses: Float[Array, 'B K'],
    positive_scores: Float[Array, 'B M'],
    negative_scores: Float[Array, 'B K'],
    positive_mask: Bool[Array, 'B M'],
    negative_mask: Bool[Array, 'B K'],
    *,
    beta: float = 0.2,
    margin: float = 3.0,
    scheme: Scheme = 'min_max',
    positive_draws: Float[Array, 'B M'] | None = None,
    negative_draws: Float[Array, 'B K'] | None = None,
) -> ContrastiveLoss:
    """L_cl of eqs. 3, 6 and 7, per question: `s_pos l_pos - beta (1 - s_neg) l_neg`.

    The paper leaves open which score weighs the min and the max; here it is that of the rationale
    which was selected. Scores are constants: L_cl never trains the discriminator. The margin acts
    on every negative before the reduction. A question without a positive (negative) has no positive
    (negative) term; reduce with `masked_mean` over the real questions.

    Without a discriminator pass ones for the positives and zeros for the negatives (eqs. 4, 5).

    Args:
      positive_losses: l(x, r) of the positives, nats per token (`sequence_cross_entropy`).
      negative_losses: likewise of the negatives, before the margin.
      positive_scores: D(x, r) in [0, 1] (eq. 1).
      negative_scores: likewise.
      positive_mask: which positives exist.
      negative_mask: which negatives exist.
      beta: weight of the negative term.
      margin: delta, nats per token.
      scheme: Table 5.
      positive_draws: uniform draws for `sampling`.
      negative_draws: likewise.

    Returns:
      `ContrastiveLoss` with one value per question.

    Raises:
      ValueError: if `scheme` is unknown, or needs draws and has none.

    >>> loss = contrastive_loss(
    ...     jnp.array([[2.0, 1.0]]), jnp.array([[2.5, 0.5]]),  # l(pos), l(neg)
    ...     jnp.array([[0.9, 0.8]]), jnp.array([[0.4, 0.1]]),  # s(pos), s(neg)
    ...     jnp.ones((1, 2), bool), jnp.ones((1, 2), bool))
    >>> round(float(loss.total[0]), 4)  # 0.8 * 1 - 0.2 * (1 - 0.4) * (2.5 - 3)
    0.86
    """
    positive_losses = positive_losses.astype(jnp.float32)
    negative_losses = margin_loss(negative_losses, margin=margin)
    positive_weights = rationale_weights(
        positive_losses,
        positive_scores,
        positive_mask,
        scheme=scheme,
        side='positive',
        draws=positive_draws,
    )
    negative_weights = rationale_weights(
        negative_losses,
        1.0 - negative_scores.astype(jnp.float32),
        negative_mask,
        scheme=scheme,
        side='negative',
        draws=negative_draws,
    )
    positive = jnp.sum(positive_weights * jnp.where(positive_mask, positive_losses, 0.0), axis=-1)
    negative = jnp.sum(negative_weights * jnp.where(negative_mask, negative_losses, 0.0), axis=-1)
    return ContrastiveLoss(positive - beta * negative, positive, negative)


@checked
def total_loss(
    prediction: Float[Array, ''] | None = None,
    contrastive: Float[Array, ''] | None = None,
    discriminator: Float[Array, ''] | None = None,
    *,
    alpha_pred: float | Float[Array, ''] = 0.5,
    alpha_cl: float | Float[Array, ''] = 0.5,
    alpha_disc: float | Float[Array, ''] = 0.5,
) -> Float[Array, '']:
    """Eq. 8: `alpha_1 L_pred + alpha_2 L_cl + alpha_3 L_D`, of the terms that are given.

    L_cl trains the student only and L_D the discriminator only, so that a step computes the two
    halves apart: the student's without L_D, the discriminator's with L_D only.

    Raises:
      ValueError: if no term is given.

    >>> prediction, contrastive, discriminator = jnp.float32(1.0), jnp.float32(2.0), jnp.float32(-1)
    >>> total_loss(prediction, contrastive, discriminator, alpha_disc=0.25)
    Array(1.25, dtype=float32)
    >>> total_loss(prediction, contrastive, alpha_cl=0.25)  # the student's half
    Array(1., dtype=float32)
    >>> total_loss(discriminator=discriminator, alpha_disc=0.25)  # the discriminator's
    Array(-0.25, dtype=float32)
    """
    weighted = [(alpha_pred, prediction), (alpha_cl, contrastive), (alpha_disc, discriminator)]
    terms = [alpha * loss for alpha, loss in weighted if loss is not None]
    if not terms:
        raise ValueError('total_loss: expected at least one of the terms of eq. 8, got none.')
    return functools.reduce(operator.add, terms)
