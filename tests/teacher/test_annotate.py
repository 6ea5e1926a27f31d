"""Annotation over real HTTP, with the real client, against a server that misbehaves on schedule."""

import collections
import itertools
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from ml_collections import config_dict

from qcrd_jax.data.schema import Example, ExampleStream
from qcrd_jax.errors import InputError
from qcrd_jax.teacher import prompts
from qcrd_jax.teacher.annotate import annotate
from tests.support.fault_server import ANSWERS, CHARGED, FAULTS, FaultServer, shuffled

SECRET = 'sk-secret-0123456789'
SETTINGS = {
    'data': {'name': 'svamp', 'answer_type': 'equation', 'samples': 3},
    'teacher': {
        'base_url': '', 'model': 'a-model', 'key_variable': 'TEACHER_KEY', 'prompt': '',
        'temperature': 0.7, 'max_tokens': 60, 'splits': ('train', 'validation', 'test'),
        'limit': 0, 'concurrency': 4, 'timeout': 30.0, 'attempts': 6,
        'input_price': 0.0, 'output_price': 0.0, 'budget': 0.0, 'max_tokens_total': 0,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv('TEACHER_KEY', SECRET)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    for name in ('OPENAI_BASE_URL', 'OPENAI_MODEL', 'OPENAI_API_KEY'):
        monkeypatch.delenv(name, raising=False)


def settings(server, **teacher):
    config = config_dict.ConfigDict(SETTINGS)
    config.teacher.base_url = server if isinstance(server, str) else server.url
    config.teacher.update(teacher)
    return config


def questions(number, split='train'):
    return {
        split: [Example(f'{split}-{n}', f'Question {n} of {split}?', '1') for n in range(number)]
    }


def run(config, splits, workdir):
    return annotate(config, splits, workdir, backoff=0.01)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def records(workdir):
    return lines(workdir / 'annotations.jsonl')


def report(workdir):
    return json.loads((workdir / 'annotate.json').read_text())


def check_records(workdir, server, splits, samples=3):
    """Every answer is there once, in the words that the server gave to that very question."""
    found = records(workdir)
    keys = collections.Counter((r['split'], r['id'], r['sample']) for r in found)
    wanted = {
        (split, example.id, number)
        for split, examples in splits.items()
        for example in examples
        for number in range(samples)
    }
    assert set(keys) == wanted
    assert set(keys.values()) == {1}
    given = {a.text: a for a in server.log if a.kind in ANSWERS}
    texts = [record['text'] for record in found]
    assert len(set(texts)) == len(texts)  # no answer serves two records
    inputs = {(split, e.id): e.input for split, part in splits.items() for e in part}
    for record in found:
        answered = given[record['text']]
        assert answered.question == record['input'] == inputs[record['split'], record['id']]
        assert (record['finish_reason'] == 'length') == (answered.kind == 'length')
        if answered.kind != 'no_usage':
            usage = record['usage']
            assert (usage['prompt_tokens'], usage['completion_tokens']) == answered.tokens
            assert not usage['estimated']
    return found


def test_a_record_holds_question_answer_and_circumstances(tmp_path):
    splits = {
        'test': [Example('q', 'A?', 'no', options=('yes', 'no'))],
        'train': ExampleStream(1, lambda: iter([Example('p', 'B?', '1')])),
    }
    with FaultServer(lambda number: 'ok') as server:
        run(settings(server, concurrency=1), splits, tmp_path)
        assert server.paths == {'/v1/chat/completions'}
        assert server.authorizations == {f'Bearer {SECRET}'}
    prompt = prompts.load('svamp', 'equation').fill(splits['test'][0])
    assert server.asked[3] == {
        'model': 'a-model',
        'messages': [{'role': 'user', 'content': prompt}],
        'temperature': 0.7,
        'max_tokens': 60,
    }
    found = records(tmp_path)
    assert [(r['split'], r['sample']) for r in found] == [
        ('train', 0), ('train', 1), ('train', 2), ('test', 0), ('test', 1), ('test', 2),
    ]  # fmt: skip
    settings_digest, when = found[3].pop('settings'), found[3].pop('time')
    assert re.fullmatch('[0-9a-f]{16}', settings_digest)
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00', when)
    assert found[3] == {
        'id': 'q',
        'split': 'test',
        'input': 'A?',
        'label': 'no',
        'options': ['yes', 'no'],
        'sample': 0,
        'teacher': 'a-model',
        'text': '<3> A? The answer is ( 3 + 0 ).',
        'finish_reason': 'stop',
        'model': 'served-model',
        'usage': {
            'prompt_tokens': server.log[3].tokens[0],
            'completion_tokens': 7,  # 31 characters
            'estimated': False,
        },
    }


def test_every_fault_is_survived_counted_and_charged(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    retried = [
        'malformed', 'html', 'no_choices', 'null_content', 'empty', 'filtered', '429', '429-date',
        '500', '502', '503', 'reset', 'truncated',
    ]  # fmt: skip
    schedule = shuffled(['ok'] * 30 + ['length', 'no_usage'] * 3 + retried, seed=1)
    splits = questions(20) | questions(10, 'test')
    with FaultServer(schedule) as server:
        run(settings(server, input_price=2.0, output_price=8.0), splits, tmp_path)
    found = check_records(tmp_path, server, splits)

    kinds = server.kinds()
    faults = collections.Counter()
    for kind in retried:
        assert kinds[kind] >= 1
        faults[FAULTS[kind]] += kinds[kind]
    told = report(tmp_path)
    assert told['faults'] == faults == told['run']['faults']
    assert told['run']['requests'] == len(server.log) == len(found) + faults.total()
    assert told['run']['retries'] == faults.total()
    assert told['length_cut'] == kinds['length']
    assert (told['wanted'], told['records'], told['missing'], told['duplicates']) == (90, 90, 0, 0)

    # What the server counted is in the ledger to the token, beside what nobody counted.
    counted = [a for a in server.log if a.kind in ('ok', 'length', *CHARGED)]
    charged = found + lines(tmp_path / 'annotations.faults.jsonl')
    estimated = [r['usage'] for r in charged if r['usage'] and r['usage']['estimated']]
    uncounted = ('no_usage', 'malformed', 'html', 'reset', 'truncated')
    assert len(estimated) == sum(a.kind in uncounted for a in server.log)
    prompt, completion = (
        sum(a.tokens[place] for a in counted) + sum(usage[name] for usage in estimated)
        for place, name in enumerate(('prompt_tokens', 'completion_tokens'))
    )
    tokens = told['tokens']
    assert (tokens['prompt'], tokens['completion']) == (prompt, completion)
    assert told['cost'] == pytest.approx((2 * prompt + 8 * completion) / 1e6, abs=1e-6)

    # Several of these responses hold the key in their words and headers.
    # Nor in what the HTTP client says by itself, which is nothing.
    output = caplog.text + ''.join(capfd.readouterr())
    assert 'HTTP Request' not in output
    assert 'rate_limit: 429: wrong: Bearer <key>' in output
    assert f'answers: 90 of 90 (0 missing, 0 twice, {kinds["length"]} cut' in output
    for text in (output, *(path.read_text() for path in tmp_path.iterdir())):
        assert SECRET not in text


def test_a_key_in_an_answer_is_hidden(tmp_path):
    with FaultServer(lambda number: 'echo') as server:
        run(settings(server), questions(1), tmp_path)
    for record in records(tmp_path):
        assert (record['text'], record['model']) == ('wrong: Bearer <key>',) * 2


def test_slow_servers_are_not_waited_for(tmp_path):
    # One never answers, one sends a byte now and then: neither is a whole answer in time.
    schedule = {3: 'slow', 5: 'drip'}
    splits = questions(4)
    with FaultServer(lambda number: schedule.get(number, 'ok')) as server:
        run(settings(server, timeout=1.5), splits, tmp_path)
        check_records(tmp_path, server, splits)
    assert report(tmp_path)['faults'] == {'timeout': 2}
    lost = lines(tmp_path / 'annotations.faults.jsonl')[0]['usage']
    assert (lost['completion_tokens'], lost['estimated']) == (60, True)  # max_tokens


def test_what_is_recorded_is_not_asked_again(tmp_path):
    splits = questions(5)
    with FaultServer(lambda number: 'ok') as server:
        run(settings(server), questions(3), tmp_path)
        assert len(server.log) == 9
        run(settings(server), splits, tmp_path)
        assert len(server.log) == 15
        run(settings(server), splits, tmp_path)
        assert len(server.log) == 15
        check_records(tmp_path, server, splits)
        assert report(tmp_path)['run']['present'] == 15
        # Other settings, another prompt and a changed question are other records.
        run(settings(server, temperature=1.0), splits, tmp_path)
        assert len(server.log) == 30
        prompt = tmp_path / 'prompt.txt'
        prompt.write_text('{input}')
        run(settings(server, prompt=str(prompt)), splits, tmp_path)
        assert len(server.log) == 45
        splits['train'][0] = Example('train-0', 'Another question?', '1')
        run(settings(server), splits, tmp_path)
        assert len(server.log) == 48
    assert report(tmp_path)['other'] == 48 - 15
    assert report(tmp_path)['records'] == 15


def test_splits_limit_and_concurrency_are_those_of_the_settings(tmp_path):
    splits = questions(4) | questions(4, 'validation') | questions(4, 'test')
    with FaultServer(lambda number: 'ok', delay=0.05) as server:
        config = settings(server, splits=('test', 'validation'), limit=2, concurrency=3)
        run(config, splits, tmp_path)
    assert {(r['split'], r['id']) for r in records(tmp_path)} == {
        ('test', 'test-0'), ('test', 'test-1'),
        ('validation', 'validation-0'), ('validation', 'validation-1'),
    }  # fmt: skip
    assert server.largest_in_flight == 3


def test_the_same_words_twice_are_two_samples(tmp_path, caplog):
    class Parrot(FaultServer):
        def begin(self):
            super().begin()
            return 0, 'ok'

    with Parrot(lambda number: 'ok') as server:
        run(settings(server), questions(6), tmp_path)
    assert len(records(tmp_path)) == 18
    assert report(tmp_path)['identical'] == 6
    assert 'decode greedily' in caplog.text


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


def test_a_missing_key_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv('TEACHER_KEY')
    with FaultServer(lambda number: '401') as server:
        with pytest.raises(InputError, match=r'\$TEACHER_KEY is not set'):
            run(settings(server), questions(1), tmp_path)
        assert server.authorizations == {'Bearer none'}
    with pytest.raises(InputError, match=r'\$TEACHER_KEY is not set, and https://api\.openai'):
        run(settings(''), questions(1), tmp_path)


@pytest.mark.parametrize('key', ['sk two', 'sk\nX-Header: 1', 'schlüssel'])
def test_a_key_that_no_header_can_hold_is_refused_unseen(tmp_path, monkeypatch, key):
    monkeypatch.setenv('TEACHER_KEY', key)
    with pytest.raises(InputError, match='holds white space or') as caught:
        run(settings('http://127.0.0.1:1/v1'), questions(1), tmp_path)
    assert key not in str(caught.value)


@pytest.mark.parametrize('url', ['localhost:8000', 'ftp://host/v1', 'http://', 'http://me:pw@host'])
def test_an_address_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(InputError, match=r'--config\.teacher\.base_url: (expected an|an) address'):
        run(settings(url), questions(1), tmp_path)


def test_model_and_address_come_from_the_environment(tmp_path, monkeypatch):
    with FaultServer(lambda number: 'ok') as server:
        monkeypatch.setenv('OPENAI_BASE_URL', server.url + '/')
        monkeypatch.setenv('OPENAI_MODEL', 'from-environment')
        run(settings('', model=''), questions(1), tmp_path)
    assert {record['teacher'] for record in records(tmp_path)} == {'from-environment'}


def test_no_worker_asks_before_the_server_wants_to_be_asked(tmp_path):
    with FaultServer(lambda number: '429' if number == 4 else 'ok') as server:
        run(settings(server, concurrency=3), questions(20), tmp_path)
    refused = server.log[[answered.kind for answered in server.log].index('429')].answered
    early = [a for a in server.log if refused < a.began < refused + 0.5]
    # The two other workers may have sent a few more before the refusal was read.
    assert len(early) <= 8
    assert len(server.log) == 61


def test_retries_wait_longer_and_longer(tmp_path):
    with FaultServer(lambda number: '500' if number < 4 else 'ok') as server:
        config = settings(server, concurrency=1, limit=1)
        config.data.samples = 1
        annotate(config, questions(1), tmp_path, backoff=0.2)
    log = server.log
    pauses = [after.began - before.answered for before, after in itertools.pairwise(log)]
    # 0.2, 0.4, 0.8 and 1.6 seconds, of which chance takes up to half.
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.8), strict=True))


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


