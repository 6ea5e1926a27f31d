"""JSON lines of questions and raw teacher answers: one's own data, and what annotating writes.

A line is a question, perhaps with answers of its teachers:

  {"id", "input", "label", "split"?, "options"?, "samples"?: [{"teacher", "text"}, ...]}

or one answer to a question, of which there may be several, in any order (`--mode=annotate`):

  {"id", "input", "label", "split"?, "options"?, "teacher", "text", "sample"?}

The answers to a question are in the order of their number `sample`, and in that of the file.

A file may be larger than memory: it is read once to check every line and to note where the lines of
a question are, and again as its questions are asked for.
"""

import array
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import (
    NLI_CLASSES,
    AnswerType,
    Example,
    ExampleStream,
    SourceSplits,
    TeacherSample,
)
from qcrd_jax.data.self_consistency import in_words_of
from qcrd_jax.data.sources.questions import with_choices
from qcrd_jax.data.teacher_output import parse_answer
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import parse_object, without_surrogates

_SPLITS = {
    'train': 'train',
    'valid': 'validation',
    'validation': 'validation',
    'dev': 'validation',
    'test': 'test',
}
_LETTERED = re.compile(r'^\(([a-z])\) (.+)$', re.MULTILINE)


class _Answer(NamedTuple):
    """One answer: who gave it, its number among theirs, and what it is."""

    teacher: str
    sample: int
    text: str


