"""What stops annotation: faults, budgets, signals, a full disk; and what is left of it then."""

import os
import signal
import threading
import time

import pytest

from qcrd_jax.errors import InputError
from tests.support.annotation import (
    SECRET,
    check_records,
    questions,
    records,
    report,
    run,
    settings,
)
from tests.support.fault_server import FAULTS, FaultServer

pytestmark = pytest.mark.usefixtures('teacher_environment')


@pytest.mark.parametrize(
    ('kind', 'words'),
    [
        ('401', r'does not accept the key in \$TEACHER_KEY \(401: wrong: Bearer <key>\)'),
        ('403', r'does not accept the key in \$TEACHER_KEY'),
        ('404', "has no model 'a-model'"),
        ('402', 'refuses requests'),
        ('429-quota', 'refuses requests'),
        ('429-long', 'asks to wait 7200 s'),
    ],
)
def test_what_no_retry_can_mend_ends_the_run_at_once(tmp_path, kind, words):
    splits = questions(20)
    with FaultServer(lambda number: kind if number == 20 else 'ok') as server:
        with pytest.raises(InputError, match=words) as caught:
            run(settings(server), splits, tmp_path)
        kept = records(tmp_path)
        # Besides it only what was sent until it was read: that of the other workers, twice.
        assert len(kept) == len(server.log) - 1 <= 20 + 2 * 3
        assert f'{len(kept)} of 60 answers are recorded' in str(caught.value)
        assert SECRET not in str(caught.value)
        run(settings(server), splits, tmp_path)
        check_records(tmp_path, server, splits)
    assert report(tmp_path)['faults'] == {FAULTS[kind]: 1}


def test_a_record_without_an_answer_is_left_to_the_next_run(tmp_path):
    def schedule(number):
        return 'ok' if number < 2 else '500' if number < 6 else '400' if number == 6 else 'ok'

    with FaultServer(schedule) as server:
        config = settings(server, concurrency=1, attempts=4)
        # Record 2 fails four times, record 3 is rejected and not tried again.
        with pytest.raises(InputError, match=r'4 of 6 answers .* 2 were given up') as caught:
            run(config, questions(2), tmp_path)
        assert 'Run the same command again' in str(caught.value)
        assert report(tmp_path)['run']['given_up'] == 2
        assert len(server.log) == 9
        run(config, questions(2), tmp_path)
        check_records(tmp_path, server, questions(2))


def test_a_server_that_only_fails_ends_the_run(tmp_path):
    with FaultServer(lambda number: '503') as server:
        with pytest.raises(InputError, match='no answer to 10 records in a row'):
            run(settings(server, attempts=2, concurrency=1), questions(100), tmp_path)
        assert len(server.log) == 20


def test_faults_between_answers_do_not_end_the_run(tmp_path):
    # Of every six records one is rejected and two need a third attempt.
    pattern = ['400', 'ok', 'reset', 'reset', 'ok', 'ok', 'reset', 'reset', 'ok', 'ok']
    with FaultServer(lambda number: pattern[number % 10]) as server:
        config = settings(server, concurrency=1, attempts=3)
        with pytest.raises(InputError, match=r'75 of 90 answers .* 15 were given up'):
            run(config, questions(30), tmp_path)
    assert report(tmp_path)['faults'] == {'broken': 60, 'rejected': 15}


def test_a_server_that_is_not_there_ends_the_run(tmp_path):
    with FaultServer(lambda number: 'ok') as server:
        run(settings(server), questions(2), tmp_path)
    # Its port is closed now.
    config = settings(server, attempts=3)
    with pytest.raises(InputError, match='cannot be reached: 12 requests in a row'):
        run(config, questions(50), tmp_path)
    told = report(tmp_path)
    assert told['faults'] == told['run']['faults'] == {'unreachable': told['run']['requests']}
    assert told['records'] == 6
    assert told['tokens']['estimated'] == 0  # what was never sent costs nothing


