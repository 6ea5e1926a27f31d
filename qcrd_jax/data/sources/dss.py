"""The layout and the splits in which Distilling step-by-step (DSS) released its data.

<name>/<name>_train.json, <name>_test.json, perhaps <name>_valid.json   one JSON object a line
<name>/llm/<split>_CoT_<i>.json    raw answers, one per question: consecutive parts of the split
"""

import functools
import itertools
import math
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qcrd_jax.data.answers import NLI_CLASSES
from qcrd_jax.data.schema import AnswerType, Example, ExampleStream, SourceSplits, TeacherSample
from qcrd_jax.data.teacher_output import parse_answer
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import count_lines, read_json_value, read_jsonl, without_surrogates

TEACHER = 'palm-540b'  # whose answers DSS released
SEPARATOR = '</s>'  # between premise and hypothesis: the text of T5's EOS

_FILE_SPLITS = {'train': 'train', 'valid': 'validation', 'test': 'test'}
_LETTERS = 'abcdefghijklmnopqrstuvwxyz'


class Question(NamedTuple):
    """A record in the words that a student reads."""

    input: str
    label: str
    options: tuple[str, ...] = ()


# --- The fields of each dataset -------------------------------------------------------------------


def with_choices(question: str, choices: Sequence[str]) -> str:
    """Returns a question followed by its lettered choices.

    Examples:
      >>> print(with_choices('Where do beavers live?', ['zoo', 'river']))
      Where do beavers live?
      Answer Choices:
      (a) zoo
      (b) river
    """
    lettered = (f'\n({letter}) {choice}' for letter, choice in zip(_LETTERS, choices, strict=False))
    return f'{question}\nAnswer Choices:{"".join(lettered)}'


def _plain(record: Mapping[str, Any]) -> Question:
    return Question(_text(record, 'input'), _text(record, 'label'))


def _commonsense(record: Mapping[str, Any]) -> Question:
    choices = record.get('choices')
    if not (
        isinstance(choices, list)
        and 2 <= len(choices) <= len(_LETTERS)
        and all(isinstance(choice, str) for choice in choices)
    ):
        raise _Unexpected('choices', f'a list of 2 to {len(_LETTERS)} texts', choices)
    label = _text(record, 'answer')
    if label not in choices:
        raise _Unexpected('answer', 'one of the choices', label)
    return Question(with_choices(_text(record, 'question'), choices), label, tuple(choices))


def _inference(record: Mapping[str, Any]) -> Question:
    label = record.get('label')
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(NLI_CLASSES):
        label = NLI_CLASSES[label]
    if label not in NLI_CLASSES:
        raise _Unexpected('label', f'0, 1, 2 or one of {", ".join(NLI_CLASSES)}', label)
    premise, hypothesis = _text(record, 'premise'), _text(record, 'hypothesis')
    return Question(f'{premise}{SEPARATOR}{hypothesis}', label, NLI_CLASSES)


def _text(record: Mapping[str, Any], field: str) -> str:
    if not isinstance(record.get(field), str):
        raise _Unexpected(field, 'a text', record.get(field))
    return record[field]


class _Unexpected(ValueError):
    def __init__(self, field: str, expected: str, got: Any):
        super().__init__(f'expected {expected} in field {field!r}, got {shown(got)}')


_QUESTIONS: dict[str, Callable[[Mapping[str, Any]], Question]] = {
    'svamp': _plain,
    'cqa': _commonsense,
    'anli1': _inference,
    'esnli': _inference,
}


# --- Files ----------------------------------------------------------------------------------------


def find_dataset(source: pathlib.Path | str, name: str) -> pathlib.Path:
    """Returns the folder of dataset `name`: `source` itself or the one of that name inside it.

    Raises:
      InputError: if neither holds `<name>_train.json`.
    """
    source = pathlib.Path(source)
    for folder in (source, source / name):
        if (folder / f'{name}_train.json').is_file():
            return folder
    raise InputError(
        f'data.source: {source} holds neither {name}_train.json nor {name}/{name}_train.json; '
        'expected a folder in the layout of Distilling step-by-step, or a .jsonl file.'
    )


