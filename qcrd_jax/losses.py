"""The losses of QCRD and its baselines as pure functions on arrays.

Nothing here knows a model, a config or a random key: bring logits or cross-entropies from any
student, scores from any judge. Shapes: `B` questions, `R` rationales of a question (`M` positive,
`K` negative), `T` target tokens, `L` label tokens, `V` vocabulary. Cross-entropies are in nats.
Masks are bool, True is real. Inputs of any float type are widened to float32 first, and no mask
makes a NaN, in values or in gradients.

References: QCRD is Wang et al., "Quality-guided Contrastive Rationale Distillation for Large
Language Models", EMNLP 2025; equation and table numbers are its own. DSS is Hsieh et al., 2023
(arXiv:2305.02301). MI is Chen et al., 2024 (arXiv:2403.03348).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

SELECTING_SCHEMES = ('min_max', 'max_min', 'sampling')  # one rationale of each kind per question
SCHEMES = (*SELECTING_SCHEMES, 'mean', 'weighted_mean')
SIDES = ('positive', 'negative')
DISCRIMINATOR_LOSSES = ('ratio', 'info_nce', 'bce')
MUTUAL_INFORMATION_VARIANTS = ('official', 'masked')

_LOG_FLOOR = 1e-7  # scores are kept this far from 0 and 1 before a logarithm


class ContrastiveLoss(NamedTuple):
    """Terms of eq. 3, one value per question, weighted by quality."""

    total: Float[Array, 'B']  # positive - beta * negative
    positive: Float[Array, 'B']  # >= 0, nats
    negative: Float[Array, 'B']  # <= 0, nats beyond the margin


class DiscriminatorTerms(NamedTuple):
    """Eq. 2, one value per question, and which questions have one."""

    loss: Float[Array, 'B']
    valid: Bool[Array, 'B']


def masked_mean(values: Float[Array, '*shape'], mask: Bool[Array, '*shape']) -> Float[Array, '']:
    """Mean of the values that the mask keeps; 0 where it keeps none.

    >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
    2.0
    """
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total / jnp.maximum(jnp.sum(mask), 1)


def token_cross_entropy(
    logits: Float[Array, '*batch V'], targets: Int[Array, '*batch']
) -> Float[Array, '*batch']:
    """Cross-entropy of every target token, in nats: `logsumexp(logits) - logits[target]`.

    Args:
      logits: unnormalised log-probabilities.
      targets: token ids in [0, V).

    >>> token_cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)  # log 4
    Array([1.3863], dtype=float32)
    """
    logits = logits.astype(jnp.float32)
    target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - target_logits


def sequence_cross_entropy(
    logits: Float[Array, '*batch T V'],
    targets: Int[Array, '*batch T'],
    mask: Bool[Array, '*batch T'],
) -> Float[Array, '*batch']:
    """l(x, r): mean cross-entropy of the tokens of each sequence; 0 for one that is all padding.

    The mean (not the sum) over tokens makes rationales of different lengths comparable under the
    min and max of eqs. 4-7, and gives the margin the unit nats per token.

    >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]]]))
    >>> mask = jnp.array([[True, True, False]])
    >>> sequence_cross_entropy(logits, jnp.array([[0, 0, 1]]), mask).round(4)  # log(8) / 2
    Array([1.0397], dtype=float32)
    """
    losses = jnp.where(mask, token_cross_entropy(logits, targets), 0.0)
    return jnp.sum(losses, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1)


def seq2seq_loss(
    logits: Float[Array, '*batch T V'],
    targets: Int[Array, '*batch T'],
    mask: Bool[Array, '*batch T'],
) -> Float[Array, '']:
    """L_pred of eq. 8: mean cross-entropy over all real tokens of the batch.

    Every token weighs the same, so a long label weighs more than a short one, as in Hugging Face's
    seq2seq models and hence in both terms of DSS.

    >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.5, 0.5]], [[0.25, 0.75], [0.5, 0.5]]]))
    >>> mask = jnp.array([[True, True], [True, False]])
    >>> seq2seq_loss(logits, jnp.zeros((2, 2), int), mask).round(4)  # log(2 * 2 * 4) / 3
    Array(0.9242, dtype=float32)
    """
    return masked_mean(token_cross_entropy(logits, targets), mask)


def margin_loss(losses: Float[Array, '*shape'], *, margin: float) -> Float[Array, '*shape']:
    """min(l - delta, 0) of section 3.3.2: a negative harder than the margin is inert.

    The result is <= 0; its gradient is that of `l` below the margin and 0 from it on.

    >>> margin_loss(jnp.array([1.0, 3.0, 7.0]), margin=3.0)
    Array([-2.,  0.,  0.], dtype=float32)
    """
    losses = losses.astype(jnp.float32)
    return jnp.where(losses < margin, losses - margin, 0.0)


def select(
    losses: Float[Array, 'B R'],
    mask: Bool[Array, 'B R'],
    *,
    scheme: str,
    side: str,
    draws: Float[Array, 'B R'] | None = None,
) -> Int[Array, 'B']:
    """Which rationale of each question a selecting scheme takes (section 5.1); ties: the first.

    `min_max` takes the easiest positive and the hardest negative (eqs. 4, 5), `max_min` the other
    way round, `sampling` the one with the largest draw.

    Args:
      losses: l(x, r); for negatives after the margin.
      mask: which rationales exist. Where none does, 0 is returned.
      scheme: one of `SELECTING_SCHEMES`.
      side: 'positive' | 'negative', the kind of the rationales.
      draws: independent uniform draws; read by `sampling` alone.

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


