"""Questions and raw teacher answers in files: one's own data, and what annotating writes.

A record, which is a line of JSON or a row of Parquet, is a question, perhaps with answers of its
teachers:

  {"id"?, "input", "label", "split"?, "options"?, "samples"?: [{"teacher", "text"}, ...]}

or one answer to a question, of which there may be several, in any order (`--mode=annotate`):

  {"id"?, "input", "label", "split"?, "options"?, "teacher", "text", "sample"?}

or a conversation, whose last question is the question (see `conversations`):

  {"id"?, "messages", "label", "split"?, "options"?, "teacher"?}

With a text there may be `reasoning`, what was thought before, and `score`, how good somebody else
found it (a reward model, say; see `discriminator.scores`). The answers to a question are in the
order of their number `sample`, and in that of the file.

A file may be larger than memory: it is read once to check every record and to note where those of a
question are, and again as its questions are asked for.
"""

import array
import contextlib
import functools
import hashlib
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from absl import logging

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.chat import spoken
from qcrd_jax.data.schema import (
    NLI_CLASSES,
    AnswerType,
    Example,
    ExampleStream,
    SourceSplits,
    TeacherSample,
)
from qcrd_jax.data.sources.question_records import SPLITS, Answer, QuestionRecord, parse
from qcrd_jax.data.sources.records import RecordFile
from qcrd_jax.data.teacher_output import MAX_TEXT, parse_answer
from qcrd_jax.errors import InputError

_THINKING = re.compile(r'</?(?:think|thinking|thought|thoughts)>|\[/?THINK\]', re.IGNORECASE)


class QuestionFile:
    """Records of questions and answers, checked, and read by question.

    Args:
      path: a file of JSON lines, a `.parquet` file or a folder of those.
      answer_type: how its answers are compared.
      classes: of a dataset of answer type 'class'.
      scratch: folder on whose disk a copy of a Parquet file finds room while it is read.

    Raises:
      InputError: if the file is missing or a record is malformed; it names file and line or row.
    """

    def __init__(
        self,
        path: pathlib.Path | str,
        answer_type: AnswerType,
        classes: Sequence[str] = NLI_CLASSES,
        scratch: pathlib.Path | None = None,
    ):
        self.path = pathlib.Path(path)
        self._records = RecordFile(self.path, scratch)
        self._answer_type: AnswerType = answer_type
        self._classes = tuple(classes)
        ids, contents, inputs = array.array('Q'), array.array('Q'), array.array('Q')
        offsets, splits, whole = array.array('Q'), array.array('b'), array.array('b')
        numbers, answers = array.array('L'), array.array('Q')
        names = list(dict.fromkeys(SPLITS.values()))
        for number, offset, record in self._records:
            parsed = self._parse(record, number)
            example, split, given = parsed.example, parsed.split, parsed.answers
            numbers.append(number)
            offsets.append(offset)
            splits.append(names.index(split))
            whole.append(parsed.whole)
            # Numbered answers must differ; any others need not, and stand for themselves.
            numbered = parsed.numbered and not parsed.whole and given
            answer = (example.id, given[0].teacher, str(given[0].sample)) if numbered else None
            answers.append(_digest(*answer) if answer else _digest(str(number)))
            ids.append(_digest(example.id))
            inputs.append(_digest(_spaced_once(example.input)))
            contents.append(_digest(split, example.input, example.label, *example.options))
        # `asarray` takes an array as it is, without a copy.
        self._offsets = np.asarray(offsets)
        _, first, question = np.unique(np.asarray(ids), return_index=True, return_inverse=True)
        self._numbers = lines = np.asarray(numbers)
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

    def __len__(self) -> int:
        return len(self._split)  # questions

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

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """Opens what `answers` reads from."""
        return self._records.open()

    def alike(self, file: BinaryIO, question: Example) -> list[tuple[str, str, list[Answer]]]:
        """Returns id, split and answers of every question with the text of one.

        Args:
          file: what `open` gave.
          question: of another source; those with its id, too, come first.
        """
        key = np.uint64(_digest(_spaced_once(question.input)))
        start = np.searchsorted(self._inputs, key, 'left', self._by_input)
        stop = np.searchsorted(self._inputs, key, 'right', self._by_input)
        found = []
        for place in self._by_input[start:stop].tolist():
            example, answers = self._read(file, place)
            found.append((example.id, self._split_names[self._split[place]], answers))
        return sorted(found, key=lambda each: each[0] != question.id)

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
                here, other = int(numbers[place]), int(numbers[first[place]])
                raise InputError(
                    f'{self._records.where(here)}: {problem}, got one that '
                    f'{self._records.short(other)} has too. Mend or remove one of them.'
                )

    def _check_answers(self, numbers: np.ndarray, answers: np.ndarray) -> None:
        """Refuses two answers of a teacher to a question with the same number."""
        _, first, answer = np.unique(answers, return_index=True, return_inverse=True)
        later = np.flatnonzero(first[answer] != np.arange(len(answers)))
        if later.size:
            place = int(later[0])
            here, other = int(numbers[place]), int(numbers[first[answer][place]])
            raise InputError(
                f"{self._records.where(here)}: field 'sample': expected a number of its own, got "
                f'that of {self._records.short(other)}. Answers drawn with different settings need '
                'files of their own: keep the lines of one "settings".'
            )

    def _examples(self, places: np.ndarray) -> Iterator[Example]:
        with self.open() as file:
            for place in places.tolist():
                example, answers = self._read(file, place)
                yield with_samples(example, answers, self._answer_type)

    def _read(self, file: BinaryIO, place: int) -> tuple[Example, list[Answer]]:
        """Returns a question and all answers to it."""
        parsed = []
        for line in self._lines[self._starts[place] : self._ends[place]].tolist():
            record = self._records.read(file, int(self._offsets[line]))
            parsed.append(self._parse(record, int(self._numbers[line])))
        answers = [answer for each in parsed for answer in each.answers]
        return parsed[0].example, sorted(answers, key=lambda answer: answer.sample)

    def _parse(self, record: dict[str, Any], number: int) -> QuestionRecord:
        return parse(record, number, self._records.where, self._answer_type, self._classes)


