"""A distilled student in one object: a question in, its label and its rationale out."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from qcrd_jax.data import batches, lengths
from qcrd_jax.data import tokenizer as tokenizers
from qcrd_jax.data.encoding import Encoding, encode
from qcrd_jax.data.lengths import Truncation
from qcrd_jax.data.schema import Example
from qcrd_jax.data.sources import question_records
from qcrd_jax.evaluation import task as tasks
from qcrd_jax.evaluation.answering import Answering
from qcrd_jax.evaluation.task import Task
from qcrd_jax.models import architectures, huggingface
from qcrd_jax.models.base import compute_dtype as dtype_of
from qcrd_jax.models.protocol import Params, Student
from qcrd_jax.placement import Placement, one_device

_BUCKET = 8  # tokens; questions of about the same length share a compiled program


class Answer(NamedTuple):
    """What a student makes of a question.

    Attributes:
      label: its answer, as text.
      rationale: its reasoning; what it writes untaught where the method teaches none.
    """

    label: str
    rationale: str


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
    """A student with all that asking it takes.

    Attributes:
      student: the model.
      params: its parameters.
      tokenizer: of the student.
      task: how it is asked.
      together: questions that are decoded at once, at most.
      placement: where it lives.
    """

    student: Student
    params: Params
    tokenizer: Any
    task: Task
    together: int = 128
    placement: Placement = dataclasses.field(default_factory=one_device)

    @classmethod
    def load(cls, folder: str | os.PathLike, *, compute_dtype: str = 'auto') -> 'Pipeline':
        """Reads a student that `--mode=export` or the end of a run wrote.

        Args:
          folder: `<workdir>/hf`, or wherever it was put.
          compute_dtype: 'float32', 'bfloat16' or 'auto' (bfloat16 on accelerators).

        Raises:
          InputError: naming the file that is missing, damaged or not what it should be.
        """
        folder = pathlib.Path(folder)
        task = tasks.read(folder)
        architecture, params = huggingface.load_student(folder)
        tokenizer = tokenizers.load_tokenizer(str(folder))
        student = architectures.student_for(
            architecture, tokenizer, compute_dtype=dtype_of(compute_dtype)
        )
        return cls(student, params, tokenizer, task)

    def __call__(self, question: str, options: Sequence[str] = ()) -> Answer:
        """Answers one question, greedily.

        Args:
          question: without a prefix.
          options: of a multiple-choice question, unless it names them itself.

        Raises:
          InputError: if there is no question, or options that are none.
        """
        record = {'input': question, 'options': [*options]}
        example = question_records.unlabelled(
            record, 0, lambda _: 'the question', self.task.answer_type
        )
        (answer,), _ = self.answers([example])
        return answer

    def answers(self, questions: Sequence[Example]) -> tuple[list[Answer], list[Truncation]]:
        """Answers questions, greedily.

        Args:
          questions: of which only `input` is read.

        Returns:
          The answers in their order, and what was cut of the questions.
        """
        task = self.task
        encoded = encode(questions, self.tokenizer, Encoding(task.prefixes, task.answer_type))
        caps = {'source': task.source_length, 'label': 2, 'rationale': 2}
        shape, truncations = lengths.measure_lengths({'input': encoded}, caps, _BUCKET)
        size = min(self.together, max(len(questions), 1))
        asked = batches.evaluation_batches(encoded, shape, batch_size=size)
        labels, rationales = self.answering.answers(self.params, asked)
        answers = [
            Answer(label, rationale.text)
            for label, rationale in zip(labels, rationales, strict=True)
        ]
        return answers, truncations

    @property
    def answering(self) -> Answering:
        """How the student is asked, in tokens."""
        return Answering(
            student=self.student,
            tokenizer=self.tokenizer,
            label_length=self.task.label_length,
            rationale_length=self.task.rationale_length,
            joint=self.task.joint,
            together=self.together,
            placement=self.placement,
        )
