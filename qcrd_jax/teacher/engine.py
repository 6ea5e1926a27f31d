"""Many requests, each recorded exactly once: concurrency, retries, budget, interruption.

A job is a prompt and what is to be recorded with its answer. Jobs come one at a time from an
iterator that a fixed number of workers share, so that millions of them take no memory.
"""

import asyncio
import collections
import contextlib
import dataclasses
import datetime
import pathlib
import random
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tqdm
from absl import logging

from qcrd_jax.errors import InputError
from qcrd_jax.teacher.client import Client, Settings
from qcrd_jax.teacher.journal import Journal, read
from qcrd_jax.teacher.ledger import Ledger, Limits
from qcrd_jax.teacher.outcome import Outcome, explain
from qcrd_jax.teacher.responses import Completion, Fault, Usage

_MAX_BACKOFF = 60.0  # seconds between two attempts, where the server does not say
_MAX_WAIT = 600.0  # seconds; a server that asks to wait longer ends the run
_MAX_GIVEN_UP = 10  # records in a row (twice the concurrency, if that is more): nothing works


@dataclasses.dataclass(frozen=True)
class Job:
    """One answer to get.

    Attributes:
      record: what is recorded with it; holds the fields of the journal's key.
      prompt: what is asked.
    """

    record: dict[str, Any]
    prompt: str


def faults_path(path: pathlib.Path) -> pathlib.Path:
    """Returns where the faults of a journal are kept: `annotations.faults.jsonl`."""
    return path.with_suffix('.faults.jsonl')


def spent(ledger: Ledger, path: pathlib.Path) -> dict[str, Any]:
    """Returns what a report says of a journal: tokens, cost and faults, of all runs so far."""
    faults = collections.Counter(record['fault'] for _, record in read(faults_path(path)))
    return {
        'tokens': {
            'prompt': ledger.prompt_tokens,
            'completion': ledger.completion_tokens,
            'estimated': ledger.estimated_tokens,
        },
        'cost': round(ledger.cost, 6),
        'faults': dict(faults.most_common()),
    }


def run_jobs(
    jobs: Iterable[Job],
    *,
    total: int,
    settings: Settings,
    limits: Limits,
    path: pathlib.Path,
    key: Sequence[str],
    backoff: float = 1.0,
) -> tuple[Outcome, Ledger]:
    """Gets every job's answer that is not recorded yet, and records it.

    A line of the journal is the job's record with `text`, `reasoning` (where there is any),
    `finish_reason`, `usage`, `model` (as the server calls it) and `time`. A request that brought no
    answer is a line of the journal of faults, with its kind and what it is charged; both files
    together are the ledger. The first SIGINT or SIGTERM lets the requests in flight finish, the
    second does not.

    Args:
      jobs: consumed as they are needed.
      total: how many they are.
      settings: whom to ask and how.
      limits: what may be spent, with all that the two files say was spent before.
      path: of the journal.
      key: the fields that distinguish a record from every other.
      backoff: seconds before the second attempt; they double with every further one.

    Returns:
      What was done, and what was spent in all.

    Raises:
      InputError: if another process holds the journal, or a line of it is damaged.
      OSError: if the disk fails; what was recorded stays.
    """
    started = time.monotonic()
    ledger = Ledger(limits)
    with Journal(path, key) as journal, Journal(faults_path(path)) as faults:
        for file in (journal, faults):
            for _ in charged(file, ledger):
                pass
        with _progress(total, path.stem) as bar:
            run = _Run(iter(jobs), settings, ledger, journal, faults, bar, backoff)
            asyncio.run(run.all())
    run.outcome.seconds = time.monotonic() - started
    return run.outcome, ledger


