"""K sampled answers of a teacher to every question, each a record of its own (section 3.2)."""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging
from ml_collections import config_dict

from qcrd_jax import files
from qcrd_jax.data.schema import Example, ExampleStream
from qcrd_jax.errors import InputError
from qcrd_jax.interruption import Interrupted
from qcrd_jax.teacher import engine, journal, offline, prompts
from qcrd_jax.teacher.client import Settings
from qcrd_jax.teacher.engine import Job, Outcome
from qcrd_jax.teacher.ledger import Limits
from qcrd_jax.teacher.prompts import Prompt

RECORDS = 'annotations.jsonl'
REPORT = 'annotate.json'

KEY = ('split', 'id', 'input', 'sample', 'settings')
"""What distinguishes a record from every other: a question that was changed is another question."""

_COMPARED = 1000  # questions whose samples are compared with each other
_TOO_FEW = 5  # questions with equal samples, to draw a conclusion from


def annotate(
    config: config_dict.ConfigDict,
    splits: Mapping[str, Sequence[Example] | ExampleStream],
    workdir: pathlib.Path,
    *,
    backoff: float = 1.0,
) -> dict[str, Any]:
    """Asks the teacher `data.samples` times about every question that is not recorded yet.

    Records go to `annotations.jsonl`, one answer a line, which is a file for
    `data.teacher_samples`; faults to `annotations.faults.jsonl`; the report to `annotate.json`.
    With `teacher.through` 'batch' nobody is asked: `requests.jsonl` is written, and answers are
    read from `responses.jsonl` (`offline`).

    Args:
      config: `data` and `teacher` are read.
      splits: the questions; those of `teacher.splits` are asked, the first `teacher.limit` of each.
      workdir: the folder of the files.
      backoff: seconds before a second attempt.

    Returns:
      The report.

    Raises:
      InputError: if the settings are no good, or if answers are missing in the end: the budget is
        spent, the server is gone or refuses, or attempts failed. What was recorded stays, and the
        same call continues from there. Of batch files: if answers are missing after some were read.
      Interrupted: after a SIGINT or SIGTERM, when the requests in flight are recorded.
    """
    settings = _read_settings(config.teacher)
    prompt = prompts.load(config.data.name, config.data.answer_type, config.teacher.prompt)
    asked = _Questions(
        {split: splits[split] for split in config.teacher.splits if split in splits},
        config.teacher.limit,
        config.data.samples,
    )
    if not len(asked):
        raise InputError(
            f'--config.teacher.splits: expected some of {", ".join(splits)} with questions in '
            f'them, got {tuple(config.teacher.splits)}.'
        )
    digest = settings_digest(settings, prompt)
    path = workdir / RECORDS

    def jobs() -> Iterator[Job]:
        filled = ''
        for split, example, number in asked:
            filled = filled if number else prompt.fill(example)
            yield Job(_record(split, example, number, settings.model, digest), filled)

    limits = Limits.from_config(config.teacher)
    if config.teacher.through == 'batch':
        outcome, ledger = offline.exchange(
            jobs, total=len(asked), digest=digest, settings=settings, limits=limits, path=path,
            choices=config.teacher.choices, key=KEY,
        )  # fmt: skip
        this_run = offline.describe(outcome.read)
    else:
        outcome, ledger = engine.run_jobs(
            jobs(), total=len(asked), settings=settings, limits=limits, path=path, key=KEY,
            backoff=backoff,
        )  # fmt: skip
        this_run = [_describe_run(outcome)]
    report = {
        'settings': _describe(settings, prompt, digest),
        **_tally(path, asked, settings.model, digest),
        **engine.spent(ledger, path),
        'run': dataclasses.asdict(outcome) | {'seconds': round(outcome.seconds, 3)},
    }
    files.write_json(workdir / REPORT, report)
    print(summary(report, this_run))
    _warn_of_greedy(report, settings)
    if isinstance(outcome, Outcome):
        _conclude(report, outcome, path)
    else:
        offline.conclude(outcome, ledger, report['records'], report['wanted'], path, settings.model)
    return report


def _read_settings(teacher: config_dict.ConfigDict) -> Settings:
    """Reads whom to ask; where nobody is, no key is needed either."""
    if teacher.through == 'batch':
        return Settings.from_config(teacher, environ=os.environ | {teacher.key_variable: 'unused'})
    return Settings.from_config(teacher)


def _warn_of_greedy(report: dict[str, Any], settings: Settings) -> None:
    if settings.temperature and report['compared'] == report['identical'] >= _TOO_FEW:
        logging.warning(
            'all samples of each of %d questions are equal: the server seems to decode greedily, '
            'whatever temperature it is asked for (docs/teacher.md).', report['identical'],
        )  # fmt: skip


