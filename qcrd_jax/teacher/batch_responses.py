"""Responses of a batch: found in their files, tied to their questions, and recorded once.

Every line is looked at once to learn whose it is, and read as the questions go by: responses take
a few bytes of memory each, in whatever order they came.
"""

import array
import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from absl import logging

from qcrd_jax import bars
from qcrd_jax.teacher import batch_files, engine, journal
from qcrd_jax.teacher.batch_files import CustomId
from qcrd_jax.teacher.client import Settings
from qcrd_jax.teacher.engine import Job
from qcrd_jax.teacher.journal import Journal
from qcrd_jax.teacher.ledger import Ledger
from qcrd_jax.teacher.responses import Completion, Fault

_TOGETHER = 1000  # records that are synced at once
_SIDES = ('left', 'right')
_HALF = (1 << 64) - 1  # of a digest: what responses are looked up by


@dataclasses.dataclass
class Reading:
    """What was found in files of responses.

    Attributes:
      files: their names.
      lines: in them.
      recorded: answers that this run added.
      present: answers that were recorded before.
      repeated: answers to what another line answers too.
      faults: responses without an answer that no earlier run saw, by kind.
      seen: those that an earlier run saw.
      other_settings: responses to requests of other settings.
      other_questions: responses to questions or samples that are not asked now.
      unknown: lines with a `custom_id` that is none of ours.
      damaged: lines that are no response, torn ones among them.
      first_damaged: where the first of these is; '' if there is none.
      last_fault: the words of the latest fault; '' if there was none.
    """

    files: list[str] = dataclasses.field(default_factory=list)
    lines: int = 0
    recorded: int = 0
    present: int = 0
    repeated: int = 0
    faults: dict[str, int] = dataclasses.field(default_factory=dict)
    seen: int = 0
    other_settings: int = 0
    other_questions: int = 0
    unknown: int = 0
    damaged: int = 0
    first_damaged: str = ''
    last_fault: str = ''

    @property
    def failed(self) -> int:
        """Responses without an answer that no earlier run saw."""
        return sum(self.faults.values())


