"""The files that the authors of each dataset released, as the records that DSS made of them.

DSS read CommonsenseQA, ANLI and e-SNLI through the loading scripts of Hugging Face datasets and
wrote what came with `to_json`. The functions here read the same files, give the same fields in the
same order, and drop no row (nor did those scripts). They yield record by record: e-SNLI is never
held in memory.
"""

import contextlib
import csv
import io
import itertools
import pathlib
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from qcrd_jax.data.schema import NLI_CLASSES
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import parse_object, read_json_value, read_jsonl

Record = dict[str, Any]
Records = dict[str, Iterator[Record]]
"""The records of a dataset by the split of their file: 'train', perhaps 'valid', 'test'."""

SVAMP_TRAIN = 800  # questions; DSS trains on these and tests on the other 200

_ANLI_LABELS = {name[0]: place for place, name in enumerate(NLI_CLASSES)}  # e, n, c


def svamp(problems: pathlib.Path) -> Records:
    """Reads SVAMP.json. The split is a permutation by NumPy's old generator, seed 0."""
    entries = read_json_value(problems)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f'{problems}: expected a JSON list of problems.')
    order = np.random.RandomState(0).permutation(len(entries)).tolist()

    def records(places: list[int]) -> Iterator[Record]:
        for place in places:
            entry, where = entries[place], f'{problems}, problem {place + 1}'
            body, question = _text(entry, 'Body', where), _text(entry, 'Question', where)
            yield {'input': f'{body}\n{question}', 'label': _text(entry, 'Equation', where)}

    return {'train': records(order[:SVAMP_TRAIN]), 'test': records(order[SVAMP_TRAIN:])}


def cqa(
    train: pathlib.Path,
    dev: pathlib.Path,
    explained_train: pathlib.Path,
    explained_dev: pathlib.Path,
) -> Records:
    """Joins the questions of CommonsenseQA with the explanations of CoS-E v1.11, by their ids.

    The order is that of CoS-E: the teacher's answers that DSS released, and the questions that it
    held out for validation, are known by their place in it. CommonsenseQA's development split is
    the test split, as the labels of its own test split are not public.
    """
    questions: dict[str, Record] = {}
    for path in (train, dev):
        for line, entry in read_jsonl(path):
            where = f'{path}, line {line}'
            questions[_text(entry, 'id', where)] = _commonsense_question(entry, where)

    def records(path: pathlib.Path) -> Iterator[Record]:
        for line, entry in read_jsonl(path):
            where = f'{path}, line {line}'
            identity = _text(entry, 'id', where)
            if identity not in questions:
                raise InputError(f'{where}: {identity!r} is no question of {train} or {dev}.')
            explanation = _field(entry, 'explanation', dict, where)
            yield {
                **questions[identity],
                'abstractive_explanation': _text(explanation, 'open-ended', where),
                'extractive_explanation': _text(explanation, 'selected', where),
            }

    return {'train': records(explained_train), 'test': records(explained_dev)}


def _commonsense_question(entry: Record, where: str) -> Record:
    question = _field(entry, 'question', dict, where)
    choices = {
        _text(choice, 'label', where): _text(choice, 'text', where)
        for choice in _field(question, 'choices', list, where)
    }
    key = _text(entry, 'answerKey', where)
    return {
        'id': _text(entry, 'id', where),
        'question': _text(question, 'stem', where),
        'choices': list(choices.values()),
        'answer': choices[_one_of(choices, key, 'answerKey', where)],
    }


def anli1(archive: pathlib.Path) -> Records:
    """Reads the first round of ANLI out of its archive."""
    return {
        'train': _anli_records(archive, 'R1/train.jsonl'),
        'valid': _anli_records(archive, 'R1/dev.jsonl'),
        'test': _anli_records(archive, 'R1/test.jsonl'),
    }


def _anli_records(archive: pathlib.Path, path: str) -> Iterator[Record]:
    with open_zip(archive) as content:
        member = next(
            (name for name in content.namelist() if f'/{name}'.endswith(f'/{path}')), None
        )
        if member is None:
            raise InputError(f'{archive}: holds no {path}; delete it and try again.')
        with content.open(member) as file:
            for number, line in enumerate(io.TextIOWrapper(file, encoding='utf-8'), start=1):
                if line.strip():
                    entry = parse_object(f'{archive}/{path}', number, line)
                    where = f'{archive}/{path}, line {number}'
                    label = _one_of(_ANLI_LABELS, _text(entry, 'label', where), 'label', where)
                    yield {
                        'uid': _text(entry, 'uid', where),
                        'premise': _text(entry, 'context', where),
                        'hypothesis': _text(entry, 'hypothesis', where),
                        'label': _ANLI_LABELS[label],
                        'reason': entry.get('reason', ''),
                    }


def esnli(
    train_1: pathlib.Path, train_2: pathlib.Path, dev: pathlib.Path, test: pathlib.Path
) -> Records:
    """Reads the tables of e-SNLI. Training questions have one explanation, the others three."""
    return {
        'train': itertools.chain(_esnli_records(train_1), _esnli_records(train_2)),
        'valid': _esnli_records(dev),
        'test': _esnli_records(test),
    }


def _esnli_records(path: pathlib.Path) -> Iterator[Record]:
    try:
        # The csv module asks for newline=''; the loading script left it out, which makes a line
        # break inside a sentence \n, however the file writes it.
        with open(path, encoding='utf-8') as file:
            rows = csv.DictReader(file)
            for row in rows:
                where = f'{path}, line {rows.line_num}'
                label = _one_of(NLI_CLASSES, _text(row, 'gold_label', where), 'gold_label', where)
                yield {
                    'premise': _text(row, 'Sentence1', where),
                    'hypothesis': _text(row, 'Sentence2', where),
                    'label': NLI_CLASSES.index(label),
                    'explanation_1': row.get('Explanation_1') or '',
                    'explanation_2': row.get('Explanation_2') or '',
                    'explanation_3': row.get('Explanation_3') or '',
                }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path}: cannot be read as CSV ({error}); delete it.') from error


@contextlib.contextmanager
def open_zip(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive to read from.

    Raises:
      InputError: if it is damaged, now or while it is read from.
    """
    try:
        with zipfile.ZipFile(path) as content:
            yield content
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError) as error:
        # A RuntimeError: encrypted, or compressed in a way that Python does not know.
        raise InputError(f'{path}: is no good zip archive ({error}); delete it.') from error


# --- Fields ---------------------------------------------------------------------------------------

_KINDS = {str: 'a text', list: 'a list', dict: 'an object'}


def _field(record: Any, field: str, kind: type, where: str) -> Any:
    value = record.get(field) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise InputError(f'{where}: field {field!r}: expected {_KINDS[kind]}, got {shown(value)}.')
    return value


def _text(record: Any, field: str, where: str) -> str:
    return _field(record, field, str, where)


def _one_of(values: Collection[str], value: str, field: str, where: str) -> str:
    if value not in values:
        raise InputError(
            f'{where}: field {field!r}: expected one of {", ".join(values)}, got {shown(value)}.'
        )
    return value