def test_tokens_are_never_exceeded_and_well_used(tmp_path):
    prompt = tmp_path / 'prompt.txt'
    prompt.write_text('Q: {input}\nA:')
    splits = questions(20)
    with FaultServer(lambda number: 'ok' if number % 5 else 'empty', delay=0.01) as server:
        config = settings(server, prompt=str(prompt), max_tokens_total=600)
        with pytest.raises(InputError, match='could exceed the budget') as caught:
            run(config, splits, tmp_path)
        assert 'of 600' in str(caught.value)
        spent = sum(sum(answered.tokens) for answered in server.log)
        tokens = report(tmp_path)['tokens']
        assert tokens['prompt'] + tokens['completion'] == spent
        # One more request takes 31 bytes + 64 of the chat's frame + 60 tokens of answer at most.
        assert 600 - 155 < spent <= 600
        # The spent tokens are remembered: the same budget buys nothing more.
        before = len(server.log)
        with pytest.raises(InputError, match='could exceed the budget'):
            run(config, splits, tmp_path)
        assert len(server.log) == before
        config.teacher.max_tokens_total = 10_000
        run(config, splits, tmp_path)
        check_records(tmp_path, server, splits)
        assert report(tmp_path)['tokens']['prompt'] == sum(a.tokens[0] for a in server.log)


def test_dollars_are_never_exceeded(tmp_path):
    splits = questions(40)
    with FaultServer(lambda number: 'ok') as server:
        config = settings(server, input_price=1.0, output_price=2.0, budget=0.03)
        with pytest.raises(InputError, match=r'of \$0\.03'):
            run(config, splits, tmp_path)
        spent = sum(a.tokens[0] + 2 * a.tokens[1] for a in server.log) / 1e6
        assert report(tmp_path)['cost'] == pytest.approx(spent, abs=1e-6)
        assert 0.02 < spent <= 0.03


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_requests_in_flight_finish(tmp_path, number):
    splits = questions(40)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with FaultServer(lambda _: 'ok', delay=0.1) as server:
        threading.Thread(target=_signal_after, args=(server, 6, [number]), daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run(settings(server), splits, tmp_path)
        assert len(records(tmp_path)) == len(server.log) < 120
        assert report(tmp_path)['run']['interrupted']
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        run(settings(server, concurrency=16), splits, tmp_path)
        check_records(tmp_path, server, splits)


def test_a_second_signal_does_not_wait(tmp_path):
    with FaultServer(lambda n: 'ok' if n < 8 else 'slow') as server:
        two = [signal.SIGINT, signal.SIGINT]
        threading.Thread(target=_signal_after, args=(server, 8, two), daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run(settings(server, timeout=600.0), questions(40), tmp_path)
    assert len(records(tmp_path)) == 8


def _signal_after(server, answers, numbers):
    while len(server.log) < answers and not server.closing.is_set():
        time.sleep(0.01)
    for number in numbers:
        time.sleep(0.2)
        os.kill(os.getpid(), number)


def test_no_second_process_writes_to_the_workdir(tmp_path):
    with FaultServer(lambda number: 'ok', delay=0.2) as server:
        errors = []

        def second():
            while not server.log:
                time.sleep(0.01)
            try:
                run(settings(server), questions(2), tmp_path)
            except InputError as error:
                errors.append(str(error))

        thread = threading.Thread(target=second)
        thread.start()
        run(settings(server), questions(4), tmp_path)
        thread.join()
        assert len(server.log) == 12
    assert 'another process is writing' in errors[0]


def test_a_disk_that_fails_stops_the_run(tmp_path, monkeypatch):
    real = os.write
    written = []

    def write(descriptor, data):
        if b'"text"' in data:
            written.append(data)
            if len(written) == 6:  # one worker meets the full disk, the others stop with it
                return real(descriptor, data[:9])
        return real(descriptor, data)

    with FaultServer(lambda number: 'ok') as server:
        monkeypatch.setattr(os, 'write', write)
        with pytest.raises(OSError, match='disk is full'):
            run(settings(server), questions(40), tmp_path)
        monkeypatch.undo()
        assert len(written) - 1 == len(records(tmp_path)) <= 5 + 3
        run(settings(server), questions(40), tmp_path)
    assert len(records(tmp_path)) == 120