@dataclasses.dataclass(frozen=True)
class Found:
    """Where the responses of some settings are, sorted by the half of a digest.

    Attributes:
      files: that they are in.
      digests: uint64.
      places: the number of the file and the offset in it, of each.
      read: whether each was asked for.
    """

    files: list[pathlib.Path]
    digests: np.ndarray
    places: tuple[np.ndarray, np.ndarray]
    read: np.ndarray

    def responses(
        self, first: int, files: Sequence[BinaryIO]
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """Yields the responses to requests from a sample on, and for how many samples they are.

        Args:
          first: the digest of the sample's key.
          files: those that the responses are in, open.
        """
        half = np.uint64(first & _HALF)
        low, high = (int(np.searchsorted(self.digests, half, side)) for side in _SIDES)
        for row in range(low, high):
            number, offset = (int(column[row]) for column in self.places)
            response = batch_files.read_again(files[number], offset)
            custom_id = CustomId.read(response.get('custom_id'))
            if custom_id is not None and custom_id.first == first:
                self.read[row] = True
                yield response, custom_id.n

    def unread(self) -> int:
        """Returns how many nobody asked for."""
        return int((~self.read).sum())


def find(paths: Sequence[pathlib.Path], settings: str, done: Reading) -> Found:
    """Looks at every line, counts what cannot be read, and notes where the others are."""
    halves, numbers, offsets = array.array('Q'), array.array('l'), array.array('q')
    done.files = [path.name for path in paths]
    for place, path in enumerate(paths):
        lines = bars.shown(batch_files.response_lines(path), f'looking at {path.name}', 'line')
        for number, offset, line in lines:
            done.lines += 1
            try:
                response = batch_files.read_response(line)
            except ValueError:
                response = None
            if response is None:
                done.damaged += 1
                done.first_damaged = done.first_damaged or f'line {number} of {path.name}'
                continue
            custom_id = CustomId.read(response.get('custom_id'))
            if custom_id is None:
                done.unknown += 1
            elif custom_id.settings != settings:
                done.other_settings += 1
            else:
                halves.append(custom_id.first & _HALF)
                numbers.append(place)
                offsets.append(offset)
    digests = np.array(halves, np.uint64)
    order = np.argsort(digests, kind='stable')
    places = np.array(numbers, np.int64)[order], np.array(offsets, np.int64)[order]
    return Found(list(paths), digests[order], places, np.zeros(len(order), bool))


class Recorder:
    """Adds answers and faults to their journals, many at a time, and each of them once."""

    def __init__(
        self, answers: Journal, faults: Journal, ledger: Ledger, seen: set[Any], done: Reading
    ):
        self.done = done
        self.key = answers.key
        self._answers, self._faults = answers, faults
        self._ledger = ledger
        self._seen = seen
        self._new_answers: dict[int, dict[str, Any]] = {}
        self._new_faults: list[dict[str, Any]] = []

    def answer(self, record: dict[str, Any], completion: Completion) -> None:
        """Adds an answer, unless its record is there."""
        identity = journal.digest(record, self.key)
        if record in self._answers or identity in self._new_answers:
            self.done.present += 1
            return
        self._new_answers[identity] = record | engine.answer_fields(completion)
        self._ledger.charge(completion.usage)
        self.done.recorded += 1
        self._flush(_TOGETHER)

    def fault(self, record: dict[str, Any], fault: Fault, response: str) -> None:
        """Adds a fault, unless this very response was seen before."""
        if response in self._seen:
            self.done.seen += 1
            return
        self._seen.add(response)
        key = {field: record[field] for field in self.key}
        self._new_faults.append(key | engine.fault_fields(fault) | {'response': response})
        if fault.usage is not None:
            self._ledger.charge(fault.usage)
        self.done.last_fault = fault.message
        if fault.kind not in self.done.faults:
            logging.warning('%s: %s (the first of its kind)', fault.kind, fault.message)
        self.done.faults[fault.kind] = self.done.faults.get(fault.kind, 0) + 1
        self._flush(_TOGETHER)

    def finish(self) -> None:
        """Writes what is left."""
        self._flush(1)

    def _flush(self, least: int) -> None:
        if len(self._new_answers) >= least:
            self._answers.extend(list(self._new_answers.values()))
            self._new_answers.clear()
        if len(self._new_faults) >= least:
            self._faults.extend(self._new_faults)
            self._new_faults.clear()


def record(
    jobs: Callable[[], Iterator[Job]],
    total: int,
    found: Found,
    settings: Settings,
    recorder: Recorder,
) -> None:
    """Goes through the questions and records what responded to each of their samples."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, 'rb')) for path in found.files]
        for question in by_question(bars.shown(jobs(), 'reading', 'sample', total)):
            answered: set[int] = set()
            for place, job in enumerate(question):
                for response, n in found.responses(journal.digest(job.record, recorder.key), files):
                    asked = question[place : place + n]
                    _read_response(response, asked, n, settings, answered, recorder)
    recorder.finish()
    recorder.done.other_questions = found.unread()


def _read_response(
    response: dict[str, Any],
    asked: Sequence[Job],
    n: int,
    settings: Settings,
    answered: set[int],
    recorder: Recorder,
) -> None:
    """Records one response: to `n` samples, of which those of `asked` are still wanted."""
    results = batch_files.read_results(response, asked[0].prompt, settings.max_tokens, n)
    for place, (job, result) in enumerate(zip(asked, results, strict=False)):
        sample = job.record['sample']
        if isinstance(result, Fault):
            recorder.fault(job.record, result, batch_files.line_digest(response, place))
        elif sample in answered:
            recorder.done.repeated += 1
        else:
            answered.add(sample)
            recorder.answer(job.record, result)


def by_question(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Yields the jobs of each question, which follow each other."""

    def question(job: Job) -> tuple[str, str, str]:
        return job.record['split'], job.record['id'], job.record['input']

    for _, group in itertools.groupby(jobs, question):
        yield list(group)