# --- Killed and restarted -------------------------------------------------------------------------

_DRIVER = """
import json, pathlib, sys
from ml_collections import config_dict
from qcrd_jax.data.schema import Example
from qcrd_jax.teacher.annotate import annotate

config, count, workdir = json.loads(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
questions = [Example(f'train-{n}', f'Question {n} of train?', '1') for n in range(count)]
annotate(config_dict.ConfigDict(config), {'train': questions}, workdir, backoff=0.01)
"""


def kill_and_restart(workdir, config, server, number, generator):
    """Runs annotation in processes of its own, killed again and again, until one gets through.

    Returns:
      How many were killed, how many ended by themselves, and all that they wrote to the terminal.
    """
    command = [sys.executable, '-c', _DRIVER, json.dumps(config), str(number), str(workdir)]
    kills, ended, output = 0, 0, ''
    while True:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        goal = len(server.log) + generator.randrange(1, 50)
        while process.poll() is None and len(server.log) < goal:
            time.sleep(0.001)
        process.kill()
        output += process.communicate()[0]
        killed = process.returncode == -signal.SIGKILL
        kills, ended = kills + killed, ended + (not killed)
        if process.returncode == 0:
            return kills, ended, output


def test_killed_at_any_moment_nothing_recorded_is_lost_or_repeated(tmp_path):
    # QCRD_FAULT_QUESTIONS=1000 is the long version, with every fault there is (docs/teacher.md).
    number = int(os.environ.get('QCRD_FAULT_QUESTIONS', '40'))
    kinds = ['500', 'html', 'empty', '429', 'reset', 'length']
    if number > 100:
        kinds = [*FAULTS, 'length', 'no_usage']
    schedule = shuffled(['ok'] * 8 * len(kinds) + kinds, seed=2)
    with FaultServer(schedule) as server:
        config = settings(server, timeout=3.0).to_dict()
        kills, ended, output = kill_and_restart(tmp_path, config, server, number, random.Random(3))
        found = check_records(tmp_path, server, questions(number))
    assert kills >= 2
    served = sum(answered.kind in ANSWERS for answered in server.log)
    # Only what was in flight when a process died was asked for twice.
    assert len(found) <= served <= len(found) + 4 * kills
    told = report(tmp_path)
    assert told['duplicates'] == told['missing'] == 0
    # The same holds of the faults; of any kind there are no more than the server dealt out.
    faults = collections.Counter()
    for kind, count in server.kinds().items():
        if kind in FAULTS:
            faults[FAULTS[kind]] += count
    assert faults.total() - 4 * kills <= sum(told['faults'].values()) <= faults.total()
    assert all(count <= faults[kind] for kind, count in told['faults'].items())
    for text in (output, *(path.read_text() for path in tmp_path.iterdir())):
        assert SECRET not in text
    print(
        f'\n{len(server.log)} requests answered: {served} with an answer, {dict(faults)}\n'
        f'{kills} kills, {ended} ended; {len(found)} records, 0 duplicates, 0 missing, '
        f'{served - len(found)} answers lost in flight\nrecorded faults: {told["faults"]}'
    )