class QuestionFile:
    """A file of JSON lines, checked, and read by question.

    Args:
      path: the file.
      answer_type: how its answers are compared.
      classes: of a dataset of answer type 'class'.

    Raises:
      InputError: if the file is missing or a line is malformed; it names file and line.
    """

    def __init__(
        self,
        path: pathlib.Path | str,
        answer_type: AnswerType,
        classes: Sequence[str] = NLI_CLASSES,
    ):
        self.path = pathlib.Path(path)
        self._answer_type: AnswerType = answer_type
        self._classes = tuple(classes)
        ids, contents, inputs = array.array('Q'), array.array('Q'), array.array('Q')
        offsets, splits, whole = array.array('Q'), array.array('b'), array.array('b')
        numbers, answers = array.array('L'), array.array('Q')
        names = list(dict.fromkeys(_SPLITS.values()))
        for number, offset, record in _lines(self.path):
            example, given = self._parse(record, f'{path}, line {number}')
            split = _split(record)
            numbers.append(number)
            offsets.append(offset)
            splits.append(names.index(split))
            whole.append('text' not in record)
            # Numbered answers must differ; any others need not, and stand for themselves.
            numbered = 'text' in record and 'sample' in record
            answer = (example.id, given[0].teacher, str(given[0].sample)) if numbered else None
            answers.append(_digest(*answer) if answer else _digest(str(number)))
            ids.append(_digest(example.id))
            inputs.append(_digest(_spaced_once(example.input)))
            contents.append(_digest(split, example.input, example.label, *example.options))
        # `asarray` takes an array as it is, without a copy.
        self._offsets = np.asarray(offsets)
        _, first, question = np.unique(np.asarray(ids), return_index=True, return_inverse=True)
        lines = np.asarray(numbers)
        self._check_ids(lines, first[question], np.asarray(whole), np.asarray(contents))
        self._check_answers(lines, np.asarray(answers))
        # Questions in the order in which they first appear, and the lines of each in file order.
        order = np.argsort(first, kind='stable')
        self._lines = np.argsort(np.argsort(order)[question], kind='stable')
        sizes = np.bincount(question, minlength=len(first))[order]
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self._split = np.asarray(splits)[first[order]]
        self._split_names = names
        self._inputs = np.asarray(inputs)[first[order]]
        self._by_input = np.argsort(self._inputs, kind='stable')

    def splits(self) -> SourceSplits:
        """Returns the examples by split, questions in the order in which they first appear."""
        streams: SourceSplits = {}
        for code, name in enumerate(self._split_names):
            places = np.flatnonzero(self._split == code)
            if places.size:
                streams[name] = ExampleStream(
                    places.size, lambda places=places: self._examples(places)
                )
        return streams

    def answers(self, file: BinaryIO, question: Example) -> list[_Answer] | None:
        """Returns the answers to a question, matched by its text (and id, if texts repeat).

        Args:
          file: this file, open for reading bytes.
          question: of another source.
        """
        key = np.uint64(_digest(_spaced_once(question.input)))
        start = np.searchsorted(self._inputs, key, 'left', self._by_input)
        stop = np.searchsorted(self._inputs, key, 'right', self._by_input)
        found = [self._read(file, place) for place in self._by_input[start:stop].tolist()]
        if not found:
            return None
        same_id = [answers for example, answers in found if example.id == question.id]
        return (same_id or [answers for _, answers in found])[0]

    def _check_ids(
        self,
        numbers: np.ndarray,
        first: np.ndarray,
        whole: np.ndarray,
        contents: np.ndarray,
    ) -> None:
        """Refuses a question that is there twice, and lines of one id that are not of one question.

        Args:
          numbers: each record's line.
          first: the first record of the same id.
          whole: whether a record is a question with all its answers.
          contents: a digest of each record's question.
        """
        later = first != np.arange(len(first))
        for where, problem in (
            (later & (whole | whole[first]).astype(bool), "field 'id': expected an id of its own"),
            (contents != contents[first], 'expected the question of that id as it was'),
        ):
            if where.any():
                place = int(np.flatnonzero(where)[0])
                raise InputError(
                    f'{self.path}, line {numbers[place]}: {problem}, got one that line '
                    f'{numbers[first[place]]} has too. Mend or remove one of them.'
                )

    def _check_answers(self, numbers: np.ndarray, answers: np.ndarray) -> None:
        """Refuses two answers of a teacher to a question with the same number."""
        _, first, answer = np.unique(answers, return_index=True, return_inverse=True)
        later = np.flatnonzero(first[answer] != np.arange(len(answers)))
        if later.size:
            place = int(later[0])
            raise InputError(
                f"{self.path}, line {numbers[place]}: field 'sample': expected a number of its "
                f'own, got that of line {numbers[first[answer][place]]}. Answers drawn with '
                'different settings need files of their own: keep the lines of one "settings".'
            )

    def _examples(self, places: np.ndarray) -> Iterator[Example]:
        with open(self.path, 'rb') as file:
            for place in places.tolist():
                example, answers = self._read(file, place)
                yield with_samples(example, answers, self._answer_type)

    def _read(self, file: BinaryIO, place: int) -> tuple[Example, list[_Answer]]:
        """Returns a question and all answers to it."""
        parsed = []
        for line in self._lines[self._starts[place] : self._ends[place]].tolist():
            file.seek(int(self._offsets[line]))
            parsed.append(self._parse(json.loads(file.readline()), str(self.path)))
        answers = [answer for _, given in parsed for answer in given]
        return parsed[0][0], sorted(answers, key=lambda answer: answer.sample)

    def _parse(self, record: dict[str, Any], where: str) -> tuple[Example, list[_Answer]]:
        """Returns the question of a record and the answers that it holds."""
        for field in ('id', 'input', 'label'):
            _expect(isinstance(record.get(field), str), where, field, 'a text', record.get(field))
        split = record.get('split', 'train')
        known = isinstance(split, str) and split in _SPLITS
        _expect(known, where, 'split', f'one of {", ".join(_SPLITS)}', split)
        given = record.get('options', [])
        _expect(_is_texts(given), where, 'options', 'a list of texts', given)
        options = self._options(record['input'], tuple(given), where)
        text = record['input']
        if self._answer_type == 'choice' and not all(option in text for option in options):
            text = with_choices(text, options)
        label = self._label(record['label'], options, where)
        return Example(record['id'], text, label, options=options), _answers(record, where)

    def _options(self, text: str, given: tuple[str, ...], where: str) -> tuple[str, ...]:
        if self._answer_type == 'class':
            return self._classes
        if self._answer_type != 'choice':
            return ()
        options = given or tuple(choice for _, choice in _LETTERED.findall(text))
        wanted = 'at least two choices, there or as lines `(a) ...` of the input'
        _expect(len(options) > 1, where, 'options', wanted, list(options))
        return options

    def _label(self, label: str, options: tuple[str, ...], where: str) -> str:
        """Returns the label, that of a choice or class in the words of its option."""
        value = canonical(label, self._answer_type, options)
        wanted = f'an answer of type {self._answer_type!r}'
        wanted += f', one of {", ".join(options)}' if options else ''
        _expect(value is not None, where, 'label', wanted, label)
        return in_words_of(value, label, self._answer_type, options)


