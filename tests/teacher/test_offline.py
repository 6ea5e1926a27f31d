"""Annotation by batch files: what is asked, what is recorded of every response, what it costs."""

import functools
import json
import os
import random
import re
import subprocess
import sys

import pytest

from qcrd_jax import modes
from qcrd_jax.config import base_config
from qcrd_jax.data.schema import Example, ExampleStream
from qcrd_jax.data.sources import builders
from qcrd_jax.errors import InputError
from qcrd_jax.teacher import batch_files, batch_responses, journal, prompts
from tests.support import REPOSITORY, batch_runner
from tests.support.annotation import lines, questions, records, report, run, settings
from tests.support.batch_runner import completion, output, read_requests, run_batch, write_lines
from tests.support.fault_server import FaultServer


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch):
    for name in ('OPENAI_BASE_URL', 'OPENAI_MODEL', 'OPENAI_API_KEY', 'TEACHER_KEY'):
        monkeypatch.delenv(name, raising=False)


def batch(**teacher):
    return settings('', through='batch', **teacher)


def written(workdir):
    """The requests that stand there, in the order of their files."""
    paths = sorted(workdir.glob('requests*.jsonl'))
    return [request for path in paths for request in read_requests(path)]


def missing(config, splits, workdir, match='Have them answered'):
    with pytest.raises(InputError, match=match) as caught:
        run(config, splits, workdir)
    return str(caught.value)


def check_records(workdir, splits, samples=3):
    """Every answer is there once, each in words of its own that were said to its question."""
    found = records(workdir)
    keys = [(r['split'], r['id'], r['sample']) for r in found]
    wanted = {
        (split, example.id, number)
        for split, examples in splits.items()
        for example in examples
        for number in range(samples)
    }
    assert len(keys) == len(wanted)
    assert set(keys) == wanted
    assert len({record['text'] for record in found}) == len(found)
    for record in found:
        assert record['text'].startswith(record['input'] + ' <')
    return found


def test_requests_are_written_and_their_responses_recorded(tmp_path, capsys):
    splits = {
        'test': [Example('q', 'A?', 'no', options=('yes', 'no'))],
        'train': ExampleStream(1, lambda: iter([Example('p', 'B?', '1')])),
    }
    run(batch(), splits, tmp_path)  # without a key, and with status 0: nothing is wrong
    told = capsys.readouterr().out
    assert f'written: 6 requests, in {tmp_path}/requests.jsonl' in told
    assert f'vllm run-batch -i {tmp_path}/requests.jsonl -o {tmp_path}/responses.jsonl' in told
    requests = written(tmp_path)
    prompt = prompts.load('svamp', 'equation').fill(splits['test'][0])
    assert requests[3].body == {
        'model': 'a-model',
        'messages': [{'role': 'user', 'content': prompt}],
        'temperature': 0.7,
        'max_tokens': 60,
    }
    run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses.jsonl')
    run(batch(), splits, tmp_path)
    assert 'responses: 6 lines in responses.jsonl\n  new answers: 6\n' in capsys.readouterr().out
    found = records(tmp_path)
    assert [(r['split'], r['sample']) for r in found] == [
        ('train', 0), ('train', 1), ('train', 2), ('test', 0), ('test', 1), ('test', 2),
    ]  # fmt: skip
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00', found[3].pop('time'))
    assert re.fullmatch('A[?] <[0-9]+> The answer is [(] 1 [+] 0 [)][.]', found[3].pop('text'))
    assert found[3] == {
        'id': 'q', 'split': 'test', 'input': 'A?', 'label': 'no', 'options': ['yes', 'no'],
        'sample': 0, 'teacher': 'a-model', 'settings': requests[0].custom_id[:16],
        'finish_reason': 'stop', 'model': 'served-model',
        'usage': {'prompt_tokens': 100, 'completion_tokens': 7, 'estimated': False},
    }  # fmt: skip
    assert not list(tmp_path.glob('requests*'))  # there is nothing to be asked


