"""Few-shot prompts: readable text files with a place for the question."""

import dataclasses
import pathlib
import re

from qcrd_jax.data.schema import SEPARATOR, AnswerType, Example
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.errors import InputError

_FOLDER = pathlib.Path(__file__).parent / 'prompts'
_PLACEHOLDER = re.compile(r'\{(input|premise|hypothesis|options)\}')


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A text in which `{input}`, or `{premise}` and `{hypothesis}`, stand for the question.

    `{options}` stands for what the answer is one of, joined by commas. Everything else, other
    braces included, is sent as it is.

    Attributes:
      text: of the prompt.
      source: where it was read, for messages.
    """

    text: str
    source: str

    def __post_init__(self):
        names = set(_PLACEHOLDER.findall(self.text))
        if 'input' not in names and not {'premise', 'hypothesis'} <= names:
            raise InputError(
                f'--config.teacher.prompt: {self.source} has no place for the question; expected '
                '{input}, or {premise} and {hypothesis}, in it.'
            )

    def fill(self, example: Example) -> str:
        """Returns the prompt with the question in its place, which is not searched for more.

        Raises:
          InputError: if the question is no premise and hypothesis and the prompt asks for them.
        """
        premise, separator, hypothesis = example.input.partition(SEPARATOR)
        values = {'input': example.input, 'options': ', '.join(example.options)}
        if separator:
            values |= {'premise': premise, 'hypothesis': hypothesis}

        def value(match: re.Match[str]) -> str:
            try:
                return values[match[1]]
            except KeyError:
                raise InputError(
                    f'--config.teacher.prompt: {self.source} asks for {match[0]}, but question '
                    f'{example.id!r} is not `premise{SEPARATOR}hypothesis`. Use {{input}}.'
                ) from None

        return _PLACEHOLDER.sub(value, self.text)


def load(name: str, answer_type: AnswerType, path: str = '') -> Prompt:
    """Reads the prompt of a dataset.

    Args:
      name: of the dataset.
      answer_type: of a dataset whose entry has none; it chooses the prompt.
      path: a text file in place of ours; '': ours.

    Raises:
      InputError: if the file cannot be read, or has no place for the question.
    """
    entry = DATASETS[name]
    ours = entry.prompt or entry.answer_type or answer_type
    file = pathlib.Path(path) if path else _FOLDER / f'{ours}.txt'
    try:
        return Prompt(file.read_text(encoding='utf-8').strip(), str(path or file.name))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'--config.teacher.prompt: {file} cannot be read ({error}); expected a UTF-8 text file.'
        ) from error