def files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Returns the files of a dataset that exist, in a fixed order."""
    found = [folder / f'{name}_{split}.json' for split in _FILE_SPLITS]
    for split in _FILE_SPLITS:
        found += _answer_files(folder, split)
    return [path for path in found if path.is_file()]


def read(folder: pathlib.Path, name: str, answer_type: AnswerType) -> SourceSplits:
    """Reads dataset 'svamp', 'cqa', 'anli1' or 'esnli', question by question as it is asked for.

    Inputs are those that DSS builds from a record, to the byte: a question with its lettered
    choices, a premise and a hypothesis joined by T5's EOS text. A question is known by its place in
    its file (`cqa-train-0007`), as the answers are.

    Raises:
      InputError: if a file is missing; reading raises it if one is malformed, and names the line.
    """
    splits: SourceSplits = {}
    for file_split, split in _FILE_SPLITS.items():
        path = folder / f'{name}_{file_split}.json'
        if path.is_file():
            read_split = functools.partial(_read_split, path, name, file_split, answer_type)
            splits[split] = ExampleStream(count_lines(path), read_split)
        elif split != 'validation':
            raise InputError(
                f'{path}: missing; expected one JSON object a line with the questions.'
            )
    return splits


def _read_split(
    path: pathlib.Path, name: str, split: str, answer_type: AnswerType
) -> Iterator[Example]:
    answer_files = _answer_files(path.parent, split)
    answers = itertools.chain.from_iterable(map(_read_answers, answer_files))
    place = -1
    for place, (line, record) in enumerate(read_jsonl(path)):
        try:
            question = _QUESTIONS[name](record)
        except _Unexpected as error:
            raise InputError(f'{path}, line {line}: {error}. Mend the line.') from error
        text = next(answers, None)
        if text is None and answer_files:
            raise _unequal(path, split, place, sum(1 for _ in read_jsonl(path)))
        samples = () if text is None else (_sample(text, answer_type, question.options),)
        yield Example(
            id=f'{name}-{split}-{place:04d}',
            input=question.input,
            label=question.label,
            samples=samples,
            options=question.options,
        )
    left = sum(1 for _ in answers)
    if left:
        raise _unequal(path, split, place + 1 + left, place + 1)


def _sample(text: str, answer_type: AnswerType, options: tuple[str, ...]) -> TeacherSample:
    return TeacherSample(text, *parse_answer(text, answer_type, options), source=TEACHER)


def _unequal(path: pathlib.Path, split: str, answers: int, questions: int) -> InputError:
    # Answers are matched by position: one too many or too few means that none can be trusted.
    return InputError(
        f'{path.parent}/llm/{split}_CoT_*.json: hold {answers} answers to the {questions} '
        f'questions of {path.name}; expected one each. Is a part missing?'
    )


def _answer_files(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Returns `<split>_CoT_<i>.json` by the number i (10 comes after 9)."""
    pattern = re.compile(rf'{split}_CoT_(\d+)\.json')
    numbered = [
        (int(match.group(1)), path)
        for path in folder.glob(f'llm/{split}_CoT_*.json')
        if (match := pattern.fullmatch(path.name))
    ]
    return [path for _, path in sorted(numbered)]


def _read_answers(path: pathlib.Path) -> list[str]:
    part = read_json_value(path)
    if not isinstance(part, list) or not all(isinstance(text, str) for text in part):
        raise InputError(f'{path}: expected a JSON list of texts, one answer each.')
    return [without_surrogates(text) for text in part]


# --- Splits ---------------------------------------------------------------------------------------


def with_validation(splits: SourceSplits) -> SourceSplits:
    """Returns train, validation and test; validation comes out of train where there is none.

    Raises:
      InputError: if a split is empty.
    """
    for split in ('train', 'test'):
        if not splits.get(split):
            raise InputError(f'data.source: the {split} split is empty; give at least one example.')
    train, validation = splits['train'], splits.get('validation')
    if not validation:
        if len(train) < 2:
            raise InputError('data.source: one training example leaves none for validation.')
        train = list(train)
        train_places, validation_places = hold_out(len(train))
        validation = [train[place] for place in validation_places]
        train = [train[place] for place in train_places]
    return {'train': train, 'validation': validation, 'test': splits['test']}


def hold_out(number: int, share: float = 0.1, seed: int = 0) -> tuple[Sequence[int], Sequence[int]]:
    """Returns the places (kept, held out) of DSS's `train_test_split(test_size=0.1, seed=0)`.

    Hugging Face datasets permutes by NumPy's default generator, takes the share (rounded up) that
    is held out from the front, and keeps the rest in permuted order.
    """
    permutation = np.random.default_rng(seed).permutation(number)
    held = math.ceil(share * number)
    return permutation[held:].tolist(), permutation[:held].tolist()