def test_records_are_those_that_a_server_would_have_given(tmp_path):
    def told(record):
        return {name: record[name] for name in record if name not in ('time', 'text', 'usage')}

    splits = questions(3)
    with FaultServer(lambda number: 'ok') as server:
        run(settings(server), splits, tmp_path / 'server')
    run(batch(), splits, tmp_path / 'batch')
    run_batch(tmp_path / 'batch/requests.jsonl', tmp_path / 'batch/responses.jsonl', 'vllm')
    run(batch(), splits, tmp_path / 'batch')
    ours = sorted(map(told, records(tmp_path / 'batch')), key=str)
    assert ours == sorted(map(told, records(tmp_path / 'server')), key=str)
    # So that each finds what the other recorded.
    with FaultServer(lambda number: 'ok') as server:
        run(settings(server), questions(4), tmp_path / 'batch')
        assert len(server.log) == 3
    run(batch(), questions(5), tmp_path / 'server')
    assert len(written(tmp_path / 'server')) == 6


@pytest.mark.parametrize('dialect', ['openai', 'vllm'])
def test_responses_in_any_order_and_files_are_recorded_once(tmp_path, dialect):
    splits = questions(7) | questions(4, 'test')
    run(batch(), splits, tmp_path)
    outputs = run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses.jsonl', dialect)
    random.Random(0).shuffle(outputs)
    write_lines(tmp_path / 'responses.jsonl', outputs[:10])
    write_lines(tmp_path / 'responses-b.jsonl', outputs[10:20])
    missing(batch(), splits, tmp_path)
    assert {r.custom_id for r in written(tmp_path)} == {o['custom_id'] for o in outputs[20:]}
    before = records(tmp_path)
    assert len(before) == 20
    write_lines(tmp_path / 'responses-b.jsonl', outputs[15:])
    run(batch(), splits, tmp_path)
    assert records(tmp_path)[:20] == before
    check_records(tmp_path, splits)
    said = {o['response']['body']['choices'][0]['message']['content'] for o in outputs}
    assert {record['text'] for record in records(tmp_path)} == said
    spent = report(tmp_path)['tokens']
    run(batch(), splits, tmp_path)
    assert len(records(tmp_path)) == 33
    assert report(tmp_path)['tokens'] == spent == {
        'prompt': 3300, 'completion': 231, 'estimated': 0,
    }  # fmt: skip
    assert report(tmp_path)['run']['read']['present'] == 10 + 18


@pytest.mark.parametrize('dialect', ['openai', 'vllm'])
def test_failed_requests_are_counted_once_and_asked_again(tmp_path, dialect, capsys, caplog):
    splits = questions(4)
    run(batch(), splits, tmp_path)
    target = tmp_path / 'responses.jsonl'
    outputs = run_batch(tmp_path / 'requests.jsonl', target, dialect, lambda place: place % 4 == 1)
    message = missing(batch(), splits, tmp_path)
    assert message.startswith('teacher: 9 of 12 answers are recorded in')
    assert 'failed requests: 3 (3 rejected); the last: 400: too long' in capsys.readouterr().out
    assert 'rejected: 400: too long (the first of its kind)' in caplog.text
    failed = [o['custom_id'] for o in outputs if (o['response'] or {}).get('status_code') == 400]
    assert [request.custom_id for request in written(tmp_path)] == failed
    faults = lines(tmp_path / 'annotations.faults.jsonl')
    assert [(f['fault'], f['usage'], f['sample']) for f in faults] == [
        ('rejected', None, n) for n in (1, 2, 0)
    ]
    # The same file once more is no news; another attempt that fails is.
    missing(batch(), splits, tmp_path)
    assert 'failed requests that an earlier run has counted: 3' in capsys.readouterr().out
    assert lines(tmp_path / 'annotations.faults.jsonl') == faults
    run_batch(
        tmp_path / 'requests.jsonl',
        tmp_path / 'responses-2.jsonl',
        dialect,
        lambda place: place == 0,
    )
    missing(batch(), splits, tmp_path)
    assert report(tmp_path)['faults'] == {'rejected': 4}
    run_batch(tmp_path / 'requests.jsonl', target, dialect)
    run(batch(), splits, tmp_path)
    check_records(tmp_path, splits)


