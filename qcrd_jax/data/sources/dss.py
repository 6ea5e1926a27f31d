"""The layout in which Distilling step-by-step (DSS) released its data.

<name>/<name>_train.json, <name>_test.json, perhaps <name>_valid.json   one JSON object a line
<name>/llm/<split>_CoT_<i>.json    raw answers, one per question: consecutive parts of the split
"""

import functools
import itertools
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qcrd_jax.data.schema import AnswerType, Example, ExampleStream, SourceSplits, TeacherSample
from qcrd_jax.data.sources.questions import Question, Unexpected
from qcrd_jax.data.teacher_output import parse_answer
from qcrd_jax.errors import InputError
from qcrd_jax.files import count_lines, read_json_value, read_jsonl, without_surrogates

TEACHER = 'palm-540b'  # whose answers DSS released

_FILE_SPLITS = {'train': 'train', 'valid': 'validation', 'test': 'test'}

_Reader = Callable[[Mapping[str, Any]], Question]  # of a record, see `questions`


def find_dataset(source: pathlib.Path | str, name: str) -> pathlib.Path:
    """Returns the folder of dataset `name`: `source` itself or the one of that name inside it.

    Raises:
      InputError: if neither holds `<name>_train.json`.
    """
    source = pathlib.Path(source)
    for folder in (source, source / name):
        if _holds(folder, name):
            return folder
    raise InputError(
        f'data.source: {source} holds neither {name}_train.json nor {name}/{name}_train.json; '
        'expected a folder in the layout of Distilling step-by-step, or a .jsonl or .parquet file.'
    )


def is_layout(source: pathlib.Path, name: str) -> bool:
    """Returns whether `find_dataset` finds the dataset there."""
    return _holds(source, name) or _holds(source / name, name)


def _holds(folder: pathlib.Path, name: str) -> bool:
    return (folder / f'{name}_train.json').is_file()


def files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Returns the files of a dataset that exist, in a fixed order."""
    found = [folder / f'{name}_{split}.json' for split in _FILE_SPLITS]
    for split in _FILE_SPLITS:
        found += _answer_files(folder, split)
    return [path for path in found if path.is_file()]


def read(
    folder: pathlib.Path, name: str, question: _Reader, answer_type: AnswerType
) -> SourceSplits:
    """Reads a dataset, question by question as it is asked for.

    A question is known by its place in its file (`cqa-train-0007`), as the answers are.

    Args:
      folder: of `find_dataset`.
      name: of the dataset, in the names of its files and in the ids of its questions.
      question: returns the question of a record, or raises `questions.Unexpected`.
      answer_type: how its answers are compared.

    Raises:
      InputError: if a file is missing; reading raises it if one is malformed, and names the line.
    """
    splits: SourceSplits = {}
    for file_split, split in _FILE_SPLITS.items():
        path = folder / f'{name}_{file_split}.json'
        if path.is_file():
            read_split = functools.partial(
                _read_split, path, name, file_split, question, answer_type
            )
            splits[split] = ExampleStream(count_lines(path), read_split)
        elif split != 'validation':
            raise InputError(
                f'{path}: missing; expected one JSON object a line with the questions.'
            )
    return splits


def _read_split(
    path: pathlib.Path, name: str, split: str, read_record: _Reader, answer_type: AnswerType
) -> Iterator[Example]:
    answer_files = _answer_files(path.parent, split)
    answers = itertools.chain.from_iterable(map(_read_answers, answer_files))
    place = -1
    for place, (line, record) in enumerate(read_jsonl(path)):
        try:
            question = read_record(record)
        except Unexpected as error:
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
