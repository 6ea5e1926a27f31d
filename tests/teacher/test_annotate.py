"""Annotation over real HTTP: what is asked and of whom, recorded, counted and charged."""

import collections
import itertools
import logging
import re

import pytest

from qcrd_jax.data.schema import Example, ExampleStream
from qcrd_jax.errors import InputError
from qcrd_jax.teacher import prompts
from qcrd_jax.teacher.annotate import annotate
from tests.support.annotation import (
    SECRET,
    check_records,
    lines,
    questions,
    records,
    report,
    run,
    settings,
)
from tests.support.fault_server import ANSWERS, CHARGED, FAULTS, FaultServer, shuffled

pytestmark = pytest.mark.usefixtures('teacher_environment')


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
        '500', '502', '503', 'reset', 'truncated', 'SAFETY', 'aborted', 'unfinished', 'flood',
    ]  # fmt: skip
    answers = ['length', 'no_usage', 'stream', 'parts']
    schedule = shuffled(['ok'] * 30 + answers * 3 + retried, seed=1)
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
    counted = [a for a in server.log if a.kind in ANSWERS + CHARGED and a.kind != 'no_usage']
    charged = found + lines(tmp_path / 'annotations.faults.jsonl')
    estimated = [r['usage'] for r in charged if r['usage'] and r['usage']['estimated']]
    uncounted = ('no_usage', 'malformed', 'html', 'reset', 'truncated', 'unfinished', 'flood')
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


@pytest.mark.parametrize(
    'url',
    ['localhost:8000', 'ftp://host/v1', 'http://', 'http://me:pw@host', 'http://[::1/v1',
     'http://host:99999/v1', 'http://host:one/v1', 'http://ho st/v1', 'http://host/v1\udcff'],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(InputError, match=r'--config\.teacher\.base_url: (expected an|an) address'):
        run(settings(url), questions(1), tmp_path)


def test_a_model_that_no_request_can_name_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'--config\.teacher\.model: expected text that UTF-8'):
        run(settings('http://127.0.0.1:1/v1', model='a\udcff'), questions(1), tmp_path)


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
