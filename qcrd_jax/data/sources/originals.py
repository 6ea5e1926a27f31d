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
import re
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import numpy as np

from qcrd_jax.data.schema import NLI_CLASSES
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import parse_object, read_json_value, read_jsonl
from qcrd_jax.models.foreign_files import open_regular

Record = dict[str, Any]
Records = dict[str, Iterator[Record]]
"""The records of a dataset by the split of their file: 'train', perhaps 'valid', 'test'."""

SVAMP_TRAIN = 800  # questions; DSS trains on these and tests on the other 200

# What an archive of texts may unpack to. Deflate makes 1000 bytes of one at most; texts make ten.
_LARGEST_MEMBER = 1 << 30  # bytes
_RATIO = 100
_SMALL = 1 << 20  # bytes that every file may have
_LARGEST_DIRECTORY = 4 << 20  # bytes of an archive's list of files; 100 files take about 10 kB
_END = re.compile(rb'(?=PK\x05\x06.{8}(.{4}))', re.DOTALL)  # the record that says its bytes
_LARGE_END = b'PK\x06\x07'
_END_BYTES = 22 + (1 << 16) + 20  # with the longest comment, and what stands before it

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
        members = [m for m in content.infolist() if f'/{m.filename}'.endswith(f'/{path}')]
        if len(members) != 1:
            found = f'{len(members)} files' if members else 'no'
            raise InputError(f'{archive}: holds {found} {path}; delete it and try again.')
        check_member(archive, members[0])
        with content.open(members[0]) as file:
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
      InputError: if it is damaged, now or while it is read from, or unpacks to more than an archive
        of texts does.
    """
    try:
        with open_regular(path) as file:
            _check_directory(path, file)
            with zipfile.ZipFile(file) as content:
                yield content
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError) as error:
        # A RuntimeError: encrypted, or compressed in a way that Python does not know.
        raise InputError(f'{path}: is no good zip archive ({error}); delete it.') from error


def check_member(archive: pathlib.Path, member: zipfile.ZipInfo) -> None:
    """Refuses a file of an archive that is no plain one, or unpacks to more than texts do.

    When it is read, it gives no more bytes than its entry says.

    Raises:
      InputError: naming the archive and the file.
    """
    place = f'{archive}: {shown(member.filename)}'
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        raise InputError(f'{place} is no plain file; delete the archive.')
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The others take as much memory as the file asks for.
        raise InputError(f'{place} is compressed in a way that is not read; delete the archive.')
    most = min(_LARGEST_MEMBER, _SMALL + _RATIO * member.compress_size)
    if member.file_size > most:
        raise InputError(
            f'{place} unpacks from {member.compress_size} bytes to {member.file_size}; expected at '
            f'most {most}. Delete the archive.'
        )


def _check_directory(path: pathlib.Path, file: BinaryIO) -> None:
    """Refuses an archive of too many files, before `zipfile` makes an object of every one.

    Its list of files is found by a record near the end, or by one for large archives before that.
    """
    file.seek(max(0, file.seek(0, io.SEEK_END) - _END_BYTES))
    end = file.read()
    file.seek(0)
    sizes = [int.from_bytes(found[1], 'little') for found in _END.finditer(end)]
    if _LARGE_END in end or max(sizes, default=0) > _LARGEST_DIRECTORY:
        raise InputError(
            f'{path}: expected a list of files of at most {_LARGEST_DIRECTORY} bytes, it says that '
            'it has a larger one; delete it.'
        )


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
