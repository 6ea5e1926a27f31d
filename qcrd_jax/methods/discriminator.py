"""The discriminator in training: scores, eq. 2, pretraining and the online update."""

import dataclasses
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
from qcrd_jax.methods.parts import share, summed
from qcrd_jax.methods.rationales import (
    Batch,
    Rationales,
    concatenate,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.methods.state import DiscriminatorState
from qcrd_jax.models.discriminator import Discriminator, join
from qcrd_jax.models.dropout import Draws
from qcrd_jax.models.protocol import Dropping, Params

TOKENS_AT_ONCE = 2048
"""Tokens of joined sequences whose activations a device holds, where a question has no more."""


def make_discriminator_step(
    discriminator: Discriminator,
    optimizer: optax.GradientTransformation,
    *,
    kind: losses.DiscriminatorLoss = 'ratio',
    shards: int = 1,
) -> Callable[..., tuple[DiscriminatorState, Metrics]]:
    """One pretraining step on `positive_ids` and (augmented) `negative_ids` (A.3).

    Args:
      discriminator: the model.
      optimizer: of its pretraining.
      kind: of the loss.
      shards: devices that the questions of a batch are spread over.

    Returns:
      `step(state, batch, key, length=None) -> (state, metrics)`; `length` is that of
      `score_rationales`.
    """

    def step(state, batch, key, length=None):
        pad_id = discriminator.pad_id
        key = jax.random.fold_in(key, state.updates)
        groups = teacher_positives(batch, pad_id), teacher_negatives(batch, pad_id)
        rationales = concatenate(*groups, pad_id=pad_id)
        count = batch['positive_mask'].shape[1]
        learner = _Learner(discriminator, kind, count, length, shards)
        return learner.descend(optimizer, state, batch, rationales, key)

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
    kind: losses.DiscriminatorLoss,
    shards: int = 1,
) -> tuple[DiscriminatorState, Metrics]:
    """The online update, alpha_3 L_D of eq. 8, where it is due (section 3.3.1)."""
    rationales = concatenate(positives, negatives, pad_id=discriminator.pad_id)
    learner = _Learner(discriminator, kind, positives.mask.shape[1], shards=shards)

    def update(_, before):
        state, metrics = learner.descend(optimizer, before[0], batch, rationales, key, alpha)
        return state, {
            'discriminator_loss': metrics['loss'],
            'discriminator_nonfinite': metrics['nonfinite'],
        }

    nothing = jnp.float32(0), jnp.float32(0)
    metrics = {'discriminator_loss': nothing, 'discriminator_nonfinite': nothing}
    # Once or never. A loop works in place, where a condition copies its operands in both branches.
    with jax.named_scope('update_if_due'):
        return lax.fori_loop(0, due.astype(jnp.int32), update, (state, metrics))


@dataclasses.dataclass(frozen=True)
class _Learner:
    """How a discriminator learns.

    Attributes:
      discriminator: the model.
      kind: of the loss.
      count: how many rationales of a question are positive; they come first.
      length: that of `score_rationales`.
      shards: devices that the questions of a batch are spread over.
    """

    discriminator: Discriminator
    kind: losses.DiscriminatorLoss
    count: int
    length: int | None = None
    shards: int = 1

    def descend(
        self,
        optimizer: optax.GradientTransformation,
        state: DiscriminatorState,
        batch: Batch,
        rationales: Rationales,
        key: Key[Array, ''],
        alpha: Float[Array, ''] | float = 1.0,
    ) -> tuple[DiscriminatorState, Metrics]:
        """Takes one step down alpha times eq. 2, the questions cut into parts of a few tokens.

        The metrics are 'loss', 'positive_score', 'negative_score', and 'nonfinite' of a step that
        was passed over.
        """
        used = {name: batch[name] for name in ('question_ids', 'example_mask')}
        mask = rationales.mask & batch['example_mask'][:, None]
        whole = jnp.sum(self._terms(jnp.zeros(mask.shape), mask).valid)
        tokens = used['question_ids'].shape[1] + rationales.ids.shape[2]
        parts = _parts(mask.shape[0], mask.shape[1] * (self.length or tokens), self.shards)

        def loss_fn(params, inputs, rows):
            batch, ids, mask = inputs
            draws = Draws.of(key).of_rows(rows)
            scores = score_rationales(self.discriminator, params, batch, ids, draws, self.length)
            terms = self._terms(scores, mask)
            loss = share(terms.loss, terms.valid, whole)
            positive, negative = mask[:, : self.count], mask[:, self.count :]
            return losses.total_loss(discriminator=loss, alpha_disc=alpha), {
                'loss': single(loss, parts),
                'positive_score': over(scores[:, : self.count], positive),
                'negative_score': over(scores[:, self.count :], negative),
            }

        inputs = used, rationales.ids, mask
        (_, metrics), gradient = summed(loss_fn, state.params, inputs, parts)
        params, opt_state, finite = apply_if_finite(
            optimizer, gradient, state.opt_state, state.params
        )
        after = DiscriminatorState(params, opt_state, state.updates + 1)
        return after, metrics | {'nonfinite': single(1.0 - finite)}

    def _terms(
        self, scores: Float[Array, 'B R'], mask: Bool[Array, 'B R']
    ) -> losses.DiscriminatorTerms:
        count = self.count
        return losses.discriminator_loss(
            scores[:, :count], scores[:, count:], mask[:, :count], mask[:, count:], kind=self.kind
        )


def _parts(questions: int, tokens: int, shards: int = 1) -> int:
    """Into how many equal parts questions are cut, each of so many tokens, that few are learned.

    Every part has as many questions for one device as for another, where the whole has.
    """
    each = questions // shards if questions % shards == 0 else questions
    divisors = [parts for parts in range(1, each) if each % parts == 0]
    fitting = (parts for parts in divisors if each // parts * tokens <= TOKENS_AT_ONCE)
    return next(fitting, each)


def score_rationales(
    discriminator: Discriminator,
    params: Params,
    batch: Batch,
    rationale_ids: Int[Array, 'B R T'],
    dropout: Dropping,
    length: int | None = None,
) -> Float[Array, 'B R']:
    """D(x, r) of eq. 1 for every rationale of the batch.

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
    return discriminator.scores(params, ids[..., :length], mask[..., :length], dropout)


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
