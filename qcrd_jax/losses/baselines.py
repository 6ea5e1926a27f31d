"""The losses of the baselines: Distilling step-by-step, and MI's extra term."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from qcrd_jax.losses.shapes import checked

MutualInformationVariant = Literal['official', 'masked']
MUTUAL_INFORMATION_VARIANTS: tuple[MutualInformationVariant, ...] = get_args(
    MutualInformationVariant
)

_FLOOR = 1e-7  # probabilities are kept this far from 0 before a logarithm


@checked
def dss_loss(
    prediction: Float[Array, ''], explanation: Float[Array, ''], *, alpha: float = 0.5
) -> Float[Array, '']:
    """Distilling step-by-step: `alpha * L_label + (1 - alpha) * L_rationale`.

    Both terms are a `seq2seq_loss`, as in the trainer that DSS released.

    >>> dss_loss(jnp.float32(1.0), jnp.float32(3.0), alpha=0.5)
    Array(2., dtype=float32)
    """
    return alpha * prediction + (1.0 - alpha) * explanation


@checked
def mutual_information_loss(
    explain_logits: Float[Array, 'B T V'],
    predict_logits: Float[Array, 'B L V'],
    explain_mask: Bool[Array, 'B T'],
    predict_mask: Bool[Array, 'B L'],
    *,
    variant: MutualInformationVariant = 'official',
) -> Float[Array, ' B']:
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

    def pooled(logits: jax.Array, mask: jax.Array) -> jax.Array:
        probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
        if variant != 'official':
            probabilities = jnp.where(mask[..., None], probabilities, 0.0)
        return jnp.max(probabilities, axis=1)

    return pooled_mutual_information(
        pooled(explain_logits, explain_mask), pooled(predict_logits, predict_mask), variant=variant
    )


@checked
def pooled_mutual_information(
    explain: Float[Array, '*batch V'],
    predict: Float[Array, '*batch V'],
    *,
    variant: MutualInformationVariant,
) -> Float[Array, '*batch']:
    """`mutual_information_loss` of what is pooled already, as `max_probabilities` does it.

    Args:
      explain: largest probability of every token over the positions of the rationale task.
      predict: likewise of the label task, constant.
      variant: that of `mutual_information_loss`. Under `masked`, a pool over no position is 0, and
        the value is 0 then.

    Raises:
      ValueError: if `variant` is unknown.
    """
    if variant not in MUTUAL_INFORMATION_VARIANTS:
        raise ValueError(
            f'variant: expected one of {MUTUAL_INFORMATION_VARIANTS}, got {variant!r}.'
        )
    predict = lax.stop_gradient(predict)
    if variant == 'official':
        return -jnp.sum(predict * jax.nn.log_softmax(explain, axis=-1), axis=-1)
    totals = [jnp.sum(pool, axis=-1, keepdims=True) for pool in (explain, predict)]
    valid = (totals[0] > 0)[..., 0] & (totals[1] > 0)[..., 0]
    log_explain = jnp.log(jnp.maximum(explain, _FLOOR)) - jnp.log(jnp.maximum(totals[0], _FLOOR))
    predict = predict / jnp.maximum(totals[1], _FLOOR)
    return jnp.where(valid, -jnp.sum(predict * log_explain, axis=-1), 0.0)
