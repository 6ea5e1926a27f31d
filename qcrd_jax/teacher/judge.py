"""Which of two runs explains better: an LLM compares their rationales, pair by pair (Table 7).

What decides the verdicts is an `Inquiry`: the model, how it is asked, and the pairs. Its `digest`
names them, so that whoever keeps verdicts finds them again by nothing else.
"""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging
from ml_collections import config_dict

from qcrd_jax import files
from qcrd_jax.data.sources import table as datasets
from qcrd_jax.errors import InputError
from qcrd_jax.interruption import Interrupted
from qcrd_jax.teacher import client, engine, extra, journal
from qcrd_jax.teacher.engine import Job, Outcome
from qcrd_jax.teacher.judge_pairs import Pair, RunName, draw_pairs
from qcrd_jax.teacher.judge_prompt import fill, read_prompt
from qcrd_jax.teacher.judge_report import figures, summary
from qcrd_jax.teacher.judge_verdicts import Triple, Verdict, count, read_verdict
from qcrd_jax.teacher.ledger import Limits

RECORDS = 'judgements.jsonl'
REPORT = 'judge.json'

KEY = ('id', 'input', 'label', 'rationale_a', 'rationale_b', 'first', 'settings')
"""What distinguishes a verdict from every other: a pair that was changed is another pair."""


@dataclasses.dataclass(frozen=True)
class Inquiry:
    """All that decides the verdicts of a judge.

    Attributes:
      model: its name, as the configuration or the environment has it.
      temperature: of its answers.
      max_tokens: of one answer.
      task: what kind of questions these are.
      prompt: a text with placeholders.
      pairs: the questions with both runs' rationales.
      extra: further fields of a request's body.
    """

    model: str
    temperature: float
    max_tokens: int
    task: str
    prompt: str
    pairs: tuple[Pair, ...]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def settings(self) -> str:
        """A digest of how a pair is asked about, which is recorded with its verdict."""
        deciding = [self.model, self.temperature, self.max_tokens, self.prompt, self.task]
        return _digest([*deciding, dict(self.extra)] if self.extra else deciding)

    @property
    def digest(self) -> str:
        """The name of the verdicts, whatever order the pairs were drawn in.

        Whom the model is reached by, what it may cost and which runs wrote the rationales are no
        part of it: a raised budget, another server or another version of the code finds the same.
        """
        pairs = sorted(dataclasses.astuple(pair) for pair in self.pairs)
        return _digest([self.settings, pairs])


def read_inquiry(config: config_dict.ConfigDict) -> Inquiry:
    """Reads what would be asked; nothing is sent, and no key is needed.

    Args:
      config: `judge`, `teacher.model`, `teacher.extra` and `data` (the task) are read.

    Raises:
      InputError: if the runs cannot be compared, or the prompt cannot be used.
    """
    return Inquiry(
        model=client.model_of(config.teacher),
        temperature=float(config.judge.temperature),
        max_tokens=config.judge.max_tokens,
        task=datasets.task(config.data.name, config.data.answer_type),
        prompt=read_prompt(config.judge.prompt),
        pairs=tuple(draw_pairs(config)),
        extra=extra.parse(config.teacher.get('extra', '')),
    )


def judge(config: config_dict.ConfigDict, workdir: pathlib.Path, *, backoff: float = 1.0) -> Triple:
    """Has an LLM compare the rationales of two runs, each pair in both orders.

    Verdicts go to `judgements.jsonl`, one answer a line; faults to `judgements.faults.jsonl`; the
    report, once no verdict is missing, to `judge.json`.

    Args:
      config: `judge`, `teacher` (whom to ask, and the budget) and `data` (the task) are read.
      workdir: the folder of the files.
      backoff: seconds before a second attempt.

    Returns:
      How many questions each run explains better.

    Raises:
      InputError: if the runs cannot be compared, or if verdicts are missing in the end. What was
        recorded stays, and the same call continues from there.
      Interrupted: after a SIGINT or SIGTERM, when the requests in flight are recorded.
    """
    inquiry = read_inquiry(config)
    if len(inquiry.pairs) < config.judge.questions:
        logging.warning(
            'the runs share %d questions; all of them are compared, not %d.',
            len(inquiry.pairs), config.judge.questions,
        )  # fmt: skip
    questions = list(_questions(inquiry))
    path = workdir / RECORDS
    outcome, ledger = engine.run_jobs(
        (
            Job(asked.record, fill(inquiry.prompt, inquiry.task, asked.pair, asked.first))
            for asked in questions
        ),
        total=len(questions),
        settings=client.Settings.from_config(
            config.teacher, temperature=inquiry.temperature, max_tokens=inquiry.max_tokens
        ),
        limits=Limits.from_config(config.teacher),
        path=path,
        key=KEY,
        backoff=backoff,
    )
    if outcome.interrupted:
        raise Interrupted(outcome.interrupted)
    verdicts = _read_verdicts(path, questions, outcome)
    triple = count(inquiry.pairs, verdicts)
    report = {
        'runs': dict(zip('AB', map(str, config.judge.runs), strict=True)),
        'rationales': config.judge.rationales,
        'seed': config.judge.seed,
        **figures(triple, inquiry.pairs, verdicts),
        'settings': {
            'digest': inquiry.settings,
            'model': inquiry.model,
            'temperature': inquiry.temperature,
            'max_tokens': inquiry.max_tokens,
            'task': inquiry.task,
            'prompt': inquiry.prompt,
            'extra': dict(inquiry.extra),
        },
        **engine.spent(ledger, path),
        'run': dataclasses.asdict(outcome) | {'seconds': round(outcome.seconds, 3)},
    }
    files.write_json(workdir / REPORT, report)
    print(summary(report))
    return triple


@dataclasses.dataclass(frozen=True)
class _Question:
    """A pair in one of its two orders, and what is recorded with its verdict."""

    pair: Pair
    first: RunName
    record: dict[str, Any]


def _questions(inquiry: Inquiry) -> Iterator[_Question]:
    """Every pair in both orders, but for those that say the same."""
    how = {'judge': inquiry.model, 'settings': inquiry.settings}
    orders: tuple[RunName, RunName] = ('A', 'B')
    for pair in inquiry.pairs:
        if not pair.identical:
            for first in orders:
                yield _Question(pair, first, dataclasses.asdict(pair) | {'first': first} | how)


def _read_verdicts(
    path: pathlib.Path, questions: Sequence[_Question], outcome: Outcome
) -> dict[str, dict[RunName, Verdict]]:
    """Reads the verdicts back, by question and by the run that was shown first."""
    answers = {
        journal.digest(record, KEY): (record['text'], record.get('finish_reason') == 'length')
        for _, record in journal.read(path)
    }
    verdicts: dict[str, dict[RunName, Verdict]] = collections.defaultdict(dict)
    missing = cut = 0
    for asked in questions:
        answer = answers.get(journal.digest(asked.record, KEY))
        if answer is None:
            missing += 1
        else:
            text, was_cut = answer
            verdict = verdicts[asked.pair.id][asked.first] = read_verdict(text)
            cut += was_cut and verdict == 'unreadable'
    if missing:
        raise InputError(
            f'judge: {len(questions) - missing} of {len(questions)} verdicts are recorded in '
            f'{path}: {outcome.why_missing}'
        )
    if cut:
        logging.warning(
            '%d of %d answers hold no verdict and were cut at --config.judge.max_tokens; a model '
            'that thinks before it answers needs more of them.', cut, len(questions),
        )  # fmt: skip
    return verdicts


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