def test_every_line_that_cannot_be_used_is_counted_and_said(tmp_path, capsys):
    splits = questions(5)
    run(batch(temperature=1.0), splits, tmp_path)
    others = [output(request) for request in written(tmp_path)[:2]]
    run(
        batch(),
        {'train': [Example('train-0', 'Another question?', '1'), *splits['train'][1:]]},
        tmp_path,
    )
    others += [output(request) for request in written(tmp_path)[:3]]
    run(batch(), splits, tmp_path)
    requests = written(tmp_path)
    good = [output(request) for request in requests]
    twice = [output(requests[0]), output(requests[3])]
    unknown = [good[0] | {'custom_id': text} for text in ('request-1', '../../x', None, 3)]
    empty = output(requests[4], completion(requests[4], text=' \n'))
    expired = output(requests[5], error={'code': 'batch_expired', 'message': 'too late'})
    write_lines(
        tmp_path / 'responses.jsonl', [*others, *good[:4], *twice, *unknown, empty, expired]
    )
    with open(tmp_path / 'responses.jsonl', 'ab') as file:
        file.write(b'{"custom_id": "half\n\n[1]\n' + json.dumps(good[6]).encode()[:-9])
    capsys.readouterr()
    message = missing(batch(), splits, tmp_path)
    assert message.startswith('teacher: 4 of 15 answers are recorded')
    told = capsys.readouterr().out
    assert told.split('\nfaults in all')[0].splitlines()[1:] == [
        'responses: 20 lines in responses.jsonl',
        '  new answers: 4',
        '  answers to what another line answers too (the first one counts): 2',
        '  failed requests: 2 (1 empty, 1 timeout); the last: batch_expired: too late',
        '  responses to other settings (model, prompt, ...): 2',
        '  responses to questions or samples that are not asked now: 3',
        '  lines with a custom_id that is not of this program: 4',
        '  lines that are torn or no response: 3, first line 18 of responses.jsonl',
    ]  # fmt: skip
    read = report(tmp_path)['run']['read']
    assert read == {
        'files': ['responses.jsonl'], 'lines': 20, 'recorded': 4, 'present': 0, 'repeated': 2,
        'faults': {'empty': 1, 'timeout': 1}, 'seen': 0, 'other_settings': 2, 'other_questions': 3,
        'unknown': 4, 'damaged': 3, 'first_damaged': 'line 18 of responses.jsonl',
        'last_fault': 'batch_expired: too late',
    }  # fmt: skip
    assert [request.custom_id for request in written(tmp_path)] == [
        r.custom_id for r in requests[4:]
    ]
    # An answer that cannot be used was paid for, one that was never given was not.
    assert report(tmp_path)['tokens'] == {'prompt': 500, 'completion': 35, 'estimated': 0}
    # The first of two answers is the one that counts, here and whenever it is read again.
    texts = [o['response']['body']['choices'][0]['message']['content'] for o in good[:4]]
    assert [record['text'] for record in records(tmp_path)] == texts


def test_a_file_of_requests_in_the_place_of_responses_is_no_news(tmp_path):
    run(batch(), questions(2), tmp_path)
    (tmp_path / 'responses.jsonl').write_bytes((tmp_path / 'requests.jsonl').read_bytes())
    missing(batch(), questions(2), tmp_path)
    assert report(tmp_path)['run']['read']['damaged'] == 6
    assert lines(tmp_path / 'annotations.faults.jsonl') == []


