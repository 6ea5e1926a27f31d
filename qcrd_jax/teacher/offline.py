"""Answers by batch files: what came back is recorded, and what is missing then is written out."""

import dataclasses
import pathlib
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from qcrd_jax.errors import InputError
from qcrd_jax.teacher import batch_files, batch_responses, engine, extra
from qcrd_jax.teacher.batch_files import CustomId
from qcrd_jax.teacher.batch_responses import Reading, Recorder
from qcrd_jax.teacher.client import Settings
from qcrd_jax.teacher.engine import Job
from qcrd_jax.teacher.journal import Journal
from qcrd_jax.teacher.ledger import Ledger, Limits

# Faults that the same request meets again, until something else is changed.
_LASTING = {'rejected', 'renamed', 'unauthorised', 'not_found', 'refused'}


@dataclasses.dataclass
class Exchange:
    """What one run read and wrote.

    Attributes:
      read: what came back.
      requests: that were written.
      samples: that they ask for.
      parts: the files that they are in, by name.
      held_back: samples that are missing and may not fit into the budget.
      limit_name: what the requests call the limit of an answer's tokens.
      seconds: that the run took.
    """

    read: Reading = dataclasses.field(default_factory=Reading)
    requests: int = 0
    samples: int = 0
    parts: list[str] = dataclasses.field(default_factory=list)
    held_back: int = 0
    limit_name: str = 'max_tokens'
    seconds: float = 0.0


def exchange(
    jobs: Callable[[], Iterator[Job]],
    *,
    total: int,
    digest: str,
    settings: Settings,
    choices: int,
    limits: Limits,
    path: pathlib.Path,
    key: Sequence[str],
) -> tuple[Exchange, Ledger]:
    """Records what `responses*.jsonl` beside a journal hold, and writes what is missing then.

    The journals of answers and of faults are those of `engine.run_jobs`, with the same records. A
    fault also has `response`, by which it is known when its file is read again.

    Args:
      jobs: starts anew and yields all of them; the samples of a question follow each other.
      total: how many they are.
      digest: of the settings, as the records have it.
      settings: of the requests.
      choices: samples that one request may ask for.
      limits: what may be spent; what could exceed it is not written.
      path: of the journal.
      key: the fields that distinguish a record from every other.

    Returns:
      What was done, and what was spent in all.

    Raises:
      InputError: if another process holds the journal, or a line of it is damaged.
      OSError: if the disk fails; what was recorded stays.
    """
    started = time.monotonic()
    done, ledger = Exchange(), Ledger(limits)
    with Journal(path, key) as answers, Journal(engine.faults_path(path)) as faults:
        for _ in engine.charged(answers, ledger):
            pass
        seen, renamed = set(), False
        for record in engine.charged(faults, ledger):
            seen.add(record.get('response'))
            renamed |= record['fault'] == 'renamed' and record['settings'] == digest
        found = batch_responses.find(batch_files.response_files(path.parent), digest, done.read)
        if found.files:
            recorder = Recorder(answers, faults, ledger, seen, done.read)
            batch_responses.record(jobs, total, found, settings, recorder)
        missing = (job for job in jobs() if job.record not in answers)
        renamed |= 'renamed' in done.read.faults
        if renamed and not settings.extra.keys() & set(extra.LIMITS):
            done.limit_name = 'max_completion_tokens'

        def line(request: Sequence[Job]) -> bytes:
            custom_id = CustomId.of(request[0].record, key, len(request))
            shared = {'n': len(request)} if len(request) > 1 else {}
            body = settings.body(request[0].prompt, done.limit_name) | shared
            return batch_files.request_line(custom_id, body)

        affordable = _affordable(_together(missing, choices), settings, ledger, done)
        lines = map(line, affordable)
        done.parts = [part.name for part in batch_files.write_requests(path.parent, lines)]
    done.seconds = time.monotonic() - started
    return done, ledger


def _affordable(
    requests: Iterable[list[Job]], settings: Settings, ledger: Ledger, done: Exchange
) -> Iterator[list[Job]]:
    """Yields the first requests, as many as the budget is enough for at the worst."""
    for request in requests:
        one = settings.most(request[0].prompt)
        worst = dataclasses.replace(one, completion_tokens=one.completion_tokens * len(request))
        if done.held_back or not ledger.fits(worst):
            done.held_back += len(request)
            continue
        ledger.reserve(worst)
        done.requests += 1
        done.samples += len(request)
        yield request


