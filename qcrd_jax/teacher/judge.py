"""Which of two runs explains better: an LLM compares their rationales, pair by pair (Table 7)."""

import collections
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from absl import logging
from ml_collections import config_dict

from qcrd_jax import files
from qcrd_jax.data.schema import SEPARATOR
from qcrd_jax.data.sources import table as datasets
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.evaluation.significance import sign_test
from qcrd_jax.teacher import engine, journal
from qcrd_jax.teacher.client import Settings
from qcrd_jax.teacher.engine import Job, Outcome
from qcrd_jax.teacher.ledger import Limits

RECORDS = 'judgements.jsonl'
REPORT = 'judge.json'

KEY = ('id', 'input', 'label', 'rationale_a', 'rationale_b', 'first', 'settings')
"""What tells a verdict from every other: a pair that was changed is another pair."""

Run = Literal['A', 'B']
Verdict = Literal['first', 'second', 'tie', 'unreadable']

_PROMPT = pathlib.Path(__file__).parent / 'prompts' / 'judge.txt'
_PLACEHOLDER = re.compile(r'\{(task|question|answer|explanation_a|explanation_b)\}')
_VERDICT = re.compile(r'better explanation\s*:\s*(?:explanation )?(a|b|tie)', re.ASCII)
_DECORATION = re.compile(r'[*_`"()\[\]]')
_VERDICTS: dict[str, Verdict] = {'a': 'first', 'b': 'second', 'tie': 'tie'}
_READ = 4000  # characters at the end of an answer that are searched for the verdict


@dataclasses.dataclass(frozen=True)
class Pair:
    """One question with the rationales of both runs."""

    id: str
    input: str
    label: str
    rationale_a: str
    rationale_b: str

    @property
    def identical(self) -> bool:
        """Whether the two say the same, white space apart."""
        return self.rationale_a.split() == self.rationale_b.split()


