"""How good a student's rationales are: where they arrive."""

from collections.abc import Hashable, Sequence

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import AnswerType
from qcrd_jax.data.teacher_output import parse_answer


def arrives_at(text: str, answer_type: AnswerType, options: Sequence[str] = ()) -> Hashable | None:
    """Returns the value that a rationale states or ends in; None where none can be read."""
    return canonical(parse_answer(text, answer_type, options)[1], answer_type, options)
