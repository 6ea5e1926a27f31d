"""QCRD (section 3): past parameters are sampled, rationales scored and contrasted, both updated."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from qcrd_jax import losses
from qcrd_jax.methods.discriminator import score_rationales, update_discriminator
from qcrd_jax.methods.method import update_student
from qcrd_jax.methods.metrics import Metrics, over, single
from qcrd_jax.methods.negatives import sample_negatives
from qcrd_jax.methods.objectives import (
    Contrast,
    MutualInformation,
    contrast_rationales,
    encode_both_tasks,
    label_loss,
    mutual_information,
)
from qcrd_jax.methods.rationales import (
    Batch,
    NegativeSampling,
    Rationales,
    concatenate,
    no_rationales,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.methods.state import TrainState, step_keys
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params, Student


@dataclasses.dataclass(frozen=True)
class Qcrd:
    """QCRD: sample negatives from the generator, score, contrast, update.

    Attributes:
      student: the model.
      optimizer: the student's.
      contrast: constants of the losses.
      negatives: how the generator is sampled; None samples none.
      discriminator: None weighs every rationale alike (eqs. 4, 5).
      discriminator_optimizer: its own, used every `contrast.update_every` steps; None: never.
      shared: adds MI's term for the positives that carry gradient (MI + QCRD, Table A5).
    """

    student: Student
    optimizer: optax.GradientTransformation
    contrast: Contrast = dataclasses.field(default_factory=Contrast)
    negatives: NegativeSampling | None = dataclasses.field(default_factory=NegativeSampling)
    discriminator: Discriminator | None = None
    discriminator_optimizer: optax.GradientTransformation | None = None
    shared: MutualInformation | None = None

    def sample(
        self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']
    ) -> Rationales:
        """Negatives of the questions (section 3.2.1); see `method.Method`."""
        if self.negatives is None:
            return no_rationales(batches)
        assert generators is not None
        return sample_negatives(self.student, generators, batches, keys, self.negatives)

    def update(
        self, state: TrainState, batch: Batch, sampled: Rationales, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """Eq. 8: the student's terms, and the discriminator's where its update is due."""
        pad_id, keys = self.student.pad_id, step_keys(key, state.step)
        positives, teacher = teacher_positives(batch, pad_id), teacher_negatives(batch, pad_id)
        everything = concatenate(sampled, teacher)
        negatives = everything if self.contrast.teacher_negatives else sampled
        new_state, metrics = self._update_student(state, batch, positives, negatives, keys.student)
        metrics['negative_length'] = over(
            jnp.sum(negatives.token_mask, axis=-1).astype(jnp.float32), negatives.mask
        )
        optimizer = self.discriminator_optimizer
        if self.discriminator is None or optimizer is None or self.contrast.update_every == 0:
            return new_state, metrics
        discriminator, its_metrics = update_discriminator(
            self.discriminator,
            optimizer,
            state.discriminator,
            batch,
            positives,
            everything,
            keys.discriminator,
            due=(state.step + 1) % self.contrast.update_every == 0,
            alpha=self._alpha_disc(state),
            kind=self.contrast.discriminator_loss,
        )
        return dataclasses.replace(new_state, discriminator=discriminator), metrics | its_metrics

    def _update_student(
        self,
        state: TrainState,
        batch: Batch,
        positives: Rationales,
        negatives: Rationales,
        key: Key[Array, ''],
    ) -> tuple[TrainState, Metrics]:
        """alpha_1 L_pred + alpha_2 L_cl, and MI's term where it is shared."""
        student, contrast = self.student, self.contrast
        encode_key, label_key, rationale_key, draw_key = jax.random.split(key, 4)

        def score(ids: Int[Array, 'B R T']) -> Float[Array, 'B R'] | None:
            if self.discriminator is None:
                return None
            params = state.discriminator.params
            return score_rationales(self.discriminator, params, batch, ids, None)

        def decode(params, context, rationales):
            return student.decode(params, context, rationales.ids, rationale_key)

        def loss_fn(params):
            predict, explain = encode_both_tasks(student, params, batch, encode_key)
            prediction, label = label_loss(student, params, predict, batch, label_key)
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
            loss = losses.total_loss(
                prediction,
                contrastive,
                alpha_pred=contrast.alpha_pred,
                alpha_cl=contrast.alpha_cl,
            )
            term, shared_metrics = mutual_information(decoded, label, self.shared)
            return loss + term, metrics | shared_metrics | {
                'prediction_loss': single(prediction),
                'contrastive_loss': single(contrastive),
            }

        return update_student(state, self.optimizer, loss_fn)

    def _alpha_disc(self, state: TrainState) -> Float[Array, '']:
        """alpha_3 of this step (section 4.1: 0.5, times 0.9 per iteration)."""
        contrast = self.contrast
        decays = state.discriminator.updates if contrast.decay_every == 'update' else state.step
        return contrast.alpha_disc * contrast.alpha_disc_decay ** decays.astype(jnp.float32)