@dataclasses.dataclass(frozen=True)
class Triple:
    """Table 7: how many questions each run explains better.

    Attributes:
      a_better: questions for which both orders prefer run A.
      both_good: all others: a tie, or orders that disagree.
      b_better: questions for which both orders prefer run B.
    """

    a_better: int
    both_good: int
    b_better: int

    @property
    def total(self) -> int:
        """How many questions were compared."""
        return self.a_better + self.both_good + self.b_better

    @property
    def p_value(self) -> float:
        """Of the exact sign test of A against B; questions where both are good are left out."""
        return sign_test(self.a_better, self.b_better)


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
        recorded stays, and the same call goes on from there.
      KeyboardInterrupt: after a SIGINT or SIGTERM, when the requests in flight are recorded.
    """
    settings = Settings.from_config(
        config.teacher, temperature=config.judge.temperature, max_tokens=config.judge.max_tokens
    )
    prompt = _read_prompt(config.judge.prompt)
    task = datasets.task(config.data.name, config.data.answer_type)
    pairs = draw_pairs(config)
    digest = _settings_digest(settings, prompt, task)
    questions = [
        _Question(pair, first, _record(pair, first, settings.model, digest))
        for pair in pairs
        if not pair.identical
        for first in ('A', 'B')
    ]
    path = workdir / RECORDS
    outcome, ledger = engine.run_jobs(
        (Job(asked.record, fill(prompt, task, asked.pair, asked.first)) for asked in questions),
        total=len(questions),
        settings=settings,
        limits=Limits.from_config(config.teacher),
        path=path,
        key=KEY,
        backoff=backoff,
    )
    if outcome.interrupted:
        raise KeyboardInterrupt
    verdicts = _read_verdicts(path, questions, outcome)
    triple = count(pairs, verdicts)
    report = {
        'runs': dict(zip('AB', map(str, config.judge.runs), strict=True)),
        'rationales': config.judge.rationales,
        'seed': config.judge.seed,
        **_figures(triple, pairs, verdicts),
        'settings': {
            'digest': digest,
            'model': settings.model,
            'temperature': settings.temperature,
            'max_tokens': settings.max_tokens,
            'task': task,
            'prompt': prompt,
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
    first: Run
    record: dict[str, Any]


def _read_verdicts(
    path: pathlib.Path, questions: Sequence[_Question], outcome: Outcome
) -> dict[str, dict[Run, Verdict]]:
    """Reads the verdicts back, by question and by the run that was shown first."""
    texts = {journal.digest(record, KEY): record['text'] for _, record in journal.read(path)}
    verdicts: dict[str, dict[Run, Verdict]] = collections.defaultdict(dict)
    missing = 0
    for asked in questions:
        text = texts.get(journal.digest(asked.record, KEY))
        if text is None:
            missing += 1
        else:
            verdicts[asked.pair.id][asked.first] = read_verdict(text)
    if missing:
        why = outcome.stopped or f'{outcome.given_up} were given up after several attempts'
        raise InputError(
            f'judge: {len(questions) - missing} of {len(questions)} verdicts are recorded in '
            f'{path}: {why}. Run the same command again to go on.'
        )
    return verdicts


# --- pairs ----------------------------------------------------------------------------------------


def draw_pairs(config: config_dict.ConfigDict) -> list[Pair]:
    """Draws questions that both runs have answered, the same ones whatever order they are in.

    More questions of the same seed begin with the same ones, whose verdicts are there already.

    Raises:
      InputError: if a run has no predictions or not the field, or if the two cannot be compared.
    """
    field = config.judge.rationales
    folders = [pathlib.Path(run) for run in config.judge.runs if run]
    if len(folders) != 2 or folders[0].resolve() == folders[1].resolve():
        raise InputError(
            '--config.judge.runs: expected the workdirs of two runs, A and B, got '
            f'{tuple(config.judge.runs)!r}.'
        )
    for folder in folders:
        _check_dataset(folder, config.data.name)
    a, b = (_read_predictions(folder, field) for folder in folders)
    common = sorted(a.keys() & b.keys())
    if not common:
        raise InputError(
            f'--config.judge.runs: {folders[0]} and {folders[1]} share no question; expected '
            'predictions for the same questions, by their ids. Are the datasets the same?'
        )
    for name in common:
        for key in ('input', 'label'):
            if a[name][key] != b[name][key]:
                raise InputError(
                    f'--config.judge.runs: question {name!r} has {key} {_cut(a[name][key])} in '
                    f'{folders[0]} and {_cut(b[name][key])} in {folders[1]}; expected the same. '
                    'Give two runs on the same data.'
                )
    if len(common) < config.judge.questions:
        logging.warning(
            'the runs share %d questions; all of them are compared, not %d.',
            len(common), config.judge.questions,
        )  # fmt: skip
    order = np.random.default_rng(config.judge.seed).permutation(len(common))
    drawn = [common[i] for i in order[: config.judge.questions]]
    return [
        Pair(name, a[name]['input'], a[name]['label'], a[name][field], b[name][field])
        for name in drawn
    ]


def _check_dataset(folder: pathlib.Path, name: str) -> None:
    """The judge is told the task, which is that of the configuration."""
    path = folder / 'config.json'
    if path.is_file():
        found = files.read_json(path).get('data', {}).get('name', name)
        if found != name:
            raise InputError(
                f'--config.data.name: {folder} is a run on {found!r}, got {name!r}. Use the '
                "runs' own --config."
            )


def _read_predictions(folder: pathlib.Path, field: str) -> dict[str, dict[str, Any]]:
    path = folder / 'predictions.jsonl'
    if not path.is_file():
        raise InputError(
            f'--config.judge.runs: {path} is missing; run --mode=train or --mode=evaluate there '
            'first.'
        )
    predictions: dict[str, dict[str, Any]] = {}
    for number, record in files.read_jsonl(path):
        for name in ('id', 'input', 'label', field):
            if not isinstance(record.get(name), str):
                texts = [key for key in record if key.startswith('rationale')]
                raise InputError(
                    f'{path}, line {number}: expected a text in field {name!r}, got '
                    f'{record.get(name)!r}. --config.judge.rationales names the field to compare; '
                    f'this run has {", ".join(texts) or "none"}.'
                )
        if record['id'] in predictions:
            raise InputError(
                f'{path}, line {number}: question {record["id"]!r} is there twice; expected every '
                'id once. Remove one of the lines.'
            )
        predictions[record['id']] = record
    return predictions


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else f'{text[:77]}...')


# --- what is asked --------------------------------------------------------------------------------


def _read_prompt(path: str) -> str:
    file = pathlib.Path(path) if path else _PROMPT
    try:
        text = file.read_text(encoding='utf-8').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'--config.judge.prompt: {file} cannot be read ({error}); expected a UTF-8 text file.'
        ) from error
    absent = {'question', 'explanation_a', 'explanation_b'} - set(_PLACEHOLDER.findall(text))
    if absent:
        raise InputError(
            f'--config.judge.prompt: {file} has no place for {", ".join(sorted(absent))}; expected '
            '{question}, {explanation_a} and {explanation_b} in it, {task} and {answer} if wanted.'
        )
    return text


def fill(prompt: str, task: str, pair: Pair, first: Run) -> str:
    """Returns the prompt with the pair in its places; what is put there is not searched for more.

    Args:
      prompt: a text with placeholders.
      task: what kind of questions these are.
      pair: of rationales.
      first: the run whose rationale is shown as Explanation A.
    """
    premise, separator, hypothesis = pair.input.partition(SEPARATOR)
    shown = (pair.rationale_a, pair.rationale_b)
    values = {
        'task': task,
        'question': f'Premise: {premise}\nHypothesis: {hypothesis}' if separator else pair.input,
        'answer': pair.label,
        'explanation_a': shown[first == 'B'],
        'explanation_b': shown[first == 'A'],
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], prompt)


def _record(pair: Pair, first: Run, model: str, settings: str) -> dict[str, Any]:
    return dataclasses.asdict(pair) | {'first': first, 'judge': model, 'settings': settings}


def _settings_digest(settings: Settings, prompt: str, task: str) -> str:
    deciding = [settings.model, settings.temperature, settings.max_tokens, prompt, task]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]


# --- verdicts -------------------------------------------------------------------------------------


def read_verdict(text: str) -> Verdict:
    """Returns which of the two explanations an answer prefers, in the order they were shown.

    The verdict is a line of its own, `Better explanation: A`, perhaps in bold or with a full stop;
    or it is all that the answer says. Lines that contradict each other are no verdict.

    Examples:
      >>> read_verdict('A miscounts the pens.\\n**Better explanation: B**')
      'second'
      >>> read_verdict('The better explanation is hard to tell.')
      'unreadable'
    """
    lines = [
        _DECORATION.sub('', line).strip(' \t.').casefold() for line in text[-_READ:].splitlines()
    ]
    matches = [match for line in lines if (match := _VERDICT.fullmatch(line))]
    found = {_VERDICTS[match[1]] for match in matches}
    if not found and len(text) <= _READ:
        said = [line for line in lines if line]
        found = {_VERDICTS[said[0]]} if len(said) == 1 and said[0] in _VERDICTS else set()
    return found.pop() if len(found) == 1 else 'unreadable'


def count(pairs: Sequence[Pair], verdicts: Mapping[str, Mapping[Run, Verdict]]) -> Triple:
    """Counts a question for a run only if both orders prefer that run.

    Args:
      pairs: the questions.
      verdicts: both of a question, by the run that was shown first; none for identical
        rationales. An unreadable one is a tie.
    """
    preferred = collections.Counter(_preferred(verdicts.get(pair.id, {})) for pair in pairs)
    return Triple(preferred['A'], preferred[None], preferred['B'])


def _preferred(orders: Mapping[Run, Verdict]) -> Run | None:
    runs = {
        {'first': first, 'second': 'B' if first == 'A' else 'A'}.get(verdict)
        for first, verdict in orders.items()
    }
    return runs.pop() if len(runs) == 1 else None


# --- report ---------------------------------------------------------------------------------------


def _figures(
    triple: Triple, pairs: Sequence[Pair], verdicts: Mapping[str, Mapping[Run, Verdict]]
) -> dict[str, Any]:
    said = collections.Counter(_all_verdicts(verdicts))
    return {
        'questions': triple.total,
        'a_better': _share(triple.a_better, triple.total),
        'both_good': _share(triple.both_good, triple.total),
        'b_better': _share(triple.b_better, triple.total),
        'p_value': triple.p_value,
        'first_preferred': _share(said['first'], said['first'] + said['second']),
        'verdicts': said.total(),
        'ties': said['tie'],
        'unreadable': said['unreadable'],
        'identical': sum(pair.identical for pair in pairs),
    }


def _all_verdicts(verdicts: Mapping[str, Mapping[Run, Verdict]]) -> Iterator[Verdict]:
    for orders in verdicts.values():
        yield from orders.values()


def _share(part: int, whole: int) -> dict[str, Any]:
    ratio = Ratio(part, whole)
    return {'count': part, 'of': whole, 'share': ratio.value, 'interval': ratio.interval}


def summary(report: dict[str, Any]) -> str:
    """Returns the report as a few lines for a person."""
    triple = [report[name]['count'] for name in ('a_better', 'both_good', 'b_better')]
    first = report['first_preferred']
    tokens = report['tokens']
    return '\n'.join(
        [
            f'A better / both good / B better: {triple[0]} / {triple[1]} / {triple[2]} '
            f'of {report["questions"]} questions',
            f'A better:  {_percent(report["a_better"])}  {report["runs"]["A"]}',
            f'both good: {_percent(report["both_good"])}',
            f'B better:  {_percent(report["b_better"])}  {report["runs"]["B"]}',
            f'A against B: p = {report["p_value"]:.3g} (sign test, exact, two-sided)',
            f'the first of two was preferred in {first["count"]} of {first["of"]} verdicts that '
            f'preferred one: {_percent(first)}',
            f'of {report["verdicts"]} verdicts {report["ties"]} were ties and '
            f'{report["unreadable"]} unreadable (ties too); {report["identical"]} questions with '
            'identical rationales were not asked (both good)',
            f'spent in all: {tokens["prompt"]} + {tokens["completion"]} tokens, '
            f'${report["cost"]:.4f}',
        ]
    )


def _percent(share: dict[str, Any]) -> str:
    if not share['of']:
        return 'none'
    low, high = share['interval']
    return f'{share["share"]:6.1%} (95 % interval {low:.1%} to {high:.1%})'
