"""The training steps: one pure function per method, built from objectives, sampler and ring.

Every student step has the form

    step(state, generator, batch, key) -> (state, metrics)

with `generator` the past parameters that sample negatives (None where a method samples none), `key`
the run's base key (folded with the step's number inside), and metrics as (sum, count) pairs, so
that means over many steps are exact. `compile_step` jits one and donates all that may be donated.

A step whose gradient is not finite leaves the student as it was and counts under 'nonfinite'.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from qcrd_jax import losses
from qcrd_jax.methods.discriminator import (
    DiscriminatorState,
    score_rationales,
    update_discriminator,
)
from qcrd_jax.methods.metrics import Metrics, over, single
from qcrd_jax.methods.objectives import (
    Contrast,
    Decoded,
    MutualInformation,
    contrast_rationales,
    encode_both_tasks,
    label_loss,
    mutual_information,
)
from qcrd_jax.methods.optimizers import apply_if_finite
from qcrd_jax.methods.rationales import (
    Batch,
    NegativeSampling,
    Rationales,
    concatenate,
    no_rationales,
    sample_negatives,
    sample_negatives_together,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params, Student

Step = Callable[['TrainState', Params | None, Batch, Array], tuple['TrainState', Metrics]]
QcrdUpdate = Callable[['TrainState', Batch, Rationales, Array], tuple['TrainState', Metrics]]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['params', 'opt_state', 'step', 'discriminator'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class TrainState:
    """theta_t, its optimiser, t, and the discriminator (None where a method has none).

    Pytrees hold shapes, shardings or masks as well as arrays: their fields are not type-checked.
    """

    params: Any  # theta_t
    opt_state: Any
    step: Any  # t, int32 []
    discriminator: Any = None  # DiscriminatorState

    @classmethod
    def create(
        cls,
        params: Params,
        optimizer: optax.GradientTransformation,
        discriminator: DiscriminatorState | None = None,
    ) -> 'TrainState':
        """Returns the state before step 0."""
        return cls(params, optimizer.init(params), jnp.int32(0), discriminator)


def make_finetune_step(student: Student, optimizer: optax.GradientTransformation) -> Step:
    """Plain fine-tuning: the label's cross-entropy and nothing else.

    With `label_ids` that hold rationale and label in one (`data.targets`) it is Single-Task.
    """

    def step(state, generator, batch, key):
        del generator

        def loss_fn(params):
            encode_key, label_key = jax.random.split(jax.random.fold_in(key, state.step))
            context = student.encode(
                params, batch['predict_ids'], batch['predict_ids'] != student.pad_id, encode_key
            )
            loss, _ = label_loss(student, params, context, batch, label_key)
            return loss, {'prediction_loss': single(loss)}

        return _update_student(state, optimizer, loss_fn)

    return step


def make_dss_step(
    student: Student,
    optimizer: optax.GradientTransformation,
    *,
    alpha: float = 0.5,
    shared: MutualInformation | None = None,
) -> Step:
    """Distilling step-by-step: the label and the first rationale of every question, as two tasks.

    Both terms are means over all tokens of the batch, as in the trainer that DSS released; the
    rationale is `positive_ids[:, 0]`. With `shared` it is MI, which adds its term.
    """

    def step(state, generator, batch, key):
        del generator

        def loss_fn(params):
            encode_key, label_key, rationale_key = jax.random.split(
                jax.random.fold_in(key, state.step), 3
            )
            predict, explain = encode_both_tasks(student, params, batch, encode_key)
            prediction, label = label_loss(student, params, predict, batch, label_key)
            ids, exists = batch['positive_ids'][:, :1], batch['positive_mask'][:, :1]
            logits = student.decode(params, explain, ids, rationale_key)
            mask = (ids != student.pad_id) & exists[..., None]
            explanation = losses.seq2seq_loss(logits, ids, mask)
            loss = losses.dss_loss(prediction, explanation, alpha=alpha)
            term, metrics = mutual_information(Decoded(logits, mask, exists), label, shared)
            return loss + term, metrics | {
                'prediction_loss': single(prediction),
                'explanation_loss': single(explanation),
            }

        return _update_student(state, optimizer, loss_fn)

    return step


def make_qcrd_step(
    student: Student,
    optimizer: optax.GradientTransformation,
    discriminator: Discriminator | None,
    discriminator_optimizer: optax.GradientTransformation | None,
    contrast: Contrast,
    negatives: NegativeSampling | None,
    shared: MutualInformation | None = None,
) -> Step:
    """QCRD (section 3): sample negatives from the generator, score, contrast, update.

    Args:
      student: the model.
      optimizer: the student's.
      discriminator: the judge; None weighs every rationale alike (eqs. 4, 5).
      discriminator_optimizer: the judge's own; it is used every `contrast.update_every` steps.
      contrast: constants of the losses.
      negatives: how the generator is sampled; None samples none.
      shared: adds MI's term for the positives that carry gradient (MI + QCRD, Table A5).
    """
    update = make_qcrd_update(
        student, optimizer, discriminator, discriminator_optimizer, contrast, shared
    )

    def step(state, generator, batch, key):
        if negatives is None:
            sampled = no_rationales(batch)
        else:
            sampling_key, _, _ = step_keys(key, state.step)
            sampled = sample_negatives(student, generator, batch, sampling_key, negatives)
        return update(state, batch, sampled, key)

    return step


def make_qcrd_chunk(
    student: Student,
    optimizer: optax.GradientTransformation,
    discriminator: Discriminator | None,
    discriminator_optimizer: optax.GradientTransformation | None,
    contrast: Contrast,
    negatives: NegativeSampling,
    shared: MutualInformation | None = None,
) -> Callable[
    [TrainState, tuple[Params, ...], Batch, Array],
    tuple[TrainState, tuple[Params, ...], Metrics],
]:
    """J steps of `make_qcrd_step` in one program whose negatives are sampled together.

    The generators of the next J steps, theta_(t - J) to theta_(t - 1), are all known at step t. So
    one decoding loop samples for all of them (`vmap` over the ring), and a `scan` over J updates
    follows, which collects theta_t to theta_(t + J - 1): the next ring. The numbers are those of J
    single steps; the sequential decoding steps are J times fewer.

    Returns:
      `chunk(state, past, batches, key) -> (state, past, metrics)` with `past` oldest first and
      every leaf of `batches` and of `metrics` stacked on a leading axis J.
    """
    update = make_qcrd_update(
        student, optimizer, discriminator, discriminator_optimizer, contrast, shared
    )

    def chunk(state, past, batches, key):
        lag = len(past)
        generators = jax.tree.map(lambda *slots: jnp.stack(slots), *past)
        sampling_keys, _, _ = jax.vmap(step_keys, in_axes=(None, 0))(
            key, state.step + jnp.arange(lag)
        )
        sampled = sample_negatives_together(student, generators, batches, sampling_keys, negatives)
        state, trajectory, metrics = scan_updates(update, state, batches, sampled, key)
        past = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], trajectory) for i in range(lag))
        return state, past, metrics

    return chunk


def scan_updates(
    update: QcrdUpdate,
    state: TrainState,
    batches: Batch,
    sampled: Rationales,
    key: Key[Array, '*seeds'],
) -> tuple[TrainState, Params, Metrics]:
    """J updates, one after another; also returns the J parameters that they began from, stacked."""

    def body(state, inputs):
        batch, batch_sampled = inputs
        new_state, metrics = update(state, batch, batch_sampled, key)
        return new_state, (state.params, metrics)

    state, (trajectory, metrics) = lax.scan(body, state, (batches, sampled))
    return state, trajectory, metrics


def compile_step(step: Step, *, ring: bool) -> Step:
    """Jits a step and donates its buffers; it is traced once for one shape of batch.

    Args:
      step: of one of the `make_*_step`.
      ring: True donates the generator, where theta_(t + 1) is then written, and leaves theta_t for
        the ring. False donates the state and leaves the generator (a fixed one, or None).
    """
    if not ring:
        return jax.jit(step, donate_argnames='state')

    # Donated buffers go to outputs of their shape in order: the generator's to the new parameters,
    # each moment's to itself.
    @functools.partial(jax.jit, donate_argnames=('generator', 'rest'), keep_unused=True)
    def run(generator, rest, params, batch, key):
        return step(dataclasses.replace(rest, params=params), generator, batch, key)

    return lambda state, generator, batch, key: run(
        generator, dataclasses.replace(state, params=None), state.params, batch, key
    )


def make_qcrd_update(
    student: Student,
    optimizer: optax.GradientTransformation,
    discriminator: Discriminator | None,
    discriminator_optimizer: optax.GradientTransformation | None,
    contrast: Contrast,
    shared: MutualInformation | None,
) -> QcrdUpdate:
    """The half of a QCRD step that comes after sampling; see `make_qcrd_step`."""

    def update(state, batch, sampled, key):
        _, student_key, judge_key = step_keys(key, state.step)
        positives = teacher_positives(batch, student.pad_id)
        teacher = teacher_negatives(batch, student.pad_id)
        negatives = concatenate(sampled, teacher) if contrast.teacher_negatives else sampled

        def score(ids):
            if discriminator is None:
                return None
            return score_rationales(discriminator, state.discriminator.params, batch, ids, None)

        def loss_fn(params):
            encode_key, label_key, rationale_key, draw_key = jax.random.split(student_key, 4)
            predict, explain = encode_both_tasks(student, params, batch, encode_key)
            prediction, label = label_loss(student, params, predict, batch, label_key)

            def decode(params, context, rationales):
                return student.decode(params, context, rationales.ids, rationale_key)

            per_question, decoded, metrics = contrast_rationales(
                functools.partial(decode, params, explain),
                functools.partial(decode, *lax.stop_gradient((params, explain))),
                score,
                positives,
                negatives,
                contrast,
                draw_key,
            )
            contrastive = losses.masked_mean(per_question, batch['example_mask'])
            term, shared_metrics = mutual_information(decoded, label, shared)
            loss = contrast.alpha_pred * prediction + contrast.alpha_cl * contrastive + term
            return loss, metrics | shared_metrics | {
                'prediction_loss': single(prediction),
                'contrastive_loss': single(contrastive),
            }

        new_state, metrics = _update_student(state, optimizer, loss_fn)
        metrics['negative_length'] = over(
            jnp.sum(negatives.token_mask, axis=-1).astype(jnp.float32), negatives.mask
        )
        if discriminator is None or contrast.update_every == 0:
            return new_state, metrics
        decays = state.discriminator.updates if contrast.decay_every == 'update' else state.step
        judge, judge_metrics = update_discriminator(
            discriminator,
            discriminator_optimizer,
            state.discriminator,
            batch,
            positives,
            concatenate(sampled, teacher),
            judge_key,
            due=(state.step + 1) % contrast.update_every == 0,
            alpha=contrast.alpha_disc * contrast.alpha_disc_decay ** decays.astype(jnp.float32),
            kind=contrast.discriminator,
        )
        return dataclasses.replace(new_state, discriminator=judge), metrics | judge_metrics

    return update


def _update_student(
    state: TrainState,
    optimizer: optax.GradientTransformation,
    loss_fn: Callable[[Params], tuple[Float[Array, ''], Metrics]],
) -> tuple[TrainState, Metrics]:
    """Differentiates, clips and applies; adds the metrics that all methods share."""
    (loss, metrics), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    params, opt_state, finite = apply_if_finite(optimizer, gradient, state.opt_state, state.params)
    metrics = metrics | {
        'loss': single(loss),
        'gradient_norm': single(optax.tree.norm(gradient)),
        'nonfinite': single(1.0 - finite),
    }
    new_state = dataclasses.replace(state, params=params, opt_state=opt_state, step=state.step + 1)
    return new_state, metrics


def step_keys(
    key: Key[Array, ''], step: Int[Array, '']
) -> tuple[Key[Array, ''], Key[Array, ''], Key[Array, '']]:
    """What step t draws with: its negatives, the student's dropout, the discriminator's."""
    negatives, student, judge = jax.random.split(jax.random.fold_in(key, step), 3)
    return negatives, student, judge
