"""A record of a released dataset in the words that a student reads.

Every function takes a record, the JSON object of one line, and returns its question. The inputs are
those that Distilling step-by-step (DSS) builds, to the byte.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qcrd_jax.data.schema import NLI_CLASSES, SEPARATOR
from qcrd_jax.errors import shown

LETTERS = 'abcdefghijklmnopqrstuvwxyz'


class Question(NamedTuple):
    """A question, its gold label, and the options of its answer if there are any."""

    input: str
    label: str
    options: tuple[str, ...] = ()


class Unexpected(ValueError):
    """A field of a record that is not what it should be; the message names it."""

    def __init__(self, field: str, expected: str, got: Any):
        super().__init__(f'expected {expected} in field {field!r}, got {shown(got)}')
        self.field, self.expected, self.got = field, expected, got


def plain(record: Mapping[str, Any]) -> Question:
    """Returns `input` and `label` as they are."""
    return Question(required_text(record, 'input'), required_text(record, 'label'))


def multiple_choice(record: Mapping[str, Any]) -> Question:
    """Returns `question` with its lettered `choices`; the label is the text of the `answer`."""
    choices = record.get('choices')
    if not (
        isinstance(choices, list)
        and 2 <= len(choices) <= len(LETTERS)
        and all(isinstance(choice, str) for choice in choices)
    ):
        raise Unexpected('choices', f'a list of 2 to {len(LETTERS)} texts', choices)
    for choice in choices:
        required_text({'choices': choice}, 'choices')
    label = required_text(record, 'answer')
    if label not in choices:
        raise Unexpected('answer', 'one of the choices', label)
    return Question(with_choices(required_text(record, 'question'), choices), label, tuple(choices))


def inference(record: Mapping[str, Any]) -> Question:
    """Returns `premise` and `hypothesis`; the `label` is a class of NLI, or its number."""
    label = record.get('label')
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(NLI_CLASSES):
        label = NLI_CLASSES[label]
    if label not in NLI_CLASSES:
        raise Unexpected('label', f'0, 1, 2 or one of {", ".join(NLI_CLASSES)}', label)
    premise, hypothesis = required_text(record, 'premise'), required_text(record, 'hypothesis')
    return Question(f'{premise}{SEPARATOR}{hypothesis}', label, NLI_CLASSES)


def with_choices(question: str, choices: Sequence[str]) -> str:
    """Returns a question followed by its lettered choices.

    Examples:
      >>> print(with_choices('Where do beavers live?', ['zoo', 'river']))
      Where do beavers live?
      Answer Choices:
      (a) zoo
      (b) river
    """
    lettered = (f'\n({letter}) {choice}' for letter, choice in zip(LETTERS, choices, strict=False))
    return f'{question}\nAnswer Choices:{"".join(lettered)}'


def required_text(record: Mapping[str, Any], field: str) -> str:
    """Returns a field that says something.

    Raises:
      Unexpected: if it is no text, is empty or blank, or is not Unicode.
    """
    text = record.get(field)
    if not isinstance(text, str):
        raise Unexpected(field, 'a text', text)
    if not text.strip():
        raise Unexpected(field, 'a text that is not empty', text)
    if text.encode(errors='ignore').decode() != text:
        raise Unexpected(field, 'Unicode, not half of a character (a lone surrogate)', text)
    return text