def test_what_is_written_fits_into_the_budget_at_its_worst(tmp_path, capsys):
    splits = questions(4)
    most = len(prompts.load('svamp', 'equation').fill(splits['train'][0]).encode()) + 64 + 60
    config = batch(max_tokens_total=5 * most + 30)
    run(config, splits, tmp_path)
    assert len(written(tmp_path)) == 5
    assert '7 answers are missing that may not fit into the budget' in capsys.readouterr().out
    run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses.jsonl')
    # They came for 107 tokens each, which leaves room for four.
    missing(config, splits, tmp_path)
    assert len(written(tmp_path)) == (5 * most + 30 - 5 * 107) // most
    config.teacher.max_tokens_total = 5 * 107 + most - 1
    message = missing(config, splits, tmp_path, 'may not fit into the budget')
    assert 'raise --config.teacher.budget or --config.teacher.max_tokens_total' in message
    assert 'run the same command' not in message
    assert not list(tmp_path.glob('requests*'))


def test_a_budget_in_dollars_and_that_of_several_choices(tmp_path):
    splits = questions(4)
    most = len(prompts.load('svamp', 'equation').fill(splits['train'][0]).encode()) + 64
    config = batch(output_price=1e6, budget=60.0 * 5)  # a dollar a token written, none for others
    run(config, splits, tmp_path)
    assert len(written(tmp_path)) == 5
    config = batch(input_price=1e6, output_price=1e6, budget=2.0 * (most + 3 * 60), choices=3)
    run(config, splits, tmp_path)
    assert [request.body['n'] for request in written(tmp_path)] == [3, 3]


def test_one_request_may_ask_for_several_samples(tmp_path):
    splits = questions(3)
    config = batch(choices=5)  # of which a question has three
    run(config, splits, tmp_path)
    requests = written(tmp_path)
    assert [request.body['n'] for request in requests] == [3, 3, 3]
    bodies = [completion(request) for request in requests]
    bodies[0]['choices'][1]['message']['content'] = None
    del bodies[1]['choices'][0]
    bodies[2]['choices'].reverse()
    outputs = [output(request, body) for request, body in zip(requests, bodies, strict=True)]
    write_lines(tmp_path / 'responses.jsonl', outputs)
    missing(config, splits, tmp_path)
    asked = written(tmp_path)
    assert [(batch_runner.question_of(r), r.body.get('n')) for r in asked] == [
        ('Question 0 of train?', None), ('Question 1 of train?', None),
    ]  # fmt: skip
    assert report(tmp_path)['faults'] == {'null_content': 1, 'no_choices': 1}
    # The prompt is charged once, and all that was counted.
    assert report(tmp_path)['tokens'] == {'prompt': 300, 'completion': 63, 'estimated': 0}
    assert [r['text'][-4] for r in records(tmp_path) if r['id'] == 'train-2'] == ['0', '1', '2']
    missing(config, splits, tmp_path)
    assert len(records(tmp_path)) == 7
    assert report(tmp_path)['tokens'] == {'prompt': 300, 'completion': 63, 'estimated': 0}
    run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses-2.jsonl')
    run(batch(), splits, tmp_path)
    check_records(tmp_path, splits)
    # Fewer samples are asked for now: the others are no longer wanted, and not lost.
    fewer = batch(choices=5)
    fewer.data.samples = 2
    run(fewer, splits, tmp_path)
    assert len(records(tmp_path)) == 9


def test_samples_that_are_missing_between_others_are_asked_for_apart(tmp_path):
    config = batch(choices=2)
    config.data.samples = 6
    run(batch(), questions(1), tmp_path)
    requests = written(tmp_path)
    write_lines(tmp_path / 'responses.jsonl', [output(requests[1])])
    missing(config, questions(1), tmp_path)
    assert [request.body.get('n', 1) for request in written(tmp_path)] == [1, 2, 2]
    run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses-2.jsonl')
    run(config, questions(1), tmp_path)
    check_records(tmp_path, questions(1), samples=6)


