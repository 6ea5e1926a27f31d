"""What a student was taught, beside its weights: how it is asked, and how much it writes."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, get_args

from qcrd_jax import files
from qcrd_jax.data.schema import AnswerType
from qcrd_jax.errors import InputError, shown

FILE = 'qcrd.json'  # in the folder of an exported student


@dataclasses.dataclass(frozen=True)
class Task:
    """How a student is asked.

    Attributes:
      method: that taught it, by its name in `methods.METHODS`.
      dataset: that it learned from, by its name in `data.sources.DATASETS`.
      answer_type: of its labels.
      prefixes: before a question, of the label task and of the rationale task.
      joint: whether it writes rationale and label as one text (`data.targets`).
      explains: whether it was taught rationales at all.
      source_length: tokens of a question with its prefix; more are cut.
      label_length: tokens of a label at most, with its rationale where `joint`.
      rationale_length: tokens of a rationale at most.
    """

    method: str
    dataset: str
    answer_type: AnswerType
    prefixes: tuple[str, str]
    joint: bool
    explains: bool
    source_length: int
    label_length: int
    rationale_length: int

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens that the student reads and writes at most."""
        return self.source_length, max(self.label_length, self.rationale_length)

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return dataclasses.asdict(self) | {'prefixes': list(self.prefixes)}


def read(folder: pathlib.Path) -> Task:
    """Reads the task of the student in a folder.

    Raises:
      InputError: naming the file, and the field that is missing or not what it should be.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f'{path}: no such file; expected a folder that --mode=export wrote. Any other student '
            'is asked with a task of your own (evaluation.task.Task).'
        )
    return from_json(files.read_json(path), str(path))


def from_json(record: Mapping[str, Any], where: str) -> Task:
    """Returns the task that JSON values describe.

    Raises:
      InputError: naming the field that is missing or not what it should be.
    """
    values = {}
    for field in dataclasses.fields(Task):
        value = record.get(field.name)
        if not _is_right(field.name, value):
            wanted = _WANTED.get(field.name, 'a text')
            raise InputError(f'{where}: {field.name}: expected {wanted}, got {shown(value)}.')
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return Task(**values)


_LENGTHS = ('source_length', 'label_length', 'rationale_length')
_WANTED = {
    'answer_type': f'one of {", ".join(get_args(AnswerType))}',
    'prefixes': 'a list of two texts',
    'joint': 'true or false',
    'explains': 'true or false',
} | dict.fromkeys(_LENGTHS, 'a number of at least 1')


def _is_right(name: str, value: Any) -> bool:
    if name in ('joint', 'explains'):
        return isinstance(value, bool)
    if name in _LENGTHS:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if name == 'prefixes':
        return isinstance(value, list) and [type(each) for each in value] == [str, str]
    return value in get_args(AnswerType) if name == 'answer_type' else isinstance(value, str)