def with_samples(example: Example, answers: Sequence[Answer], answer_type: AnswerType) -> Example:
    """Returns the example with the answers, parsed."""
    samples = tuple(_parsed(answer, answer_type, example.options) for answer in answers)
    return Example(example.id, example.input, example.label, samples, example.options)


def _parsed(answer: Answer, answer_type: AnswerType, options: Sequence[str]) -> TeacherSample:
    """Returns an answer, parsed; its rationale is the reasoning where the text has none.

    The text gives the answer, always: what was thought and not said is no answer.
    """
    rationale, stated = parse_answer(answer.text, answer_type, options)
    if stated and not rationale and answer.reasoning:
        rationale = _without_statement(answer.reasoning, stated, answer_type, options)
    return TeacherSample(answer.text, rationale, stated, answer.teacher, answer.score)


def _without_statement(
    text: str, answer: str, answer_type: AnswerType, options: Sequence[str]
) -> str:
    """Returns reasoning without tags and without the sentence at its end that states the answer.

    Args:
      text: the reasoning.
      answer: the one that was stated, as it was stated.
      answer_type: how it is read.
      options: what it is one of.

    Returns:
      The reasoning; '' where it is longer than any text that is looked at.
    """
    if len(text) > MAX_TEXT:
        return ''
    text = spoken(_THINKING.sub(' ', text)).strip()
    value = canonical(answer, answer_type, options)
    line = text.rfind('\n') + 1
    ends = [place.end() for place in re.finditer(r'[.!?]\s+', text[line:])]
    start = line + (ends[-1] if ends else 0)
    sentence = text[start:].strip(' .')
    rationale, stated = parse_answer(sentence, answer_type, options)
    # `Trains stop at a station` names the answer, but is a reason; `So it is (b)` is none.
    bare = stated != sentence or len(sentence.split()) < 3
    states = bare and not rationale and canonical(stated, answer_type, options) == value
    return text[:start].strip() if states else text


def join(splits: SourceSplits, answers: QuestionFile, answer_type: AnswerType) -> SourceSplits:
    """Gives the questions of `splits` the teacher samples of a file, matched by their text.

    Questions, labels and splits are those of `splits`, and samples that came with them are
    replaced; spacing does not matter in the match. A question without a match keeps no sample.

    A training question whose text a question of validation or test has too gets no sample of that
    one: none of a record that says so in `split`, nor of one with the id of that question.

    Reading the last split to its end raises InputError if no question of any matched.
    """
    matched = dict.fromkeys(splits, 0)

    @functools.cache
    def held() -> set[int]:
        others = (split for split in splits if split != 'train')
        return {_of_question(each.id, each) for split in others for each in splits[split]}

    def may_train(example: Example, identity: str, split: str) -> bool:
        if split != 'train':
            return False
        return identity == example.id or _of_question(identity, example) not in held()

    def read(split: str) -> Iterator[Example]:
        matched[split] = left_out = 0
        with answers.open() as file:
            for example in splits[split]:
                found = answers.alike(file, example)
                matched[split] += bool(found)
                if split == 'train':
                    given = len(found)
                    found = [each for each in found if may_train(example, *each[:2])]
                    left_out += given > len(found)
                yield with_samples(example, found[0][2] if found else (), answer_type)
        if left_out:
            logging.warning(
                '%s: %d training questions have the text of one of validation or test; the answers '
                "that are that one's by split or id are not trained on.",
                answers.path, left_out,
            )  # fmt: skip
        if split == list(splits)[-1] and not any(matched.values()):
            raise InputError(
                f'{answers.path}: none of its questions is a question of data.source; expected the '
                'same texts in field "input".'
            )

    return {
        split: ExampleStream(len(examples), lambda split=split: read(split))
        for split, examples in splits.items()
    }


def _of_question(identity: str, example: Example) -> int:
    return _digest(identity, _spaced_once(example.input))


def _spaced_once(text: str) -> str:
    return ' '.join(text.split())


def _digest(*texts: str) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        data = text.encode('utf-8', 'surrogatepass')
        digest.update(len(data).to_bytes(8, 'big') + data)
    return int.from_bytes(digest.digest(), 'big')