def test_many_requests_are_parted_and_their_responses_found_in_all_parts(
    tmp_path, monkeypatch, capsys
):
    write = functools.partial(batch_files.write_requests, most_requests=4)
    monkeypatch.setattr(batch_files, 'write_requests', write)
    monkeypatch.setattr(batch_responses, '_TOGETHER', 5)
    splits = questions(5)
    run(batch(), splits, tmp_path)
    parts = [f'requests-000{n}.jsonl' for n in range(1, 5)]
    assert sorted(path.name for path in tmp_path.glob('requests*')) == parts
    assert (
        f'in {tmp_path}/requests-0001.jsonl to requests-0004.jsonl, of which'
        in capsys.readouterr().out
    )
    for part in parts[1:]:
        run_batch(tmp_path / part, tmp_path / part.replace('requests', 'responses'))
    missing(batch(), splits, tmp_path)
    assert [path.name for path in tmp_path.glob('requests*')] == ['requests.jsonl']
    run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses.jsonl')
    run(batch(), splits, tmp_path)
    check_records(tmp_path, splits)
    told = capsys.readouterr().out
    assert 'lines in responses-0002.jsonl, responses-0003.jsonl, ..., responses.jsonl\n' in told


def test_the_other_name_of_the_limit_is_remembered_once_it_is_asked_for(tmp_path):
    words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    error = {'error': {'message': words, 'param': 'max_tokens', 'code': 'unsupported_parameter'}}
    splits = questions(2)
    run(batch(), splits, tmp_path)
    requests = written(tmp_path)
    write_lines(tmp_path / 'responses.jsonl', [output(r, error, status=400) for r in requests])
    message = missing(batch(), splits, tmp_path)
    assert 'which now say max_completion_tokens' in message
    for _ in range(2):
        assert all(r.body['max_completion_tokens'] == 60 for r in written(tmp_path))
        assert not any('max_tokens' in r.body for r in written(tmp_path))
        (tmp_path / 'responses.jsonl').unlink(missing_ok=True)
        run(batch(), splits, tmp_path)
    run_batch(tmp_path / 'requests.jsonl', tmp_path / 'responses.jsonl')
    run(batch(), splits, tmp_path)
    check_records(tmp_path, splits)


def test_a_model_that_nobody_has_is_to_be_mended_first(tmp_path):
    run(batch(), questions(2), tmp_path)
    error = {'error': {'message': 'The model `a-model` does not exist.', 'code': 404}}
    failed = [output(r, dialect='vllm', status=404, error=error) for r in written(tmp_path)]
    write_lines(tmp_path / 'responses.jsonl', failed)
    message = missing(batch(), questions(2), tmp_path, 'Mend that')
    assert '404: The model `a-model` does not exist.' in message
    assert 'run the same command' not in message


def test_fields_of_extra_and_reasoning_pass_through(tmp_path):
    config = batch(extra='{"top_k": 20, "chat_template_kwargs": {"enable_thinking": true}, "n": 1}')
    config.teacher.choices = 3
    run(config, questions(1), tmp_path)
    (request,) = written(tmp_path)
    assert (request.body['top_k'], request.body['n']) == (20, 3)
    body = completion(request, 'vllm')
    for choice in body['choices']:
        choice['message']['reasoning'] = f'thought {choice["index"]}'
        choice['finish_reason'] = 'length' if choice['index'] == 2 else 'stop'
    write_lines(tmp_path / 'responses.jsonl', [output(request, body, dialect='vllm')])
    run(config, questions(1), tmp_path)
    assert [r['reasoning'] for r in records(tmp_path)] == ['thought 0', 'thought 1', 'thought 2']
    assert report(tmp_path)['length_cut'] == 1


def test_hostile_questions_and_answers_are_data(tmp_path):
    texts = ['../../x', '*?[', '%s {input} {0}', '\ud83d half', 'a\u2028b\x85c\nd', '</s>', 'ü' * 9]
    splits = {'train': [Example(text, f'{text} {n}', '1') for n, text in enumerate(texts)]}
    run(batch(choices=3), splits, tmp_path)
    requests = written(tmp_path)
    words = ['\ud83d', '"}\n{"custom_id": "x"}', '\x00', 'a\u2028b', '{}', '../..', 'ok']
    write_lines(
        tmp_path / 'responses.jsonl',
        [output(r, completion(r, text=text)) for r, text in zip(requests, words, strict=True)],
    )
    before = {path.name for path in tmp_path.parent.iterdir()}
    run(batch(), splits, tmp_path)
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    found = [record['text'] for _, record in journal.read(tmp_path / 'annotations.jsonl')]
    assert found == [text for text in ('\ufffd', *words[1:]) for _ in range(3)]