class _Run:
    """The state that the workers share. They run on one thread and only switch at an `await`."""

    def __init__(
        self,
        jobs: Iterator[Job],
        settings: Settings,
        ledger: Ledger,
        journal: Journal,
        faults: Journal,
        bar: tqdm.tqdm,
        backoff: float,
    ):
        self.outcome = Outcome()
        self._jobs = jobs
        self._settings = settings
        self._ledger = ledger
        self._journal = journal
        self._faults = faults
        self._bar = bar
        self._backoff = backoff
        self._random = random.Random()
        self._stop = asyncio.Event()
        self._settled = asyncio.Event()  # set whenever a request is no longer in flight
        self._in_flight = 0
        self._resume_at = 0.0  # of the loop's clock: when a server that asked for time gets more
        self._unanswered = 0  # requests in a row, of all workers, without any response
        self._given_up = 0  # records in a row, of all workers, without an answer between

    async def all(self) -> None:
        """Runs the workers until there are no more jobs, or one of them says stop."""
        async with Client(self._settings) as client:
            workers = [
                asyncio.create_task(self._worker(client)) for _ in range(self._settings.concurrency)
            ]
            with self._signals(workers):
                results = await asyncio.gather(*workers, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _worker(self, client: Client) -> None:
        try:
            for job in self._jobs:
                if self._stop.is_set():
                    return
                if job.record in self._journal:
                    self.outcome.present += 1
                    self._bar.initial += 1  # so that the rate is this run's
                    self._bar.update()
                else:
                    await self._fulfil(client, job)
        except BaseException:
            self._halt('')  # the others finish what they have in flight
            raise

    async def _fulfil(self, client: Client, job: Job) -> None:
        """Asks until there is an answer, or gives up."""
        attempt = sent = 0
        while True:
            result = await self._request(client, job)
            if result is None:
                return
            self.outcome.retries += sent > 0
            sent += 1
            if isinstance(result, Completion):
                return
            if result.scope == 'run':
                self._halt(explain(result, self._settings))
                return
            if result.scope == 'request':
                continue  # the client asks otherwise now
            attempt += 1
            if result.scope == 'record' or attempt == self._settings.attempts:
                self._give_up(result)
                return
            longest = min(_MAX_BACKOFF, self._backoff * 2 ** (attempt - 1))
            await self._sleep(longest * self._random.uniform(0.5, 1.0))

    async def _request(self, client: Client, job: Job) -> Completion | Fault | None:
        """Sends one request and records what it brought; None if the run stopped before it."""
        worst = self._settings.most(job.prompt)
        if not await self._wait_for_server() or not await self._reserve(worst):
            return None
        result = None
        try:
            self.outcome.requests += 1
            result = await client.ask(job.prompt)
            # Nothing is awaited between an answer and its record: no signal comes between them.
            if isinstance(result, Completion):
                self._record(job, result)
            else:
                self._note(job, result)
        finally:
            self._in_flight -= 1
            self._ledger.settle(worst, result.usage if result else None)
            self._settled.set()
        return result

    def _record(self, job: Job, completion: Completion) -> None:
        self._journal.append(job.record | answer_fields(completion))
        self.outcome.recorded += 1
        self._unanswered = self._given_up = 0
        self._bar.update()
        self._bar.set_postfix_str(self._ledger.describe(), refresh=False)

    def _note(self, job: Job, fault: Fault) -> None:
        """Records a fault, and draws from it what concerns every worker."""
        self._faults.append(
            {field: job.record[field] for field in self._journal.key} | fault_fields(fault)
        )
        self.outcome.last_fault = f'{fault.kind}: {fault.message}'
        seen = self.outcome.faults.get(fault.kind, 0)
        if not seen:
            logging.warning('%s (the first of its kind)', self.outcome.last_fault)
        self.outcome.faults[fault.kind] = seen + 1
        if fault.kind in ('unreachable', 'broken'):
            self._unanswered += 1
            self._check_alive(fault)
        elif fault.kind != 'timeout':  # a status is a sign of life, whatever it says
            self._unanswered = 0
        if fault.retry_after is not None:
            if fault.retry_after > _MAX_WAIT:
                self._halt(
                    f'the server asks to wait {fault.retry_after:.0f} s ({fault.message}). Run the '
                    'same command again after that to resume.'
                )
            resume_at = asyncio.get_running_loop().time() + fault.retry_after
            self._resume_at = max(self._resume_at, resume_at)

    def _check_alive(self, fault: Fault) -> None:
        if self._unanswered >= self._settings.attempts * self._settings.concurrency:
            self._halt(
                f'{self._settings.base_url} cannot be reached: {self._unanswered} requests in a '
                f'row brought no response ({fault.message}). Start the server and run the same '
                'command again to resume, or mend --config.teacher.base_url.'
            )

    def _give_up(self, fault: Fault) -> None:
        self.outcome.give_up(fault.kind)
        self._given_up += 1
        if self._given_up >= max(_MAX_GIVEN_UP, 2 * self._settings.concurrency):
            self._halt(
                f'{self._settings.base_url} gave no answer to {self._given_up} records in a row; '
                f'the last fault is {self.outcome.last_fault}. {self.outcome.advice}'
            )

    async def _wait_for_server(self) -> bool:
        """Waits until no server asks for time; False if the run stopped meanwhile."""
        while (wait := self._resume_at - asyncio.get_running_loop().time()) > 0:
            # Not all at the same moment, or the next ones are too many again.
            await self._sleep(wait + self._backoff * self._random.random())
            if self._stop.is_set():
                break
        return not self._stop.is_set()

    async def _reserve(self, worst: Usage) -> bool:
        """Waits until the request fits into the budget; False if it never will."""
        while not self._stop.is_set() and not self._ledger.fits(worst):
            if not self._in_flight:
                self._halt(
                    f'the next request could exceed the budget ({self._ledger.describe()}). Raise '
                    '--config.teacher.budget or --config.teacher.max_tokens_total to resume.'
                )
                break
            self._settled.clear()
            await self._settled.wait()
        if self._stop.is_set():
            return False
        self._ledger.reserve(worst)
        self._in_flight += 1
        return True

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, unless the run stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _halt(self, reason: str) -> None:
        """Lets no further request be sent; those in flight finish. The first reason counts."""
        self.outcome.stopped = self.outcome.stopped or reason
        self._stop.set()
        self._settled.set()

    @contextlib.contextmanager
    def _signals(self, workers: Sequence[asyncio.Task]) -> Iterator[None]:
        """Turns the first SIGINT or SIGTERM into a halt, the second into a cancellation."""
        loop = asyncio.get_running_loop()

        def receive(number: signal.Signals) -> None:
            if self.outcome.interrupted:
                for worker in workers:
                    worker.cancel()
            else:
                self.outcome.interrupted = int(number)
                logging.warning('%s: finishing what is in flight; again to drop it.', number.name)
                self._halt(f'interrupted by {number.name}.')

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread receives signals
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            loop.add_signal_handler(number, receive, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


def _progress(total: int, what: str) -> tqdm.tqdm:
    watched = sys.stderr.isatty()
    return tqdm.tqdm(
        total=total, desc=what, unit='record', smoothing=0, mininterval=0.5 if watched else 30.0
    )


def answer_fields(completion: Completion) -> dict[str, Any]:
    """Returns what is recorded of an answer, beside the question that it answers."""
    reasoning = {'reasoning': completion.reasoning} if completion.reasoning else {}
    return {
        'text': completion.text,
        **reasoning,
        'finish_reason': completion.finish_reason,
        'model': completion.model,
        'usage': dataclasses.asdict(completion.usage),
        'time': _now(),
    }


def fault_fields(fault: Fault) -> dict[str, Any]:
    """Returns what is recorded of a fault, beside the key of the record that it was to be."""
    usage = dataclasses.asdict(fault.usage) if fault.usage else None
    return {'fault': fault.kind, 'message': fault.message, 'usage': usage, 'time': _now()}


def charged(file: Journal, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Yields the records of a journal, and charges each; to be exhausted before the file is used.

    Raises:
      InputError: if a line is damaged.
    """
    for number, record in file.replay():
        usage = _read_usage(record.get('usage'), f'{file.path}, line {number}')
        if usage is not None:
            ledger.charge(usage)
        yield record


def _read_usage(value: Any, where: str) -> Usage | None:
    if value is None:
        return None
    try:
        usage = Usage(**value)
        good = all(type(count) is int for count in (usage.prompt_tokens, usage.completion_tokens))
    except TypeError:
        good = False
    if not good:
        raise InputError(f"{where}: field 'usage': expected counts of tokens, got {value!r}.")
    return usage


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
