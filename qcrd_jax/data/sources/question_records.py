"""One record of questions and raw answers: checked field by field, and put in our words.

What a record may hold is said in `raw_samples`. A field that is null is a field that is not there.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import logging

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.data.sources import choices, conversations
from qcrd_jax.data.sources.questions import LETTERS, Unexpected, required_text
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import without_surrogates

SPLITS = {
    'train': 'train',
    'valid': 'validation',
    'validation': 'validation',
    'dev': 'validation',
    'test': 'test',
}


class Answer(NamedTuple):
    """One answer.

    Attributes:
      teacher: who gave it.
      sample: its number among theirs.
      text: what it is.
      reasoning: what was thought before.
      score: that it was given; None: none.
    """

    teacher: str
    sample: int
    text: str
    reasoning: str = ''
    score: float | None = None


class QuestionRecord(NamedTuple):
    """What a record holds.

    Attributes:
      example: the question, without its answers.
      split: of the dataset that it belongs to.
      answers: those of this record.
      whole: whether no other record may hold answers to the question.
      numbered: whether its answers say which number they are.
    """

    example: Example
    split: str
    answers: list[Answer]
    whole: bool
    numbered: bool


def parse(
    record: dict[str, Any],
    number: int,
    where: Callable[[int], str],
    answer_type: AnswerType,
    classes: Sequence[str],
) -> QuestionRecord:
    """Returns the question of a record and the answers that it holds.

    Args:
      record: as it was read; it may be changed.
      number: of the record; what a question without an id is called by.
      where: returns what an error calls the record of a number.
      answer_type: how its answers are compared.
      classes: of answer type 'class'.

    Raises:
      InputError: if a field is not what it should be; it names the record and the field.
    """
    with _named(where, number):
        return _parse(record, number, answer_type, tuple(classes))


def unlabelled(
    record: dict[str, Any], number: int, where: Callable[[int], str], answer_type: AnswerType
) -> Example:
    """Returns the question of a record of which only `input`, `id` and `options` are read.

    Args:
      record: as it was read.
      number: what a question without an id is called by.
      where: returns what an error calls the record of a number.
      answer_type: of the student's answers; choices are appended as `parse` appends them.

    Raises:
      InputError: if a field is not what it should be; it names the record and the field.
    """
    text = record.get('input')
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f'{where(number)}: expected "input", the text of a question, got {shown(text)}.'
        )
    with _named(where, number):
        text = required_text(record, 'input')
        identity = record.get('id')
        identity = str(number if identity is None else identity)
        identity = required_text({'id': identity}, 'id')
        options: tuple[str, ...] = ()
        if answer_type == 'choice' and (given := _options(record.get('options') or [])):
            options = choices.options_of(text, given)
            text = choices.with_options(text, options)
        return Example(identity, text, label='', options=options)


@contextlib.contextmanager
def _named(where: Callable[[int], str], number: int) -> Iterator[None]:
    """Says of what is unexpected where it is."""
    try:
        yield
    except Unexpected as error:
        got = f'expected {error.expected}, got {shown(error.got)}'
        raise InputError(f'{where(number)}: field {error.field!r}: {got}.') from error


def _parse(
    record: dict[str, Any], number: int, answer_type: AnswerType, classes: tuple[str, ...]
) -> QuestionRecord:
    answered = record.get('teacher') is not None and 'text' in record
    record = {name: value for name, value in record.items() if value is not None}
    if conversation := conversations.is_conversation(record):
        record = conversations.plain(record)
    split = record.get('split', 'train')
    if not (isinstance(split, str) and split in SPLITS):
        raise Unexpected('split', f'one of {", ".join(SPLITS)}', split)
    answered = not conversation and (answered or 'text' in record)
    answers = _answers(record, answered)
    text, label = required_text(record, 'input'), required_text(record, 'label')
    whole = not (answered or conversation)
    if 'id' not in record:  # answers to a question without one are gathered by its text
        record['id'] = str(number) if whole else conversations.digest(SPLITS[split], text)
    identity = required_text(record, 'id')
    given = _options(record.get('options', []))
    if answer_type == 'choice':
        options = choices.options_of(text, given)
        _distinct(options)
        label = choices.labelled(label, text, options)
        text = choices.with_options(text, options) if given else text
    else:
        options = classes if answer_type == 'class' else ()
        _say_what_is_not_read(given, answer_type, options)
        label = _label(label, answer_type, options)
    example = Example(identity, text, label, options=options)
    return QuestionRecord(example, SPLITS[split], answers, whole, 'sample' in record)


def _distinct(options: tuple[str, ...]) -> None:
    """Refuses choices that differ, but not to whoever compares answers. Equal ones are one."""
    meanings: dict[object, str] = {}
    for letter, option in zip(LETTERS, options, strict=False):
        other = meanings.setdefault(canonical(f'({letter})', 'choice', options), option)
        if other.split() != option.split():
            wanted = 'choices that differ by more than case and punctuation'
            raise Unexpected('options', wanted, [other, option])


def _options(given: Any) -> list[str]:
    if not (isinstance(given, list) and all(isinstance(option, str) for option in given)):
        raise Unexpected('options', 'a list of texts', given)
    return [required_text({'options': option}, 'options') for option in given]


def _label(label: str, answer_type: AnswerType, options: tuple[str, ...]) -> str:
    """Returns the label, that of a class in the words of its option."""
    if answer_type == 'equation':
        label = label.rpartition('#')[2].strip()  # of a solution of GSM8K, which ends in `#### 72`
    value = canonical(label, answer_type, options)
    if value is None:
        among = f', one of {", ".join(options)}' if options else ''
        raise Unexpected('label', f'an answer of type {answer_type!r}{among}', label)
    named = (option for option in options if canonical(option, answer_type, options) == value)
    return next(named, label)


def _say_what_is_not_read(
    given: list[str], answer_type: AnswerType, classes: tuple[str, ...]
) -> None:
    """Refuses options that are not the classes; warns of options where answers have none."""
    if answer_type == 'class':
        if given and {text.casefold() for text in given} != {text.casefold() for text in classes}:
            raise Unexpected('options', f'none, or the classes {", ".join(classes)}', given)
    elif given:
        logging.log_first_n(
            logging.WARNING,
            'field \'options\' is not read: answers of type %r have none. Are they choices '
            '(--config.data.answer_type=choice)?', 1, answer_type,
        )  # fmt: skip


def _answers(record: dict[str, Any], answered: bool) -> list[Answer]:
    if answered:
        return [_answer(record, '')]
    entries = record.get('samples', [])
    if isinstance(entries, dict):  # how some libraries write a list of objects to Parquet
        entries = _as_objects(entries)
    if not isinstance(entries, list):
        raise Unexpected('samples', 'a list', entries)
    return [_answer(entry, f'samples[{place}]') for place, entry in enumerate(entries)]


def _as_objects(columns: dict[str, Any]) -> Any:
    lists = [column for column in columns.values() if isinstance(column, list)]
    if len(lists) < len(columns) or len({len(column) for column in lists}) > 1:
        return columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _answer(entry: Any, field: str) -> Answer:
    if not isinstance(entry, dict):
        raise Unexpected(field, 'an object', entry)
    inside = f'{field}.' if field else ''
    for name in ('teacher', 'text'):
        if not isinstance(entry.get(name), str):
            raise Unexpected(f'{inside}{name}', 'a text', entry.get(name))
    sample = entry.get('sample')
    sample = 0 if sample is None else sample
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 0:
        raise Unexpected(f'{inside}sample', 'a number from 0', sample)
    reasoning = ''
    for name in conversations.REASONING:
        given = entry.get(name)
        if given is not None and not isinstance(given, str):
            raise Unexpected(f'{inside}{name}', 'a text', given)
        reasoning = reasoning or given or ''
    texts = (without_surrogates(text) for text in (entry['teacher'], entry['text'], reasoning))
    teacher, text, reasoning = texts
    return Answer(teacher, sample, text, reasoning, _score(entry.get('score'), f'{inside}score'))


def _score(given: Any, field: str) -> float | None:
    if given is None:
        return None
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if not number or not math.isfinite(given):
        raise Unexpected(field, 'a finite number', given)
    return float(given)