def rationale_weights(
    losses: Float[Array, 'B R'],
    quality: Float[Array, 'B R'],
    mask: Bool[Array, 'B R'],
    *,
    scheme: str,
    side: str,
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
      draws: independent uniform draws; read by `sampling` alone.

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
    scheme: str = 'min_max',
    positive_draws: Float[Array, 'B M'] | None = None,
    negative_draws: Float[Array, 'B K'] | None = None,
) -> ContrastiveLoss:
    """L_cl of eqs. 3, 6 and 7, per question: `s_pos l_pos - beta (1 - s_neg) l_neg`.

    The paper leaves open which score weighs the min and the max; here it is that of the rationale
    which was selected. Scores are constants: L_cl never trains the judge. The margin acts on every
    negative before the reduction. A question without a positive (negative) has no positive
    (negative) term; reduce with `masked_mean` over the real questions.

    Without a judge pass ones for the positives and zeros for the negatives (eqs. 4, 5).

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


def discriminator_loss(
    positive_scores: Float[Array, 'B M'],
    negative_scores: Float[Array, 'B K'],
    positive_mask: Bool[Array, 'B M'],
    negative_mask: Bool[Array, 'B K'],
    *,
    kind: str = 'ratio',
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


def dss_loss(
    prediction: Float[Array, ''], explanation: Float[Array, ''], *, alpha: float = 0.5
) -> Float[Array, '']:
    """Distilling step-by-step: `alpha * L_label + (1 - alpha) * L_rationale`.

    Both terms are a `seq2seq_loss`, as in the trainer that DSS released.

    >>> dss_loss(jnp.float32(1.0), jnp.float32(3.0), alpha=0.5)
    Array(2., dtype=float32)
    """
    return alpha * prediction + (1.0 - alpha) * explanation


def mutual_information_loss(
    explain_logits: Float[Array, 'B T V'],
    predict_logits: Float[Array, 'B L V'],
    explain_mask: Bool[Array, 'B T'],
    predict_mask: Bool[Array, 'B L'],
    *,
    variant: str = 'official',
) -> Float[Array, 'B']:
    """The extra term of MI, per question: the rationale task should foresee the label's words.

    Both tasks' softmaxes are max-pooled over positions; the cross-entropy of the rationale task's
    pool against the label task's, which is constant, is minimised with weight 0.1.

    * `official` computes what the authors' code computes: it pools over padding too, and hands the
      pooled *probabilities* to a cross-entropy that takes them for logits.
    * `masked` pools over real positions and takes the cross-entropy of the pools themselves, each
      normalised to sum to 1; a question with an empty mask has 0.

    Raises:
      ValueError: if `variant` is unknown.

    >>> logits = jnp.log(jnp.array([[[0.9, 0.1]]]))
    >>> mask = jnp.ones((1, 1), bool)
    >>> mutual_information_loss(logits, logits, mask, mask, variant='masked').round(4)
    Array([0.3251], dtype=float32)
    """
    if variant not in MUTUAL_INFORMATION_VARIANTS:
        raise ValueError(
            f'variant: expected one of {MUTUAL_INFORMATION_VARIANTS}, got {variant!r}.'
        )
    explain = jax.nn.softmax(explain_logits.astype(jnp.float32), axis=-1)
    predict = lax.stop_gradient(jax.nn.softmax(predict_logits.astype(jnp.float32), axis=-1))
    if variant == 'official':
        log_explain = jax.nn.log_softmax(jnp.max(explain, axis=1), axis=-1)
        return -jnp.sum(jnp.max(predict, axis=1) * log_explain, axis=-1)
    valid = jnp.any(explain_mask, axis=-1) & jnp.any(predict_mask, axis=-1)
    explain = jnp.max(jnp.where(explain_mask[..., None], explain, 0.0), axis=1)
    predict = jnp.max(jnp.where(predict_mask[..., None], predict, 0.0), axis=1)
    log_explain = jnp.log(jnp.maximum(explain, _LOG_FLOOR))
    log_explain -= jnp.log(jnp.maximum(jnp.sum(explain, axis=-1, keepdims=True), _LOG_FLOOR))
    predict /= jnp.maximum(jnp.sum(predict, axis=-1, keepdims=True), _LOG_FLOOR)
    return jnp.where(valid, -jnp.sum(predict * log_explain, axis=-1), 0.0)


def total_loss(
    prediction: Float[Array, ''],
    contrastive: Float[Array, ''],
    discriminator: float | Float[Array, ''] = 0.0,
    *,
    alpha_pred: float | Float[Array, ''] = 0.5,
    alpha_cl: float | Float[Array, ''] = 0.5,
    alpha_disc: float | Float[Array, ''] = 0.5,
) -> Float[Array, '']:
    """Eq. 8: `alpha_1 L_pred + alpha_2 L_cl + alpha_3 L_D`.

    >>> total_loss(jnp.float32(1.0), jnp.float32(2.0), jnp.float32(-1.0), alpha_disc=0.25)
    Array(1.25, dtype=float32)
    """
    return alpha_pred * prediction + alpha_cl * contrastive + alpha_disc * discriminator


def _masked_logsumexp(values: Float[Array, 'B R'], mask: Bool[Array, 'B R']) -> Float[Array, 'B']:
    """Log-sum-exp over real entries of values in [0, 1]; 0 for a row with none."""
    total = jnp.sum(jnp.where(mask, jnp.exp(values), 0.0), axis=-1)
    return jnp.log(jnp.where(total > 0, total, 1.0))


def _binary_cross_entropy(
    positive_scores: Float[Array, 'B M'],
    negative_scores: Float[Array, 'B K'],
    positive_mask: Bool[Array, 'B M'],
    negative_mask: Bool[Array, 'B K'],
) -> Float[Array, 'B']:
    """Mean over all rationales of a question of -log s (positives) and -log(1 - s) (negatives)."""
    probability = jnp.concatenate([positive_scores, 1.0 - negative_scores], axis=-1)
    mask = jnp.concatenate([positive_mask, negative_mask], axis=-1)
    losses = -jnp.log(jnp.clip(probability, _LOG_FLOOR, 1.0 - _LOG_FLOOR))
    return jnp.sum(jnp.where(mask, losses, 0.0), axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1)