def with_samples(example: Example, answers: Sequence[_Answer], answer_type: AnswerType) -> Example:
    """Returns the example with the answers, parsed."""
    samples = tuple(
        TeacherSample(text, *parse_answer(text, answer_type, example.options), source=teacher)
        for teacher, _, text in answers
    )
    return Example(example.id, example.input, example.label, samples, example.options)


def join(splits: SourceSplits, answers: QuestionFile, answer_type: AnswerType) -> SourceSplits:
    """Gives the questions of `splits` the teacher samples of a file, matched by their text.

    Questions, labels and splits are those of `splits`, and samples that came with them are
    replaced; spacing does not matter in the match. A question without a match keeps no sample.

    Reading the last split to its end raises InputError if no question of any matched.
    """
    matched = dict.fromkeys(splits, 0)

    def read(split: str) -> Iterator[Example]:
        matched[split] = 0
        with open(answers.path, 'rb') as file:
            for example in splits[split]:
                found = answers.answers(file, example)
                matched[split] += found is not None
                yield with_samples(example, found or (), answer_type)
        if split == list(splits)[-1] and not any(matched.values()):
            raise InputError(
                f'{answers.path}: none of its questions is a question of data.source; expected the '
                'same texts in field "input".'
            )

    return {
        split: ExampleStream(len(examples), lambda split=split: read(split))
        for split, examples in splits.items()
    }


def _lines(path: pathlib.Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields (line number from 1, byte offset, record), skipping blank lines."""
    offset = 0
    try:
        with open(path, 'rb') as file:
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    yield number, offset, parse_object(path, number, line.decode())
                offset += len(line)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}); check the path.') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not UTF-8 text ({error.reason}); re-encode it.') from error


def _answers(record: dict[str, Any], where: str) -> list[_Answer]:
    if 'text' in record:
        entries: Any = [record]
        fields = ('',)
    else:
        entries = record.get('samples', [])
        _expect(isinstance(entries, list), where, 'samples', 'a list', entries)
        fields = tuple(f'samples[{number}].' for number in range(len(entries)))
    answers = []
    for field, entry in zip(fields, entries, strict=True):
        _expect(isinstance(entry, dict), where, field.rstrip('.'), 'an object', entry)
        for key in ('teacher', 'text'):
            value = entry.get(key)
            _expect(isinstance(value, str), where, f'{field}{key}', 'a text', value)
        sample = entry.get('sample', 0)
        counts = isinstance(sample, int) and not isinstance(sample, bool) and sample >= 0
        _expect(counts, where, f'{field}sample', 'a number from 0', sample)
        text = without_surrogates(entry['text'])
        answers.append(_Answer(without_surrogates(entry['teacher']), sample, text))
    return answers


def _split(record: dict[str, Any]) -> str:
    return _SPLITS[record.get('split', 'train')]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _expect(good: bool, where: str, field: str, expected: str, got: object) -> None:
    if not good:
        raise InputError(f'{where}: field {field!r}: expected {expected}, got {shown(got)}.')


def _spaced_once(text: str) -> str:
    return ' '.join(text.split())


def _digest(*texts: str) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        data = text.encode('utf-8', 'surrogatepass')
        digest.update(len(data).to_bytes(8, 'big') + data)
    return int.from_bytes(digest.digest(), 'big')
