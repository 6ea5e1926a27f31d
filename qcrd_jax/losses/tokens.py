"""Cross-entropies of tokens and sequences, and the one mean that reduces under a mask."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from qcrd_jax.losses.shapes import checked


@checked
def masked_mean(values: Float[Array, '*shape'], mask: Bool[Array, '*shape']) -> Float[Array, '']:
    """Mean of the values that the mask keeps; 0 where it keeps none.

    >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
    2.0
    """
    total = jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0.0))
    return total / jnp.maximum(jnp.sum(mask), 1)


@checked
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


@checked
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
    return sequence_mean(token_cross_entropy(logits, targets), mask)


@checked
def sequence_mean(
    token_losses: Float[Array, '*batch T'], mask: Bool[Array, '*batch T']
) -> Float[Array, '*batch']:
    """Mean over the tokens of each sequence; 0 for one that is all padding.

    >>> sequence_mean(jnp.array([[1.0, 3.0, 9.0]]), jnp.array([[True, True, False]]))
    Array([2.], dtype=float32)
    """
    total = jnp.sum(jnp.where(mask, token_losses, 0.0), axis=-1)
    return total / jnp.maximum(jnp.sum(mask, axis=-1), 1)


@checked
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
