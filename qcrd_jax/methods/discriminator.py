"""The discriminator in training: scores, eq. 2, pretraining and the online update."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from qcrd_jax import losses
from qcrd_jax.methods.metrics import Metrics, over, single
from qcrd_jax.methods.optimizers import apply_if_finite
from qcrd_jax.methods.rationales import (
    Batch,
    Rationales,
    concatenate,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.models.dropout import draws_of
from qcrd_jax.models.protocol import Dropping, Params


def make_discriminator_step(
    discriminator: Discriminator, optimizer: optax.GradientTransformation, *, kind: str = 'ratio'
) -> Callable[..., tuple[DiscriminatorState, Metrics]]:
    """One pretraining step on `positive_ids` and (augmented) `negative_ids` (A.3).

    Returns:
      `step(state, batch, key, length=None) -> (state, metrics)`; `length` is that of
      `score_rationales`.
    """

    def step(state, batch, key, length=None):
        pad_id = discriminator.pad_id
        key = jax.random.fold_in(key, state.updates)
        rationales = concatenate(teacher_positives(batch, pad_id), teacher_negatives(batch, pad_id))
        count = batch['positive_mask'].shape[1]

        def loss_fn(params):
            scores = score_rationales(discriminator, params, batch, rationales.ids, key, length)
            loss, metrics = _discriminator_loss(scores, rationales.mask, count, batch, kind)
            return loss, metrics | {'loss': single(loss)}

        state, metrics, nonfinite = _descend(optimizer, state, loss_fn)
        return state, metrics | {'nonfinite': nonfinite}

    return step


def update_discriminator(
    discriminator: Discriminator,
    optimizer: optax.GradientTransformation,
    state: DiscriminatorState,
    batch: Batch,
    positives: Rationales,
    negatives: Rationales,
    key: Key[Array, ''],
    *,
    due: Bool[Array, ''],
    alpha: Float[Array, ''],
    kind: str,
) -> tuple[DiscriminatorState, Metrics]:
    """The online update, alpha_3 L_D of eq. 8, where it is due (section 3.3.1)."""
    rationales = concatenate(positives, negatives)
    count = positives.mask.shape[1]

    def loss_fn(params):
        scores = score_rationales(discriminator, params, batch, rationales.ids, key)
        loss, _ = _discriminator_loss(scores, rationales.mask, count, batch, kind)
        weighed = losses.total_loss(discriminator=loss, alpha_disc=alpha)
        return weighed, {'discriminator_loss': single(loss)}

    def update(state):
        state, metrics, nonfinite = _descend(optimizer, state, loss_fn)
        return state, metrics | {'discriminator_nonfinite': nonfinite}

    def keep(state):
        nothing = jnp.float32(0), jnp.float32(0)
        return state, {'discriminator_loss': nothing, 'discriminator_nonfinite': nothing}

    return lax.cond(due, update, keep, state)


def _descend(
    optimizer: optax.GradientTransformation,
    state: DiscriminatorState,
    loss_fn: Callable[[Params], tuple[Float[Array, ''], Metrics]],
) -> tuple[DiscriminatorState, Metrics, tuple[Array, Array]]:
    """Takes one step down a loss; returns its metrics, and that of a step passed over."""
    (_, metrics), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    params, opt_state, finite = apply_if_finite(optimizer, gradient, state.opt_state, state.params)
    after = DiscriminatorState(params, opt_state, state.updates + 1)
    return after, metrics, single(1.0 - finite)


def _discriminator_loss(
    scores: Float[Array, 'B R'],
    mask: Bool[Array, 'B R'],
    count: int,
    batch: Batch,
    kind: str,
) -> tuple[Float[Array, ''], Metrics]:
    """Eq. 2 over rationales of which the first `count` are positive."""
    mask = mask & batch['example_mask'][:, None]
    positive, negative = mask[:, :count], mask[:, count:]
    terms = losses.discriminator_loss(
        scores[:, :count], scores[:, count:], positive, negative, kind=kind
    )
    return losses.masked_mean(terms.loss, terms.valid), {
        'positive_score': over(scores[:, :count], positive),
        'negative_score': over(scores[:, count:], negative),
    }


def score_rationales(
    discriminator: Discriminator,
    params: Params,
    batch: Batch,
    rationale_ids: Int[Array, 'B R T'],
    dropout: Dropping,
    length: int | None = None,
) -> Float[Array, 'B R']:
    """D(x, r) of eq. 1 for every rationale of the batch.

    Where the encoder has `remat`, one rationale of every question at a time, and once more in the
    gradient.

    Args:
      discriminator: the model.
      params: its parameters.
      batch: its `question_ids` are read.
      rationale_ids: rationales of its questions.
      dropout: where given, the encoder drops out.
      length: tokens that hold the longest joined sequence (`joined_length`); None: S + T. What is
        longer would be cut.
    """
    ids, mask = join(
        batch['question_ids'],
        rationale_ids,
        pad_id=discriminator.pad_id,
        eos_id=discriminator.eos_id,
    )
    # The questions of one rationale after another: [R, B, U].
    ids, mask = (jnp.swapaxes(leaf[..., :length], 0, 1) for leaf in (ids, mask))
    if not (discriminator.encoder.remat and ids.shape[0] > 1):
        return discriminator.scores(params, ids, mask, dropout).T

    @jax.checkpoint
    def of_one(params, inputs):
        ids, mask, number = inputs
        draws = draws_of(dropout)
        draws = draws and draws.rows_from(number)
        return discriminator.scores(params, ids[None], mask[None], draws)[0]

    numbered = ids, mask, jnp.arange(ids.shape[0])
    return lax.map(functools.partial(of_one, params), numbered).T


def joined_length(batch: dict[str, np.ndarray], pad_id: int, *, bucket: int = 64) -> int:
    """Tokens that hold every question of a batch joined with any of its rationales.

    The longest question seldom has the longest rationale, and attention is quadratic: on real
    rationales half of S + T is often enough. Rounded up to a multiple of `bucket`, so that few
    shapes are compiled.
    """
    question = np.sum(batch['question_ids'] != pad_id, axis=-1) - 1  # without EOS
    rationales = np.concatenate([batch['positive_ids'], batch['negative_ids']], axis=1)
    longest = np.max(question + np.max(np.sum(rationales != pad_id, axis=-1), axis=-1))
    whole = batch['question_ids'].shape[-1] + rationales.shape[-1]
    return min(-(-int(longest) // bucket) * bucket, whole)