def test_a_file_that_changes_while_it_is_read_adds_nothing_wrong(tmp_path, monkeypatch):
    run(batch(), questions(2), tmp_path)
    path = tmp_path / 'responses.jsonl'
    run_batch(tmp_path / 'requests.jsonl', path)
    whole, find = path.read_bytes(), batch_responses.find

    def and_then_cut(*args):
        found = find(*args)
        path.write_bytes(whole[:700])
        return found

    monkeypatch.setattr(batch_responses, 'find', and_then_cut)
    missing(batch(), questions(2), tmp_path, 'it changed while it was read')
    monkeypatch.setattr(batch_responses, 'find', find)
    path.write_bytes(whole)
    run(batch(), questions(2), tmp_path)
    check_records(tmp_path, questions(2))


def custom(tmp_path):
    """A configuration of a real file, of whose questions two are to be annotated."""
    source = tmp_path / 'questions.jsonl'
    lines = [
        {'id': f'q{n}', 'split': split, 'input': f'What is 1 + {n}?', 'label': str(1 + n)}
        for n, split in enumerate(['train', 'train', 'validation', 'test'])
    ]
    source.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    config = base_config()
    config.data.name, config.data.source = 'custom', str(source)
    config.data.answer_type = 'equation'
    config.teacher.through = 'batch'
    config.teacher.splits = ('train',)
    config.teacher.model = 'a-model'
    return config


def test_the_records_are_samples_to_train_on(tmp_path, capsys):
    config, workdir = custom(tmp_path), tmp_path / 'run'
    modes.run('annotate', config, workdir)
    assert '--config.data.teacher_samples' not in capsys.readouterr().out
    run_batch(workdir / 'requests.jsonl', workdir / 'responses.jsonl', 'vllm')
    modes.run('annotate', config, workdir)
    path = workdir / 'annotations.jsonl'
    assert f'use them by --config.data.teacher_samples={path}' in capsys.readouterr().out
    config.data.teacher_samples = str(path)
    (one, two) = builders.load(config.data, tmp_path / 'data').splits['train']
    for example in (one, two):
        assert len(example.samples) == 5
        assert {sample.answer for sample in example.samples} == {'( 1 + 0 )'}
        assert all(sample.text.startswith(example.input) for sample in example.samples)


def test_the_status_is_1_only_when_responses_left_something_missing(tmp_path):
    source, workdir = tmp_path / 'questions.jsonl', tmp_path / 'a run'
    custom(tmp_path)
    command = [
        sys.executable, 'run.py', '--mode=annotate', f'--workdir={workdir}',
        '--config=configs/svamp.py', '--config.data.name=custom', f'--config.data.source={source}',
        '--config.data.answer_type=equation', '--config.teacher.model=m',
        '--config.teacher.through=batch', "--config.teacher.splits=('train',)",
    ]  # fmt: skip

    def status():
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, env=os.environ
        )
        return done.returncode, done.stdout, done.stderr

    code, told, errors = status()
    assert (code, errors) == (0, '')
    assert f"-i '{workdir}/requests.jsonl' -o '{workdir}/responses.jsonl' --model m" in told
    target = workdir / 'responses.jsonl'
    run_batch(workdir / 'requests.jsonl', target, fail=lambda place: place == 3)
    code, _, errors = status()
    assert code == 1
    assert errors.splitlines()[-1].startswith('error: teacher: 9 of 10 answers are recorded in')
    run_batch(workdir / 'requests.jsonl', target)
    code, told, errors = status()
    assert (code, errors) == (0, '')
    assert 'answers: 10 of 10 (0 missing' in told
