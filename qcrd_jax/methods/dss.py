"""Methods that sample nothing: fine-tuning, Single-Task, DSS and MI."""

import dataclasses
from typing import Any

import jax
import optax
from jaxtyping import Array, Key

from qcrd_jax import losses
from qcrd_jax.methods.method import update_student
from qcrd_jax.methods.metrics import Metrics, padding, single
from qcrd_jax.methods.objectives import (
    Counts,
    MutualInformation,
    decode,
    encode_both_tasks,
    labels_of,
    mutual_information,
)
from qcrd_jax.methods.parts import share
from qcrd_jax.methods.rationales import Batch, first_of, teacher_positives
from qcrd_jax.methods.state import TrainState
from qcrd_jax.models.dropout import Draws
from qcrd_jax.models.protocol import Params, Student


@dataclasses.dataclass(frozen=True)
class _Supervised:
    """What these methods share: nothing is sampled.

    Attributes:
      student: the model.
      optimizer: the student's.
      parts: into how many the questions of a batch are cut, one after another in memory.
    """

    student: Student
    optimizer: optax.GradientTransformation
    parts: int = dataclasses.field(default=1, kw_only=True)

    @property
    def negatives(self) -> None:
        """Nothing is sampled."""

    def sample(self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']) -> None:
        """Samples nothing."""


@dataclasses.dataclass(frozen=True)
class Finetune(_Supervised):
    """Plain fine-tuning: only the label's cross-entropy.

    With `label_ids` that hold rationale and label in one (`data.targets`) it is Single-Task.
    """

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """See `method.Method`."""
        student, counts = self.student, _counts(batch, self.student.pad_id)
        encode_key, label_key = jax.random.split(jax.random.fold_in(key, state.step))

        def loss_fn(params, batch, rows):
            dropout = [Draws.of(key).of_rows(rows) for key in (encode_key, label_key)]
            questions, labels = batch['predict_ids'], labels_of(batch, student.pad_id)
            context = student.encode(params, questions, questions != student.pad_id, dropout[0])
            (label,) = decode(student, params, [(context, labels)], dropout[1:])
            loss = share(label.token_losses(), labels.token_mask, counts.label_tokens)
            read = questions, labels.ids
            return loss, {
                'prediction_loss': single(loss, self.parts),
                'padding': padding(read, student.pad_id),
            }

        return update_student(state, self.optimizer, loss_fn, batch, parts=self.parts)


@dataclasses.dataclass(frozen=True)
class Dss(_Supervised):
    """Distilling step-by-step: the label and the first rationale of every question, as two tasks.

    Both terms are means over all tokens of the batch, as in the trainer that DSS released; the
    rationale is `positive_ids[:, 0]`. With `shared` it is MI, which adds its term.

    Attributes:
      alpha: weight of the label; 1 - alpha is that of the rationale.
      shared: MI's term, or None.
    """

    alpha: float = 0.5
    shared: MutualInformation | None = None

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """See `method.Method`."""
        student, counts = self.student, _counts(batch, self.student.pad_id)
        keys = jax.random.split(jax.random.fold_in(key, state.step), 3)

        def loss_fn(params, batch, rows):
            dropout = [Draws.of(key).of_rows(rows) for key in keys]
            predict, explain = encode_both_tasks(student, params, batch, dropout[0])
            labels = labels_of(batch, student.pad_id)
            rationales = first_of(teacher_positives(batch, student.pad_id))
            groups = [(predict, labels), (explain, rationales)]
            label, rationale = decode(student, params, groups, dropout[1:])
            prediction = share(label.token_losses(), labels.token_mask, counts.label_tokens)
            mask = rationales.token_mask & rationales.mask[..., None]
            explanation = share(rationale.token_losses(), mask, counts.rationale_tokens)
            loss = losses.dss_loss(prediction, explanation, alpha=self.alpha)
            term, metrics = mutual_information(
                rationale, label, self.shared, counts, parts=self.parts
            )
            read = batch['predict_ids'], batch['explain_ids'], labels.ids, rationales.ids
            return loss + term, metrics | {
                'padding': padding(read, student.pad_id),
                'prediction_loss': single(prediction, self.parts),
                'explanation_loss': single(explanation, self.parts),
            }

        return update_student(state, self.optimizer, loss_fn, batch, parts=self.parts)


def _counts(batch: Batch, pad_id: int) -> Counts:
    """Those of the label and of the first positive."""
    return Counts.of(batch, first_of(teacher_positives(batch, pad_id)), pad_id)