def _conclude(report: dict[str, Any], outcome: Outcome, path: pathlib.Path) -> None:
    """Raises if answers are missing."""
    if outcome.interrupted:
        raise Interrupted(outcome.interrupted)
    if report['missing']:
        raise InputError(
            f'teacher: {report["records"]} of {report["wanted"]} answers are recorded in {path}: '
            f'{outcome.why_missing}'
        )


def settings_digest(settings: Settings, prompt: Prompt) -> str:
    """Returns what stands for all that decides how answers are drawn, the question apart."""
    deciding: list[Any] = [
        settings.model, settings.temperature, settings.max_tokens, prompt.text,
    ]  # fmt: skip
    if settings.extra:
        deciding.append(settings.extra)
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def summary(report: dict[str, Any], this_run: Sequence[str]) -> str:
    """Returns the report as a few lines for a person, with those of this run among them."""
    tokens = report['tokens']
    faults = ', '.join(f'{count} {kind}' for kind, count in report['faults'].items())
    estimated = f', {tokens["estimated"]} of them estimated' if tokens['estimated'] else ''
    lines = [
        f'answers: {report["records"]} of {report["wanted"]} ({report["missing"]} missing, '
        f'{report["duplicates"]} twice, {report["length_cut"]} cut at the length limit)',
        *this_run,
        f'faults in all: {faults or "none"}',
        f'spent in all: {tokens["prompt"]} + {tokens["completion"]} tokens{estimated}, '
        f'${report["cost"]:.4f}',
    ]
    if report['other']:
        lines.append(f'beside them: {report["other"]} answers of other settings or questions')
    return '\n'.join(lines)


def _describe_run(outcome: Outcome) -> str:
    return (
        f'this run: {outcome.recorded} answers by {outcome.requests} requests, {outcome.retries} '
        f'of them retries, {outcome.given_up} given up, in {outcome.seconds:.0f} s'
    )


@dataclasses.dataclass(frozen=True)
class _Questions:
    """Every (split, example, number of sample) to be asked, in order, as often as need be."""

    splits: Mapping[str, Sequence[Example] | ExampleStream]
    limit: int
    samples: int

    def __len__(self) -> int:
        return self.samples * sum(self._asked(len(part)) for part in self.splits.values())

    def __iter__(self) -> Iterator[tuple[str, Example, int]]:
        for split, examples in self.splits.items():
            for example, _ in zip(examples, range(self._asked(len(examples))), strict=False):
                for number in range(self.samples):
                    yield split, example, number

    def _asked(self, questions: int) -> int:
        return min(questions, self.limit) if self.limit else questions


def _describe(settings: Settings, prompt: Prompt, digest: str) -> dict[str, Any]:
    return {
        'digest': digest,
        'model': settings.model,
        'temperature': settings.temperature,
        'max_tokens': settings.max_tokens,
        'extra': dict(settings.extra),
        'prompt': prompt.text,
    }


def _record(
    split: str, example: Example, number: int, teacher: str, settings: str
) -> dict[str, Any]:
    options = {'options': list(example.options)} if example.options else {}
    return {
        'id': example.id,
        'split': split,
        'input': example.input,
        'label': example.label,
        **options,
        'sample': number,
        'teacher': teacher,
        'settings': settings,
    }


def _tally(path: pathlib.Path, asked: _Questions, teacher: str, settings: str) -> dict[str, int]:
    """Counts what is on disk, line by line: what was wanted, what more there is, what is twice."""
    present: set[int] = set()
    lines = length_cut = 0
    texts: dict[str, list[Any]] = collections.defaultdict(list)
    for _, record in journal.read(path):
        lines += 1
        present.add(journal.digest(record, KEY))
        if record['settings'] == settings:
            length_cut += record.get('finish_reason') == 'length'
            if len(texts) < _COMPARED or record['id'] in texts:
                texts[record['id']].append(record.get('text'))
    records = sum(
        journal.digest(_record(split, example, number, teacher, settings), KEY) in present
        for split, example, number in asked
    )
    compared = [drawn for drawn in texts.values() if len(drawn) > 1]
    return {
        'wanted': len(asked),
        'records': records,
        'missing': len(asked) - records,
        'duplicates': lines - len(present),
        'other': len(present) - records,
        'length_cut': length_cut,
        'compared': len(compared),
        'identical': sum(len(set(drawn)) == 1 for drawn in compared),
    }