def _together(jobs: Iterable[Job], most: int) -> Iterator[list[Job]]:
    """Yields the jobs of each request: samples of one question whose numbers follow each other."""
    for question in batch_responses.by_question(jobs):
        request: list[Job] = []
        for job in question:
            follows = request and job.record['sample'] == request[-1].record['sample'] + 1
            if request and (len(request) == most or not follows):
                yield request
                request = []
            request.append(job)
        yield request


def describe(read: Reading) -> list[str]:
    """Returns what came back, in one line for each kind that did."""
    if not read.files:
        return []
    shown = read.files if len(read.files) <= 3 else [*read.files[:2], '...', read.files[-1]]
    faults = ', '.join(f'{count} {kind}' for kind, count in read.faults.items())
    others = (
        (read.present, 'answers that were recorded before', ''),
        (read.repeated, 'answers to what another line answers too (the first one counts)', ''),
        (read.failed, 'failed requests', f' ({faults}); the last: {read.last_fault}'),
        (read.seen, 'failed requests that an earlier run has counted', ''),
        (read.other_settings, 'responses to other settings (model, prompt, ...)', ''),
        (read.other_questions, 'responses to questions or samples that are not asked now', ''),
        (read.unknown, 'lines with a custom_id that is not of this program', ''),
        (read.damaged, 'lines that are torn or no response', f', first {read.first_damaged}'),
    )
    return [
        f'responses: {read.lines} lines in {", ".join(shown)}',
        f'  new answers: {read.recorded}',
        *(f'  {what}: {count}{more}' for count, what, more in others if count),
    ]


def next_steps(done: Exchange, workdir: pathlib.Path, model: str) -> list[str]:
    """Returns what is to be run now, as a person would type it."""
    if not done.parts:
        return []
    first, last = done.parts[0], done.parts[-1]
    source, target, errors = (
        shlex.quote(str(workdir / name))
        for name in (
            first,
            first.replace('requests', 'responses'),
            first.replace('requests', 'responses-errors'),
        )
    )
    parts = '' if first == last else f' to {last}, of which each is a batch'
    answers = '' if done.samples == done.requests else f' for {done.samples} answers'
    return [
        f'written: {done.requests} requests{answers}, in {source}{parts}',
        'next: have them answered, by vLLM',
        f'  vllm run-batch -i {source} -o {target} --model {shlex.quote(model)}',
        "or by OpenAI's Batch API or one like it (docs/teacher.md has the commands that follow)",
        '  curl https://api.openai.com/v1/files -H "Authorization: Bearer $OPENAI_API_KEY" '
        f'-F purpose=batch -F file=@{source}',
        f'with its output in {target} and its errors in {errors}; then run the same command again',
    ]


def conclude(
    done: Exchange, ledger: Ledger, records: int, wanted: int, path: pathlib.Path, model: str
) -> None:
    """Says what is to be done next, and raises if what came back was not all.

    Raises:
      InputError: if answers are missing although responses were there, or if nothing can be asked.
    """
    budget = (
        f'{done.held_back} answers are missing that may not fit into the budget '
        f'({ledger.describe()}, and what {done.requests} requests may cost at most)'
    )
    raise_it = 'raise --config.teacher.budget or --config.teacher.max_tokens_total'
    if done.held_back and done.requests:
        print(f'{budget}: they are written out when these are answered; or {raise_it}.')
    for line in next_steps(done, path.parent, model):
        print(line)
    if records == wanted:
        return
    there = f'teacher: {records} of {wanted} answers are recorded in {path}'
    if not done.requests:
        raise InputError(f'{there}: {budget}. To have them written out, {raise_it}.')
    renamed = done.limit_name != 'max_tokens'
    lasting = _LASTING - {'renamed'} if renamed else _LASTING
    if done.read.failed and not done.read.recorded and done.read.faults.keys() <= lasting:
        raise InputError(
            f'{there}, and no request was answered: {done.read.last_fault}. Mend that before the '
            'requests are sent again.'
        )
    if done.read.files:
        more = ' and those after it' if len(done.parts) > 1 else ''
        if 'renamed' in done.read.faults and renamed:
            more += f', which now say {done.limit_name}'
        raise InputError(
            f'{there}; requests for the others are in {path.parent / done.parts[0]}{more}. Have '
            'them answered, then run the same command again.'
        )
